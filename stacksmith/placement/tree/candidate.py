"""Answers what can be allocated where: ``GET /allocation_candidates``, lazily and in a stable order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from stacksmith.placement.tree.fit import Slot, root_refusals, slots
from stacksmith.placement.tree.forest import Forest
from stacksmith.placement.tree.ledger import Ledger
from stacksmith.placement.tree.name import SHARES
from stacksmith.placement.tree.provider import World, is_count
from stacksmith.placement.tree.reason import BadRequest, Refused
from stacksmith.placement.tree.request import CandidateRequest
from stacksmith.placement.tree.search import Search


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to meet a request: ``allocations`` are units by provider uuid and class, ready to be claimed.

    ``mappings``: for each group (``""`` the unsuffixed) the uuids of its providers, in order of name. ``root``: the
    uuid of the root of the tree it was found for, the first one where several could.
    """

    root: str
    allocations: Mapping[str, Mapping[str, int]]
    mappings: Mapping[str, tuple[str, ...]]


def candidates(world: World | Ledger, request: CandidateRequest, limit: int | None = None) -> Iterator[Candidate]:
    """Yields each candidate once: roots by name, and for each the providers by name, parents before children.

    Nothing is searched before it is asked for, so the first few of very many cost little. At most ``limit``, and no
    more than the request's own limit. A world is indexed anew at every call: for many requests, ask a ledger. It may be
    written to while candidates are taken; one that is out of date by then, its claim finds out.
    Raises: Refused for a limit that is no integer of 1 or more.
    """
    if limit is not None and not is_count(limit, 1):
        raise Refused([BadRequest(None, f"limit {limit!r} is not an integer of 1 or more")])
    forest = world.forest if isinstance(world, Ledger) else Forest.of(world)
    limits = [number for number in (limit, request.limit) if number is not None]
    return islice(_find(forest, request), min(limits, default=None))


def _find(forest: Forest, request: CandidateRequest) -> Iterator[Candidate]:
    """All candidates. Only those on nothing but sharing providers can be met again at another root."""
    seen: set[object] = set()
    for root in anchors(forest, request):
        for candidate in at_root(forest, request, root):
            if all(SHARES in forest.providers[uuid].traits for uuids in candidate.mappings.values() for uuid in uuids):
                key = (_frozen(candidate.allocations), tuple(candidate.mappings.items()))
                if key in seen:
                    continue
                seen.add(key)
            yield candidate


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


def at_root(forest: Forest, request: CandidateRequest, root: str) -> Iterator[Candidate]:
    """The candidates of one anchor."""
    if next(root_refusals(forest, request, root), None) is not None:
        return
    found: list[Slot] = []
    for slot in slots(forest, request, root):
        if not slot.options:
            return
        found.append(slot)
    found.sort(key=lambda slot: len(slot.options))
    for chosen in Search(forest, request, found).ways():
        yield _candidate(forest, root, found, chosen)


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
