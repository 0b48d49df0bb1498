"""Scheduler hints as placement's words: marks that servers bear on their hosts, and what hosts must bear or lack."""

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import field

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.model.found import Snapshot
from stacksmith.model.hint import targets
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.stack import Stack
from stacksmith.placement.request import Hint

_NAMED = 3


@dataclass(slots=True)
class Hinted:
    """What the hints of all servers make of one: its marks, whom it must not and must be with, whom it is bound to."""

    marks: list[str] = field(default_factory=list)
    away: list[Hint] = field(default_factory=list)
    follows: list[Hint] = field(default_factory=list)
    together: str | None = None


def hinted(
    stack: Stack, snapshot: Snapshot, fixed: Mapping[Address, str], asked: Container[Address] = ()
) -> Mapping[Address, Hinted]:
    """By server, those without any left out. ``fixed`` are the hosts of servers that stay, of which those that are
    ``asked`` about follow others all the same.

    Servers with one list share its marks, so that the cost is that of the lists, not of the pairs.
    """
    lists = _lists(stack, {address for address in fixed if address not in asked})
    if not lists:
        return {}
    instances: dict[Address, list[Address]] = defaultdict(list)
    for address in stack.resources:
        instances[address.block].append(address)
    where = _hosts_by_uuid(snapshot)
    made: dict[Address, Hinted] = defaultdict(Hinted)
    bonds = _Bonds()
    for (name, texts), servers in lists.items():
        named = targets(texts, stack.fleet.fleet, instances)
        hosts = frozenset(where[uuid] for uuid in named.others if uuid in where)
        words = _words(texts)
        if name == "different_host":
            _keep_apart(made, servers, named.own, (words, hosts))
        elif len(texts) == 1 and len(named.own) == 1 and named.own[0] not in fixed:
            for server in servers:
                bonds.join(server, named.own[0])
        else:
            _follow(made, servers, named.own, (words, hosts), fixed)
    for server, first in bonds.firsts().items():
        made[server].together = f"same_host {first}"
    return made


def _lists(stack: Stack, fixed: Container[Address]) -> dict[tuple[str, tuple[str, ...]], list[Address]]:
    """The servers of each list that is given, by hint and texts. Those that stay still keep others away."""
    lists: dict[tuple[str, tuple[str, ...]], list[Address]] = defaultdict(list)
    for address, resource in stack.resources.items():
        hints = resource.spec.scheduler_hints if isinstance(resource.spec, ServerSpec) else None
        if hints is not None and hints.same_host and address not in fixed:
            lists["same_host", tuple(hints.same_host)].append(address)
        if hints is not None and hints.different_host:
            lists["different_host", tuple(hints.different_host)].append(address)
    return lists


def _hosts_by_uuid(snapshot: Snapshot) -> dict[str, str]:
    where = {}
    for snap in snapshot.hosts:
        where.update({other.uuid: snap.host for other in snap.unmanaged if other.kind == "server"})
        where.update({found.uuid: snap.host for found in snap.found if found.address.kind == "server"})
    return where


def _keep_apart(
    made: dict[Address, Hinted],
    servers: Iterable[Address],
    named: Iterable[Address],
    told: tuple[str, frozenset[str]],
) -> None:
    """Both sides bear a mark and keep away from the other's, so that it does not matter which is placed first."""
    words, hosts = told
    away, here = f"away from {words}", f"one of {words}"
    for server in servers:
        made[server].marks.append(away)
        made[server].away.append(Hint(here, words, hosts))
    for target in named:
        made[target].marks.append(here)
        made[target].away.append(Hint(away, f"what keeps away from {words}"))


def _follow(
    made: dict[Address, Hinted],
    servers: Iterable[Address],
    named: Sequence[Address],
    told: tuple[str, frozenset[str]],
    fixed: Mapping[Address, str],
) -> None:
    words, hosts = told
    hosts |= {fixed[target] for target in named if target in fixed}
    mark = f"followed as {words}" if any(target not in fixed for target in named) else ""
    for server in servers:
        made[server].follows.append(Hint(mark, words, hosts))
    for target in named if mark else ():
        made[target].marks.append(mark)


def _words(texts: Sequence[str]) -> str:
    listed = " or ".join(texts[:_NAMED])
    return listed + (f" or {len(texts) - _NAMED} more" if len(texts) > _NAMED else "")


class _Bonds:
    """Servers that must share a host, joined to sets."""

    def __init__(self) -> None:
        self._over: dict[Address, Address] = {}

    def join(self, one: Address, other: Address) -> None:
        """Puts the two, and all that are with either, together."""
        first, second = sorted((self._first(one), self._first(other)))
        self._over[second] = self._over[first] = first

    def _first(self, address: Address) -> Address:
        while (over := self._over.get(address, address)) != address:
            address = over
        return address

    def firsts(self) -> dict[Address, Address]:
        """The least address of its set for each."""
        return {address: self._first(address) for address in self._over}
