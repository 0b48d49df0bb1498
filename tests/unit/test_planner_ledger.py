"""Claims beside what was found: one consumption for a claim and its object, whoever owns them."""

import pytest

from stacksmith.address import Address
from stacksmith.model.fleet import Fleet, Host
from stacksmith.model.found import Found, HostSnapshot, Resources, Snapshot, Unmanaged
from stacksmith.model.realised import Server
from stacksmith.placement import Consumer
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
    assert seen.unclaimed(seen.snapshot.hosts[0], ()) == unclaimed


def test_what_leaves_gives_its_claim_up() -> None:
    seen = ledger((consumer("shop", 768),), own(512))
    assert seen.pending() == {"hv1": {"MEMORY_MB": {"shop": 256}}}
    assert seen.pending({WEB}) == {"hv1": {}}
