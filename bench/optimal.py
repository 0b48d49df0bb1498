"""Joint placement by the solver, and what greedy passes leave over, on hosts of unlike shapes at 70 % use."""

from collections.abc import Iterator
from time import monotonic, process_time

from bench.measure import Cost
from bench.skewed import in_use, skewed
from bench.table import Bar, Row, Table
from stacksmith.placement import Goal, Strategy, allocate

TEXT = """New servers of 14 flavors on empty hosts of five shapes; a fifth is bound to a trait that a third of the hosts
has, three in ten are in anti-affinity groups. The gap is that of the hosts in use to the fewest that are needed.
On hosts in use at 70 % the servers that run stay, and the new ones fill them to 95 %."""


def measure(hosts: int, servers: int, strategy: Strategy, bars: tuple[float, float] | None = None) -> Row:
    """``bars``: the most seconds and the widest gap in percent; what is left over must be nothing always."""
    requests, states, groups = skewed(hosts, servers)
    # The solver stops a little before the bar: reading its answer takes time too.
    limit = bars[0] * 0.75 if bars else 1.0
    wall, cpu = monotonic(), process_time()
    found = allocate(requests, states, groups, goal=Goal(strategy, limit), explain=False)
    cost = Cost(monotonic() - wall, process_time() - cpu, 0)
    left = sum(placement.host is None for placement in found.placements)
    used = len({placement.host for placement in found.placements} - {None})
    held = [Bar("left over", left, 0)]
    words = f"{strategy}: {servers:,} on {hosts:,}: {used} hosts"
    if bars is not None and found.optimum is not None:
        gap = 100 * (found.optimum.opened - found.optimum.opened_at_least) / max(1, found.optimum.opened)
        words += ", proven" if found.optimum.proven else f", at least {found.optimum.opened_at_least}"
        held += [Bar("s", cost.wall_seconds, bars[0]), Bar("gap %", gap, bars[1])]
    return Row(words, cost, tuple(held))


def measure_in_use(hosts: int, servers: int, strategy: Strategy) -> Row:
    """New servers on hosts that run others already; all find room in one way at least."""
    requests, states, groups = in_use(hosts, servers)
    wall, cpu = monotonic(), process_time()
    found = allocate(requests, states, groups, goal=Goal(strategy), explain=False)
    cost = Cost(monotonic() - wall, process_time() - cpu, 0)
    left = sum(placement.host is None for placement in found.placements)
    words = f"{strategy}: {len(requests):,} new beside {servers - len(requests):,} on {hosts:,} in use at 70 %"
    return Row(words, cost, (Bar("left over", left, 0),))


def tables(times: int = 3) -> Iterator[Table]:
    """One table, of one run each."""
    rows = [measure(50, 500, strategy) for strategy in (Strategy.SPREAD, Strategy.PACK)]
    rows.append(measure(50, 500, Strategy.OPTIMAL, (5, 0)))
    rows += [measure(500, 5_000, strategy) for strategy in (Strategy.SPREAD, Strategy.PACK)]
    rows.append(measure(500, 5_000, Strategy.OPTIMAL, (60, 2)))
    rows += [measure_in_use(*size, s) for size in ((50, 500), (500, 5_000)) for s in (Strategy.SPREAD, Strategy.PACK)]
    yield Table("Joint placement", TEXT, tuple(rows))
