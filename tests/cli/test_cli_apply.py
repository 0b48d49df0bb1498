"""apply, destroy, drift, state, hosts, placement and output."""

import json
import os
import pty
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from stacksmith.engine import session
from stacksmith.model.found import Resources
from stacksmith.model.realised import Image, Server
from stacksmith.providers.memory.world import World
from stacksmith.state.process import this_process
from stacksmith.state.store import open_store
from tests.cli.conftest import Cli, edit, host_of
from tests.cli.test_cli_start import PROGRAM


def test_apply_without_a_terminal_names_the_flag_and_does_nothing(cli: Cli, live: World) -> None:
    result = cli("apply")
    assert result.status == 1
    assert "--yes does it without asking" in result.err
    assert live.objects("hv1") == live.objects("hv2") == []


def test_apply_tells_what_happens_on_stderr_and_what_it_did_on_stdout(cli: Cli, project: Path) -> None:
    result = cli("apply", "--auto-approve", "--json-into", "events.jsonl")
    assert result.status == 0
    assert "server.web[0]: Creating... [" in result.err
    assert "Apply complete! Resources: " in result.out
    assert 'Outputs:\n\nfirst = "web-0"\nips   = ["10.20.0.10", "10.20.0.11"]\n' in result.out
    events = [json.loads(line) for line in (project / "events.jsonl").read_text().splitlines()]
    assert [event["sequence"] for event in events] == list(range(len(events)))
    assert (events[0]["type"], events[-1]["type"]) == ("run_started", "run_ended")


def test_second_apply_has_nothing_to_do(applied: Cli, live: World) -> None:
    calls = len(live.writes)
    result = applied("apply", "--yes")
    assert result.status == 0
    assert result.out.startswith("No changes. Your infrastructure matches the configuration.\n")
    assert len(live.writes) == calls


def test_run_that_has_nothing_to_do_makes_the_events_anew(applied: Cli, project: Path) -> None:
    told = project / "events.jsonl"

    def events() -> list[dict[str, object]]:
        made = [json.loads(line) for line in told.read_text().splitlines()]
        assert [event.pop("sequence") for event in made] == list(range(len(made)))
        assert all(event.pop("time") for event in made) and len({event.pop("run") for event in made}) == 1
        return made

    ended = {"type": "run_ended", "done": 0, "failed": 0, "skipped": 0, "seconds": 0.0, "interrupted": False}
    told.write_text('{"of": "an earlier run"}\n')
    assert applied("apply", "--yes", "--json-into", "events.jsonl").status == 0
    assert events() == [{"type": "run_started", "command": "apply", "steps": 0}, ended]
    assert applied("destroy", "--yes").status == 0
    assert applied("destroy", "--yes", "--json-into", "events.jsonl").status == 0
    assert events() == [{"type": "run_started", "command": "destroy", "steps": 0}, ended]
    assert applied("plan", "--destroy", "--out", "plan.bin").status == 0
    told.write_text("")
    assert applied("apply", "plan.bin", "--json-into", "events.jsonl").status == 0
    assert [event["type"] for event in events()] == ["run_started", "run_ended"]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("apply", "--var", "count=3"), 1),
        (("apply", "--yes", "--var", "ram=1024"), 7),
        (("apply", "--yes", "--var", "ram=lots"), 1),
        (("destroy",), 1),
        (("plan", "--var", "ram=99999999", "--var", "count=3"), 1),
    ],
    ids=["nobody to ask", "not allowed", "bad variable", "destroy with nobody to ask", "plan that cannot be made"],
)
@pytest.mark.parametrize("is_link", [False, True], ids=["file", "link"])
def test_what_an_earlier_run_wrote_does_not_stay_after_one_that_does_nothing(
    applied: Cli, project: Path, arguments: tuple[str, ...], status: int, is_link: bool
) -> None:
    told, target = project / "told.json", project / "target.json"
    told.write_text("an earlier run")
    if is_link:
        told.rename(target)
        told.symlink_to(target)
    assert applied(*arguments, "--json-into", "told.json").status == status
    assert told.is_symlink() == is_link
    assert target.read_text() == "" if is_link else not told.exists()


def test_impact_that_was_not_allowed_is_status_7_and_changes_nothing(applied: Cli, live: World) -> None:
    before = live.objects("hv1"), live.objects("hv2")
    result = applied("apply", "--yes", "--var", "count=1")
    assert result.status == 7
    assert "delete server.web[1]: its impact is data-loss" in result.err
    assert "hint: --allow data-loss" in result.err
    assert (live.objects("hv1"), live.objects("hv2")) == before
    assert applied("apply", "--yes", "--var", "count=1", "--allow", "restart").status == 7
    assert applied("apply", "--yes", "--var", "count=1", "--allow", "restart,data-loss").status == 0
    assert applied("plan", "--var", "count=1", "--detailed-exitcode").status == 0


def test_conflict_needs_its_flag(applied: Cli, live: World) -> None:
    for name in ("server.web[0]", "server.web[1]"):
        edit(live, name, lambda spec: replace(spec, ram_mib=777))
    asked = ("apply", "--yes", "--var", "ram=1024", "--allow", "restart")
    result = applied(*asked)
    assert result.status == 7
    assert "--overwrite-drift" in result.err
    assert applied(*asked, "--overwrite-drift").status == 0
    assert applied("plan", "--var", "ram=1024", "--detailed-exitcode").status == 0


def test_lock_of_another_run_is_status_6_and_names_it(applied: Cli, project: Path) -> None:
    store = open_store("sqlite:///.stacksmith/lab.db", project)
    holder = this_process("r9", "apply")
    store.acquire("shop", holder, 60)
    try:
        result = applied("apply", "--yes", "--var", "count=3")
    finally:
        store.release("shop", "r9")
        store.close()
    assert result.status == 6
    assert "run r9" in result.err
    assert "--lock-timeout" in result.err


@pytest.mark.parametrize(("answer", "status", "words"), [("yes", 0, "Apply complete!"), ("y", 1, "Apply cancelled.")])
def test_only_yes_is_yes_on_a_terminal(answer: str, status: int, words: str, project: Path) -> None:
    ended, shown = on_a_terminal(answer, "apply")
    assert ended == status
    assert "Only 'yes' will be accepted to approve." in shown
    assert words in shown


def test_destroy_asks_in_its_own_words_and_keeps_volumes(applied: Cli, live: World) -> None:
    asked = applied("destroy")
    assert asked.status == 1
    assert "--yes does it without asking" in asked.err
    ended, shown = on_a_terminal("yes", "destroy")
    assert ended == 0
    assert "Do you really want to destroy all resources" in shown
    assert "Destroy complete! Resources: " in shown
    left = {item.kind for host in ("hv1", "hv2") for item in live.objects(host)}
    assert left == {"volume"}
    assert applied("destroy", "--yes").status == 0


@pytest.mark.parametrize("others", [("--yes",), ("--yes", "--target", "network.lan")])
def test_plan_that_waited_for_its_answer_while_another_run_applied_is_stale(
    others: tuple[str, ...], cli: Cli, live: World
) -> None:
    counts = []

    def meanwhile() -> None:
        assert cli("apply", *others).status == 0
        counts.append(len(live.writes))

    status, shown = on_a_terminal("yes", "apply", meanwhile=meanwhile)
    assert status == 5 and "stale-plan" in shown and "cannot apply the plan: it is stale: create " in shown
    assert " was begun since by run " in shown and "added" not in shown
    assert [len(live.writes)] == counts
    again, shown = on_a_terminal("yes", "apply")
    assert again == 0 and ("No changes." in shown) == (others == ("--yes",))


def test_destroy_that_waited_for_its_answer_while_another_run_applied_removes_nothing(
    applied: Cli, live: World
) -> None:
    before = len(live.objects("hv1")) + len(live.objects("hv2"))

    def meanwhile() -> None:
        assert applied("apply", "--yes", "--var", "count=3").status == 0

    status, shown = on_a_terminal("yes", "destroy", meanwhile=meanwhile)
    assert status == 5 and "stale-plan" in shown
    assert len(live.objects("hv1")) + len(live.objects("hv2")) > before


@pytest.mark.parametrize("command", ["apply", "destroy"])
def test_run_that_asks_nobody_plans_again_when_another_run_was_faster(
    command: str, applied: Cli, live: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease, faster = session.held, [("apply", "--yes", "--var", "count=3")]

    @contextmanager
    def overtaken(*arguments: Any) -> Iterator[None]:
        if faster:
            assert applied(*faster.pop()).status == 0
        with lease(*arguments):
            yield

    monkeypatch.setattr(session, "held", overtaken)
    result = applied(command, "--yes", *(("--var", "count=4") if command == "apply" else ()))
    assert result.status == 0, result.err
    assert not faster
    assert "Another run changed the stack while this one waited for it: planning again." in result.err
    left = [item for host in ("hv1", "hv2") for item in live.objects(host) if item.kind == "server"]
    assert len(left) == (4 if command == "apply" else 0)


def test_replacement_that_the_targets_leave_out_is_refused(applied: Cli) -> None:
    result = applied("plan", "--target", "network.lan", "--replace", "server.web")
    assert result.status == 1
    assert "cannot replace server.web: --target or --exclude leaves it out" in result.err
    assert applied("plan", "--target", "server.web", "--replace", "server.web").status == 0


def on_a_terminal(answer: str, *arguments: str, meanwhile: Callable[[], None] = lambda: None) -> tuple[int, str]:
    """The exit status of the program on a terminal of its own, and all that it showed there. ``meanwhile`` happens
    while it waits for its answer."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen([PROGRAM, *arguments], stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        shown, asked = b"", False
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            shown += part
            if not asked and b"Enter a value: " in shown:
                asked = True
                meanwhile()
                os.write(ours, f"{answer}\n".encode())
        return process.wait(60), shown.decode(errors="replace")
    finally:
        os.close(ours)


def test_drift_is_told_from_change_by_status(applied: Cli, live: World) -> None:
    assert applied("drift").status == 0
    assert applied("drift", "--var", "count=3").status == 3
    edit(live, "server.web[0]", lambda spec: replace(spec, vcpus=2))
    result = applied("drift")
    assert result.status == 2
    assert "~ vcpus = 1 -> 2  # drift" in result.out


def test_drift_of_an_image_whose_file_was_edited_is_a_change_not_applied(applied: Cli, project: Path) -> None:
    with (project / "tiny.img").open("ab") as file:
        file.write(b"tiny" * 128)
    result = applied("drift", "--json")
    assert (result.status, json.loads(result.out)["drift"]) == (3, [])


def test_drift_of_an_image_with_one_of_its_two_files_edited_is_a_change_not_applied(
    cli: Cli, project: Path, live: World
) -> None:
    stack = project / "stack.yaml"
    two = "tiny: {kernel: {source: kernel}, ramdisk: {source: ramdisk}}"
    stack.write_text(stack.read_text().replace("tiny: {source: tiny.img, format: raw}", two))
    (project / "kernel").write_bytes(b"kernel")
    (project / "ramdisk").write_bytes(b"ramdisk")
    assert cli("apply", "--yes").status == 0
    (project / "ramdisk").write_bytes(b"another ramdisk")
    result = cli("drift", "--json")
    assert (result.status, json.loads(result.out)["drift"]) == (3, [])
    host = host_of(live, "server.web[0]")
    with live.changing(host) as state:
        for each in [each for each in state.objects["image"].values() if "kernel" in each.name]:
            del state.objects["image"][each.name]
    result = cli("drift", "--json")
    gone = [each["address"] for each in json.loads(result.out)["drift"] if each["missing"]]
    assert (result.status, gone) == (2, [f"image.tiny@{host}"])


def test_drift_of_an_edited_image_that_is_gone_is_missing(applied: Cli, project: Path, live: World) -> None:
    host = host_of(live, "server.web[0]")
    (image,) = (each for each in live.objects(host) if isinstance(each.spec, Image))
    with live.changing(host) as state:
        del state.objects["image"][image.name]
    with (project / "tiny.img").open("ab") as file:
        file.write(b"tiny" * 128)
    result = applied("drift", "--json")
    gone = [each["address"] for each in json.loads(result.out)["drift"] if each["missing"]]
    assert (result.status, gone) == (2, [f"image.tiny@{host}"])


def test_drift_with_a_host_that_is_not_read_is_status_4(applied: Cli, project: Path, live: World) -> None:
    fleet = project / "fleet.yaml"
    fleet.write_text(fleet.read_text().replace("availability_zone: rack-a", "state: failed"))
    result = applied("drift")
    assert result.status == 4
    assert "Not known:" in result.out
    assert "No drift" not in result.out


def test_drift_with_an_error_is_status_1(cli: Cli) -> None:
    assert cli("drift", "nowhere").status == 1


def test_drift_of_something_gone_is_missing(applied: Cli, live: World) -> None:
    host = host_of(live, "server.web[0]")
    live.remove(host, "server.web[0]")
    result = applied("drift", "--format", "json")
    assert result.status == 2
    (deviation,) = json.loads(result.out)["drift"]
    assert (deviation["address"], deviation["missing"]) == ("server.web[0]", True)


def test_drift_as_junit_fails_the_case_of_the_resource(applied: Cli, live: World, project: Path) -> None:
    edit(live, "server.web[0]", lambda spec: replace(spec, vcpus=2))
    result = applied("drift", "--format", "junit", "--into", "drift.xml")
    assert result.status == 2
    assert "Drift:" in result.out
    suite = ElementTree.parse(project / "drift.xml").getroot()
    failed = [case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None]
    assert failed == ["server.web[0]"]


def test_drift_metrics_keep_the_last_success_of_a_partial_read(applied: Cli, project: Path) -> None:
    def metric(name: str) -> float:
        lines = (project / "shop.prom").read_text().splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(f"stacksmith_{name}{{"))

    assert applied("drift", "--format", "prometheus", "--into", "shop.prom").status == 0
    success = metric("last_success_timestamp_seconds")
    assert success == metric("last_run_timestamp_seconds")
    assert (project / "shop.prom").stat().st_mode & 0o444 == 0o444
    fleet = project / "fleet.yaml"
    fleet.write_text(fleet.read_text().replace("availability_zone: rack-a", "state: failed"))
    assert applied("drift", "--format", "prometheus", "--into", "shop.prom").status == 4
    assert metric("last_success_timestamp_seconds") == success
    assert metric("last_run_timestamp_seconds") > success
    assert metric('host_up{fleet="lab",stack="shop",host="hv1"}'.removesuffix("}").split("{")[0]) == 0
    assert not [each for each in project.iterdir() if each.name.startswith(".shop.prom")]


def test_unmanaged_object_is_reported_and_never_touched(applied: Cli, live: World) -> None:
    pet = live.add_unmanaged("hv1", "server", "pet", Server("pet", 1, 64))
    result = applied("plan", "--detailed-exitcode")
    assert result.status == 0
    assert "hv1: server pet" in result.out
    assert applied("destroy", "--yes").status == 0
    assert pet in live.objects("hv1")


def test_state_is_listed_shown_dropped_and_rebuilt(applied: Cli) -> None:
    assert "server.web[0]" in applied("state", "list").out
    assert json.loads(applied("state", "show", "server.web[0]", "--json").out)["complete"] is True
    before = applied("state", "list", "--json").out
    assert applied("state", "rm", "server.web[0]").status == 0
    assert applied("state", "show", "server.web[0]").status == 1
    assert applied("state", "rm", "server.web[0]").status == 1
    assert applied("state", "rebuild").status == 0
    after = json.loads(applied("state", "list", "--json").out)
    assert [each["address"] for each in after] == [each["address"] for each in json.loads(before)]
    assert applied("plan", "--detailed-exitcode").status == 0


def test_hosts_show_what_is_used(applied: Cli) -> None:
    lines = applied("hosts").out.splitlines()
    assert lines[0].split()[:2] == ["HOST", "STATE"]
    assert [line.split()[0] for line in lines[1:3]] == ["hv1", "hv2"]
    data = json.loads(applied("hosts", "--format", "json").out)
    memory = [host["inventories"]["MEMORY_MB"] for host in data["hosts"]]
    assert sum(each["used"] for each in memory) == 1024
    free = [(m["total"] - m["reserved"]) * m["allocation_ratio"] - m["used"] for m in memory]
    assert [each["free"] for each in memory] == free
    assert (data["free"]["MEMORY_MB"], data["fragmentation"]) == (sum(free), 0)
    assert lines[-1].startswith("Free: ")


def test_hosts_are_shown_when_nothing_fits_on_them(cli: Cli) -> None:
    assert cli("plan", "--var", "ram=99999999").status == 1
    hosts = cli("hosts", "--var", "ram=99999999")
    assert hosts.status == 0
    assert hosts.out.splitlines()[-1].endswith("(100% of the free memory).")
    data = json.loads(cli("hosts", "--var", "ram=99999999", "--format", "json").out)
    assert (data["fragmentation"], data["stranded"]) == (1, data["free"])


def test_capacity_counts_what_hosts_take_and_says_what_limits_them(applied: Cli) -> None:
    before = json.loads(applied("capacity", "--json").out)["flavors"][0]
    assert (before["flavor"], [host["host"] for host in before["hosts"]]) == ("small", ["hv1", "hv2"])
    more = before["total"]
    assert more == sum(host["count"] for host in before["hosts"]) > 0
    assert applied("plan", "--var", f"count={more + 2}").status == 0
    assert applied("plan", "--var", f"count={more + 3}").status == 1
    text = applied("capacity", "--flavor", "small").out
    assert text.startswith(f"small: {more} more (rack-a {before['hosts'][0]['count']}, no zone ")
    assert "MEMORY_MB" in text or "VCPU" in text


def test_capacity_of_an_unknown_flavor_is_refused(cli: Cli) -> None:
    result = cli("capacity", "--flavor", "huge")
    assert (result.status, result.out) == (1, "")
    assert "cannot count huge: there is no such flavor" in result.err
    assert "hint: flavors: small" in result.err


def test_a_server_that_stays_has_a_verdict_of_every_host_too(applied: Cli, live: World) -> None:
    placed = json.loads(applied("placement", "explain", "server.web[0]", "--format", "json").out)[0]
    home, (other,) = placed["host"], {"hv1", "hv2"} - {placed["host"]}
    live.set_capacity(other, Resources(8, 1112, 100))
    lines = applied("placement", "explain", "server.web[0]").out.splitlines()
    assert lines[0] == f"server.web[0] stays on {home}, where it is"
    assert [line.split()[:2] for line in lines[2:]] == [[home, "stays"], [other, "no"]]
    assert lines[3].endswith("MEMORY_MB 424 short (used 512 of 600 = 1,112 - 512 reserved)")
    assert applied("placement", "explain").out.count("stays on") == 2
    assert applied("placement", "explain", "server.web").out.count("stays on") == 2


def test_placement_gives_a_verdict_for_every_host(cli: Cli) -> None:
    result = cli("placement", "explain", "server.web[0]")
    assert result.status == 0
    assert {"hv1", "hv2"} <= set(result.out.split())
    nowhere = cli("placement", "explain", "--var", "ram=99999999")
    assert nowhere.status == 1
    assert nowhere.out.startswith("server.web[0] nowhere: no valid host: even if all were empty, none of 2 hosts has")
    assert {"hv1", "hv2", "HOST", "hint:"} <= set(nowhere.out.split())
    assert cli("placement", "explain", "server.nope").status == 1
    assert "error[no-valid-host]" in cli("placement", "explain", "server.nope", "--var", "ram=99999999").err


def test_placement_of_a_server_without_a_host_is_told_to_programs(cli: Cli) -> None:
    told = json.loads(cli("placement", "explain", "server.web[0]", "--var", "ram=99999999", "--format", "json").out)[0]
    asked = {"rule": "amount", "subject": "MEMORY_MB", "about": ""}
    words = {"words": "has MEMORY_MB 99,999,999", "met_by": []}
    assert told["conflict"] == {
        "beside": "nothing",
        "usable_hosts": 2,
        "smallest": True,
        "constraints": [{**asked, **words}],
    }
    (least,) = told["relaxations"]
    assert (least["host"], least["hosts_alike"]) == ("hv1", 1)
    assert [{k: v for k, v in remedy.items() if k != "words"} for remedy in least["remedies"]] == [asked]
    assert (told["host"], told["clash"]) == (None, None)


def test_output_is_for_people_scripts_and_programs(applied: Cli) -> None:
    assert 'first = "web-0"' in applied("output").out
    assert applied("output", "first").out == "web-0\n"
    assert json.loads(applied("output", "--json").out)["ips"]["value"] == ["10.20.0.10", "10.20.0.11"]
    nope = applied("output", "nope")
    assert (nope.status, nope.out) == (1, "")
    assert "cannot show output 'nope': the stack has none of this name" in nope.err
    assert "hint: outputs: first, ips" in nope.err


@pytest.mark.parametrize("words", ["show", "state show", "state rm"])
def test_address_of_a_block_is_no_servers_and_the_hint_has_one(words: str, applied: Cli) -> None:
    result = applied(*words.split(), "server.web")
    assert (result.status, result.out) == (1, "")
    assert "error[unknown-reference]: cannot " in result.err
    assert "hint: did you mean 'server.web[" in result.err


def test_answer_that_cannot_be_written_is_no_fault_of_the_program(project: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([PROGRAM, "validate"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "error[file]: cannot write the answer: No space left on device" in done.stderr


def test_file_that_cannot_be_written_is_named_as_it_was_given(applied: Cli) -> None:
    result = applied("drift", "--into", "nowhere/drift.prom", "--format", "prometheus")
    assert result.status == 1
    assert "cannot use nowhere/drift.prom: No such file or directory" in result.err


def test_destroy_that_cannot_read_a_host_is_an_error_and_leaves_what_is_there(
    applied: Cli, project: Path, live: World
) -> None:
    host = next(name for name in ("hv1", "hv2") if live.objects(name))
    fleet = (project / "fleet.yaml").read_text().replace(f"{host}: {{", f"{host}: {{state: failed, ")
    (project / "fleet.yaml").write_text(fleet)
    before = len(live.objects(host))
    assert applied("destroy", "--yes").status == 1
    assert len(live.objects(host)) == before
    assert applied("destroy", "--yes").status == 1


def test_apply_reads_every_host_once_and_again_only_for_an_output_that_hosts_alone_know(
    cli: Cli, live: World, project: Path
) -> None:
    assert "ips   = " in cli("apply", "--yes").out
    assert sum(call.operation == "observe" for call in live.calls) == 2
    text = (project / "stack.yaml").read_text()
    (project / "stack.yaml").write_text(
        text.replace("outputs:\n", 'outputs:\n  on: "{{ server.web[0].power_state }}"\n').replace(
            "{size: 1}", "{size: 2}"
        )
    )
    assert '= "running"' in cli("apply", "--yes").out
    assert sum(call.operation == "observe" for call in live.calls) == 6


def test_rebuild_of_the_state_while_a_host_cannot_be_read_says_so_and_keeps_its_records(
    applied: Cli, project: Path
) -> None:
    before = applied("state", "list").out
    text = (project / "fleet.yaml").read_text()
    (project / "broken.json").write_text("{")
    (project / "fleet.yaml").write_text(text.replace("world.json", "broken.json", 1))
    result = applied("state", "rebuild")
    assert result.status == 1 and "Warning: cannot read host hv1: " in result.err
    assert "What is recorded of them is as it was" in result.err
    assert applied("state", "list").out == before
    assert "cannot read host hv2" not in result.err


def test_resource_that_nobody_recorded_on_a_host_that_cannot_be_read_is_not_said_to_be_absent(
    cli: Cli, project: Path
) -> None:
    (project / "world.json").write_text("{")
    result = cli("show", "server.web[0]")
    assert result.status == 1 and "host-unread" in result.err and "hv1: cannot read world" in result.err
