"""Servers that take their volumes along to another host of a real lab: what the guest wrote is what is there."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from stacksmith.engine import session
from stacksmith.model.change import Impact
from tests.e2e.kit import Site, until
from tests.e2e.moving import (
    HOSTS,
    empty,
    fail_at_the_other_host,
    kill_emptying,
    own_files,
    plan_to_empty,
    uptimes,
    where,
)

pytestmark = [pytest.mark.e2e, pytest.mark.takes(140), pytest.mark.xdist_group("lab")]

ENDS = 16 << 10  # bytes of a volume that are written and read at its ends
WRITTEN = 4 << 20  # bytes at the beginning of the raw volume, written once
STACK = """
  tiny: {{vcpus: 1, ram: 128, disk: 1}}
volumes:
  data: {{size: 1, format: raw}}
networks:
  lan: {{mode: nat, subnets: [{{cidr: 10.32.0.0/24}}]}}
servers:
  web:
    flavor: tiny
    availability_zone: rack-a
    power_state: {state}
    networks: [{{network: lan, fixed_ip: 10.32.0.10}}]
    config_drive: nocloud
    block_device_mapping:
      - {{boot_index: 0, source_type: image, image: lab-disk, destination_type: volume, volume_size: 1,
         delete_on_termination: true}}
      - {{source_type: volume, volume: data, destination_type: volume, device_name: vdb}}
    user_data: |
      #!/bin/sh
      dd if=/dev/urandom of=/dev/vdb bs=1M count=4 conv=fsync
      echo "SUM $(dd if=/dev/vdb bs=1M count=4 | sha256sum | cut -d' ' -f1)."
      while true; do
        up=$(cut -d. -f1 /proc/uptime)
        printf 'at %06d' $up | dd of=/dev/vdb bs=1M seek=8 conv=fsync,notrunc
        echo "UP $up."
        sleep 1
      done &
"""


@pytest.fixture(scope="module")
def running(make_lasting_site: Callable[[], Site]) -> Site:
    """A server that runs and has written what is looked for later; the tests move it on, one after the other, and it
    is never booted again."""
    site = make_lasting_site()
    site.write(STACK.format(state="running"))
    site.apply()
    until(lambda: uptimes(site), 180, "the guest has written to its volume")
    return site


@pytest.fixture(scope="module")
def stopped(running: Site) -> Site:
    """The same server, stopped once the tests of the running one are over; the tests move it on."""
    running.write(STACK.format(state="stopped"))
    running.apply(Impact.RESTART)
    return running


def where_whole(site: Site) -> str:
    """The one host that has the domain; its volumes and config drive are there, and nowhere anything else of it."""
    host = where(site)
    kinds = [re.sub(r"^ss\.[^.]*\.", "", name) for name in own_files(site, host)]
    assert sorted(re.sub(r"[0-9a-f]{8,}", "*", kind) for kind in kinds) == [
        ".from.*.*",
        "data.vol.*.raw",
        "web-disk0.vol.*.qcow2",
        "web.config-*.*.iso",
    ]
    return host


def raw_volume(site: Site) -> bytes:
    """The bytes of the raw volume, as far as the guest wrote."""
    host = where(site)
    name = next(name for name in own_files(site, host) if ".data.vol." in name)
    copy = site.folder / "copy"
    site.virsh(host, "vol-download", name, str(copy), "--pool", "stacksmith", "--length", str(WRITTEN * 3))
    return copy.read_bytes()


def is_whole(site: Site, undone: bool = False) -> None:
    """What the guest said it wrote is there; records and claims are of the host it is on; nothing is to be done, but
    for what was made on another host for a move that was ``undone``."""
    told = set(re.findall(r"SUM ([0-9a-f]{64})\.", site.console("web")))
    assert hashlib.sha256(raw_volume(site)[:WRITTEN]).hexdigest() in told
    kinds = ("server", "volume")
    assert [(s.id, s.reason) for s in site.plan().steps if not undone or s.address.kind in kinds] == []
    host = where_whole(site)
    assert {r.host for r in session.records(site.options()) if r.address.kind in kinds} == {host}
    claims = {c.name: list(c.allocations) for c in session.claims(site.options())}
    assert claims == {n: [host] for n in ("server.web", "volume.data", "volume.web-disk0")}


def test_running_server_takes_its_volumes_along_and_goes_on_writing(running: Site) -> None:
    site, source = running, where(running)
    report = empty(site, source)
    assert report.exit_status == 0, [(r.step, r.cause) for r in report.failed]
    assert where(site) != source
    last = uptimes(site)[-1]
    until(lambda: uptimes(site)[-1] > last + 1, 60, "the guest goes on writing")
    assert len(set(uptimes(site))) == len(uptimes(site)), "it began to count again: it was booted"
    assert int(raw_volume(site)[8 << 20 :][3:9]) > last
    is_whole(site)


def test_migration_that_fails_leaves_the_volumes_where_they_were(running: Site) -> None:
    site, source = running, where(running)
    fail_at_the_other_host(site, plan_to_empty(site, source))
    assert where(site) == source
    is_whole(site, undone=True)


LIVE_CALLS = ("storage_vol_create_xml", "domain_migrate_perform3_params", "domain_migrate_finish3_params")
COLD_CALLS = ("storage_vol_create_xml", "storage_vol_upload", "domain_undefine_flags")


@pytest.mark.parametrize(
    ("state", "calls"), [("running", LIVE_CALLS), ("stopped", COLD_CALLS)], ids=["running", "stopped"]
)
def test_killed_anywhere_volumes_are_whole_on_one_host(
    request: pytest.FixtureRequest, state: str, calls: Sequence[str]
) -> None:
    site = request.getfixturevalue(state)
    for at in (4, 6, 8, *calls):
        source = where(site)
        kill_emptying(site, source, at)
        report = empty(site, source)
        assert report.exit_status == 0, (at, [(r.step, r.cause) for r in report.failed])
        assert where(site) != source, at
        is_whole(site)


def test_stopped_server_takes_its_volumes_along(stopped: Site) -> None:
    site, source = stopped, where(stopped)
    before = raw_volume(site)
    report = empty(site, source)
    assert report.exit_status == 0, [(r.step, r.cause) for r in report.failed]
    assert where(site) != source
    assert raw_volume(site) == before
    is_whole(site)
    volume = next(name for name in own_files(site, where(site)) if ".data.vol." in name)
    told = site.virsh(where(site), "vol-info", volume, "--pool", "stacksmith", "--bytes")
    assert int(re.findall(r"Allocation: +(\d+)", told)[0]) < 64 << 20, "a hole of the file is one in its copy"


SHARED = """
  tiny: {{vcpus: 1, ram: 128, disk: 1}}
volumes:
  data: {{size: 1, format: raw, volume_type: nfs, on_destroy: delete}}
servers:
  web:
    flavor: tiny
    image: lab-acpi
    availability_zone: rack-a
    power_state: {state}
    block_device_mapping:
      - {{source_type: volume, volume: data, destination_type: volume, device_name: vdb}}
"""


@pytest.fixture
def sharing(make_site: Callable[[], Site]) -> Iterator[Site]:
    """A site whose hosts see one directory as the pool of volume type nfs."""
    site = make_site()
    fleet = yaml.safe_load(site.fleet.read_text())
    pool, path = f"{site.name}-nfs", site.lab / f"{site.name}-nfs"
    for host in fleet["hosts"].values():
        host["volume_types"]["nfs"] = {"pool": pool, "path": str(path), "shared": "filer"}
    site.fleet.write_text(yaml.safe_dump(fleet))
    yield site
    site.destroy()
    for host in HOSTS:
        if pool in site.virsh(host, "pool-list", "--name").split():
            site.virsh(host, "pool-destroy", pool)
            site.virsh(host, "pool-undefine", pool)
    assert list(path.iterdir()) == []


def written(file: Path) -> tuple[int, int, str]:
    """What is told of a file into which something was just written, at both ends."""
    with file.open("r+b") as data:
        for place, whence in ((0, os.SEEK_SET), (-ENDS, os.SEEK_END)):
            data.seek(place, whence)
            data.write(b"what was written" * (ENDS // 16))
    return told_of(file)


def told_of(file: Path) -> tuple[int, int, str]:
    """Which file it is, its size, and the digest of its ends: to read all of it takes the machine's time."""
    with file.open("rb") as data:
        first = data.read(ENDS)
        data.seek(-ENDS, os.SEEK_END)
        digest = hashlib.sha256(first + data.read()).hexdigest()
    return file.stat().st_ino, file.stat().st_size, digest


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_volume_in_a_shared_storage_is_not_copied_and_needs_no_room(sharing: Site, state: str) -> None:
    site = sharing
    site.write(SHARED.format(state=state))
    site.apply()
    until(lambda: state == "stopped" or "BOOTOK" in site.console("web"), 180, "the guest runs")
    (file,) = (site.lab / f"{site.name}-nfs").iterdir()
    before = written(file)
    source = next(h for h in HOSTS if f"{site.name}-web" in site.virsh(h, "list", "--all", "--name").split())
    fleet = yaml.safe_load(site.fleet.read_text())
    fleet["shared_storages"] = {"filer": {"reserved": {"DISK_GB": 1_000_000}}}  # all of it
    site.fleet.write_text(yaml.safe_dump(fleet))
    assert any("shared:filer is over its capacity" in each.reason for each in site.plan().offences)
    report = empty(site, source)
    assert report.exit_status == 0, [(r.step, r.cause) for r in report.failed]
    hosts = [h for h in HOSTS if f"{site.name}-web" in site.virsh(h, "list", "--all", "--name").split()]
    assert len(hosts) == 1 and hosts != [source]
    assert list((site.lab / f"{site.name}-nfs").iterdir()) == [file]
    assert told_of(file) == before
    assert site.plan().steps == ()
    recorded = {r.host for r in session.records(site.options()) if r.address.kind in ("server", "volume")}
    assert recorded == set(hosts)
    assert own_files(site, source) == []
    if state == "running":
        assert "running" in site.virsh(hosts[0], "domstate", f"{site.name}-web")


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_killed_anywhere_a_volume_in_a_shared_storage_stays(sharing: Site, state: str) -> None:
    site = sharing
    site.write(SHARED.format(state=state))
    site.apply()
    (file,) = (site.lab / f"{site.name}-nfs").iterdir()
    before = written(file)
    for at in (4, 6, "domain_migrate_finish3_params" if state == "running" else "domain_undefine_flags"):
        (source,) = (h for h in HOSTS if f"{site.name}-web" in site.virsh(h, "list", "--all", "--name").split())
        kill_emptying(site, source, at)
        report = empty(site, source)
        assert report.exit_status == 0, (at, [(r.step, r.cause) for r in report.failed])
        hosts = [h for h in HOSTS if f"{site.name}-web" in site.virsh(h, "list", "--all", "--name").split()]
        assert len(hosts) == 1 and hosts != [source], at
        assert told_of(file) == before, at
        assert site.plan().steps == (), at
