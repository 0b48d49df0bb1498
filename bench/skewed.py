"""Hosts of unlike shapes and servers that fill them to a share: part bound to a trait, part in anti-affinity groups."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from stacksmith.address import Address
from stacksmith.placement import Group, HostState, Inventory, Request, place

SHAPES = ((64, 131072, 2000), (16, 262144, 2000), (32, 262144, 1000), (48, 131072, 4000), (32, 196608, 2000))
FLAVORS = ((1, 1024, 10), (1, 4096, 20), (2, 2048, 40), (2, 8192, 20), (2, 16384, 40), (4, 4096, 20), (4, 8192, 80),
           (4, 16384, 40), (4, 32768, 40), (8, 8192, 40), (8, 16384, 160), (8, 32768, 80), (12, 16384, 40),
           (6, 49152, 80))  # fmt: skip
TRAIT = "CUSTOM_SSD"
SIZE = 10  # of a group


def skewed(
    hosts: int, servers: int, share: float = 0.7, seed: int = 0
) -> tuple[list[Request], list[HostState], dict[str, Group]]:
    """So many hosts, sized for the servers to use ``share`` of the scarcest class. A third of them has the trait."""
    random = Random(seed)
    asked = [_request(random, i) for i in range(servers)]
    groups = {r.group: Group(r.group, "anti-affinity") for r in asked if r.group}
    shapes = [SHAPES[i % len(SHAPES)] for i in range(hosts)]
    need = [sum(r.amounts[name] for r in asked) for name in ("VCPU", "MEMORY_MB", "DISK_GB")]
    scale = max(n / (share * sum(shape[i] for shape in shapes)) for i, n in enumerate(need))
    return asked, [_host(i, shape, scale) for i, shape in enumerate(shapes)], groups


def in_use(
    hosts: int, servers: int, share: float = 0.7, full: float = 0.95, seed: int = 0
) -> tuple[list[Request], list[HostState], dict[str, Group]]:
    """The same with ``share`` in use already, by servers drawn at random: the rest, up to ``full``, are new.

    All were placed together before, so that there is a way to place the new ones beside those that stay.
    """
    asked, states, groups = skewed(hosts, servers, full, seed)
    where = {p.address: p.host for p in place(asked, states, groups, explain=False)}
    asked = [r for r in asked if where[r.address] is not None]
    staying = set(Random(seed).sample([r.address for r in asked], round(len(asked) * share / full)))
    here: dict[str | None, list[Request]] = {}
    for request in asked:
        if request.address in staying:
            here.setdefault(where[request.address], []).append(request)
    new = [r for r in asked if r.address not in staying]
    return new, [_with_guests(state, here.get(state.name, ())) for state in states], groups


def _with_guests(host: HostState, guests: Sequence[Request]) -> HostState:
    used = {name: sum(r.amounts[name] for r in guests) for name in host.inventories}
    return replace(host, used=used, groups={r.group: 1 for r in guests if r.group})


def _request(random: Random, number: int) -> Request:
    vcpu, memory, disk = random.choice(FLAVORS)
    bound, grouped = random.random() < 0.2, random.random() < 0.3
    return Request(
        Address("server", "s", number),
        {"VCPU": vcpu, "MEMORY_MB": memory, "DISK_GB": disk},
        required=frozenset({TRAIT} if bound else ()),
        group=f"g{number // (SIZE * 3)}" if grouped else None,
    )


def _host(number: int, shape: tuple[int, int, int], scale: float) -> HostState:
    vcpu, memory, disk = (round(part * scale) for part in shape)
    offer = {"VCPU": Inventory(vcpu), "MEMORY_MB": Inventory(memory), "DISK_GB": Inventory(disk)}
    return HostState(f"hv{number:04}", offer, traits=frozenset({TRAIT} if number % 3 == 0 else ()))
