"""Requests that must go to one host together, made from what ``together`` and affinity groups say."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.placement.host import HostState
from stacksmith.placement.request import CLASSES, Group, Hint, Policy, Request

if TYPE_CHECKING:
    from stacksmith.placement.refusal import Momentary


@dataclass(frozen=True, slots=True)
class Apart:
    """An anti-affinity rule of one unit: its own ``count`` members join a group of which a host takes ``limit``.

    With ``words``, which name its members, the group is a mark of a hint.
    """

    group: str
    count: int
    limit: int
    words: str = ""


@dataclass(frozen=True, slots=True)
class Unit:
    """One or more requests for one host, in order of address; ``unlike`` is one of each that asks something else.

    amounts: the sum by class, weighed classes first. ``joins``: (group or mark, members of this unit). ``near``:
    affinity groups that already have members, with the hosts these are on. ``soft``: (group, +1 to be near its members
    or -1 to be far). ``follows``: one of each must be on the host already. ``key`` is equal for units that fit equally
    wherever no server group forbids it. ``has_parts``: it asks for something of the providers below its host.
    ``queries`` are asked of the host as it is when the unit comes.
    """

    requests: tuple[Request, ...]
    unlike: tuple[Request, ...]
    amounts: tuple[tuple[str, int], ...]
    joins: tuple[tuple[str, int], ...]
    apart: tuple[Apart, ...]
    near: tuple[tuple[str, frozenset[str]], ...]
    soft: tuple[tuple[str, int], ...]
    follows: tuple[Hint, ...]
    key: tuple[object, ...]
    has_parts: bool = False
    queries: tuple["Momentary", ...] = ()

    @property
    def address(self) -> Address:
        """The address it is sorted by: its first."""
        return self.requests[0].address

    @property
    def named_hosts(self) -> frozenset[str] | None:
        """Hosts outside of which it cannot be, as the requests and their groups name them; None for all."""
        sets = [hosts for _, hosts in self.near]
        sets += [frozenset({r.host}) for r in self.unlike if r.host is not None]
        sets += [frozenset(r.with_hosts) for r in self.unlike if r.with_hosts]
        return frozenset.intersection(*sets) if sets else None


def bundle(requests: Iterable[Request], hosts: Sequence[HostState], groups: Mapping[str, Group]) -> list[Unit]:
    """Units in order of address. Raises: KeyError when a request names a group that is not there."""
    near = _hosts_by_group(hosts, groups)
    parts: dict[Address, list[Request]] = {}
    leader: dict[tuple[str, str], Address] = {}
    for request in sorted(requests, key=lambda r: r.address.order):
        bonds = [("together", request.together)] if request.together is not None else []
        if request.group is not None and groups[request.group].policy == Policy.AFFINITY and request.group not in near:
            bonds.append(("group", request.group))
        _join(parts, leader, request, bonds)
    return [_unit(tuple(sorted(p, key=lambda r: r.address.order)), groups, near) for p in parts.values()]


def _join(
    parts: dict[Address, list[Request]],
    leader: dict[tuple[str, str], Address],
    request: Request,
    bonds: list[tuple[str, str]],
) -> None:
    """Adds a request to the part its bonds lead to, and makes one of several parts that it connects."""
    found = sorted({leader[bond] for bond in bonds if bond in leader})
    first = found[0] if found else request.address
    part = parts.setdefault(first, [])
    for other in found[1:]:
        part += parts.pop(other)
        leader.update({bond: first for bond, address in leader.items() if address == other})
    part.append(request)
    leader.update(dict.fromkeys(bonds, first))


def _hosts_by_group(hosts: Sequence[HostState], groups: Mapping[str, Group]) -> dict[str, frozenset[str]]:
    """Hosts of the members of every affinity group that has some."""
    found: dict[str, set[str]] = {}
    for host in hosts:
        for name, count in host.groups.items():
            if count > 0 and name in groups and groups[name].policy == Policy.AFFINITY:
                found.setdefault(name, set()).add(host.name)
    return {name: frozenset(names) for name, names in found.items()}


def _unit(requests: tuple[Request, ...], groups: Mapping[str, Group], near: Mapping[str, frozenset[str]]) -> Unit:
    unlike = {_conditions(request): request for request in reversed(requests)}
    amounts: Counter[str] = Counter()
    joins: Counter[str] = Counter()
    for request in requests:
        amounts.update({name: amount for name, amount in request.amounts.items() if amount})
        if request.group is not None:
            joins[request.group] += 1
    members = sorted(joins.items())
    marks = Counter(mark for request in requests for mark in request.marks)
    soft = {Policy.SOFT_AFFINITY: 1, Policy.SOFT_ANTI_AFFINITY: -1}
    close = tuple((name, near[name]) for name, _ in members if name in near)
    return Unit(
        requests=requests,
        unlike=tuple(unlike.values()),
        amounts=tuple(sorted(amounts.items(), key=_class_order)),
        joins=tuple(sorted([*members, *marks.items()])),
        apart=(
            *(
                Apart(name, count, groups[name].max_server_per_host)
                for name, count in members
                if groups[name].policy == Policy.ANTI_AFFINITY
            ),
            *_away(requests),
        ),
        near=close,
        follows=tuple(dict.fromkeys(h for r in requests for h in r.follows if h.mark and h.mark not in marks)),
        soft=tuple((name, soft[Policy(groups[name].policy)]) for name, _ in members if groups[name].policy in soft),
        key=(close, tuple(sorted(amounts.items())), frozenset(unlike), _times(requests)),
        has_parts=any(request.parts is not None for request in requests),
        queries=tuple(dict.fromkeys(query for request in requests for query in request.queries)),
    )


def _away(requests: Sequence[Request]) -> Iterator[Apart]:
    """A rule for each mark that some request keeps away from; those of the unit that bear it count but for itself."""
    for hint in dict.fromkeys(hint for r in requests for hint in r.away if hint.mark):
        keepers = [r for r in requests if hint in r.away]
        bearers = [r for r in requests if hint.mark in r.marks]
        yield Apart(hint.mark, sum(any(k is not b for k in keepers) for b in bearers), 0, hint.words)


def _times(requests: Sequence[Request]) -> frozenset[object]:
    """How many of several requests ask the same of parts: their amounts do not tell it, when parts are all they ask."""
    if len(requests) == 1:
        return frozenset()
    return frozenset(Counter((r.parts.key, _held(r)) for r in requests if r.parts is not None).items())


def _held(request: Request) -> object:
    return tuple((uuid, *sorted(amounts.items())) for uuid, amounts in sorted(request.held.items()))


def _class_order(item: tuple[str, int]) -> tuple[int, str]:
    name = item[0]
    return (CLASSES.index(name) if name in CLASSES else len(CLASSES), name)


def _conditions(request: Request) -> tuple[object, ...]:
    """Everything of a request that decides which hosts it fits on, but for anti-affinity."""
    return (
        tuple(sorted(request.amounts.items())),
        request.required,
        request.forbidden,
        request.availability_zone,
        request.host,
        request.with_hosts,
        request.beside,
        request.member_of,
        request.conditions,
        request.parts.key if request.parts is not None else None,
        request.away,
        request.follows,
        request.queries,
        _held(request),
    )
