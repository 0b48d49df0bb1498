"""Provider trees in memory and claims in the state store: per CPU second. ``python bench/candidates.py [--large]``.

``place + claim`` asks for the first candidate on a host that is already chosen and claims it; ``first fit`` lets the
search choose the host. A claim in the store is a durable transaction of its own: there, the wall clock counts.
"""

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from time import perf_counter, process_time

from stacksmith.placement import (
    Candidate,
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


def world(hosts: int) -> World:
    return World(tuple(Provider(f"hv{i:05}", f"hv{i:05}", None, OFFER) for i in range(hosts)))


def request(host: str | None = None) -> CandidateRequest:
    return CandidateRequest({"": ResourceGroup(FLAVOR, in_tree=host)})


def rate(count: int, work: Callable[[], object], clock: Callable[[], float] = process_time) -> str:
    before = clock()
    work()
    return f"{count / (clock() - before):,.0f}/s"


def count_all(hosts: int) -> str:
    ledger = Ledger(world(hosts))
    return rate(hosts, lambda: sum(1 for _ in candidates(ledger, request())))


def claim_each(hosts: int, chosen: bool) -> str:
    ledger, servers = Ledger(world(hosts)), min(SERVERS, hosts * 50)

    def work() -> None:
        for i in range(servers):
            asked = request(f"hv{i % hosts:05}" if chosen else None)
            ledger.claim(Claim(f"server-{i}", next(candidates(ledger, asked)).allocations))

    return rate(servers, work)


def claim_in_store(hosts: int) -> str:
    ledger = Ledger(world(hosts))
    check = partial(claim_faults, {provider.uuid: provider for provider in ledger.world.providers})
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore.open(Path(folder) / "state.db")

        def work() -> None:
            for i in range(1000):
                found: Candidate = next(candidates(ledger, request(f"hv{i % hosts:05}")))
                store.claim("bench", [Claim(f"server-{i}", found.allocations)], check)

        told = rate(1000, work, perf_counter)
        store.close()
    return told


def first_of_wide(groups: int, siblings: int) -> str:
    cells = [Provider(f"c{i:03}", f"c{i:03}", "hv", {"VCPU": Inventory(8)}) for i in range(siblings)]
    asked = {f"_{i}": ResourceGroup({"VCPU": 1}) for i in range(groups)}
    ledger, before = Ledger(World((Provider("hv", "hv"), *cells))), process_time()
    found = list(islice(candidates(ledger, CandidateRequest(asked, GroupPolicy.ISOLATE)), 1000))
    return f"{(process_time() - before) * 1000:.0f} ms for the first {len(found):,}"


def main() -> None:
    print(f"{'hosts':>8} {'candidates':>14} {'place + claim':>14} {'first fit':>14} {'claim in store':>16}")
    for hosts in (100, 1000, 10_000) if "--large" in sys.argv else (100, 1000):
        columns = count_all(hosts), claim_each(hosts, True), claim_each(hosts, False), claim_in_store(hosts)
        print(f"{hosts:>8,} {columns[0]:>14} {columns[1]:>14} {columns[2]:>14} {columns[3]:>16}")
    print(f"8 groups over 64 siblings, isolated: {first_of_wide(8, 64)}")
    print(f"memory at most {getrusage(RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
