"""What other tools get wrong on libvirt, each row a test on real libvirtd and QEMU."""

import subprocess
from collections.abc import Callable
from ipaddress import ip_interface

import pytest

from stacksmith import lab
from stacksmith.diagnostics import Faults
from stacksmith.engine import session
from stacksmith.engine.allow import NotAllowed
from stacksmith.model.change import Impact
from stacksmith.planner.plan import Operation
from tests.e2e.kit import Site, changes, deviations, operations

pytestmark = [pytest.mark.e2e, pytest.mark.takes(50), pytest.mark.xdist_group("lab")]

TWO_DISKS = """
networks: {lan: {subnets: [{cidr: 10.31.0.0/24, allocation_pools: [{start: 10.31.0.50, end: 10.31.0.99}]}]}}
volumes: {data: {size: 1, on_destroy: delete}, more: {size: 1, on_destroy: delete}}
servers:
  a:
    flavor: acpi
    image: lab-acpi
    networks: [{network: lan}]
    block_device_mapping:
      - {boot_index: 0, source_type: image, image: lab-acpi, destination_type: local}
      - {source_type: volume, volume: data, destination_type: volume, device_name: vdb}
      - {source_type: volume, volume: more, destination_type: volume, device_name: vdc}
"""


@pytest.fixture
def site(make_site: Callable[[], Site]) -> Site:
    """Applied, on a guest of 512 bytes that answers to nothing but its power button."""
    made = make_site()
    made.write(TWO_DISKS)
    made.apply()
    return made


@pytest.fixture(scope="module")
def linux(make_lasting_site: Callable[[], Site]) -> Site:
    """Applied, on a guest whose kernel lets go of what is unplugged; it is booted once for all who need one."""
    made = make_lasting_site()
    text = TWO_DISKS.replace("10.31.0", "10.35.0").replace(
        "    flavor: acpi\n    image: lab-acpi\n",
        "    flavor: linux\n    image: lab\n    wait_for: {source: console, text: STACKSMITH-READY, timeout: 240}\n",
    )
    text = text.replace("      - {boot_index: 0, source_type: image, image: lab-acpi, destination_type: local}\n", "")
    made.write("  linux: {vcpus: 1, ram: 128}\n" + text)
    made.apply()
    return made


def host_of(site: Site) -> str:
    return next(u.host for u in site.plan().unchanged if u.address.kind == "server")


def test_memory_and_vcpus_changed_by_hand_is_drift_each_named(make_site: Callable[[], Site]) -> None:
    site = make_site()
    site.write("  wide: {vcpus: 1, max_vcpus: 2, ram: 32, disk: 1}\nservers: {a: {flavor: wide, image: lab-acpi}}")
    site.apply()
    host, name = host_of(site), f"{site.name}-a"
    site.virsh(host, "setvcpus", name, "2", "--live", "--config")
    site.virsh(host, "setmem", name, "24M", "--live", "--config")
    plan = site.plan()
    assert set(deviations(plan)["server.a"]) == {"ram_mib", "vcpus"}
    assert changes(plan, "server.a") == {"ram_mib": (24, 32, "drift"), "vcpus": (2, 1, "drift")}


def test_drift_is_told_beside_what_the_host_cannot_make(make_site: Callable[[], Site]) -> None:
    site = make_site()
    base = "images: {base: {source: base.raw, format: raw, properties: {hw_machine_type: pc}}}"
    servers = "servers: {a: {flavor: acpi, image: base, power_state: stopped}}"
    site.write(f"{base}\n{servers}")
    (site.folder / "base.raw").write_bytes(b"stacksmith" * 512)
    site.apply()
    site.virsh(host_of(site), "setmem", f"{site.name}-a", "24M", "--config")
    site.write(f"{base.replace('pc', 'q35, hw_disk_bus: ide')}\n{servers}")
    with pytest.raises(Faults):
        site.plan()
    drift = session.drift(site.options())
    (warning,) = drift.unplanned
    assert (warning.code, str(warning.address)) == ("not-possible", "server.a") and warning.snippet is not None
    assert deviations(drift.plan) == {"server.a": ["ram_mib"]}
    site.write(f"{base}\n{servers}")


def test_power_off_by_hand_is_drift_and_apply_starts_it(site: Site) -> None:
    host = host_of(site)
    site.virsh(host, "destroy", f"{site.name}-a")
    plan = site.plan()
    assert deviations(plan) == {"server.a": ["power_state"]}
    site.apply()
    assert site.virsh(host, "domstate", f"{site.name}-a").strip() == "running"


def test_extra_disk_and_nic_by_hand_are_drift_and_detached_without_deleting_the_file(linux: Site) -> None:
    site = linux
    host, name = host_of(site), f"{site.name}-a"
    site.virsh(host, "vol-create-as", "stacksmith", "by-hand.raw", "1M", "--format", "raw")
    path = site.virsh(host, "vol-path", "by-hand.raw", "--pool", "stacksmith").strip()
    site.virsh(host, "attach-disk", name, path, "vdz", "--targetbus", "virtio", "--live", "--config")
    site.virsh(host, "attach-interface", name, "network", f"{site.name}-lan", "--mac", "52:54:00:00:00:99",
               "--model", "virtio", "--live", "--config")  # fmt: skip
    plan = site.plan()
    assert set(deviations(plan)["server.a"]) == {"disks[vdz]", "nics[52:54:00:00:00:99]"}
    site.apply()
    assert "vdz" not in site.virsh(host, "domblklist", name)
    assert "by-hand.raw" in site.virsh(host, "vol-list", "stacksmith")
    site.virsh(host, "vol-delete", "by-hand.raw", "--pool", "stacksmith")


def test_volume_grown_by_hand_is_drift_and_shrinking_back_is_refused(site: Site) -> None:
    host = host_of(site)
    site.virsh(host, "blockresize", f"{site.name}-a", "vdb", "2G")
    site.virsh(host, "desc", f"{site.name}-a", "by hand", "--live", "--config")
    plan = site.plan()
    assert deviations(plan) == {"server.a": ["description"], "volume.data": ["size_bytes"]}
    ((step, cause),) = plan.refusals
    assert step == "delete volume.data" and "write `size: 2` in the stack, or detach it first" in cause


def test_guest_that_was_undefined_runs_on_and_is_defined_again(site: Site) -> None:
    host, name = host_of(site), f"{site.name}-a"
    before = site.virsh(host, "domid", name)
    site.virsh(host, "undefine", name)
    plan = site.plan()
    assert deviations(plan) == {"server.a": ["persistent"]}
    assert [step.reason for step in plan.steps] == ["it runs, but its definition is not saved: it is defined again"]
    site.apply()
    assert site.virsh(host, "domid", name) == before and not site.plan().steps


def test_memory_of_a_running_server_needs_a_restart_that_was_allowed(site: Site) -> None:
    host, name = host_of(site), f"{site.name}-a"
    text = (site.folder / "stack.yaml").read_text()
    (site.folder / "stack.yaml").write_text(text.replace("acpi: {vcpus: 1, ram: 32", "acpi: {vcpus: 1, ram: 48"))
    plan = site.plan()
    (step,) = plan.steps
    assert (step.operation, step.impact) == (Operation.UPDATE, Impact.RESTART)
    before = site.virsh(host, "domid", name)
    with pytest.raises(NotAllowed):
        site.apply(Impact.LIVE)
    assert site.virsh(host, "domid", name) == before
    site.apply(Impact.RESTART)
    assert site.virsh(host, "domid", name) != before
    assert "49152 KiB" in site.virsh(host, "dominfo", name)
    assert not site.plan().steps


def test_dhcp_range_changes_live(site: Site) -> None:
    host = host_of(site)
    before = site.virsh(host, "domid", f"{site.name}-a")
    text = (site.folder / "stack.yaml").read_text()
    (site.folder / "stack.yaml").write_text(text.replace("10.31.0.99", "10.31.0.120"))
    plan = site.plan()
    assert [s.operation for s in plan.steps] == [Operation.UPDATE] and plan.impact <= Impact.LIVE
    site.apply()
    assert "10.31.0.120" in site.virsh(host, "net-dumpxml", f"{site.name}-lan")
    assert site.virsh(host, "domid", f"{site.name}-a") == before
    assert not site.plan().steps


def test_volume_grows_live_and_shrink_is_refused(site: Site) -> None:
    host, name = host_of(site), f"{site.name}-a"
    text = (site.folder / "stack.yaml").read_text()
    (site.folder / "stack.yaml").write_text(text.replace("data: {size: 1", "data: {size: 2"))
    before = site.virsh(host, "domid", name)
    plan = site.plan()
    assert changes(plan, "volume.data")["size_bytes"] == (2**30, 2 * 2**30, "change") and plan.impact <= Impact.LIVE
    site.apply()
    assert f"{2 * 2**30}" in site.virsh(host, "domblkinfo", name, "vdb")
    assert site.virsh(host, "domid", name) == before
    (site.folder / "stack.yaml").write_text(text)
    assert [step for step, _ in site.plan().refusals] == ["delete volume.data"]


def test_volume_file_removed_behind_libvirt_is_missing_and_the_rest_is_planned(site: Site) -> None:
    host = host_of(site)
    path = site.virsh(host, "domblklist", f"{site.name}-a")
    file = next(line.split()[1] for line in path.splitlines() if "vdc" in line)
    assert lab.exec_in(site.lab, host, ["rm", file]) == 0
    text = (site.folder / "stack.yaml").read_text()
    (site.folder / "stack.yaml").write_text(text.replace("10.31.0.99", "10.31.0.130"))
    plan = site.plan()
    assert "volume.more" in deviations(plan)
    assert f"update network.lan@{host}" in operations(plan)


def test_three_disks_to_two_detaches_and_keeps_the_volume(linux: Site) -> None:
    site = linux
    host, name = host_of(site), f"{site.name}-a"
    text = (site.folder / "stack.yaml").read_text()
    text = text.replace("      - {source_type: volume, volume: more, destination_type: volume, device_name: vdc}\n", "")
    (site.folder / "stack.yaml").write_text(text)
    before = site.virsh(host, "domid", name)
    plan = site.plan()
    assert operations(plan) == ["update server.a"] and list(changes(plan, "server.a")) == ["disks[vdc]"]
    site.apply()
    assert "vdc" not in site.virsh(host, "domblklist", name)
    assert ".more.vol." in site.virsh(host, "vol-list", "stacksmith")
    assert site.virsh(host, "domid", name) == before


def test_unknown_key_is_an_error_at_its_line(site: Site) -> None:
    site.write(
        TWO_DISKS.replace("    image: lab-acpi\n    networks", "    image: lab-acpi\n    numcpuz: 2\n    networks")
    )
    with pytest.raises(Faults) as caught:
        site.plan()
    (fault,) = caught.value.diagnostics
    assert fault.code == "unknown-key" and fault.span is not None and "numcpuz" in fault.message


def test_network_that_overlaps_the_host_fails_and_dependants_are_skipped_and_listed(
    make_site: Callable[[], Site],
) -> None:
    site = make_site()
    taken = next(line.split()[2] for line in _addresses(site, "hv1") if "eth0" in line)
    cidr = ip_interface(taken).network
    site.write(f"""
networks: {{lan: {{subnets: [{{cidr: {cidr}}}]}}}}
servers:
  a: {{flavor: acpi, image: lab-acpi, host: hv1, networks: [{{network: lan}}]}}
  b: {{flavor: acpi, image: lab-acpi, host: hv1}}
""")
    report = site.try_apply()
    assert report.exit_status == 1
    assert [str(r.address) for r in report.failed] == ["network.lan@hv1"]
    assert [str(r.address) for r in report.skipped] == ["server.a"]
    assert "server.b" in [str(r.address) for r in report.results if r.outcome == "done"]


def test_subnet_of_a_network_made_by_hand_is_refused_by_the_plan(make_site: Callable[[], Site]) -> None:
    site = make_site()
    site.write("""
networks: {lan: {mode: isolated, subnets: [{cidr: 10.34.0.128/25}]}}
servers: {a: {flavor: acpi, image: lab-acpi, host: hv1, networks: [{network: lan}]}}
""")
    path = site.lab / "by-hand.xml"
    path.write_text("<network><name>by-hand</name><ip address='10.34.0.1' prefix='24'/></network>")
    site.virsh("hv1", "net-create", str(path))
    try:
        with pytest.raises(Faults) as caught:
            site.plan()
    finally:
        site.virsh("hv1", "net-destroy", "by-hand")
    (fault,) = caught.value.diagnostics
    assert fault.code == "subnet-in-use" and fault.span is not None
    assert "10.34.0.128/25 overlaps 10.34.0.0/24 of the network by-hand on hv1" in fault.message
    assert site.plan().steps


def _addresses(site: Site, host: str) -> list[str]:
    argv = lab.command_in(site.lab, host, ["ip", "-4", "-br", "addr"])
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()


def test_server_whose_domain_is_gone_but_not_its_disk_is_completed_by_a_rerun(make_site: Callable[[], Site]) -> None:
    site = make_site()
    site.write("servers: {a: {flavor: acpi, image: lab-acpi, host: hv2}}")
    site.apply()
    host = host_of(site)
    # The half-made server: its domain is gone, its disk is there.
    site.virsh(host, "destroy", f"{site.name}-a")
    site.virsh(host, "undefine", f"{site.name}-a")
    plan = site.plan()
    assert operations(plan) == ["create server.a"]
    site.apply()
    assert not site.plan().steps


def test_twenty_servers_created_in_parallel_are_twenty(make_site: Callable[[], Site]) -> None:
    site = make_site()
    site.write("""
networks: {lan: {subnets: [{cidr: 10.32.0.0/24}]}}
servers:
  s: {count: 20, flavor: acpi, image: lab-acpi, power_state: stopped, networks: [{network: lan}]}
""")
    report = site.apply()
    assert sum(r.operation == "create" and r.address.kind == "server" for r in report.results) == 20
    assert sum(u.address.kind == "server" for u in site.plan().unchanged) == 20
    assert not site.plan().steps
