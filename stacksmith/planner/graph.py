"""The order of steps, and parts of the graph: targets with what they need, exclusions with what needs them."""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from stacksmith.address import Address
from stacksmith.diagnostics import Diagnostic, Faults, error
from stacksmith.model.findings import did_you_mean
from stacksmith.planner.plan import Operation, Step


def ordered(steps: Iterable[Step]) -> tuple[Step, ...]:
    """The steps in topological order, ties by operation and address, so that equal plans are equal text.

    Raises: Faults when they wait for each other: servers that exchange their volumes. The loader has excluded others.
    """
    by_id = {step.id: step for step in steps}
    waiting = {step.id: sum(r in by_id for r in step.requires) for step in by_id.values()}
    dependants: dict[str, list[str]] = defaultdict(list)
    for step in by_id.values():
        for required in step.requires:
            if required in by_id:
                dependants[required].append(step.id)
    ready = [(_rank(by_id[i]), i) for i, count in waiting.items() if not count]
    heapq.heapify(ready)
    done = []
    while ready:
        _, current = heapq.heappop(ready)
        done.append(by_id[current])
        for name in dependants[current]:
            waiting[name] -= 1
            if not waiting[name]:
                heapq.heappush(ready, (_rank(by_id[name]), name))
    if len(done) < len(by_id):
        raise Faults([_circle([by_id[i] for i in sorted(waiting) if waiting[i]])])
    return tuple(done)


def _circle(steps: Sequence[Step]) -> Diagnostic:
    """The steps that wait for each other, without those that only wait for them."""
    import networkx

    names = {step.id for step in steps}
    waits = networkx.DiGraph([(step.id, need) for step in steps for need in step.requires if need in names])
    ids = sorted(need for _, need in networkx.find_cycle(waits))
    hint = None
    if any(" network." in each for each in ids):
        hint = "a network cannot take the subnet of one whose servers move to it: give it another subnet"
    elif all(each.startswith(f"{Operation.UPDATE} server.") for each in ids):
        hint = "servers cannot exchange volumes in one apply: take the volumes from both first, then give them"
    return error("circular-steps", f"cannot order the steps: {', '.join(ids)} wait for each other", hint=hint)


def _rank(step: Step) -> tuple[object, ...]:
    return (step.operation is not Operation.DELETE, *step.address.order)


def matches(pattern: str, address: Address) -> bool:
    """True when ``pattern`` names the address, its block (``server.web``), or it on any host (``network.lan``)."""
    return pattern in (str(address), str(address.block), str(Address(address.kind, address.name, address.key)))


def check_named(named: Mapping[str, Iterable[str]], known: Iterable[Address]) -> None:
    """Raises: Faults for each name, by what is asked of it, that is none of ``known``: it would do nothing."""
    unknown = [(verb, each) for verb, names in named.items() for each in names]
    if not unknown:
        return
    addresses = list(known)
    unknown = [(verb, each) for verb, each in unknown if not any(matches(each, address) for address in addresses)]
    choices = {str(address.block) for address in addresses} | {str(address) for address in addresses}
    faults = [
        error(
            "unknown-reference",
            f"cannot {verb} {each}: it is not in the stack, the state, or on a host",
            hint=did_you_mean(each, choices, "addresses"),
        )
        for verb, each in unknown
    ]
    if faults:
        raise Faults(faults)


def selected(
    steps: Sequence[Step], targets: Sequence[str], excludes: Sequence[str], replaces: Sequence[str] = ()
) -> tuple[Step, ...]:
    """The targeted steps and all they require, less the excluded ones and all that require those.

    Raises: Faults for each thing to replace of which no step is among them.
    """
    chosen = _selected(steps, targets, excludes)
    lost = [
        error(
            "unknown-reference",
            f"cannot replace {each}: --target or --exclude leaves it out",
            hint="name it as a target too",
        )
        for each in replaces
        if any(matches(each, step.address) for step in steps)
        and not any(matches(each, step.address) for step in chosen)
    ]
    if lost:
        raise Faults(lost)
    return chosen


def _selected(steps: Sequence[Step], targets: Sequence[str], excludes: Sequence[str]) -> tuple[Step, ...]:
    requires = {step.id: step.requires for step in steps}
    if targets:
        wanted = _closure((s.id for s in steps if any(matches(t, s.address) for t in targets)), requires.get)
        steps = [s for s in steps if s.id in wanted]
    if excludes:
        users: dict[str, list[str]] = defaultdict(list)
        for step in steps:
            for required in step.requires:
                users[required].append(step.id)
        out = _closure((s.id for s in steps if any(matches(t, s.address) for t in excludes)), users.get)
        steps = [s for s in steps if s.id not in out]
    return tuple(steps)


def _closure(start: Iterable[str], following: Callable[[str], Iterable[str] | None]) -> set[str]:
    reached: set[str] = set()
    stack = list(start)
    while stack:
        name = stack.pop()
        if name not in reached:
            reached.add(name)
            stack.extend(following(name) or ())
    return reached
