"""What a run does when objects are not as its plan saw them, by others' hands or by its own killed run's."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace

import pytest
from engine_parts import FLEET, GIB, STACK, Bench, create, delete, outcomes, requires, shape, step, uuid_of

from stacksmith.address import Address
from stacksmith.engine.check import Begun, check
from stacksmith.model.change import Change, Status
from stacksmith.model.found import ABANDONED, Found, Mark
from stacksmith.model.naming import volume_name
from stacksmith.model.realised import Disk, Image, ImageFile, Nic, Server, Volume, to_data
from stacksmith.model.report import Outcome
from stacksmith.model.types import JSON
from stacksmith.planner.plan import Operation, Step
from stacksmith.providers.base import Refused, Stale
from stacksmith.providers.memory.fault import Call, Crash, Effect, Fault
from stacksmith.providers.memory.world import Object, Stage

GROWN = Volume(2 * GIB)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def growing(bench: Bench) -> Step:
    """The update of volume.data from 1 to 2 GiB, as a plan makes it now."""
    change = Change("size_bytes", 2 * GIB, GIB, GIB, Status.CHANGE)
    return step(Operation.UPDATE, "volume.data", GROWN, changes=(change,), **bench.seen("volume.data"))


# Others' hands: exit 5, and no write.


def test_update_of_an_object_changed_since_the_plan_is_stale_and_shows_the_change(bench: Bench) -> None:
    bench.run(create("server.db"))
    change = Change("ram_mib", 256, 128, 128, Status.CHANGE)
    update = step(
        Operation.UPDATE,
        "server.db",
        Server(name="db", vcpus=1, ram_mib=256),
        changes=(change,),
        **bench.seen("server.db"),
    )
    edited = Nic("52:54:00:00:00:01", "network:default")
    bench.world.edit(
        "hv1", "server.db", lambda server: replace(server, ram_mib=512, nics=(edited,), machine_type="q35", tags=("x",))
    )
    writes = len(bench.world.writes)
    report = bench.run(update)
    (failed,) = report.failed
    assert (failed.kind, report.exit_status, len(bench.world.writes)) == ("stale", 5, writes)
    assert failed.cause.startswith("it changed since the plan: ")
    assert "ram_mib was 128, is 512" in failed.cause
    assert "machine_type was not set, is q35" in failed.cause
    assert 'nics[52:54:00:00:00:01] was not set, is {"mac"' in failed.cause
    assert 'tags was [], is ["x"]' in failed.cause
    assert bench.store.open_steps(STACK) == ()


def test_stale_words_tell_what_is_gone_and_are_cut_short(bench: Bench) -> None:
    disks = tuple(Disk(f"vd{letter}", "blank", size_bytes=GIB) for letter in "abcdefgh")
    bench.run(create("server.db", Server(name="db", vcpus=1, ram_mib=128, disks=disks)))
    gone = delete("server.db", **bench.seen("server.db"))
    bench.world.edit("hv1", "server.db", lambda server: replace(server, disks=(), description="x" * 500))
    (failed,) = bench.run(gone).failed
    assert "disks[vda] was {" in failed.cause and ", is gone" in failed.cause
    assert failed.cause.endswith("; and 4 more")
    assert "x" * 59 + "…" in failed.cause and "x" * 60 not in failed.cause


def test_object_that_went_since_the_plan_is_stale(bench: Bench) -> None:
    bench.run(create("volume.data"))
    planned = step(Operation.UPDATE, "volume.data", GROWN, **bench.seen("volume.data"))
    bench.world.remove("hv1", "volume.data")
    report = bench.run(planned)
    assert ([one.kind for one in report.failed], report.exit_status) == (["stale"], 5)
    assert report.failed[0].cause == "it no longer exists"


def test_delete_of_an_object_changed_since_the_plan_is_stale(bench: Bench) -> None:
    bench.run(create("volume.data"))
    planned = delete("volume.data", **bench.seen("volume.data"))
    bench.world.edit("hv1", "volume.data", lambda volume: GROWN)
    report = bench.run(planned)
    assert report.exit_status == 5
    assert "size_bytes was 1073741824, is 2147483648" in report.failed[0].cause
    assert len(bench.world.objects("hv1")) == 1


def test_saved_definition_changed_since_the_plan_is_stale(bench: Bench) -> None:
    bench.run(create("server.db"))
    planned = delete("server.db", **bench.seen("server.db"))
    bench.world.edit("hv1", "server.db", lambda server: replace(server, ram_mib=512), saved=True)
    assert bench.run(planned).failed[0].cause == "it changed since the plan: its saved definition differs"


def test_create_of_what_exists_otherwise_is_stale_and_leaves_it(bench: Bench) -> None:
    bench.run(create("server.db", Server(name="db", vcpus=4, ram_mib=1024)))
    writes = len(bench.world.writes)
    report = bench.run(create("server.db"))
    assert (report.exit_status, len(bench.world.writes)) == (5, writes)
    assert report.failed[0].cause == "it changed since the plan: shop-db exists already"


def test_create_of_what_exists_as_wanted_finds_it(bench: Bench) -> None:
    bench.run(create("server.db"))
    bench.store.remove(STACK, Address.parse("server.db"))
    assert bench.run(create("server.db")).exit_status == 0
    assert bench.recorded() == {"server.db": True}
    assert bench.world.object("hv1", "server.db").boots == 1


def test_half_made_object_that_the_plan_did_not_see_and_nobody_began_is_stale(bench: Bench) -> None:
    address, uuid = Address.parse("volume.data"), uuid_of(Address.parse("volume.data"))
    mark = Mark(FLEET, STACK, address, uuid)
    item = Object("volume", volume_name(STACK, address, uuid), uuid, Volume(GIB), mark, stage=Stage.DEFINED)
    with bench.world.changing("hv1") as state:
        state.put(item)
    report = bench.run(create("volume.data"))
    assert (report.exit_status, bench.world.writes) == (5, [])


def test_image_that_another_stack_half_made_is_no_surprise(bench: Bench) -> None:
    bench.world.faults.append(Fault(Effect.CRASH, "create", point="upload"))
    with pytest.raises(Crash):
        Bench(world=bench.world).run(create("image.debian@hv1"))
    assert len(bench.world.objects("hv1")) == 1
    assert bench.run(create("image.debian@hv1")).exit_status == 0
    assert [one.stage for one in bench.world.objects("hv1")] == [Stage.COMPLETE]


def test_image_of_which_another_stack_has_a_file_is_no_surprise(bench: Bench) -> None:
    bench.run(create("image.debian@hv1"))
    disk = shape("image.debian")
    assert isinstance(disk, Image)
    wanted = Image((*disk.files, ImageFile("kernel", "sha256:" + "b" * 64)))
    assert bench.run(create("image.direct@hv1", wanted)).exit_status == 0
    assert len(bench.world.objects("hv1")) == 2


def test_delete_of_an_image_whose_file_went_with_another_image_is_no_surprise(bench: Bench) -> None:
    disk, kernel = shape("image.debian"), ImageFile("kernel", "sha256:" + "b" * 64)
    assert isinstance(disk, Image)
    both = Image((*disk.files, kernel))
    bench.run(create("image.debian@hv1"), create("image.direct@hv1", both))
    debian = bench.seen("image.debian@hv1")
    mark = Mark(FLEET, STACK, Address.parse("image.direct@hv1"), "", to_data(both))
    whole = bench.sessions["hv1"].drivers["image"].read(mark)
    assert whole is not None and whole.spec == both
    direct = {"fingerprint": whole.fingerprint, "before": to_data(both)}
    assert bench.run(delete("image.debian@hv1", **debian)).exit_status == 0
    assert bench.run(delete("image.direct@hv1", **direct)).exit_status == 0
    with pytest.raises(Stale, match=r"files\[kernel\] was not set, is \{"):
        check(delete("image.direct@hv1", **debian), whole, (FLEET, STACK), frozenset())


def test_object_that_another_stack_took_is_left_to_it(bench: Bench) -> None:
    bench.run(create("server.db"))
    planned = delete("server.db", **bench.seen("server.db"))
    item = bench.world.object("hv1", "server.db")
    theirs = Mark(FLEET, "blog", Address.parse("server.db"), item.uuid, {})
    with bench.world.changing("hv1") as state:
        state.put(replace(item, mark=theirs))
    report = bench.run(planned)
    assert [one.kind for one in report.failed] == ["refused"]
    assert [one.mark for one in bench.world.objects("hv1")] == [theirs]


def test_object_read_with_another_stacks_mark_is_refused() -> None:
    mark = Mark(FLEET, "blog", Address.parse("server.db"), "1b2c", {})
    found = Found(mark.address, "hv1", "1b2c", "shop-db", shape("server.db"), "f1", mark)
    planned = delete("server.db", fingerprint="f1")
    with pytest.raises(Refused, match="shop-db belongs to lab/blog"):
        check(planned, found, (FLEET, STACK), frozenset())
    check(planned, found, (FLEET, "blog"), frozenset())


def test_update_that_a_killed_run_began_may_find_its_object_nearer_to_what_is_wanted() -> None:
    """As with a volume that a BMC was still making when the plan was made."""
    before, wanted = Server("db", 1, 128), Server("db", 2, 256, description="x")
    planned = step(Operation.UPDATE, "server.db", wanted, fingerprint="f1", before=to_data(before))
    begun = frozenset({(planned.operation.value, planned.address, planned.uuid)})

    def look(now: Server, known: Begun = begun) -> None:
        mark = Mark(FLEET, STACK, planned.address, planned.uuid, to_data(before))
        check(planned, Found(planned.address, "hv1", planned.uuid, "db", now, "f2", mark), (FLEET, STACK), known)

    look(replace(before, ram_mib=256))
    for now, known in (
        (replace(before, ram_mib=256), frozenset()),  # nobody began it
        (replace(before, ram_mib=512), begun),
        (replace(before, ram_mib=256, tags=("by hand",)), begun),
    ):
        with pytest.raises(Stale, match="it changed since the plan"):
            look(now, known)


@pytest.mark.parametrize(
    ("operation", "facts", "is_surprise"),
    [
        (Operation.MIGRATE, {ABANDONED: True}, False),
        (Operation.MIGRATE, {}, True),  # somebody paused it
        (Operation.UPDATE, {ABANDONED: True}, True),
    ],
)
def test_migration_that_a_killed_run_began_may_find_its_guest_paused_by_it(
    operation: Operation, facts: Mapping[str, JSON], is_surprise: bool
) -> None:
    """The plan saw it run; then the migration came to its end, where it pauses the guest."""
    runs = Server("db", 1, 128)
    planned = step(operation, "server.db", runs, fingerprint="f1", before=to_data(runs))
    mark = Mark(FLEET, STACK, planned.address, planned.uuid, to_data(runs))
    paused = replace(runs, power_state="paused")
    now = Found(planned.address, "hv1", planned.uuid, "db", paused, "f2", mark, facts=facts)
    begun = frozenset({(planned.operation.value, planned.address, planned.uuid)})
    with pytest.raises(Stale, match="power_state was running, is paused") if is_surprise else nullcontext():
        check(planned, now, (FLEET, STACK), begun)


def test_stale_step_skips_what_depends_on_it(bench: Bench) -> None:
    bench.run(create("volume.data"))
    planned = growing(bench)
    bench.world.edit("hv1", "volume.data", lambda volume: Volume(3 * GIB))
    report = bench.run(planned, requires(create("server.db"), planned), create("volume.other"))
    assert list(outcomes(report).values()) == [Outcome.FAILED, Outcome.SKIPPED, Outcome.DONE]
    assert report.exit_status == 5


# Its own killed run: the same plan again ends as if nothing had happened.


def journey(bench: Bench) -> list[Callable[[], list[Step]]]:
    """Three plans in turn: create three objects, change two, delete all. Each is made from what is there."""
    disk = Disk("vda", "blank", size_bytes=GIB)
    server = Server(name="db", vcpus=1, ram_mib=128, disks=(disk,))
    bigger = replace(server, ram_mib=64, tags=("big",))

    def creates() -> list[Step]:
        network, volume = create("network.lan@hv1"), create("volume.data")
        return [network, volume, requires(create("server.db", server), network, volume)]

    def updates() -> list[Step]:
        changes = (Change("tags", ["big"], [], [], Status.CHANGE), Change("ram_mib", 64, 128, 128, Status.CHANGE))
        seen = bench.seen("server.db")
        return [growing(bench), step(Operation.UPDATE, "server.db", bigger, changes=changes, **seen)]

    def deletes() -> list[Step]:
        server, rest = (
            delete("server.db", **bench.seen("server.db")),
            [delete(name, **bench.seen(name)) for name in ("volume.data", "network.lan@hv1")],
        )
        return [server, *(requires(one, server) for one in rest)]

    return [creates, updates, deletes]


def state_of(bench: Bench) -> tuple[object, ...]:
    objects = [(one.name, one.uuid, one.spec, one.stage, one.mark) for one in bench.world.objects("hv1")]
    return (objects, bench.store.records(STACK))


def points_of(plan: int) -> list[tuple[str, str, str]]:
    """Every point that the calls of a plan reach: (operation, address, point)."""
    bench, seen = Bench(), list[tuple[str, str, str]]()
    journeys = journey(bench)
    for make in journeys[:plan]:
        bench.run(*make())
    steps = journeys[plan]()
    bench.world.hooks.append(lambda call, point: seen.append((call.operation, call.address, point)))
    assert bench.run(*steps, parallel=1).exit_status == 0
    return seen


@pytest.mark.parametrize("plan", [0, 2])
def test_plan_killed_at_any_point_and_run_again_ends_the_same(plan: int) -> None:
    points = points_of(plan)
    assert len(points) > 8
    for killed in range(len(points)):
        bench = Bench()
        journeys = journey(bench)
        for make in journeys[:plan]:
            assert bench.run(*make()).exit_status == 0
        whole = Bench()
        for make in journey(whole)[: plan + 1]:
            assert whole.run(*make()).exit_status == 0
        steps, count = journeys[plan](), iter(range(len(points)))

        def crash(call: Call, point: str, killed: int = killed, count: object = count) -> None:
            if next(count, None) == killed:  # type: ignore[call-overload]
                raise Crash

        bench.world.hooks.append(crash)
        with pytest.raises(Crash):
            bench.run(*steps, parallel=1)
        bench.world.hooks.clear()
        # The plan was saved: a step that had ended well before is no longer needed, the rest goes as planned.
        ended = {one.step for one in bench.store.journal(STACK) if one.outcome == "done"}
        left = [one for one in steps if one.id not in ended]
        again = bench.run(*(replace(s, requires=tuple(r for r in s.requires if r not in ended)) for s in left))
        assert again.exit_status == 0, (points[killed], again.failed)
        assert state_of(bench) == state_of(whole), points[killed]
        assert bench.store.open_steps(STACK) == ()


def test_create_plan_run_whole_a_second_time_changes_nothing(bench: Bench) -> None:
    steps = journey(bench)[0]()
    bench.run(*steps)
    before = state_of(bench)
    assert bench.run(*steps).exit_status == 0
    assert state_of(bench) == before
    assert bench.world.object("hv1", "server.db").boots == 1


def test_update_that_its_killed_run_had_made_is_no_surprise(bench: Bench) -> None:
    bench.run(create("volume.data"))
    planned = growing(bench)
    bench.world.faults.append(Fault(Effect.CRASH, "update", point="end"))
    with pytest.raises(Crash):
        bench.run(planned)
    assert bench.run(planned).exit_status == 0
    assert [record.applied for record in bench.store.records(STACK)] == [to_data(GROWN)]


def test_update_that_somebody_else_made_meanwhile_is_stale(bench: Bench) -> None:
    bench.run(create("volume.data"))
    planned = growing(bench)
    bench.world.edit("hv1", "volume.data", lambda volume: GROWN)
    assert bench.run(planned).exit_status == 5


def test_create_killed_then_changed_by_hand_to_something_else_is_stale(bench: Bench) -> None:
    planned = create("server.db")
    bench.world.faults.append(Fault(Effect.CRASH, "create", point="end"))
    with pytest.raises(Crash):
        bench.run(planned)
    bench.world.edit("hv1", "server.db", lambda server: replace(server, ram_mib=4096))
    assert bench.run(planned).exit_status == 5


def test_parts_that_a_plan_saw_and_that_went_are_made_anew(bench: Bench) -> None:
    assert bench.run(create("volume.data", fingerprint="parts", partial=True)).exit_status == 0
    assert bench.world.object("hv1", "volume.data").spec == shape("volume.data")
