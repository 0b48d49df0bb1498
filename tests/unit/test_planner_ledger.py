"""Claims beside what was found: one consumption for a claim and its object, whoever owns them."""

import pytest

from stacksmith.address import Address
from stacksmith.model.fleet import Fleet, Host
from stacksmith.model.found import Found, HostSnapshot, Resources, Snapshot, Unmanaged
from stacksmith.model.hardware import Cell, CellUse, Hardware, Holding, PciDevice
from stacksmith.model.realised import Server
from stacksmith.placement import Consumer, HostState, Inventory
from stacksmith.planner.flight import with_limits
from stacksmith.planner.ledger import Ledger

UUID = "11111111-2222-5333-8444-555555555555"
WEB = Address.parse("server.web")


def consumer(owner: str, memory: int, uuid: str = UUID, host: str = "hv1", **more: int) -> Consumer:
    return Consumer(uuid, {host: {"MEMORY_MB": memory, **more}}, 1, "server.web", owner)


def own(memory: int, partial: bool = False) -> Found:
    spec = None if partial else Server("web", vcpus=1, ram_mib=memory)
    return Found(WEB, "hv1", UUID, "shop-web", spec, "f1", partial=partial, usage=Resources(0, memory, 0))


def other(memory: int, uuid: str = UUID, disk: int = 0) -> Unmanaged:
    return Unmanaged("server", "hv1", "blog-web", uuid, "lab/blog", Resources(0, memory, disk))


def ledger(consumers: tuple[Consumer, ...], *guests: Found | Unmanaged) -> Ledger:
    snap = HostSnapshot(
        "hv1",
        capacity=Resources(8, 4096, 100),
        found=tuple(g for g in guests if isinstance(g, Found)),
        unmanaged=tuple(g for g in guests if isinstance(g, Unmanaged)),
    )
    fleet = Fleet(fleet="lab", hosts={"hv1": Host(libvirt="memory:x")})
    return Ledger("shop", fleet, Snapshot((snap,)), consumers)


THREE = (consumer("a", 1, "a"), consumer("b", 2, "b"), consumer("b", 4, "c"))


@pytest.mark.parametrize(
    ("consumers", "guests", "pending", "unclaimed"),
    [
        ((), (other(512),), {}, {"MEMORY_MB": 512}),
        ((consumer("blog", 512),), (), {"MEMORY_MB": {"blog": 512}}, {}),
        ((consumer("blog", 512),), (other(512),), {}, {}),
        ((consumer("blog", 768),), (other(512),), {"MEMORY_MB": {"blog": 256}}, {}),
        ((consumer("blog", 512),), (other(768),), {}, {"MEMORY_MB": 256}),
        ((consumer("blog", 512, DISK_GB=4),), (other(512, UUID[:8], disk=4),), {}, {}),
        ((consumer("blog", 512, host="hv2"),), (other(512),), {}, {"MEMORY_MB": 512}),
        ((consumer("shop", 512),), (), {}, {}),
        ((consumer("shop", 512),), (own(512),), {}, {}),
        ((consumer("shop", 512),), (own(0, partial=True),), {"MEMORY_MB": {"shop": 512}}, {}),
        (THREE, (), {"MEMORY_MB": {"a": 1, "b": 6}}, {}),
    ],
    ids=["runs unclaimed", "claimed", "both", "claimed more", "runs more", "volume by 8 digits", "other host",
         "own is made anew", "own runs", "own is half made", "by stack"],
)  # fmt: skip
def test_claim_and_its_object_are_one_consumption(
    consumers: tuple[Consumer, ...],
    guests: tuple[Found | Unmanaged, ...],
    pending: dict[str, dict[str, int]],
    unclaimed: dict[str, int],
) -> None:
    seen = ledger(consumers, *guests)
    assert seen.pending().get("hv1", {}) == pending
    assert seen.unclaimed("hv1", ()).get("hv1", {}) == unclaimed


def test_what_leaves_gives_its_claim_up() -> None:
    seen = ledger((consumer("shop", 768),), own(512))
    assert seen.pending() == {"hv1": {"MEMORY_MB": {"shop": 256}}}
    assert seen.pending({WEB}) == {}


def test_servers_of_other_stacks_that_are_claimed_and_not_there_are_unfinished() -> None:
    volume = Consumer("d", {"hv1": {"DISK_GB": 1}}, 1, "volume.data", "blog")
    claims = (consumer("shop", 1, "a"), consumer("blog", 1, "b"), consumer("blog", 1, "c"), consumer("blog", 1, "e"))
    seen = ledger((*claims, volume, consumer("blog", 1, "f", host="hv2")), other(512, "e"))
    assert (seen.unfinished("hv1"), seen.unfinished("hv3")) == (2, 0)


def test_operations_in_flight_count_what_other_stacks_are_making() -> None:
    fleet = Fleet.model_validate({"fleet": "lab", "scheduler": {"enabled_filters": ["IoOpsFilter"]}})
    seen = ledger((consumer("blog", 1, "b"), consumer("blog", 1, "c")))
    (state,) = with_limits(fleet, seen, [HostState("hv1", {}, {})])
    assert (state.inventories["IO_OPS"], state.used["IO_OPS"]) == (Inventory(8), 2)
    plain = [HostState("hv1")]
    assert with_limits(Fleet(fleet="lab"), seen, plain) == plain


CELLS = Hardware((Cell(0, (0, 1), 1024), Cell(1, (2, 3), 1024)), (PciDevice("0000:81:00.0", "10de", "2236"),))
PART = {"hv1": {"MEMORY_MB": 64}, "hv1/numa1": {"NUMA_MEMORY_MB": 64, "PCPU": 1}, "hv1/cpu2": {"CUSTOM_CPU": 1}}


def in_parts(consumers: tuple[Consumer, ...], *guests: Found | Unmanaged) -> Ledger:
    host = Host.model_validate({"libvirt": "memory:x", "cpu_dedicated_set": "2-3", "pci": [{"vendor_id": "10de"}]})
    found = tuple(g for g in guests if isinstance(g, Found))
    unmanaged = tuple(g for g in guests if isinstance(g, Unmanaged))
    snap = HostSnapshot("hv1", None, Resources(4, 2048, 9), found, unmanaged, hardware=CELLS)
    return Ledger("shop", Fleet(fleet="lab", hosts={"hv1": host}), Snapshot((snap,)), consumers)


def bound(owner: str = "blog", cell: int = 1, cpu: int = 2) -> Consumer:
    parts = {"hv1": {"MEMORY_MB": 64}, f"hv1/numa{cell}": {"NUMA_MEMORY_MB": 64, "PCPU": 1}}
    return Consumer(UUID, {**parts, f"hv1/cpu{cpu}": {"CUSTOM_CPU": 1}}, 1, "server.web", owner)


HOLDS = Holding((CellUse(1, 1, 64),), ((2,),))


def test_guest_takes_its_cell_and_its_cpu_beside_its_host() -> None:
    seen = in_parts(())
    guest = Unmanaged("server", "hv1", "x", UUID, usage=Resources(1, 64), holds=HOLDS)
    assert seen.taken(guest) == PART
    card = Unmanaged("server", "hv1", "x", UUID, usage=Resources(1, 64), holds=Holding(devices=("0000:81:00.0",)))
    assert seen.taken(card)["hv1/0000:81:00.0"] == {"CUSTOM_PCI_10DE_2236": 1}


def test_claim_of_parts_counts_until_its_guest_runs_there() -> None:
    assert in_parts((bound(),)).pending()["hv1/numa1"] == {"NUMA_MEMORY_MB": {"blog": 64}, "PCPU": {"blog": 1}}
    guest = Unmanaged("server", "hv1", "x", UUID, "lab/blog", Resources(1, 64), holds=HOLDS)
    seen = in_parts((bound(),), guest)
    assert seen.pending() == {}
    assert seen.unclaimed("hv1", ()).get("hv1/numa1") == {}


def test_guest_that_is_elsewhere_than_its_claim_counts_in_both_places() -> None:
    guest = Unmanaged("server", "hv1", "x", UUID, "lab/blog", Resources(1, 64), holds=HOLDS)
    seen = in_parts((bound(cpu=3),), guest)
    assert seen.pending() == {"hv1/cpu3": {"CUSTOM_CPU": {"blog": 1}}}
    assert seen.unclaimed("hv1", ())["hv1/cpu2"] == {"CUSTOM_CPU": 1}


def test_half_made_server_that_gets_its_parts_anew_is_not_in_its_own_way() -> None:
    half = Found(WEB, "hv1", UUID, "shop-web", None, "f1", partial=True)
    seen = in_parts((bound("shop"),), half)
    assert set(seen.pending()) == {"hv1", "hv1/numa1", "hv1/cpu2"}
    assert set(seen.pending(anew={WEB})) == {"hv1"}
