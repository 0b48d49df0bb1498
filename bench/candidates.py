"""Provider trees in memory and claims in the state store: hosts 100 to 10,000.

``place + claim`` asks for the first candidate on a host that is already chosen and claims it; ``first fit`` lets the
search choose the host. A claim in the store is a durable transaction of its own: there, the wall clock counts.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time

from bench.measure import Cost
from bench.table import Bar, Row, Table
from stacksmith.placement import (
    CandidateRequest,
    Claim,
    GroupPolicy,
    Inventory,
    Ledger,
    Provider,
    ResourceGroup,
    World,
    candidates,
    claim_faults,
)
from stacksmith.state.sqlite import SqliteStore

FLAVOR = {"VCPU": 2, "MEMORY_MB": 4096, "DISK_GB": 20}
OFFER = {"VCPU": Inventory(32, 0, 4.0), "MEMORY_MB": Inventory(524288, 512), "DISK_GB": Inventory(4000)}
SERVERS = 5000
PAGES = 4 * 4096


def world(hosts: int) -> World:
    return World(tuple(Provider(f"hv{i:05}", f"hv{i:05}", None, OFFER) for i in range(hosts)))


def request(host: str | None = None) -> CandidateRequest:
    return CandidateRequest({"": ResourceGroup(FLAVOR, in_tree=host)})


def measure(what: str, count: int, work: Callable[[], object], most_ms: float | None = None) -> Row:
    """``most_ms`` is the bar: wall milliseconds for each of ``count``, for what waits is a cost too."""
    wall, cpu = perf_counter(), process_time()
    work()
    wall, cpu = perf_counter() - wall, process_time() - cpu
    bars = () if most_ms is None else (Bar("ms each", wall / count * 1000, most_ms),)
    return Row(f"{what}: {count:,}, {count / cpu:,.0f} a CPU second", Cost(wall, cpu, 0), bars)


def all_candidates(hosts: int) -> Row:
    ledger = Ledger(world(hosts))
    return measure(f"candidates on {hosts:,} hosts", hosts, lambda: sum(1 for _ in candidates(ledger, request())))


def claim_each(hosts: int, chosen: bool) -> Row:
    ledger, servers = Ledger(world(hosts)), min(SERVERS, hosts * 50)

    def work() -> None:
        for i in range(servers):
            asked = request(f"hv{i % hosts:05}" if chosen else None)
            ledger.claim(Claim(f"server-{i}", next(candidates(ledger, asked)).allocations))

    way = "place + claim" if chosen else "first fit + claim"
    return measure(f"{way} on {hosts:,} hosts", servers, work, 0.5 if hosts == 1000 else None)


def claim_in_store(hosts: int) -> Row:
    ledger = Ledger(world(hosts))
    check = partial(claim_faults, {provider.uuid: provider for provider in ledger.world.providers})
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore.open(Path(folder) / "state.db")

        def work() -> None:
            for i in range(1000):
                found = next(candidates(ledger, request(f"hv{i % hosts:05}")))
                store.claim("bench", [Claim(f"server-{i}", found.allocations)], check)

        row = measure(f"place + claim in SQLite on {hosts:,} hosts", 1000, work, 2.0 if hosts == 1000 else None)
        store.close()
    return row


def raw_writes() -> Row:
    """As many pages as a claim writes, made durable: what the disk alone takes."""
    with tempfile.TemporaryFile() as file:
        file.write(bytes(PAGES * 1000))
        os.fsync(file.fileno())

        def work() -> None:
            for i in range(1000):
                os.pwrite(file.fileno(), b"x" * PAGES, i * PAGES)
                os.fdatasync(file.fileno())

        return measure(f"raw: {PAGES // 1024} KiB written over and made durable", 1000, work)


def first_of_wide(groups: int, siblings: int) -> Row:
    cells = [Provider(f"c{i:03}", f"c{i:03}", "hv", {"VCPU": Inventory(8)}) for i in range(siblings)]
    asked = {f"_{i}": ResourceGroup({"VCPU": 1}) for i in range(groups)}
    ledger, wanted = Ledger(World((Provider("hv", "hv"), *cells))), CandidateRequest(asked, GroupPolicy.ISOLATE)
    what = f"first candidates of {groups} isolated groups over {siblings} siblings"
    return measure(what, 1000, lambda: list(islice(candidates(ledger, wanted), 1000)))


def least(times: int, one: Callable[[], Row]) -> Row:
    """Of several runs the one with the least wall clock."""
    return min((one() for _ in range(times)), key=lambda row: row.cost.wall_seconds)


def tables(times: int = 3) -> Iterator[Table]:
    """One table; of each row the least of so many runs."""
    rows = []
    for hosts in (100, 1000, 10_000):
        for one in (
            partial(all_candidates, hosts),
            partial(claim_each, hosts, True),
            partial(claim_each, hosts, False),
            partial(claim_in_store, hosts),
        ):
            rows.append(least(times, one))
    rows.append(least(times, raw_writes))
    rows.append(least(times, partial(first_of_wide, 8, 64)))
    text = (
        "One server at a time, by the calls alone. A claim in the store is a durable transaction: there the wall counts"
    )
    text += f", and the load was {os.getloadavg()[0]:.0f}."
    yield Table("Candidates and claims", text, tuple(rows))
