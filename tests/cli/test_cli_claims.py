"""Claims on the command line: room that another stack took, what is told of it, and how it is given back."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stacksmith.cli.app import run
from stacksmith.engine import session
from stacksmith.model.found import Resources
from stacksmith.model.realised import Server, Volume
from stacksmith.placement import Claim
from stacksmith.planner.claim import Claims
from stacksmith.planner.planfile import read_plan, write_plan
from stacksmith.providers.memory.fault import Call, Crash, Effect, Fault
from stacksmith.providers.memory.world import World
from stacksmith.state.process import this_process
from stacksmith.state.store import open_store
from tests.cli.conftest import STACK, Cli
from tests.forked import at_once
from tests.postgres import Place

Held = dict[str, dict[str, dict[str, int]]]
ROOM = {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}
BLOG = STACK.replace("stack: shop", "stack: blog").replace("10.20.0.", "10.30.0.").replace("  data: {size: 1}\n", "")
BLOG = BLOG.replace("volumes:\n", "")
# Its memory is for three servers of 512 MiB.
ONE_HOST = """\
fleet: lab
defaults: {reserved: {MEMORY_MB: 0}}
hosts:
  hv1: {libvirt: "memory://world.json"}
"""


def held(project: Path, stack: str | None = None, url: str = "sqlite:///.stacksmith/lab.db") -> Held:
    """Amounts by host, by stack and name."""
    store = open_store(url, project, read_only=True)
    try:
        return {
            f"{each.owner} {each.name}": {host: dict(amounts) for host, amounts in each.allocations.items()}
            for each in store.claims(stack)
        }
    finally:
        store.close()


def there(live: World) -> Held:
    """What the hosts hold, in the same words."""
    found: Held = {}
    for host in ("hv1", "hv2"):
        for item in live.objects(host):
            amounts: dict[str, int] = {}
            if isinstance(item.spec, Server):
                disk = -(-sum(d.size_bytes or 0 for d in item.spec.disks if d.source != "volume") // 2**30)
                amounts = {"VCPU": item.spec.vcpus, "MEMORY_MB": item.spec.ram_mib, "DISK_GB": disk}
            elif isinstance(item.spec, Volume):
                amounts = {"DISK_GB": item.spec.size_bytes // 2**30}
            if amounts and item.mark is not None:
                found[f"{item.mark.stack} {item.mark.address}"] = {host: amounts}
    return found


@pytest.fixture
def narrow(project: Path, live: World) -> Path:
    """One host with room for three small servers, and the stacks shop (two) and blog (two) in folders of their own."""
    live.set_capacity("hv1", Resources(8, 1536, 100))
    (project / "fleet.yaml").write_text(ONE_HOST)
    (project / "stack.yaml").unlink()
    (project / "stacksmith.root").touch()
    for name, text in (("shop", STACK), ("blog", BLOG)):
        folder = project / name
        folder.mkdir()
        (folder / "tiny.img").write_bytes(b"tiny" * 128)
        (folder / "stack.yaml").write_text(text.replace("fleet: fleet.yaml", "fleet: ../fleet.yaml"))
    return project


def test_apply_claims_what_it_makes_and_destroy_gives_it_back(applied: Cli, project: Path, live: World) -> None:
    claimed = held(project)
    assert set(claimed) == {"shop server.web[0]", "shop server.web[1]", "shop volume.data"}
    assert [amounts for host in (claimed["shop server.web[0]"],) for amounts in host.values()] == [ROOM]
    assert claimed == there(live) | {"shop volume.data": claimed["shop volume.data"]}
    assert applied("destroy", "--yes").status == 0
    assert held(project) == {}


def test_plan_without_changes_writes_nothing_to_the_store(applied: Cli, project: Path) -> None:
    path = project / ".stacksmith/lab.db"
    before = path.read_bytes()
    assert applied("plan", "--detailed-exitcode").status == 0
    assert applied("apply", "--yes").status == 0
    log = path.with_name("lab.db-wal")
    assert (path.read_bytes(), log.read_bytes() if log.exists() else b"") == (before, b"")


def test_saved_plan_whose_room_was_taken_is_status_5_with_the_numbers_and_changes_nothing(
    cli: Cli, narrow: Path, live: World
) -> None:
    assert cli("plan", "blog", "--out", "blog.plan").status == 0
    assert cli("apply", "shop", "--yes").status == 0
    writes, claimed = len(live.writes), held(narrow)
    result = cli("apply", "blog.plan")
    assert result.status == 5
    assert "error[claim-lost]: cannot claim room for server.web[0], server.web[1]" in result.err
    assert "hv1: MEMORY_MB 512 short (used 1,024 of 1,536, 1,024 asked)" in result.err
    assert "hv1: stack shop holds DISK_GB 3, MEMORY_MB 1,024, VCPU 2" in result.err
    assert "hint: plan again" in result.err
    assert (len(live.writes), held(narrow)) == (writes, claimed)
    again = cli("plan", "blog")
    assert again.status == 1 and "MEMORY_MB 512 short (used 1,536 of 1,536)" in again.err


def test_claims_of_another_stack_count_before_its_servers_run_and_the_verdict_says_so(
    cli: Cli, narrow: Path, live: World
) -> None:
    live.faults.append(Fault(Effect.CRASH, operation="create", kind="network"))
    with pytest.raises(Crash):
        cli("apply", "shop", "--yes")
    assert not any(item.kind == "server" for item in live.objects("hv1"))
    result = cli("plan", "blog")
    assert result.status == 1
    told = "MEMORY_MB 512 short (used 1,536 of 1,536, of it 1,024 claimed by stack shop, not running yet)"
    assert told in result.err
    listed = cli("state", "claims", "--stack", "blog")
    assert "shop   server.web[0]  hv1       DISK_GB 1, MEMORY_MB 512, VCPU 1" in listed.out
    data = json.loads(cli("state", "claims", "--json", "--stack", "blog").out)
    assert [each["allocations"] for each in data if each["address"] == "server.web[0]"] == [{"hv1": ROOM}]
    assert cli("capacity", "blog").out.startswith("small: 1 more")
    assert cli("state", "release", "shop", "--stack", "blog").out == "Released 3 claims of stack shop.\n"
    assert cli("plan", "blog").status == 0
    assert cli("capacity", "blog").out.startswith("small: 3 more")
    assert cli("state", "release", "shop", "--stack", "blog").status == 1


def test_claim_of_a_create_that_was_refused_is_given_back_when_the_run_ends(
    cli: Cli, narrow: Path, live: World
) -> None:
    live.faults.append(Fault(Effect.REFUSED, operation="create", kind="network"))
    assert cli("apply", "shop", "--yes").status == 1
    assert set(held(narrow)) == {"shop volume.data"}
    live.faults.append(Fault(Effect.REFUSED, operation="create", address="server.web[1]"))
    assert cli("apply", "shop", "--yes").status == 1
    assert set(held(narrow)) == {"shop server.web[0]", "shop volume.data"}
    assert cli("apply", "shop", "--yes").status == 0
    assert len(held(narrow)) == 3


def test_resize_claims_the_larger_and_ends_with_what_is_there(cli: Cli, narrow: Path, live: World) -> None:
    assert cli("apply", "shop", "--yes", "--var", "count=1").status == 0
    grow = ("apply", "shop", "--yes", "--allow", "restart", "--var", "count=1", "--var")
    assert cli("plan", "shop", "--out", "grow.plan", "--var", "count=1", "--var", "ram=1536").status == 0
    assert cli("apply", "blog", "--yes", "--var", "count=1").status == 0
    lost = cli("apply", "grow.plan", "--allow", "restart", "--var", "count=1", "--var", "ram=1536")
    assert lost.status == 5 and "hv1: MEMORY_MB 512 short (used 512 of 1,536, 1,536 asked)" in lost.err
    assert held(narrow)["shop server.web[0]"]["hv1"]["MEMORY_MB"] == 512
    assert cli(*grow, "ram=1024").status == 0
    assert held(narrow)["shop server.web[0]"]["hv1"]["MEMORY_MB"] == 1024
    live.faults.append(Fault(Effect.CRASH, operation="update", kind="server"))
    with pytest.raises(Crash):
        cli(*grow, "ram=256")
    assert held(narrow)["shop server.web[0]"]["hv1"]["MEMORY_MB"] == 1024
    assert cli(*grow, "ram=256").status == 0
    assert held(narrow)["shop server.web[0]"]["hv1"]["MEMORY_MB"] == 256


def test_replacement_keeps_its_room_while_it_is_gone(applied: Cli, project: Path, live: World) -> None:
    before = held(project)
    live.faults.append(Fault(Effect.CRASH, operation="create", kind="server"))
    again = ("apply", "--yes", "--replace", "server.web[0]", "--allow", "data-loss")
    with pytest.raises(Crash):
        applied(*again)
    assert "shop server.web[0]" not in there(live)
    assert held(project) == before
    assert applied("apply", "--yes").status == 0
    assert held(project) == before


def test_removed_record_gives_its_claim_up_and_the_next_apply_mends_it(applied: Cli, project: Path) -> None:
    before = held(project)
    assert applied("state", "rm", "server.web[0]").status == 0
    assert set(held(project)) == {"shop server.web[1]", "shop volume.data"}
    assert applied("plan", "--detailed-exitcode").status == 0
    assert applied("apply", "--yes").status == 0
    assert held(project) == before


def test_rebuild_makes_the_claims_those_of_what_is_there(applied: Cli, project: Path, live: World) -> None:
    before = held(project)
    for path in (project / ".stacksmith").glob("lab.db*"):
        path.unlink()
    assert applied("state", "rebuild").status == 0
    assert held(project) == before
    live.remove(next(iter(before["shop server.web[0]"])), "server.web[0]")
    assert applied("state", "rebuild").status == 0
    assert set(held(project)) == {"shop server.web[1]", "shop volume.data"}


def test_claim_of_a_resource_that_left_the_stack_before_it_was_made_is_given_up(cli: Cli, project: Path) -> None:
    store = open_store("sqlite:///.stacksmith/lab.db", project)
    try:
        store.claim("shop", [Claim("gone", {"hv1": ROOM}, name="server.gone")], lambda *_: ())
    finally:
        store.close()
    assert cli("apply", "--yes").status == 0
    assert "shop server.gone" not in held(project)


def test_eight_stacks_applied_at_once_never_take_more_than_there_is(narrow: Path, live: World, place: Place) -> None:
    (narrow / "fleet.yaml").write_text(ONE_HOST.replace("fleet: lab\n", f"fleet: lab\nstate: {place.url}\n"))
    names = [f"s{n}" for n in range(8)]
    live.set_capacity("hv1", Resources(8, 1536, 100))
    for n, name in enumerate(names):
        folder = narrow / name
        folder.mkdir()
        (folder / "tiny.img").write_bytes(b"tiny" * 128)
        text = BLOG.replace("stack: blog", f"stack: {name}").replace("default: 2", "default: 1")
        text = text.replace("10.30.0.", f"10.{40 + n}.0.").replace("fleet: fleet.yaml", "fleet: ../fleet.yaml")
        (folder / "stack.yaml").write_text(text)
        write_plan(session.plan(session.Options(stack=folder)).plan, narrow / f"{name}.plan")
    ended = at_once(run, [(["apply", f"{name}.plan"],) for name in names])
    assert sorted(each.status for each in ended) == [0, 0, 0, 5, 5, 5, 5, 5], ended
    assert all("claim-lost" in each.err and "MEMORY_MB" in each.err for each in ended if each.status == 5)
    assert sum(item.kind == "server" for item in live.objects("hv1")) == 3
    assert held(narrow, url=place.url) == there(live)


def test_claims_are_not_rebuilt_or_released_while_a_run_is_at_work(applied: Cli, project: Path) -> None:
    store = open_store("sqlite:///.stacksmith/lab.db", project)
    store.acquire("shop", this_process("r9", "apply"), 60)
    try:
        assert applied("state", "rebuild").status == 6
        assert applied("state", "release", "shop").status == 6
    finally:
        store.release("shop", "r9")
        store.close()
    assert len(held(project)) == 3


def test_saved_plan_without_its_claims_is_refused(cli: Cli, project: Path, live: World) -> None:
    assert cli("plan", "--out", "saved.plan").status == 0
    write_plan(replace(read_plan(project / "saved.plan"), claims=Claims()), project / "saved.plan")
    result = cli("apply", "saved.plan")
    assert result.status == 1 and "create server.web[0]: no room is claimed for it" in result.err
    assert live.writes == []


def points_of(run: Callable[[], object], live: World) -> int:
    """How many points the calls of a run's steps reach."""
    seen = list[str]()
    live.hooks.append(lambda call, point: seen.append(point) if is_step(call) else None)
    run()
    live.hooks.clear()
    return len(seen)


def is_step(call: Call) -> bool:
    """True for what a step calls, on a thread of the run."""
    return call.operation in ("read", "create", "update", "delete")


@pytest.mark.parametrize("command", ["apply", "destroy"])
def test_killed_at_any_point_and_run_again_ends_with_the_claims_of_what_is_there(
    cli: Cli, narrow: Path, live: World, command: str
) -> None:
    destroy = ("destroy", "blog", "--yes", "--parallel", "1")
    apply = ("apply", "blog", "--yes", "--parallel", "1")
    arguments, before = (apply, destroy) if command == "apply" else (destroy, apply)
    cli(*before)
    total = points_of(lambda: cli(*arguments), live)
    for at in range(total):
        cli(*before)
        count = iter(range(total))

        def crash(call: Call, point: str, at: int = at, count: Iterator[int] = count) -> None:
            if is_step(call) and next(count, None) == at:
                raise Crash

        live.hooks.append(crash)
        with pytest.raises(Crash):
            cli(*arguments)
        live.hooks.clear()
        assert cli(*arguments).status == 0, at
        assert held(narrow) == there(live), at
        assert len(held(narrow)) == (2 if command == "apply" else 0)
