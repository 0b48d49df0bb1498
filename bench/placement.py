"""Placement in memory.

``one by one`` keeps the hosts and asks for one server at a time; ``batch`` is one call of ``place``.
"""

import gc
from collections.abc import Iterator
from dataclasses import replace
from resource import RUSAGE_SELF, getrusage
from time import process_time

from bench.measure import Cost
from bench.table import Bar, Row, Table
from stacksmith.address import Address
from stacksmith.model.scheduler import SchedulerSpec
from stacksmith.placement import (
    CandidateRequest,
    Group,
    GroupPolicy,
    HostState,
    Inventory,
    Provider,
    Request,
    ResourceGroup,
    place,
)
from stacksmith.placement.attempt import Eligible, Pass
from stacksmith.placement.request import Strategy
from stacksmith.placement.site import open_sites
from stacksmith.placement.unit import bundle
from stacksmith.placement.weigher import make_weigher

CELLS = 2
FLAVORS = ((1, 512, 4), (2, 4096, 20), (4, 8192, 40))
GROUP_SIZE = 10
NUMA = frozenset({"HW_NUMA_ROOT"})
NOVA = SchedulerSpec(ram_weight_multiplier=1.0)


def fleet(count: int) -> list[HostState]:
    offer = {"VCPU": Inventory(32, 0, 4.0), "MEMORY_MB": Inventory(524288, 512), "DISK_GB": Inventory(4000)}
    return [HostState(f"hv{i:05}", offer) for i in range(count)]


def batch(count: int, grouped: bool) -> list[Request]:
    found = []
    for i in range(count):
        block = i // GROUP_SIZE
        vcpu, memory, disk = FLAVORS[block % 3]
        amounts = {"VCPU": vcpu, "MEMORY_MB": memory, "DISK_GB": disk}
        address = Address("server", f"g{block}", i % GROUP_SIZE)
        found.append(Request(address, amounts, group=f"g{block}" if grouped else None))
    return found


def measure_batch(
    servers: int,
    hosts: int,
    policy: str | None,
    strategy: str = "spread",
    explain: bool = False,
    seconds: float | None = None,
) -> Row:
    """``seconds`` is the bar."""
    requests, states = batch(servers, policy is not None), fleet(hosts)
    groups = {r.group: Group(r.group, policy) for r in requests if r.group is not None and policy is not None}
    started = process_time()
    placements = place(requests, states, groups, strategy=strategy, explain=explain)
    words = [f"batch {servers:,} on {hosts:,}", policy or "no groups", strategy, *(["explained"] if explain else [])]
    took = process_time() - started
    bars = () if seconds is None else (Bar("CPU s", took, seconds),)
    return _row(", ".join(words), took, sum(p.host is None for p in placements), bars)


def with_cells(host: HostState) -> HostState:
    """The host with its CPUs and memory in NUMA cells."""
    cell = {"NUMA_THREAD": Inventory(16, 0, 4.0), "NUMA_MEMORY_MB": Inventory(261888)}
    uuids = [f"{host.name}_numa{number}" for number in range(CELLS)]
    return replace(host, parts=tuple(Provider(uuid, uuid, host.name, cell, NUMA) for uuid in uuids))


def of_cells(request: Request) -> Request:
    """The request with its vCPUs and memory in as many cells, each of another cell of the host."""
    vcpu, memory = request.amounts["VCPU"], request.amounts["MEMORY_MB"]
    cell = ResourceGroup({"NUMA_THREAD": vcpu, "NUMA_MEMORY_MB": memory // CELLS}, (NUMA,))
    groups = {f"_numa{number}": cell for number in range(CELLS)}
    amounts = {**request.amounts, "VCPU": CELLS * vcpu}
    return replace(request, amounts=amounts, parts=CandidateRequest(groups, GroupPolicy.ISOLATE))


def measure_cells(
    servers: int, hosts: int, seconds: float, strategy: str | SchedulerSpec = "spread", explain: bool = False
) -> Row:
    """Servers of two NUMA cells. ``seconds`` is the bar."""
    requests, states = [of_cells(r) for r in batch(servers, False)], [with_cells(host) for host in fleet(hosts)]
    started = process_time()
    placements = place(requests, states, {}, strategy=strategy, explain=explain)
    took = process_time() - started
    way = strategy if isinstance(strategy, str) else "nova's weighers"
    words = [f"batch {servers:,} of {CELLS} NUMA cells on {hosts:,}", way, *(["explained"] if explain else [])]
    return _row(", ".join(words), took, sum(p.host is None for p in placements), (Bar("CPU s", took, seconds),))


def measure_large() -> Row:
    """The largest stack in one go. The memory is that of this process at its highest."""
    row = measure_batch(100_000, 10_000, "anti-affinity", seconds=10)
    peak = getrusage(RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return Row(row.what, Cost(0, row.cost.cpu_seconds, peak), (*row.bars, Bar("MB", peak, 1000)))


def measure_one_by_one(servers: int, hosts: int) -> Row:
    requests, states = batch(servers, True), fleet(hosts)
    groups = {r.group: Group(r.group, "anti-affinity") for r in requests if r.group is not None}
    sites = open_sites(states)
    run = Pass(sites, Eligible(states), make_weigher(Strategy.SPREAD, sites))
    started = process_time()
    left = sum(run.place(unit) is None for request in requests for unit in bundle([request], (), groups))
    return _row(f"one by one {servers:,} on {hosts:,}, anti-affinity", process_time() - started, left)


def _row(name: str, seconds: float, left: int, bars: tuple[Bar, ...] = ()) -> Row:
    return Row(f"{name}, {left:,} left over" if left else name, Cost(0, seconds, 0), bars)


def tables(times: int = 3) -> Iterator[Table]:
    """One table, of one run each."""
    gc.freeze()
    gc.disable()
    rows = [
        measure_one_by_one(10_000, 1_000),
        measure_batch(200, 100, "anti-affinity", explain=True),
        measure_batch(1_000, 100, "anti-affinity"),
        *(
            measure_batch(10_000, 1_000, policy, seconds=2 if policy == "anti-affinity" else None)
            for policy in (None, "anti-affinity", "affinity", "soft-anti-affinity", "soft-affinity")
        ),
        measure_batch(10_000, 1_000, "anti-affinity", strategy="pack"),
        measure_batch(10_000, 100, "anti-affinity"),
        measure_cells(1_500, 150, seconds=2),
        measure_cells(1_500, 150, seconds=3, strategy=NOVA),
        measure_cells(1_500, 150, seconds=3, explain=True),
        measure_cells(10_000, 1_000, seconds=5),
        measure_large(),
    ]
    gc.enable()
    yield Table("Placement in memory", "New servers in groups of ten, by the call alone: no imports.", tuple(rows))
