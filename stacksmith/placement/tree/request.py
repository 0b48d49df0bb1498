"""What is asked for: groups of resources with conditions, as ``GET /allocation_candidates`` takes them (API 1.39)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from stacksmith.placement.tree.name import class_problem, group_problem, trait_problem
from stacksmith.placement.tree.provider import is_count
from stacksmith.placement.tree.reason import BadName, BadRequest, Reason, Refused

# Each item is met by any one of its names; all items must be met.
AnyOf = tuple[frozenset[str], ...]


class GroupPolicy(StrEnum):
    """Whether granular groups may share a provider: freely, or never."""

    NONE = "none"
    ISOLATE = "isolate"


@dataclass(frozen=True, slots=True)
class ResourceGroup:
    """Resources that belong together, with what their providers must be.

    Of a granular group one provider meets everything by itself. The unsuffixed group may spread over the providers of
    a tree and the sharing providers that this tree can use: its required traits are met by all used ones together, a
    forbidden one is on none, and an aggregate of the root counts for the whole tree.
    ``in_tree``: the uuid of any provider of the tree it must be in.
    """

    resources: Mapping[str, int] = field(default_factory=dict)
    required: AnyOf = ()
    forbidden: frozenset[str] = frozenset()
    member_of: AnyOf = ()
    forbidden_aggregates: frozenset[str] = frozenset()
    in_tree: str | None = None


@dataclass(frozen=True, slots=True)
class CandidateRequest:
    """One request. ``groups`` by suffix; ``""`` is the unsuffixed group.

    ``group_policy`` may be given as text. root_required, root_forbidden: traits of the root. ``same_subtree``: for each
    set of granular groups, one of the providers they get is above or equal to all the others. ``limit``: at most so
    many candidates, None for all.
    Raises: Refused for what Placement answers 400 to.
    """

    groups: Mapping[str, ResourceGroup]
    group_policy: GroupPolicy | None = None
    root_required: frozenset[str] = frozenset()
    root_forbidden: frozenset[str] = frozenset()
    same_subtree: tuple[frozenset[str], ...] = ()
    limit: int | None = None

    def __post_init__(self) -> None:
        reasons = tuple(_request_faults(self))
        if reasons:
            raise Refused(reasons)
        if self.group_policy is not None:
            object.__setattr__(self, "group_policy", GroupPolicy(self.group_policy))

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for equal requests, and hashable."""
        groups = [
            (n, tuple(sorted(g.resources.items())), g.required, g.forbidden, g.member_of, g.forbidden_aggregates)
            for n, g in sorted(self.groups.items())
        ]
        trees = tuple(group.in_tree for _, group in sorted(self.groups.items()))
        root = (self.root_required, self.root_forbidden)
        return tuple(groups), trees, self.group_policy, root, self.same_subtree, self.limit

    @property
    def granular(self) -> list[tuple[str, ResourceGroup]]:
        """The suffixed groups, in order of their suffixes."""
        return sorted((name, group) for name, group in self.groups.items() if name)


def _request_faults(request: CandidateRequest) -> Iterator[Reason]:
    for name, group in sorted(request.groups.items()):
        problem = group_problem(name) if name else None
        if problem:
            yield BadName("group", name, problem)
        yield from _group_faults(name, group)
    yield from _trait_faults(request.root_required | request.root_forbidden)
    for trait in sorted(request.root_required & request.root_forbidden):
        yield BadRequest(None, f"the root is required to have trait {trait} and forbidden to")
    yield from _shape_faults(request)
    if request.limit is not None and not is_count(request.limit, 1):
        yield BadRequest(None, f"limit {request.limit!r} is not an integer of 1 or more")


def _group_faults(name: str, group: ResourceGroup) -> Iterator[Reason]:
    for resource_class, amount in sorted(group.resources.items()):
        problem = class_problem(resource_class)
        if problem:
            yield BadName("resource class", resource_class, problem)
        if not is_count(amount, 1):
            yield BadRequest(name, f"{resource_class} {amount!r} is not an integer of 1 or more")
    yield from _trait_faults(group.forbidden.union(*group.required))
    for traits in group.required:
        if traits <= group.forbidden:
            yield BadRequest(name, f"trait {' or '.join(sorted(traits)) or 'of an empty list'} required and forbidden")


def _trait_faults(traits: frozenset[str]) -> Iterator[Reason]:
    for trait in sorted(traits):
        problem = trait_problem(trait)
        if problem:
            yield BadName("trait", trait, problem)


def _shape_faults(request: CandidateRequest) -> Iterator[Reason]:
    if not any(group.resources for group in request.groups.values()):
        yield BadRequest(None, "no group asks for resources")
    elif "" in request.groups and not request.groups[""].resources:
        yield BadRequest("", "it has conditions and no resources")
    named = frozenset[str]().union(*request.same_subtree)
    for name in sorted(named - {name for name, _ in request.granular}):
        yield BadRequest(None, f"same_subtree names {group_name(name)}, which is not in the request")
    for name, group in request.granular:
        if not group.resources and name not in named:
            yield BadRequest(name, "it asks for no resources, so same_subtree must name it")
    if request.group_policy is not None and request.group_policy not in tuple(GroupPolicy):
        yield BadRequest(None, f"group_policy {request.group_policy!r} is not none or isolate")
    if request.group_policy is None and len(request.granular) > 1:
        names = ", ".join(name for name, _ in request.granular)
        yield BadRequest(None, f"group_policy must be said for several granular groups ({names})")


def group_name(name: str) -> str:
    """A name as it was given, or what stands for the empty one."""
    return name or "the unsuffixed group"
