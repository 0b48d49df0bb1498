"""Answers what can be allocated where: ``GET /allocation_candidates``, lazily and in a stable order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from stacksmith.placement.tree.fit import Slot, root_refusals, slots
from stacksmith.placement.tree.forest import Forest
from stacksmith.placement.tree.ledger import Ledger
from stacksmith.placement.tree.name import SHARES
from stacksmith.placement.tree.provider import World, is_count
from stacksmith.placement.tree.reason import BadRequest, GaveUp, Reason, Refused, SearchCut
from stacksmith.placement.tree.request import CandidateRequest
from stacksmith.placement.tree.search import Search
from stacksmith.placement.tree.step import MOST_STEPS, OutOfSteps, Steps


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to meet a request: ``allocations`` are units by provider uuid and class, ready to be claimed.

    ``mappings``: for each group (``""`` the unsuffixed) the uuids of its providers, in order of name. ``root``: the
    uuid of the root of the tree it was found for, the first one where several could.
    """

    root: str
    allocations: Mapping[str, Mapping[str, int]]
    mappings: Mapping[str, tuple[str, ...]]


def candidates(
    world: World | Ledger, request: CandidateRequest, limit: int | None = None, most_steps: int = MOST_STEPS
) -> Iterator[Candidate]:
    """Yields each candidate once: roots by name, and for each the providers by name, parents before children.

    Nothing is searched before it is asked for, so the first few of very many cost little. At most ``limit``, and no
    more than the request's own limit. A world is indexed anew at every call: for many requests, ask a ledger. It may be
    written to while candidates are taken; one that is out of date by then, its claim finds out. From one candidate to
    the next ``most_steps`` are searched, and a few more at each root; what that does not settle is told at the end.
    Raises: Refused for a limit or steps that are no integer of 1 or more; when all that were found are taken, GaveUp
    for the roots at which the search was cut short.
    """
    if limit is not None and not is_count(limit, 1):
        raise Refused([BadRequest(None, f"limit {limit!r} is not an integer of 1 or more")])
    steps = make_steps(most_steps)
    forest = world.forest if isinstance(world, Ledger) else Forest.of(world)
    limits = [number for number in (limit, request.limit) if number is not None]
    return islice(_find(forest, request, steps), min(limits, default=None))


def make_steps(most: int) -> Steps:
    """So many steps. Raises: Refused when that is no integer of 1 or more."""
    if not is_count(most, 1):
        raise Refused([BadRequest(None, f"most_steps {most!r} is not an integer of 1 or more")])
    return Steps(most)


def _find(forest: Forest, request: CandidateRequest, steps: Steps) -> Iterator[Candidate]:
    """All candidates. Only those on nothing but sharing providers can be met again at another root."""
    seen: set[object] = set()
    cut: list[Reason] = []
    for root in anchors(forest, request):
        steps.open_root()
        try:
            for candidate in at_root(forest, request, root, steps):
                steps.renew()
                if _is_shared(forest, candidate):
                    key = (_frozen(candidate.allocations), tuple(candidate.mappings.items()))
                    if key in seen:
                        continue
                    seen.add(key)
                yield candidate
        except GaveUp as gave_up:
            cut += gave_up.reasons
    if cut:
        raise GaveUp(cut)


def _is_shared(forest: Forest, candidate: Candidate) -> bool:
    return all(SHARES in forest.providers[uuid].traits for uuids in candidate.mappings.values() for uuid in uuids)


def anchors(forest: Forest, request: CandidateRequest) -> Sequence[str]:
    """Roots where the request may be met: a group with ``in_tree`` leaves few of them."""
    found: set[str] | None = None
    for name, group in request.groups.items():
        if group.in_tree is None:
            continue
        if group.in_tree not in forest.providers:
            return ()
        root = forest.root(group.in_tree)
        here = {user for uuid in forest.tree(root) for user in forest.users(uuid)} if name else {root}
        found = here if found is None else found & here
    return forest.roots if found is None else sorted(found, key=lambda root: forest.providers[root].name)


def at_root(forest: Forest, request: CandidateRequest, root: str, steps: Steps) -> Iterator[Candidate]:
    """The candidates of one anchor. Raises: GaveUp when the steps do not do to find the next or that there is none."""
    if next(root_refusals(forest, request, root), None) is not None:
        return
    found: list[Slot] = []
    for slot in slots(forest, request, root):
        if not slot.options:
            return
        found.append(slot)
    found.sort(key=lambda slot: len(slot.options))
    try:
        for chosen in Search(forest, request, found, steps).ways():
            yield _candidate(forest, root, found, chosen)
    except OutOfSteps:
        raise GaveUp([SearchCut(forest.providers[root].name, steps.taken)]) from None


def _candidate(forest: Forest, root: str, found: Sequence[Slot], chosen: Sequence[str]) -> Candidate:
    allocations: dict[str, dict[str, int]] = {}
    mappings: dict[str, set[str]] = {}
    for slot, uuid in zip(found, chosen, strict=True):
        mappings.setdefault(slot.group, set()).add(uuid)
        for name, amount in slot.amounts:
            amounts = allocations.setdefault(uuid, {})
            amounts[name] = amounts.get(name, 0) + amount

    def by_name(uuid: str) -> str:
        return forest.providers[uuid].name

    return Candidate(
        root,
        {uuid: dict(sorted(allocations[uuid].items())) for uuid in sorted(allocations, key=by_name)},
        {name: tuple(sorted(mappings[name], key=by_name)) for name in sorted(mappings)},
    )


def _frozen(allocations: Mapping[str, Mapping[str, int]]) -> object:
    return tuple((uuid, tuple(amounts.items())) for uuid, amounts in allocations.items())
