"""Servers brought to another host of a real lab: live, cold, failing, and killed in the middle."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stacksmith.address import Address
from stacksmith.engine import session
from stacksmith.model.change import Impact
from stacksmith.model.report import Report
from stacksmith.planner.aim import Aim
from stacksmith.planner.plan import Operation
from tests.e2e.kit import Site, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("lab")]

ROOT = Path(__file__).parents[2]
WEB = Address("server", "web")
STACK = """
  tiny: {{vcpus: 1, ram: 128, disk: 1}}
networks:
  lan: {{mode: nat, subnets: [{{cidr: 10.31.0.0/24}}]}}
servers:
  web:
    flavor: tiny
    image: lab-disk
    availability_zone: rack-a
    power_state: {state}
    networks: [{{network: lan, fixed_ip: 10.31.0.10}}]
    config_drive: nocloud
    user_data: |
      #!/bin/sh
      while true; do echo "UP $(cut -d. -f1 /proc/uptime)."; sleep 1; done &
"""


def make(site: Site, state: str) -> str:
    """Applies the stack and gives the host its server is on."""
    site.write(STACK.format(state=state))
    site.apply()
    return where(site)


def where(site: Site) -> str:
    """The one host that has the domain; its disk and config drive are there, and nowhere else."""
    hosts = [h for h in ("hv1", "hv2", "hv3") if f"{site.name}-web" in site.virsh(h, "list", "--all", "--name").split()]
    assert len(hosts) == 1, hosts
    files = {h: own_files(site, h) for h in ("hv1", "hv2", "hv3")}
    assert {h for h, names in files.items() if names} == set(hosts), files
    assert len(files[hosts[0]]) == 2, files
    return hosts[0]


def own_files(site: Site, host: str) -> list[str]:
    if "stacksmith" not in site.virsh(host, "pool-list", "--name").split():
        return []
    site.virsh(host, "pool-refresh", "stacksmith")
    names = (line.split()[0] for line in site.virsh(host, "vol-list", "stacksmith").splitlines() if line.strip())
    return [name for name in names if name.startswith(f"ss.{site.name}.")]


def empty(site: Site, host: str) -> Report:
    made = session.rebalance(site.options(), Aim(frozenset({host}))).plan
    assert [s.address for s in made.steps if s.operation is Operation.MIGRATE] == [WEB]
    return session.apply(site.options(), made, site.events.append, session.ApplyOptions(allowed=Impact.MIGRATE))


def uptimes(site: Site) -> list[int]:
    """Seconds that the guest said it was up, on all hosts it was on."""
    return sorted(int(text) for text in re.findall(r"UP (\d+)\.", site.console("web")))


def is_in_sync(site: Site) -> None:
    assert [(s.id, s.reason, [(c.path, c.found) for c in s.changes]) for s in site.plan().steps] == []


def test_running_server_migrates_live_and_does_not_reboot(make_site: Callable[[], Site]) -> None:
    site = make_site()
    source = make(site, "running")
    until(lambda: uptimes(site), 120, "the guest runs")
    report = empty(site, source)
    assert report.exit_status == 0, report.failed
    last = uptimes(site)[-1]
    assert where(site) != source
    until(lambda: uptimes(site)[-1] > last + 1, 60, "the guest goes on counting")
    assert len(set(uptimes(site))) == len(uptimes(site)), "it began to count again: it was booted"
    is_in_sync(site)
    assert [r.host for r in session.records(site.options()) if r.address == WEB] == [where(site)]


def test_stopped_server_moves_with_the_bytes_of_its_disk(make_site: Callable[[], Site]) -> None:
    site = make_site()
    source = make(site, "stopped")
    disk = next(name for name in own_files(site, source) if ".vda." in name)
    assert site.virsh(source, "vol-path", disk, "--pool", "stacksmith").strip()
    before = content(site, source, disk)
    report = empty(site, source)
    assert report.exit_status == 0, report.failed
    assert where(site) != source
    assert content(site, where(site), disk) == before
    is_in_sync(site)


def content(site: Site, host: str, volume: str) -> bytes:
    copy = site.folder / "copy"
    site.virsh(host, "vol-download", volume, str(copy), "--pool", "stacksmith")
    return copy.read_bytes()


def test_migration_that_fails_leaves_the_server_running_where_it_was(make_site: Callable[[], Site]) -> None:
    site = make_site()
    source = make(site, "running")
    until(lambda: uptimes(site), 120, "the guest runs")
    made = session.rebalance(site.options(), Aim(frozenset({source}))).plan
    step = next(s for s in made.steps if s.operation is Operation.MIGRATE)
    # A stranger's guest of the same name makes the destination refuse.
    xml = f"<domain type='qemu'><name>{site.name}-web</name><memory>16384</memory><os><type>hvm</type></os></domain>"
    file = site.folder / "stranger.xml"
    file.write_text(xml)
    site.virsh(step.host, "define", str(file))
    report = session.apply(site.options(), made, site.events.append, session.ApplyOptions(allowed=Impact.MIGRATE))
    assert [(r.operation, r.kind) for r in report.failed] == [("migrate", "refused")], report.failed
    site.virsh(step.host, "undefine", f"{site.name}-web")
    last = uptimes(site)[-1]
    assert where(site) == source
    until(lambda: uptimes(site)[-1] > last + 1, 60, "the guest goes on")
    assert empty(site, source).exit_status == 0
    assert where(site) == step.host
    is_in_sync(site)


def test_interrupted_migration_is_undone(make_site: Callable[[], Site]) -> None:
    site = make_site()
    source = make(site, "running")
    until(lambda: uptimes(site), 120, "the guest runs")
    argv = [sys.executable, "-m", "tests.e2e.killed", "0", str(site.folder), str(site.fleet), source]
    process = subprocess.Popen(argv, cwd=ROOT)
    until(lambda: "Unbounded" in site.virsh(source, "domjobinfo", f"{site.name}-web"), 60, "it migrates")
    process.send_signal(signal.SIGINT)
    process.wait(30)
    last = uptimes(site)[-1]
    assert where(site) == source
    until(lambda: uptimes(site)[-1] > last + 1, 60, "the guest goes on")
    assert empty(site, source).exit_status == 0
    is_in_sync(site)


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_killed_anywhere_then_run_again_there_is_one_copy(make_site: Callable[[], Site], state: str) -> None:
    site = make_site()
    make(site, state)
    for at in (1, 2, 3, 4, 0.2, 0.5, 0.8, 1.1, 1.4, 1.8):
        source = where(site)
        kill(site, source, at)
        time.sleep(1.0)
        hosts = [h for h in ("hv1", "hv2", "hv3") if f"{site.name}-web" in site.virsh(h, "list", "--name").split()]
        running = [h for h in hosts if "running" in site.virsh(h, "domstate", f"{site.name}-web")]
        assert len(running) == (state == "running"), (at, hosts)
        made = session.rebalance(site.options(), Aim(frozenset({source}))).plan
        what = session.ApplyOptions(allowed=Impact.MIGRATE)
        report = session.apply(site.options(), made, site.events.append, what)
        assert report.exit_status == 0, (at, [(r.step, r.cause) for r in report.failed])
        assert where(site) != source, at
        is_in_sync(site)


def kill(site: Site, drained: str, at: float) -> None:
    """Kills a rebalance at a journal write when ``at`` is whole, else after so many seconds."""
    writes = at if isinstance(at, int) else 0
    argv = [sys.executable, "-m", "tests.e2e.killed", str(writes), str(site.folder), str(site.fleet), drained]
    process = subprocess.Popen(argv, cwd=ROOT)
    if writes:
        assert process.wait(120) == -signal.SIGKILL
        return
    time.sleep(0.6 + at)
    process.kill()
    process.wait(30)
