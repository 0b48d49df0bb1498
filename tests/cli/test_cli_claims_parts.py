"""Claims of parts of hosts: two stacks plan for the last device, the last whole CPUs, the last room of a pool."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from stacksmith.cli.app import run
from stacksmith.engine import session
from stacksmith.model.found import Resources
from stacksmith.model.hardware import Cell, Hardware, PciDevice, Pool
from stacksmith.model.realised import Server
from stacksmith.placement import Claim
from stacksmith.planner.layout import provider_name
from stacksmith.planner.planfile import write_plan
from stacksmith.providers.memory.fault import Call, Crash, Effect, Fault
from stacksmith.providers.memory.world import World
from stacksmith.state.store import open_store
from tests.cli.conftest import Cli
from tests.cli.test_cli_claims import is_step, points_of
from tests.forked import at_once
from tests.postgres import Place

FLEET = """\
fleet: lab
defaults: {reserved: {MEMORY_MB: 0}}
pci_aliases: {gpu: {vendor_id: "10de", product_id: "2236"}}
hosts:
  hv1:
    libvirt: "memory://world.json"
    cpu_dedicated_set: "2-3,6-9"
    pci: [{vendor_id: "10de"}]
    volume_types: {local: {}, fast: {pool: nvme}}
"""
STACK = """\
stack: NAME
fleet: ../fleet.yaml
variables:
  size: {type: integer, default: 40}
flavors:
  card: {vcpus: 1, ram: 64, extra_specs: {"pci_passthrough:alias": "gpu:1"}}
  two: {vcpus: 2, ram: 64, extra_specs: {"hw:cpu_policy": dedicated}}
  four: {vcpus: 4, ram: 64, extra_specs: {"hw:cpu_policy": dedicated}}
  huge: {vcpus: 1, ram: 1536, extra_specs: {"hw:mem_page_size": 2MB}}
  cell: {vcpus: 1, ram: 2560, extra_specs: {"hw:numa_nodes": "1"}}
  plain: {vcpus: 1, ram: 64}
images: {tiny: {source: tiny.img, format: raw}}
networks: {NAME: {mode: isolated, subnets: [{cidr: 10.NET.0.0/24}]}}
servers:
  web: {flavor: FLAVOR, image: tiny, networks: [{network: NAME}]}
"""
VOLUME = 'volumes: {data: {size: "{{ var.size }}", volume_type: fast, on_destroy: delete}}\n'
# Cell 0 has CPUs 2 and 3 to give, cell 1 the other four, the memory of a large server, and the one card.
HARDWARE = Hardware(
    (Cell(0, (0, 1, 2, 3), 1024), Cell(1, tuple(range(4, 10)), 6144, ((2048, 1024),))),
    (PciDevice("0000:81:00.0", "10de", "2236", 1),),
    pools=(Pool("fast", 60),),
)

Held = dict[str, dict[str, dict[str, int]]]


class Rivals:
    """Stacks of one server each on one host."""

    def __init__(self, folder: Path, cli: Cli, live: World) -> None:
        self.folder, self.cli, self.live = folder, cli, live
        live.set_capacity("hv1", Resources(10, 7168, 100))
        live.set_hardware("hv1", HARDWARE)
        (folder / "fleet.yaml").write_text(FLEET)
        (folder / "stack.yaml").unlink()
        (folder / "stacksmith.root").touch()

    def write(self, flavor: str, *names: str, more: str = "") -> None:
        for number, name in enumerate(names):
            folder = self.folder / name
            folder.mkdir(exist_ok=True)
            (folder / "tiny.img").write_bytes(b"tiny" * 128)
            text = STACK.replace("NAME", name).replace("NET", str(20 + number)).replace("FLAVOR", flavor)
            (folder / "stack.yaml").write_text(text + more)

    def race(self, first: str, second: str) -> str:
        """Plans both, applies the first, then the second, which loses; what it said. Nothing of it was done."""
        assert self.cli("plan", second, "--out", f"{second}.plan").status == 0
        won = self.cli("apply", first, "--yes")
        assert won.status == 0, won.err
        writes, before = len(self.live.writes), self.held()
        lost = self.cli("apply", f"{second}.plan")
        assert lost.status == 5, lost.err
        assert "error[claim-lost]: cannot claim room for" in lost.err
        assert (len(self.live.writes), self.held()) == (writes, before)
        return lost.err

    def held(self, url: str = "sqlite:///.stacksmith/lab.db") -> Held:
        """Units by the names of providers, by stack and name."""
        store = open_store(url, self.folder, read_only=True)
        try:
            return {
                f"{each.owner} {each.name}": {provider_name(p): dict(n) for p, n in each.allocations.items()}
                for each in store.claims()
            }
        finally:
            store.close()

    def server(self, stack: str) -> Server:
        specs = [o.spec for o in self.live.objects("hv1") if o.kind == "server" and o.mark and o.mark.stack == stack]
        (spec,) = specs
        assert isinstance(spec, Server)
        return spec


@pytest.fixture
def rivals(project: Path, cli: Cli, live: World) -> Rivals:
    return Rivals(project, cli, live)


def test_last_device_is_claimed_and_its_loser_changes_nothing(rivals: Rivals) -> None:
    rivals.write("card", "shop", "blog")
    told = rivals.race("shop", "blog")
    assert "hv1_0000:81:00.0: CUSTOM_PCI_10DE_2236 1 short (used 1 of 1, 1 asked)" in told
    assert "hv1_0000:81:00.0: stack shop holds CUSTOM_PCI_10DE_2236 1" in told
    assert rivals.held()["shop server.web"] == {
        "hv1": {"VCPU": 1, "MEMORY_MB": 64},
        "hv1_0000:81:00.0": {"CUSTOM_PCI_10DE_2236": 1},
    }
    assert rivals.cli("plan", "blog").status == 1
    assert rivals.cli("destroy", "shop", "--yes").status == 0
    assert rivals.cli("apply", "blog", "--yes").status == 0
    assert set(rivals.held()) == {"blog server.web"}


def test_last_whole_cpus_of_a_cell_are_claimed_by_number(rivals: Rivals) -> None:
    rivals.write("four", "shop", "blog")
    told = rivals.race("shop", "blog")
    assert "hv1_numa1: PCPU 4 short (used 4 of 4, 4 asked)" in told
    assert "hv1_cpu6: CUSTOM_CPU 1 short (used 1 of 1, 1 asked)" in told
    assert "hv1_numa1: stack shop holds NUMA_MEMORY_MB 64, PCPU 4" in told
    again = rivals.cli("plan", "blog")
    assert again.status == 1 and "PCPU 2 short (used 0 of 2, 4 asked) (the nearest of" in again.err


def test_same_whole_cpus_are_not_given_to_two_stacks_while_others_are_free(rivals: Rivals) -> None:
    rivals.write("two", "shop", "blog")
    told = rivals.race("shop", "blog")
    assert "PCPU 2 short" in told or "CUSTOM_CPU 1 short" in told
    assert rivals.cli("apply", "blog", "--yes").status == 0
    pins = [{cpu for cell in rivals.server(name).numa_cells for pin in cell.pins for cpu in pin} for name in
            ("shop", "blog")]  # fmt: skip
    assert [len(each) for each in pins] == [2, 2] and not pins[0] & pins[1]


def test_last_memory_of_a_cell_is_claimed(rivals: Rivals) -> None:
    rivals.write("cell", "shop", "blog")
    told = rivals.race("shop", "blog")
    assert "hv1_numa1: NUMA_MEMORY_MB 1,024 short (used 2,560 of 4,096, 2,560 asked)" in told


def test_last_large_pages_are_claimed_and_no_other_memory(rivals: Rivals) -> None:
    rivals.write("huge", "shop", "blog")
    told = rivals.race("shop", "blog")
    assert "hv1_numa1: CUSTOM_HUGEPAGES_2M 512 short (used 768 of 1,024, 768 asked)" in told
    assert rivals.held()["shop server.web"]["hv1_numa1"]["CUSTOM_HUGEPAGES_2M"] == 768
    assert rivals.held()["shop server.web"].get("hv1", {}).keys() <= {"VCPU"}


def test_last_room_of_a_pool_is_claimed_and_released(rivals: Rivals) -> None:
    rivals.write("plain", "shop", "blog", more=VOLUME)
    told = rivals.race("shop", "blog")
    assert "hv1_pool_fast: DISK_GB 20 short (used 40 of 60, 40 asked)" in told
    assert "hv1_pool_fast: stack shop holds DISK_GB 40" in told
    assert rivals.held()["shop volume.data"] == {"hv1_pool_fast": {"DISK_GB": 40}}
    assert rivals.cli("apply", "blog", "--yes", "--var", "size=20").status == 0
    assert rivals.cli("destroy", "shop", "--yes").status == 0
    assert rivals.held()["blog volume.data"] == {"hv1_pool_fast": {"DISK_GB": 20}}
    assert rivals.cli("apply", "blog", "--yes", "--var", "size=60").status == 0
    assert rivals.held()["blog volume.data"] == {"hv1_pool_fast": {"DISK_GB": 60}}


def test_growth_of_a_volume_claims_its_pool(rivals: Rivals) -> None:
    rivals.write("plain", "shop", "blog", more=VOLUME)
    assert rivals.cli("apply", "shop", "--yes", "--var", "size=20").status == 0
    assert rivals.cli("plan", "shop", "--out", "grow.plan", "--var", "size=50").status == 0
    assert rivals.cli("apply", "blog", "--yes", "--var", "size=20").status == 0
    lost = rivals.cli("apply", "grow.plan", "--var", "size=50")
    assert lost.status == 5 and "hv1_pool_fast: DISK_GB 10 short (used 20 of 60, 50 asked)" in lost.err
    assert rivals.held()["shop volume.data"] == {"hv1_pool_fast": {"DISK_GB": 20}}


def test_parts_claimed_by_a_killed_run_count_for_others_and_its_next_run_takes_them(
    rivals: Rivals, live: World
) -> None:
    rivals.write("card", "shop", "blog")
    live.faults.append(Fault(Effect.CRASH, operation="create", kind="network"))
    with pytest.raises(Crash):
        rivals.cli("apply", "shop", "--yes")
    assert not any(item.kind == "server" for item in live.objects("hv1"))
    refused = rivals.cli("plan", "blog")
    assert refused.status == 1
    assert "hv1_0000:81:00.0: CUSTOM_PCI_10DE_2236 1 short (used 1 of 1, 1 asked)" in refused.err
    told = "CUSTOM_PCI_10DE_2236 used on hv1_0000:81:00.0, of it 1 claimed by stack shop, not running yet"
    assert told in refused.err
    listed = json.loads(rivals.cli("state", "claims", "--json", "--stack", "blog").out)
    assert {"hv1", "hv1_0000:81:00.0"} in [set(each["allocations"]) for each in listed]
    assert rivals.cli("apply", "shop", "--yes").status == 0
    assert rivals.server("shop").pci_devices == ("0000:81:00.0",)


def test_whole_cpus_claimed_by_a_killed_run_are_not_given_again(rivals: Rivals, live: World) -> None:
    rivals.write("two", "shop", "blog")
    live.faults.append(Fault(Effect.CRASH, operation="create", kind="network"))
    with pytest.raises(Crash):
        rivals.cli("apply", "shop", "--yes")
    (claimed,) = [set(p) for name, p in rivals.held().items() if name == "shop server.web"]
    assert rivals.cli("apply", "blog", "--yes").status == 0
    pins = {f"hv1_cpu{cpu}" for cell in rivals.server("blog").numa_cells for pin in cell.pins for cpu in pin}
    assert len(pins) == 2 and not pins & claimed


@pytest.mark.parametrize("flavor", ["card", "two", "huge"])
def test_killed_at_any_point_and_run_again_ends_with_the_same_claims(rivals: Rivals, live: World, flavor: str) -> None:
    rivals.write(flavor, "shop", more=VOLUME)
    apply = ("apply", "shop", "--yes", "--parallel", "1")
    destroy = ("destroy", "shop", "--yes", "--parallel", "1")
    total = points_of(lambda: rivals.cli(*apply), live)
    wanted = rivals.held()
    assert len(wanted) == 2 and total > 4
    for at in range(total):
        assert rivals.cli(*destroy).status == 0
        assert rivals.held() == {}
        count = iter(range(total))

        def crash(call: Call, point: str, at: int = at, count: Iterator[int] = count) -> None:
            if is_step(call) and next(count, None) == at:
                raise Crash

        live.hooks.append(crash)
        with pytest.raises(Crash):
            rivals.cli(*apply)
        live.hooks.clear()
        again = rivals.cli(*apply)
        assert again.status == 0, (at, again.err)
        assert rivals.held() == wanted, at


def test_server_that_changes_its_parts_ends_with_the_claim_of_the_new_ones(rivals: Rivals) -> None:
    rivals.write("two", "shop")
    assert rivals.cli("apply", "shop", "--yes").status == 0
    for flavor in ("four", "cell", "card", "huge", "plain"):
        rivals.write(flavor, "shop")
        assert rivals.cli("apply", "shop", "--yes", "--allow", "restart").status == 0
        claimed = rivals.held()["shop server.web"]
        server = rivals.server("shop")
        cpus = {f"hv1_cpu{pin[0]}" for cell in server.numa_cells for pin in cell.pins if len(pin) == 1 and pin[0] > 1}
        cells = {f"hv1_numa{cell.host_cell}" for cell in server.numa_cells}
        devices = {f"hv1_{address}" for address in server.pci_devices}
        assert claimed.keys() - {"hv1"} == cpus | cells | devices
        assert rivals.cli("plan", "shop", "--detailed-exitcode").status == 0


def test_store_with_claims_of_hosts_alone_is_corrected_by_the_next_apply(rivals: Rivals) -> None:
    rivals.write("card", "shop")
    assert rivals.cli("apply", "shop", "--yes").status == 0
    whole = rivals.held()
    store = open_store("sqlite:///.stacksmith/lab.db", rivals.folder)
    try:
        for each in store.claims():
            flat = {"hv1": each.allocations["hv1"]}
            store.claim("shop", [Claim(each.uuid, flat, each.generation, each.name)], lambda *_: ())
    finally:
        store.close()
    assert rivals.held() != whole
    assert rivals.cli("apply", "shop", "--yes").status == 0
    assert rivals.held() == whole


@pytest.mark.parametrize("flavor", ["card", "two", "huge"])
def test_rebuild_claims_the_parts_of_what_is_there(rivals: Rivals, flavor: str) -> None:
    rivals.write(flavor, "shop", more=VOLUME)
    assert rivals.cli("apply", "shop", "--yes").status == 0
    whole = rivals.held()
    for path in (rivals.folder / ".stacksmith").glob("lab.db*"):
        path.unlink()
    assert rivals.cli("state", "rebuild", "--stack", "shop").status == 0
    assert rivals.held() == whole


def test_eight_stacks_at_once_never_get_a_device_twice(rivals: Rivals, live: World, place: Place) -> None:
    fleet = FLEET.replace("fleet: lab\n", f"fleet: lab\nstate: {place.url}\n")
    (rivals.folder / "fleet.yaml").write_text(fleet)
    devices = tuple(PciDevice(f"0000:8{n}:00.0", "10de", "2236", 1) for n in range(3))
    live.set_hardware("hv1", Hardware(HARDWARE.cells, devices))
    names = [f"s{n}" for n in range(8)]
    rivals.write("card", *names)
    for name in names:
        plan = session.plan(session.Options(stack=rivals.folder / name)).plan
        write_plan(plan, rivals.folder / f"{name}.plan")
    statuses = [each.status for each in at_once(run, [(["apply", f"{name}.plan"],) for name in names])]
    assert sorted(set(statuses)) == [0, 5]
    given = [d for name, status in zip(names, statuses, strict=True) if not status for d in
             rivals.server(name).pci_devices]  # fmt: skip
    assert len(given) == len(set(given)) == statuses.count(0)
    held = [p for each in rivals.held(place.url).values() for p in each if p != "hv1"]
    assert sorted(held) == sorted(f"hv1_{device}" for device in given)
