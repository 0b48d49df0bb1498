"""Two stacks on one state store and the last room of a real host: one gets it, the other is told who took it."""

import re
import subprocess
import sys
from collections.abc import Callable

import pytest
import yaml

from stacksmith.engine import session
from stacksmith.planner.planfile import write_plan
from tests.e2e.kit import Site

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("lab")]

# So large that it does not matter how many large pages other tests on the machine reserve meanwhile.
STACK = """
  large: {vcpus: 1, ram: 1024, disk: 1}
servers: {a: {flavor: large, image: lab-acpi, host: hv1}}
"""
APPLY = """
import sys
from stacksmith.cli.app import run
print("ready", flush=True)
sys.stdin.readline()
sys.exit(run(sys.argv[1:]))
"""


def with_room_for(site: Site, memory_mib: int) -> None:
    """Lets placement give no more of hv1's memory than this, beside what runs there."""
    _, snapshot = session.survey(site.options())
    (hv1,) = (host for host in snapshot.hosts if host.host == "hv1")
    used = sum(each.usage.memory_mib for each in (*hv1.found, *hv1.unmanaged))
    fleet = yaml.safe_load(site.fleet.read_text())
    fleet["hosts"]["hv1"]["reserved"] = {"MEMORY_MB": hv1.capacity.memory_mib - used - memory_mib}
    site.fleet.write_text(yaml.safe_dump(fleet))


def claimed(site: Site) -> dict[str, dict[str, int]]:
    """{stack and name: amounts on hv1}."""
    return {f"{each.owner} {each.name}": dict(each.allocations["hv1"]) for each in session.claims(site.options())}


def test_two_stacks_applied_at_once_to_the_last_room_of_a_host_give_it_to_one(make_site: Callable[[], Site]) -> None:
    one, other = make_site(), make_site()
    other.fleet = one.fleet
    for site in (one, other):
        site.write(STACK)
    with_room_for(one, 1024 + 512)
    plans = {site.name: site.folder / "saved.plan" for site in (one, other)}
    for site in (one, other):
        write_plan(site.plan(), plans[site.name])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    argv = [sys.executable, "-c", APPLY, "apply"]
    runs = {name: subprocess.Popen([*argv, str(path)], **pipes) for name, path in plans.items()}
    for run in runs.values():
        assert run.stdout is not None and run.stdout.readline() == "ready\n"
    for run in runs.values():
        assert run.stdin is not None
        run.stdin.write("go\n")
        run.stdin.flush()
    told = {name: run.communicate(timeout=240) for name, run in runs.items()}
    assert sorted(run.returncode for run in runs.values()) == [0, 5], told
    winner, loser = sorted(runs, key=lambda name: runs[name].returncode)
    error = told[loser][1]
    assert "error[claim-lost]: cannot claim room for server.a: it was taken since the plan" in error
    short = re.search(r"hv1: MEMORY_MB ([\d,]+) short \(used 1,024 of ([\d,]+) = .*, 1,024 asked\)", error)
    assert short is not None, error
    lacking, room = (int(text.replace(",", "")) for text in short.groups())
    assert lacking == 2 * 1024 - room > 0
    assert f"hv1: stack {winner} holds " in error
    domains = one.virsh("hv1", "list", "--all", "--name").split()
    assert f"{winner}-a" in domains and f"{loser}-a" not in domains
    assert set(claimed(one)) == {f"{winner} server.a"}

    first = one if one.name == winner else other
    second = other if first is one else one
    assert claimed(one)[f"{winner} server.a"].items() >= {"VCPU": 1, "MEMORY_MB": 1024}.items()
    first.destroy()
    assert claimed(one) == {}
    second.apply()
    assert set(claimed(one)) == {f"{loser} server.a"}
    assert not second.plan().claims.there, "what is claimed is what libvirt tells of the server"
    for path in one.fleet.parent.glob(f"state/{one.name}.db*"):
        path.unlink()
    session.rebuild(second.options())
    assert set(claimed(one)) == {f"{loser} server.a"}
