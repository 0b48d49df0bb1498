"""Servers brought to another host of a real lab: live, cold, failing, and killed in the middle."""

import signal
import time
from collections.abc import Callable, Sequence

import pytest

from stacksmith.engine import session
from stacksmith.model.report import Report
from stacksmith.planner.plan import Operation
from tests.e2e.kit import Site, until
from tests.e2e.moving import (
    WEB,
    empty,
    fail_at_the_other_host,
    holders,
    kill_emptying,
    own_files,
    plan_to_empty,
    start_emptying,
    uptimes,
    where,
)

pytestmark = [pytest.mark.e2e, pytest.mark.takes(90), pytest.mark.xdist_group("lab")]

STACK = """
  tiny: {{vcpus: 1, ram: 128, disk: 1}}
networks:
  lan: {{mode: nat, subnets: [{{cidr: {net}.0/24}}]}}
servers:
  web:
    flavor: tiny
    image: lab-disk
    availability_zone: rack-a
    power_state: {state}
    networks: [{{network: lan, fixed_ip: {net}.10}}]
    config_drive: nocloud
    user_data: |
      #!/bin/sh
      while true; do echo "UP $(cut -d. -f1 /proc/uptime)."; sleep 1; done &
"""

GRACE_SECONDS = 6  # a run that is interrupted gives up no step before
NETS = {"running": "10.31.0", "stopped": "10.33.0"}  # one of each is there at the same time


def make(site: Site, state: str) -> str:
    """Applies the stack and gives the host its server is on."""
    site.write(STACK.format(state=state, net=NETS[state]))
    site.apply()
    assert len(own_files(site, where(site))) == 2
    return where(site)


@pytest.fixture(scope="module")
def running(make_lasting_site: Callable[[], Site]) -> Site:
    """A server that runs and counts; the tests move it on, one after the other, and it is never booted again."""
    site = make_lasting_site()
    make(site, "running")
    until(lambda: uptimes(site), 300, "the guest runs")
    return site


def empty_alone(site: Site, host: str) -> Report:
    """Empties a host of the server; nothing else is to move."""
    assert [s.address for s in plan_to_empty(site, host).steps if s.operation is Operation.MIGRATE] == [WEB]
    return empty(site, host)


def is_in_sync(site: Site) -> None:
    assert [(s.id, s.reason, [(c.path, c.found) for c in s.changes]) for s in site.plan().steps] == []


def test_running_server_migrates_live_and_does_not_reboot(running: Site) -> None:
    site, source = running, where(running)
    report = empty_alone(site, source)
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
    report = empty_alone(site, source)
    assert report.exit_status == 0, report.failed
    assert where(site) != source
    assert content(site, where(site), disk) == before
    is_in_sync(site)


def content(site: Site, host: str, volume: str) -> bytes:
    copy = site.folder / "copy"
    site.virsh(host, "vol-download", volume, str(copy), "--pool", "stacksmith")
    return copy.read_bytes()


def test_migration_that_fails_leaves_the_server_running_where_it_was(running: Site) -> None:
    site, source = running, where(running)
    there = fail_at_the_other_host(site, plan_to_empty(site, source))
    last = uptimes(site)[-1]
    assert where(site) == source
    until(lambda: uptimes(site)[-1] > last + 1, 60, "the guest goes on")
    assert empty(site, source).exit_status == 0
    assert where(site) == there
    is_in_sync(site)


def test_interrupted_migration_is_undone(running: Site) -> None:
    site, source = running, where(running)
    domain = f"{site.name}-web"
    site.virsh(source, "migrate-setspeed", domain, "1")  # MiB/s: it does not end before it is interrupted
    process = start_emptying(site, source)
    until(lambda: "Unbounded" in site.virsh(source, "domjobinfo", domain), 60, "it migrates")
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.wait(300)
    is_given_up = time.monotonic() - asked > GRACE_SECONDS
    until(lambda: holders(site) == [source], 300, "libvirt has ended the copy")
    assert is_given_up or where(site) == source
    last = uptimes(site)[-1]
    until(lambda: uptimes(site)[-1] > last + 1, 60, "the guest goes on")
    site.virsh(source, "migrate-setspeed", domain, "1000")
    assert empty(site, source).exit_status == 0
    assert where(site) != source
    is_in_sync(site)


WRITES = (1, 2, 3, 4)
LIVE_CALLS = (
    "storage_vol_create_xml",
    "domain_migrate_begin3_params",
    "domain_migrate_prepare3_params",
    "domain_migrate_perform3_params",
    "domain_migrate_finish3_params",
    "domain_migrate_confirm3_params",
    "domain_set_autostart",
)
COLD_CALLS = ("storage_vol_create_xml", "storage_vol_upload", "domain_define_xml_flags", "domain_undefine_flags")


@pytest.mark.parametrize(
    ("state", "kills"), [("running", WRITES + LIVE_CALLS), ("stopped", WRITES + COLD_CALLS)], ids=["running", "stopped"]
)
def test_killed_anywhere_then_run_again_there_is_one_copy(
    request: pytest.FixtureRequest, make_site: Callable[[], Site], state: str, kills: Sequence[int | str]
) -> None:
    site = request.getfixturevalue("running") if state == "running" else make_site()
    if state != "running":
        make(site, state)
    for at in kills:
        source = where(site)
        kill_emptying(site, source, at)
        report = empty(site, source)
        assert report.exit_status == 0, (at, [(r.step, r.cause) for r in report.failed])
        assert where(site) != source, at
        is_in_sync(site)
    if state == "running":
        assert len(set(uptimes(site))) == len(uptimes(site)), "it began to count again: it was booted"
