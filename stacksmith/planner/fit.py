"""Whether what grows still fits its host: an existing server is not placed again, but it may not push others out."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from stacksmith.model.realised import Volume, from_data
from stacksmith.placement.host import HostState
from stacksmith.placement.wording import claims_of, number
from stacksmith.planner.inventory import type_trait
from stacksmith.planner.ledger import spec_amounts
from stacksmith.planner.plan import Operation, Step


def overgrown(
    steps: Sequence[Step], hosts: Iterable[HostState], left_out: Mapping[str, Sequence[Step]]
) -> list[tuple[str, str]]:
    """(step id, cause) of each update that grows a server or a volume beyond what its host has left, and of each new
    one that was given the room of a server that stays: ``left_out`` are deletes that are no steps, by host.

    ``hosts`` count what stays; servers and volumes that the plan creates are added here.
    """
    states = {host.name: host for host in hosts}
    used: dict[str, Counter[str]] = defaultdict(Counter)
    refused = []
    for step in sorted(steps, key=lambda step: step.operation is not Operation.CREATE):
        if step.operation is Operation.CREATE and not step.partial:
            more = spec_amounts(step.wanted)
        elif step.operation is Operation.UPDATE:
            more = {name: amount for name, amount in _growth(step).items() if amount > 0}
        else:
            continue
        provider, staying = _provider(step, states), left_out.get(step.host, ())
        used[provider].update(more)
        if step.host not in states or (step.operation is Operation.CREATE and not staying):
            continue
        names = ", ".join(str(each.address) for each in staying)
        until = f" while the plan leaves out the deletion of {names}" if staying else ""
        for name in more:
            if cause := _short(states[step.host], provider, name, used[provider][name]):
                refused.append((step.id, f"{step.host} has no room{until}: {cause}"))
    return refused


def _provider(step: Step, states: Mapping[str, HostState]) -> str:
    """The host, or the storage below it that has the volume's type apart."""
    if isinstance(step.wanted, Volume) and step.host in states:
        trait = type_trait(step.wanted.volume_type)
        state = states[step.host]
        apart = (part.uuid for part in state.parts if trait in part.traits and part.uuid not in state.own_disks)
        return next(apart, step.host)
    return step.host


def _growth(step: Step) -> dict[str, int]:
    """Units that the object takes more, by class; less is below zero."""
    before = spec_amounts(from_data(step.address.kind, step.before)) if step.before is not None else {}
    after = spec_amounts(step.wanted)
    return {name: after.get(name, 0) - before.get(name, 0) for name in {**before, **after}}


def _short(host: HostState, provider: str, name: str, more: int) -> str:
    offers = {host.name: host.inventories} | {part.uuid: part.inventories for part in host.parts}
    inventory = offers[provider].get(name)
    if inventory is None:
        return ""
    used = (host.used if provider == host.name else host.parts_used.get(provider, {})).get(name, 0)
    over = used + more - inventory.capacity
    owners = host.claimed if provider == host.name else host.parts_claimed.get(provider, {})
    claimed = claims_of(owners.get(name, {}))
    have = number(inventory.capacity)
    told = f"{name} {number(over)} short (used {used:,} of {have}{claimed}, {more:,} more wanted)"
    return told if over > 0 else ""
