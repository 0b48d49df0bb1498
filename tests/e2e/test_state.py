"""Losing the store is survivable; what no mark is on is never touched."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stacksmith import lab
from stacksmith.diagnostics import Faults
from stacksmith.engine import session
from stacksmith.model.change import Impact
from stacksmith.providers.libvirt import mark_xml
from tests.e2e.kit import Site, operations

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("lab")]

STACK = """
networks: {lan: {subnets: [{cidr: 10.33.0.0/24}]}}
volumes: {data: {size: 1}, scratch: {size: 1, on_destroy: delete}}
servers:
  a:
    flavor: acpi
    image: lab-acpi
    host: hv1
    networks: [{network: lan, fixed_ip: 10.33.0.9}]
    metadata: {role: "quote \\" and <angle>"}
    block_device_mapping:
      - {boot_index: 0, source_type: image, image: lab-acpi, destination_type: local}
      - {source_type: volume, volume: data, destination_type: volume}
"""


def test_store_deleted_then_rebuilt_gives_the_same_plan(make_site: Callable[[], Site]) -> None:
    site = make_site()
    site.write(STACK)
    site.apply()
    before = session.records(site.options())
    for path in site.fleet.parent.glob(f"state/{site.name}.db*"):
        path.unlink()
    assert session.records(site.options()) == ()
    rebuilt = session.rebuild(site.options()).records
    assert {(r.address, r.host, r.uuid, json.dumps(r.applied, sort_keys=True)) for r in rebuilt} == {
        (r.address, r.host, r.uuid, json.dumps(r.applied, sort_keys=True)) for r in before
    }
    assert not site.plan().steps
    site.write(STACK.replace("scratch: {size: 1, on_destroy: delete}", "").replace("{size: 1}, }", "{size: 1}}"))
    assert operations(site.plan()) == ["delete volume.scratch"]


def test_kept_volume_survives_destroy_and_comes_back_with_its_data(make_site: Callable[[], Site]) -> None:
    site = make_site()
    site.write(STACK)
    site.apply()
    volume = f"ss.{site.name}.data.vol."
    path = next(w for w in site.virsh("hv1", "vol-list", "stacksmith").split() if volume in w and "/" in w)
    before = inode(site, path)
    site.destroy()
    assert inode(site, path) == before
    site.apply()
    assert inode(site, path) == before
    assert not site.plan().steps


def inode(site: Site, path: str) -> str:
    argv = lab.command_in(site.lab, "hv1", ["stat", "--format", "%i", path])
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_unmarked_objects_are_reported_and_never_touched(make_site: Callable[[], Site]) -> None:
    site = make_site()
    site.write(STACK.replace("host: hv1", "host: hv3"))
    xml = "<domain type='qemu'><name>{}</name><memory unit='MiB'>16</memory><os><type>hvm</type></os></domain>"
    path = site.lab / "by-hand.xml"
    for name in ("by-hand", f"{site.name}-a"):
        path.write_text(xml.format(name))
        site.virsh("hv3", "define", str(path))
    try:
        plan = site.plan()
        assert {"by-hand", f"{site.name}-a"} <= {u.name for u in plan.unmanaged if u.kind == "server"}
        report = site.try_apply()
        assert report.exit_status == 1 and [str(r.address) for r in report.failed] == ["server.a"]
        assert f"{site.name}-a" in report.failed[0].cause
        site.apply(Impact.DATA_LOSS, destroy=True)
        listed = site.virsh("hv3", "list", "--all", "--name").split()
        assert {"by-hand", f"{site.name}-a"} <= set(listed)
    finally:
        for name in ("by-hand", f"{site.name}-a"):
            site.virsh("hv3", "undefine", name)


def test_two_uris_of_one_machine_are_refused_by_whatever_reads_hosts(
    make_site: Callable[[], Site], tmp_path: Path
) -> None:
    site = make_site()
    site.write("servers: {}")
    fleet = site.fleet.read_text()
    first, second = re.findall(r"socket=([^\"]+)", fleet)[:2]
    (tmp_path / "sock").symlink_to(first)
    site.fleet.write_text(fleet.replace(second, str(tmp_path / "sock")))
    for reads in (session.plan, session.survey, session.rebuild):
        with pytest.raises(Faults, match="cannot use host hv2: its URI leads to the same machine as that of hv1"):
            reads(site.options())
    site.fleet.write_text(fleet)
    assert not site.plan().steps


def test_domain_that_lost_its_mark_is_not_taken_over(make_site: Callable[[], Site]) -> None:
    site = make_site()
    site.write("servers: {a: {flavor: acpi, image: lab-acpi, host: hv1, power_state: stopped}}")
    site.apply()
    name = f"{site.name}-a"
    site.virsh("hv1", "metadata", name, "--uri", mark_xml.URI, "--remove", "--config")
    site.virsh("hv1", "setmaxmem", name, "48M", "--config")
    before = site.virsh("hv1", "dumpxml", name)
    (failed,) = site.try_apply().failed
    assert str(failed.address) == "server.a" and "carries no mark" in failed.cause
    assert site.virsh("hv1", "dumpxml", name) == before
    site.virsh("hv1", "undefine", name)


def test_copy_of_a_domain_with_its_mark_is_unmanaged(make_site: Callable[[], Site]) -> None:
    site = make_site()
    site.write("servers: {a: {flavor: acpi, image: lab-acpi, host: hv1, power_state: stopped}}")
    site.apply()
    original = site.virsh("hv1", "dumpxml", f"{site.name}-a")
    copy = re.sub("<uuid>.*</uuid>", "", original).replace(f"<name>{site.name}-a<", "<name>copy<")
    path = site.lab / "copy.xml"
    path.write_text(re.sub("<mac address=.*/>", "", copy))
    site.virsh("hv1", "define", str(path))
    try:
        plan = site.plan()
        assert not plan.steps and "copy" in {u.name for u in plan.unmanaged}
        site.virsh("hv1", "undefine", f"{site.name}-a")
        assert operations(site.plan()) == ["create server.a"]
    finally:
        site.virsh("hv1", "undefine", "copy")
