"""Says for every root why it can or cannot meet a request, with numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from stacksmith.placement.tree.candidate import Candidate, at_root, make_steps
from stacksmith.placement.tree.fit import Slot, granular_refusals, pool, root_refusals, slots, spread_refusals
from stacksmith.placement.tree.forest import Forest
from stacksmith.placement.tree.ledger import Ledger
from stacksmith.placement.tree.provider import World
from stacksmith.placement.tree.reason import (
    GaveUp,
    LacksTrait,
    NoInventory,
    NotCovered,
    NotTogether,
    OverCapacity,
    Reason,
    group_words,
)
from stacksmith.placement.tree.request import CandidateRequest, GroupPolicy
from stacksmith.placement.tree.step import FEW_STEPS, MOST_STEPS, Steps
from stacksmith.placement.verdict import Verdict


def verdicts(world: World | Ledger, request: CandidateRequest, most_steps: int = MOST_STEPS) -> tuple[Verdict, ...]:
    """A verdict for every root, by name: its first candidate, or every reason why it has none.

    The search goes as far as that of ``candidates``; where it does not settle a root the verdict is not ``settled``.
    Raises: Refused for steps that are no integer of 1 or more.
    """
    forest = world.forest if isinstance(world, Ledger) else Forest.of(world)
    steps = make_steps(most_steps)
    return tuple(_verdict(forest, request, root, steps) for root in forest.roots)


def _verdict(forest: Forest, request: CandidateRequest, root: str, steps: Steps) -> Verdict:
    name = forest.providers[root].name
    steps.open_root()
    try:
        first = next(at_root(forest, request, root, steps), None)
    except GaveUp as gave_up:
        return Verdict(name, False, str(gave_up).removeprefix(f"{name}: "), settled=False)
    if first is not None:
        return Verdict(name, True, told(forest, first))
    reasons = dict.fromkeys(text.removeprefix(f"{name}: ") for text in why_not(forest, request, root))
    return Verdict(name, False, "; ".join(reasons))


def told(forest: Forest, candidate: Candidate) -> str:
    """``VCPU 2, MEMORY_MB 2,048 on hv1; DISK_GB 10 on pool``."""
    return "; ".join(
        f"{', '.join(f'{name} {amount:,}' for name, amount in amounts.items())} on {forest.providers[uuid].name}"
        for uuid, amounts in candidate.allocations.items()
    )


def why_not(forest: Forest, request: CandidateRequest, root: str) -> list[str]:
    """Every reason why a root cannot meet a request."""
    found = list(slots(forest, request, root))
    reasons = [str(reason) for reason in root_refusals(forest, request, root)]
    for slot in found:
        if not slot.options:
            reasons += _no_option(forest, request, slot, root)
    if not reasons:
        reasons += map(str, _not_covered(forest, request, found, root))
    return reasons or [str(_not_together(forest, request, root))]


def _no_option(forest: Forest, request: CandidateRequest, slot: Slot, root: str) -> list[str]:
    """What the provider that is nearest to giving a slot lacks; one that offers nothing is told of if all do so."""
    group, providers = request.groups[slot.group], pool(forest, root)
    answers: list[list[Reason]] = []
    for uuid in providers:
        if slot.group:
            answers.append(list(granular_refusals(forest, group, uuid)))
        else:
            answers.append(list(spread_refusals(forest, group, slot.amounts[0], uuid, root)))
    offering = [answer for uuid, answer in zip(providers, answers, strict=True) if forest.providers[uuid].inventories]
    nearest = [str(reason) for reason in min(offering or answers, key=_distance)]
    if len(providers) > 1:
        if all(isinstance(reason, NoInventory) for answer in answers for reason in answer):
            nearest = [f"none of {len(providers)} providers has {' and '.join(name for name, _ in slot.amounts)}"]
        else:
            nearest = [f"{'; '.join(nearest)} (the nearest of {len(providers)})"]
    return [f"{group_words(slot.group)}: {'; '.join(nearest)}"] if slot.group else nearest


def _not_covered(forest: Forest, request: CandidateRequest, found: Sequence[Slot], root: str) -> Iterator[Reason]:
    """The required traits of the unsuffixed group that no provider brings which fits otherwise."""
    group, usable = request.groups.get(""), {uuid for slot in found if not slot.group for uuid in slot.options}
    have = frozenset[str]().union(*(forest.providers[uuid].traits for uuid in usable))
    for names in group.required if group is not None else ():
        if not names & have:
            alone = len(pool(forest, root)) == 1
            yield (LacksTrait if alone else NotCovered)(forest.providers[root].name, tuple(sorted(names)))


def _distance(reasons: Sequence[Reason]) -> tuple[int, int, int]:
    """Those that lack the whole inventory are farthest; of equals those that lack only room are nearest."""
    others = sum(not isinstance(reason, OverCapacity) for reason in reasons)
    return sum(isinstance(reason, NoInventory) for reason in reasons), len(reasons), others


def _not_together(forest: Forest, request: CandidateRequest, root: str) -> NotTogether:
    """The first condition without which it would work, or the room itself."""
    spread = request.groups.get("")
    relaxed = {
        "group_policy isolate wants a provider for each": replace(request, group_policy=GroupPolicy.NONE),
        "same_subtree wants one of them above all others": _without_subtrees(request),
    }
    if spread is not None and spread.required:
        traits = " and ".join(" or ".join(sorted(names)) for names in spread.required)
        words = f"no providers that fit have {traits} between them"
        relaxed[words] = replace(request, groups={**request.groups, "": replace(spread, required=())})
    cause = "what they ask of one provider is more than it has"
    for words, easier in relaxed.items():
        try:
            if next(at_root(forest, easier, root, Steps(FEW_STEPS)), None) is not None:
                return NotTogether(forest.providers[root].name, words)
        except GaveUp:
            cause = f"which condition is in the way was not found in {FEW_STEPS} steps"
    return NotTogether(forest.providers[root].name, cause)


def _without_subtrees(request: CandidateRequest) -> CandidateRequest:
    """The request without same_subtree, and so without the resourceless groups that only it makes mean something."""
    asking = {name: group for name, group in request.groups.items() if group.resources}
    return replace(request, groups=asking, same_subtree=())
