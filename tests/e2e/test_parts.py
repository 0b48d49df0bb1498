"""Servers bound to the parts of real hosts: what libvirt and QEMU make of it, and how the next plan counts it."""

import fcntl
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from stacksmith.diagnostics import Faults
from stacksmith.engine import session
from stacksmith.model.change import Impact
from stacksmith.model.hardware import cpu_numbers
from stacksmith.model.realised import Server
from stacksmith.planner.aim import Aim
from stacksmith.planner.inventory import host_states
from stacksmith.planner.plan import Operation
from tests.e2e.kit import Site, until
from tests.e2e.moving import kill_emptying

pytestmark = [pytest.mark.e2e, pytest.mark.takes(40), pytest.mark.xdist_group("lab")]

FLAVORS = """
flavors:
  cell: {vcpus: 2, ram: 96, disk: 1, extra_specs: {"hw:numa_nodes": "1"}}
  own: {vcpus: 1, ram: 96, disk: 1, extra_specs: {"hw:cpu_policy": dedicated}}
  card: {vcpus: 1, ram: 32, disk: 1, extra_specs: {"pci_passthrough:alias": "any:1"}}
  both: {vcpus: 1, ram: 96, disk: 1, extra_specs: {"hw:cpu_policy": dedicated, "hw:mem_page_size": 2MB}}
  huge: {vcpus: 1, ram: 96, disk: 1, extra_specs: {"hw:mem_page_size": 2MB}}
  plain: {vcpus: 1, ram: 96, disk: 1}
servers:
"""
LARGE_PAGES = Path("/proc/sys/vm/nr_hugepages")
WAIT = "wait_for: {source: console, text: BOOTOK, timeout: 300}"
BOUND = """<domain type='qemu'><name>bound</name><memory unit='MiB'>40</memory><vcpu>1</vcpu>
<numatune><memory mode='strict' nodeset='0'/></numatune><cputune><vcpupin vcpu='0' cpuset='CPU'/></cputune>
<os><type machine='q35'>hvm</type></os></domain>"""


@pytest.fixture
def site(make_site: Callable[[], Site]) -> Site:
    """On one host, whose last CPU is given whole, and whose PCI devices of a kind that starts nothing are offered."""
    made = make_site()
    fleet = yaml.safe_load(made.fleet.read_text())
    last = _last_cpu()
    host = fleet["hosts"]["hv1"] | {"cpu_dedicated_set": str(last), "pci": [{"resource_class": "CUSTOM_ANY"}]}
    fleet["hosts"] = {"hv1": host}
    fleet["pci_aliases"] = {"any": {"resource_class": "CUSTOM_ANY"}}
    made.fleet.write_text(yaml.safe_dump(fleet))
    return made


def _last_cpu() -> int:
    """The last CPU of the machine's first NUMA cell, which the lab's hosts see as it is."""
    text = Path("/sys/devices/system/node/node0/cpulist").read_text()
    return int(re.split("[-,]", text.strip())[-1])


def _process(guest: str) -> Path:
    """The folder in /proc of the QEMU of a guest, as the machine sees it."""
    (found,) = [
        entry
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and f"guest={guest},".encode() in _bytes(entry / "cmdline")
    ]
    return found


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has just ended
        return b""


def _vcpu_cpus(guest: str) -> list[set[int]]:
    """The CPUs on which the kernel lets each thread of a vCPU run."""
    found = []
    for task in sorted((_process(guest) / "task").iterdir()):
        if _bytes(task / "comm").startswith(b"CPU "):
            (line,) = [x for x in (task / "status").read_text().splitlines() if x.startswith("Cpus_allowed_list:")]
            found.append(set(cpu_numbers(line.split()[1])))
    return found


@pytest.fixture
def pages_alone() -> Iterator[None]:
    """No other run of these tests on the machine changes how many large pages there are."""
    with LARGE_PAGES.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


@pytest.fixture
def large_pages(request: pytest.FixtureRequest, pages_alone: None) -> Iterator[int]:
    """Pages of 2 MiB that are reserved for a test; given back when its guests are gone."""
    count, before = getattr(request, "param", 64), int(LARGE_PAGES.read_text())
    try:
        until(lambda: _has_large_pages(before + count), 60, f"{count} large pages: memory is in use, or in pieces")
        yield count
    finally:
        LARGE_PAGES.write_text(str(before))


def _has_large_pages(count: int) -> bool:
    """Asks the kernel for so many, and for memory in one piece when it has not given them all."""
    LARGE_PAGES.write_text(str(count))
    if int(LARGE_PAGES.read_text()) == count:
        return True
    Path("/proc/sys/vm/compact_memory").write_text("1")
    return False


def _write(site: Site, servers: str) -> None:
    site.folder.mkdir(parents=True, exist_ok=True)
    (site.folder / "stack.yaml").write_text(f"stack: {site.name}\n{FLAVORS}{servers}")


def _used(site: Site) -> Mapping[str, Mapping[str, int]]:
    """What is used of the parts of hv1, by provider and class."""
    stack, snapshot = session.survey(site.options())
    return host_states(stack.fleet, snapshot, (), {})[0].parts_used


def test_bound_guests_run_where_they_were_put_and_are_counted_there(site: Site) -> None:
    _write(site, f"  a: {{flavor: cell, image: lab-acpi, {WAIT}}}\n  b: {{flavor: own, image: lab-acpi, {WAIT}}}\n")
    site.apply()
    assert not site.plan().steps
    cpu = _last_cpu()
    pins = site.virsh("hv1", "vcpupin", f"{site.name}-b").split()
    assert pins[-1] == str(cpu)
    assert str(cpu) not in site.virsh("hv1", "vcpupin", f"{site.name}-a").split()[3:]
    assert "numa_nodeset   : 0" in site.virsh("hv1", "numatune", f"{site.name}-a")
    assert "<cell id='0' cpus='0-1' memory='98304'" in site.virsh("hv1", "dumpxml", f"{site.name}-a")
    assert _used(site)["hv1/numa0"] == {"NUMA_THREAD": 2, "NUMA_MEMORY_MB": 192, "PCPU": 1}
    shared = {each for each in range(cpu + 1) if each != cpu}
    assert _vcpu_cpus(f"{site.name}-b") == [{cpu}]
    assert all(cpus <= shared for cpus in _vcpu_cpus(f"{site.name}-a"))


def test_cpu_that_an_unmanaged_guest_has_is_not_given_again(site: Site) -> None:
    path = site.lab / f"{site.name}-bound.xml"
    path.write_text(BOUND.replace("CPU", str(_last_cpu())))
    _write(site, "  b: {flavor: own, image: lab-acpi}\n")
    site.virsh("hv1", "define", str(path))
    try:
        assert _used(site)["hv1/numa0"] == {"NUMA_MEMORY_MB": 40, "PCPU": 1}
        with pytest.raises(Faults) as faults:
            site.plan()
    finally:
        site.virsh("hv1", "undefine", "bound")
    assert "PCPU 1 short (used 1 of 1, 1 asked)" in str(faults.value.diagnostics[0].notes)
    site.apply()


@pytest.mark.usefixtures("pages_alone")
def test_large_pages_that_the_host_has_not_are_told_with_numbers(site: Site) -> None:
    _write(site, "  h: {flavor: huge, image: lab-acpi}\n")
    cells = session.survey(site.options())[1].hosts[0].hardware.cells
    free = sum(count for cell in cells for size, count in cell.pages if size == 2048)
    if free >= 48:
        assert [step.host for step in site.plan().steps if step.address.kind == "server"] == ["hv1"]
        return
    with pytest.raises(Faults) as faults:
        site.plan()
    assert "CUSTOM_HUGEPAGES_2M" in str(faults.value.diagnostics[0].notes)


def test_guest_in_large_pages_runs_in_them_and_is_counted_there(large_pages: int, site: Site) -> None:
    _write(site, f"  h: {{flavor: huge, image: lab-acpi, {WAIT}}}\n")
    site.apply()
    assert not site.plan().steps
    live = site.virsh("hv1", "dumpxml", f"{site.name}-h")
    assert "<hugepages>" in live and "<page size='2048' unit='KiB'/>" in live
    smaps = (_process(f"{site.name}-h") / "smaps").read_text()
    in_large = [int(kib) for kib in re.findall(r"^(?:Private|Shared)_Hugetlb: +([0-9]+) kB", smaps, re.MULTILINE)]
    assert sum(in_large) == 96 * 1024
    assert _used(site)["hv1/numa0"]["CUSTOM_HUGEPAGES_2M"] == 48
    assert large_pages == 64
    _write(site, f"  h: {{flavor: huge, image: lab-acpi, {WAIT}}}\n  i: {{flavor: huge, image: lab-acpi}}\n")
    with pytest.raises(Faults) as faults:
        site.plan()
    assert "CUSTOM_HUGEPAGES_2M 32 short (used 48 of 64, 48 asked)" in str(faults.value.diagnostics[0].notes)


@pytest.fixture
def two_hosts(site: Site) -> Site:
    """The same with a second host, whose first CPU is given whole."""
    fleet = yaml.safe_load(site.fleet.read_text())
    there = yaml.safe_load((site.lab / "fleet.yaml").read_text())["hosts"]["hv2"]
    fleet["hosts"]["hv1"]["availability_zone"] = there["availability_zone"]
    fleet["hosts"]["hv2"] = there | {"cpu_dedicated_set": "0"}
    site.fleet.write_text(yaml.safe_dump(fleet))
    return site


def _drain(site: Site, host: str) -> None:
    made = session.rebalance(site.options(), Aim(frozenset({host}))).plan
    report = session.apply(site.options(), made, site.events.append, session.ApplyOptions(allowed=Impact.MIGRATE))
    assert report.exit_status == 0, report.failed
    assert not site.plan().steps


def _claimed_cpus(site: Site) -> set[str]:
    return {p for claim in session.claims(site.options()) for p in claim.allocations if "/cpu" in p}


@pytest.mark.parametrize("large_pages", [112], indirect=True)
def test_server_with_parts_migrates_live_also_when_killed_to_parts_of_the_other_host_and_back_when_off(
    large_pages: int, two_hosts: Site
) -> None:
    site, guest = two_hosts, f"{two_hosts.name}-m"
    _write(site, f"  m: {{flavor: both, image: lab-acpi, host: hv1, {WAIT}}}\n")
    site.apply()
    assert _vcpu_cpus(guest) == [{_last_cpu()}]
    _write(site, f"  m: {{flavor: both, image: lab-acpi, {WAIT}}}\n")
    _drain(site, "hv1")
    assert large_pages == 112
    assert guest not in site.virsh("hv1", "list", "--all", "--name").split()
    assert _vcpu_cpus(guest) == [{0}]
    for saved in ([], ["--config"]):
        assert site.virsh("hv2", "vcpupin", guest, *saved).split()[-1] == "0"
    assert "<page size='2048' unit='KiB'/>" in site.virsh("hv2", "dumpxml", "--inactive", guest)
    assert _claimed_cpus(site) == {"hv2/cpu0"}
    for call, source, there, cpu in (
        ("domain_migrate_perform3_params", "hv2", "hv1", _last_cpu()),
        ("domain_migrate_finish3_params", "hv1", "hv2", 0),
    ):
        kill_emptying(site, source, call)
        _drain(site, source)
        assert guest not in site.virsh(source, "list", "--all", "--name").split()
        assert _vcpu_cpus(guest) == [{cpu}], call
        assert _claimed_cpus(site) == {f"{there}/cpu{cpu}"}
    _write(site, "  m: {flavor: both, image: lab-acpi, power_state: stopped}\n")
    site.apply(Impact.RESTART)
    _drain(site, "hv2")
    assert site.virsh("hv1", "vcpupin", guest, "--config").split()[-1] == str(_last_cpu())
    assert guest not in site.virsh("hv2", "list", "--all", "--name").split()


def _rebalance(site: Site, aim: Aim) -> list[str]:
    """Makes the moves of a rebalance; the names of the servers."""
    planned = session.rebalance(site.options(), aim)
    report = session.apply(
        site.options(), planned.plan, site.events.append, session.ApplyOptions(allowed=Impact.MIGRATE)
    )
    assert report.exit_status == 0, report.failed
    return [step.address.name for step in planned.plan.steps if step.operation is Operation.MIGRATE]


def _own_cpu(site: Site, host: str, server: str) -> int:
    """The CPU that a server has on a host, as it is defined there."""
    return int(site.virsh(host, "vcpupin", f"{site.name}-{server}", "--config").split()[-1])


def _all_cpus_whole(site: Site, hosts: Mapping[str, str]) -> None:
    """These hosts, in one zone, with these CPUs given whole."""
    fleet = yaml.safe_load(site.fleet.read_text())
    there = yaml.safe_load((site.lab / "fleet.yaml").read_text())["hosts"]
    zone = {"availability_zone": "one"}
    fleet["hosts"] = {name: there[name] | zone | {"cpu_dedicated_set": cpus} for name, cpus in hosts.items()}
    site.fleet.write_text(yaml.safe_dump(fleet))


def _pair(site: Site, a: str, b: str) -> None:
    """Writes two running servers with a CPU of their own each, on these hosts; on any for an empty name."""
    named = {name: f", host: {host}" if host else "" for name, host in (("a", a), ("b", b))}
    _write(site, "".join(f"  {name}: {{flavor: own, image: lab-acpi{host}, {WAIT}}}\n" for name, host in named.items()))


def test_running_servers_with_cpus_of_their_own_are_evened_out_and_exchange_their_hosts(site: Site) -> None:
    _all_cpus_whole(site, {"hv1": "0-1", "hv2": "0-1"})
    _pair(site, "hv1", "hv1")
    site.apply()
    assert {_own_cpu(site, "hv1", "a"), _own_cpu(site, "hv1", "b")} == {0, 1}
    _pair(site, "", "")
    (moved,) = _rebalance(site, Aim(even=True, tolerance=0.002))
    stayed = "a" if moved == "b" else "b"
    assert not site.plan().steps
    _pair(site, **{stayed: "hv2", moved: "hv1"})
    assert sorted(_rebalance(site, Aim())) == ["a", "b"]
    assert not site.plan().steps
    for name, host in ((stayed, "hv2"), (moved, "hv1")):
        assert _vcpu_cpus(f"{site.name}-{name}") == [{_own_cpu(site, host, name)}]
    assert _claimed_cpus(site) == {
        f"hv2/cpu{_own_cpu(site, 'hv2', stayed)}",
        f"hv1/cpu{_own_cpu(site, 'hv1', moved)}",
    }


def test_server_whose_cpu_is_given_no_more_gets_another_of_its_only_host_by_a_restart(site: Site) -> None:
    _all_cpus_whole(site, {"hv1": "1"})
    _write(site, f"  a: {{flavor: own, image: lab-acpi, {WAIT}}}\n")
    site.apply()
    _all_cpus_whole(site, {"hv1": "0"})
    assert [each.rule for each in site.plan().offences] == ["parts"]
    plan = session.rebalance(site.options()).plan
    assert [(str(s.address), s.operation, s.impact) for s in plan.steps] == [
        ("server.a", Operation.UPDATE, Impact.RESTART)
    ]
    what = session.ApplyOptions(allowed=Impact.RESTART)
    assert session.apply(site.options(), plan, site.events.append, what).exit_status == 0
    assert not site.plan().steps and not site.plan().offences
    assert _vcpu_cpus(f"{site.name}-a") == [{0}]
    assert _claimed_cpus(site) == {"hv1/cpu0"}


def test_servers_that_fill_their_hosts_exchange_them_by_way_of_a_third(site: Site) -> None:
    _all_cpus_whole(site, {"hv1": "0", "hv2": "0", "hv3": "0"})
    _pair(site, "hv1", "hv2")
    site.apply()
    _pair(site, "hv2", "hv1")
    assert [sorted(_rebalance(site, Aim())) for _ in range(2)] == [["a", "b"], ["a"]]
    assert not site.plan().steps
    assert (_own_cpu(site, "hv2", "a"), _own_cpu(site, "hv1", "b")) == (0, 0)
    assert _claimed_cpus(site) == {"hv1/cpu0", "hv2/cpu0"}


def test_device_is_in_the_definition_and_given_once(site: Site) -> None:
    devices = session.survey(_with_card(site, 0).options())[1].hosts[0].hardware.devices
    assert devices, "the machine shows no PCI device"
    _with_card(site, len(devices)).apply()
    assert not site.plan().steps
    given = [site.virsh("hv1", "dumpxml", f"{site.name}-c-{n}") for n in range(len(devices))]
    assert all("<hostdev mode='subsystem' type='pci' managed='yes'>" in xml for xml in given)
    specs = [f.spec for f in session.survey(site.options())[1].hosts[0].found if isinstance(f.spec, Server)]
    assert sorted(a for s in specs for a in s.pci_devices) == [device.address for device in devices]
    with pytest.raises(Faults) as faults:
        _with_card(site, len(devices) + 1).plan()
    assert "CUSTOM_ANY 1 short" in str(faults.value.diagnostics[0].notes)


def _with_card(site: Site, count: int) -> Site:
    """With so many servers that have a device each, and are never started with it."""
    _write(site, f"  c: {{flavor: card, image: lab-acpi, count: {count}, power_state: stopped, autostart: false}}\n")
    return site


def test_cell_is_added_and_taken_away_by_a_restart(site: Site) -> None:
    _write(site, f"  a: {{flavor: plain, image: lab-acpi, {WAIT}}}\n")
    site.apply()
    _write(site, f"  a: {{flavor: cell, image: lab-acpi, {WAIT}}}\n")
    site.apply(Impact.RESTART)
    assert not site.plan().steps
    assert "memnode cellid='0'" in site.virsh("hv1", "dumpxml", f"{site.name}-a")
    _write(site, f"  a: {{flavor: plain, image: lab-acpi, {WAIT}}}\n")
    site.apply(Impact.RESTART)
    assert not site.plan().steps
    assert "<numa" not in site.virsh("hv1", "dumpxml", f"{site.name}-a")


def test_volume_of_a_type_that_is_apart_takes_room_of_its_pool(site: Site) -> None:
    fleet = yaml.safe_load(site.fleet.read_text())
    fleet["hosts"]["hv1"]["volume_types"]["fast"] = {
        "pool": f"{site.name}-fast",
        "path": f"/var/lib/libvirt/{site.name}",
    }
    site.fleet.write_text(yaml.safe_dump(fleet))
    _write(site, "  {}\nvolumes:\n  data: {size: 1, volume_type: fast, on_destroy: delete}\n")
    site.apply()
    try:
        assert not site.plan().steps
        stack, snapshot = session.survey(site.options())
        here = host_states(stack.fleet, snapshot, (), {})[0]
        pool = next(part for part in here.parts if part.name == "hv1_pool_fast")
        assert pool.inventories["DISK_GB"].total > 1
        assert here.parts_used[pool.uuid] == {"DISK_GB": 1}
        assert here.used["DISK_GB"] == 0
    finally:
        site.destroy()
        site.virsh("hv1", "pool-destroy", f"{site.name}-fast")
        site.virsh("hv1", "pool-undefine", f"{site.name}-fast")
