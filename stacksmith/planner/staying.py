"""Why servers that exist could be elsewhere or not: their requests as if they were new, put to the other hosts."""

from collections import defaultdict
from collections.abc import Collection, Iterable

from stacksmith.address import Address
from stacksmith.model.found import Snapshot
from stacksmith.model.stack import Stack
from stacksmith.placement.request import Group
from stacksmith.placement.stay import stays
from stacksmith.placement.tree.provider import Consumer
from stacksmith.placement.verdict import Placement
from stacksmith.planner.asking import Asking
from stacksmith.planner.build import draft
from stacksmith.planner.hint import hinted
from stacksmith.planner.inventory import host_states
from stacksmith.planner.ledger import Ledger
from stacksmith.planner.offence import Offence
from stacksmith.planner.part import demands
from stacksmith.planner.schedule import (
    EXPLAINED,
    Moving,
    Schedule,
    group_members,
    server_requests,
    to_move,
    with_held,
    with_hints,
)
from stacksmith.planner.sharing import held_by


def staying(
    stack: Stack,
    snapshot: Snapshot,
    consumers: Iterable[Consumer],
    wanted: Collection[Address] | None = None,
    offences: Iterable[Offence] = (),
) -> tuple[Placement, ...]:
    """The servers of the stack that were found, or those wanted, with a verdict of every host as things stand.

    ``offences`` are what servers break where they are, told at their hosts. Of more servers than a plan explains, none
    when none is named: the tables would be servers times hosts.
    """
    drafted = draft(stack, {})
    blocks = {*drafted.layouts, *drafted.volumes}
    fixed = {f.address: f.host for h in snapshot.hosts for f in h.found if f.address in blocks and not f.partial}
    kept = {address: host for address, host in fixed.items() if address.kind == "server"}
    if wanted is None and len(kept) > EXPLAINED:
        return ()
    asking, hints = Asking(stack), hinted(stack, snapshot, fixed, kept)
    users, ledger = drafted.users(), Ledger(stack.name, stack.fleet, snapshot, consumers)
    volumes = {a: host for a, host in fixed.items() if a.kind == "volume" and users.get(a) not in kept}
    held = held_by(ledger, (f for h in snapshot.hosts for f in h.found), users, dict.fromkeys(kept, ()))
    asked = Schedule({}, demands=demands(stack))
    requests = server_requests(asking, drafted, volumes, users, asked)
    chosen = [r for r in requests if r.address in kept and (wanted is None or r.address in wanted)]
    chosen = [with_held(with_hints(r, hints), held, users) for r in chosen]
    chosen = [to_move(stack, r, Moving(kept[r.address])) for r in chosen]
    members, pending = group_members(asking, fixed, hints), ledger.pending()
    states = host_states(stack.fleet, snapshot, (), members, pending=pending)
    groups = {n: Group(n, g.policy, g.max_server_per_host) for n, g in stack.server_groups.items()}
    order = stack.fleet.scheduler if stack.fleet.scheduler.weighers else stack.strategy
    against: dict[Address, list[str]] = defaultdict(list)
    for offence in offences:
        for address in offence.servers:
            against[address].append(offence.reason)
    return stays(chosen, states, groups, kept, order, against)
