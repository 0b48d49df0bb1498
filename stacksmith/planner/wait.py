"""Migrations that wait for others: no host is over its capacity, and no rule is broken anew, at any moment of the run.

A server that migrates takes its room on both hosts until the migration has ended.
"""

from collections.abc import Collection, Container, Iterable, Mapping, Sequence

from stacksmith.address import Address
from stacksmith.diagnostics import Diagnostic, Faults, error
from stacksmith.model.stack import Stack
from stacksmith.placement.request import Group
from stacksmith.planner.floor import Floor, Move, in_order, lone_unit, without_parts
from stacksmith.planner.plan import Operation, Step
from stacksmith.planner.schedule import Schedule

Waits = Mapping[str, Sequence[str]]


class Circle(Faults):
    """No plan, for these servers wait for each other to leave. Those ``bound`` ask for parts of hosts."""

    def __init__(self, stuck: Sequence[Move], bound: Container[Address]) -> None:
        super().__init__([_circle(stuck, bound)])
        self.stuck = frozenset(move.address for move in stuck)


def waits(stack: Stack, scheduled: Schedule, moving: Collection[Address], steps: Iterable[Step]) -> Waits:
    """For each migration the ids of the steps that make the room it goes to.

    On one host, who comes later in the order waits for all that those before wait for, so that the room holds however
    the run takes what may run side by side.
    Raises: Circle when they wait for each other, with the chain.
    """
    migrations = [step for step in steps if step.operation is Operation.MIGRATE]
    by_address = {step.address: step.id for step in migrations}
    # Its room is free when its volumes have gone, too.
    ids = {s.address: [by_address[a] for a in (s.address, *s.depends_on) if a in by_address] for s in migrations}
    # One that is not to move is there already: its step ends a move.
    servers = [step for step in migrations if step.address.kind == "server" and step.address in moving]
    moves = [Move(s.address, s.source, s.host) for s in servers]
    if not moves:
        return {}
    where = {move.address: move.source for move in moves}
    where |= {a: scheduled.hosts[a] for a in sorted(moving) if a in scheduled.requests and a not in where}
    groups = {n: Group(n, g.policy, g.max_server_per_host) for n, g in stack.server_groups.items()}
    units = {address: without_parts(lone_unit(scheduled.requests[address], groups)) for address in where}
    leavers = [move.address for move in moves if move.address not in scheduled.holding]
    order, stuck = in_order(Floor(scheduled.states, units, where, leavers), moves)
    if stuck:
        raise Circle(stuck, scheduled.demands)
    floor, needs = Floor(scheduled.states, units, where, leavers), {}
    for host in sorted({move.host for move in moves}):
        for move, before in _arrivals(floor, host, order):
            needs[f"{Operation.MIGRATE} {move.address}"] = [i for address in before for i in ids[address]]
    return needs


def _arrivals(floor: Floor, host: str, order: Sequence[Move]) -> Iterable[tuple[Move, list[Address]]]:
    """Each move to the host, with those who must have left before, the first to leave first."""
    leavers = iter([move.address for move in order if move.source == host])
    gone: list[Address] = []
    for move in order:
        if move.host != host:
            continue
        while not floor.takes(move.address, host):
            gone.append(next(leavers))
            floor.take_off(gone[-1], host)
        floor.put(move.address, host)
        yield move, list(gone)


def _circle(stuck: Sequence[Move], bound: Container[Address]) -> Diagnostic:
    """Each of these waits for room that another of them gives: one circle of them in words."""
    leaving = {move.source: move for move in reversed(stuck)}
    chain = [stuck[0]]
    while (following := leaving.get(chain[-1].host)) is not None and following not in chain:
        chain.append(following)
    if following is not None:
        chain = chain[chain.index(following) :]
    sought = {move.address: "room and parts" if move.address in bound else "room" for move in chain}
    words = [f"{move.address} waits for {sought[move.address]} on {move.host}" for move in chain]
    return error(
        "circular-steps",
        f"cannot order the migrations: {', '.join(words)}",
        hint="make room on one of these hosts, or let one of the servers go to a third host first",
    )
