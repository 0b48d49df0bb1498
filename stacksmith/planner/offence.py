"""Rules that servers which run may break where they are, and who must move for each to be kept."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from stacksmith.address import Address
from stacksmith.frozen import dataclass

NAMED = 3  # servers told by name
LISTED = 5  # names of a list

Where = Mapping[Address, str]
OpenTo = Callable[[Address], Collection[str]]


@dataclass(frozen=True, slots=True)
class Offence:
    """A rule that is broken, as the host of the servers would refuse them if they were new there.

    ``rule`` and ``subject`` are those of a ``Refusal``. ``host`` is empty where the servers are on several.
    """

    rule: str
    subject: str
    host: str
    reason: str
    servers: tuple[Address, ...]

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for the same rule, broken by the same server, or on the same host where any of several may go."""
        return (self.rule, self.subject, self.host, self.servers if len(self.servers) == 1 else ())


class Rule(Protocol):
    """One rule about where servers are."""

    @property
    def servers(self) -> Sequence[Address]:
        """Those it is about."""

    def broken(self, where: Where) -> Iterator[Offence]:
        """The offences against it when servers are there."""

    def missing(self, moving: Collection[Address], accepted: Collection[object]) -> Sequence[Address]:
        """Servers of which one more must move, when all of ``moving`` leave their hosts for others; empty when that is
        enough. Offences whose keys are ``accepted`` need not end."""

    def least(self, moving: Collection[Address], accepted: Collection[object]) -> int:
        """How many more must move at least."""


@dataclass(frozen=True, slots=True)
class Astray:
    """A server that its own host refuses whatever else is there."""

    offence: Offence

    @property
    def servers(self) -> Sequence[Address]:
        """The one."""
        return self.offence.servers

    def broken(self, where: Where) -> Iterator[Offence]:
        """As long as it is there."""
        if where[self.offence.servers[0]] == self.offence.host:
            yield self.offence

    def missing(self, moving: Collection[Address], accepted: Collection[object]) -> Sequence[Address]:
        """It must go."""
        kept = self.offence.key in accepted or self.offence.servers[0] in moving
        return () if kept else self.offence.servers

    def least(self, moving: Collection[Address], accepted: Collection[object]) -> int:
        """It, if it stays."""
        return len(self.missing(moving, accepted))


@dataclass(frozen=True, slots=True)
class Crowd:
    """An anti-affinity group, of which a host may have ``limit`` members."""

    group: str
    limit: int
    start: Where

    @property
    def servers(self) -> Sequence[Address]:
        """Its members."""
        return tuple(self.start)

    def broken(self, where: Where) -> Iterator[Offence]:
        """One for each host that has too many."""
        for host, members in by_host(self.start, where).items():
            if len(members) > self.limit:
                limit = f", at most {self.limit} per host" if self.limit > 1 else ""
                reason = f"anti-affinity: {self.group} has {names(members)} here{limit}"
                yield Offence("anti-affinity", self.group, host, reason, tuple(members))

    def missing(self, moving: Collection[Address], accepted: Collection[object]) -> Sequence[Address]:
        """Those of a host that has too many."""
        return next(self._crowds(moving, accepted), ())

    def least(self, moving: Collection[Address], accepted: Collection[object]) -> int:
        """Those too many."""
        return sum(len(here) - self.limit for here in self._crowds(moving, accepted))

    def _crowds(self, moving: Collection[Address], accepted: Collection[object]) -> Iterator[Sequence[Address]]:
        for offence in self.broken(self.start):
            here = [a for a in offence.servers if a not in moving]
            if offence.key not in accepted and len(here) > self.limit:
                yield here


@dataclass(frozen=True, slots=True)
class Apart:
    """Servers that a different_host hint keeps away from others."""

    keepers: tuple[Address, ...]
    others: tuple[Address, ...]
    start: Where

    @property
    def servers(self) -> Sequence[Address]:
        """Both sides."""
        return tuple(dict.fromkeys((*self.keepers, *self.others)))

    def broken(self, where: Where) -> Iterator[Offence]:
        """One for each host that has both."""
        others = by_host(self.others, where)
        for host, keepers in by_host(self.keepers, where).items():
            pair = _pair(keepers, others.get(host, ()))
            if pair:
                here = sorted({*keepers, *others[host]}, key=lambda a: a.order)
                reason = f"different_host: {names(here)} are here together"
                yield Offence("filter", "DifferentHostFilter", host, reason, tuple(here))

    def missing(self, moving: Collection[Address], accepted: Collection[object]) -> Sequence[Address]:
        """Two that are still on one host."""
        for offence in self.broken(self.start):
            here = [a for a in offence.servers if a not in moving]
            pair = _pair([a for a in here if a in self.keepers], [a for a in here if a in self.others])
            if pair and offence.key not in accepted:
                return pair
        return ()

    def least(self, moving: Collection[Address], accepted: Collection[object]) -> int:
        """One of two."""
        return 1 if self.missing(moving, accepted) else 0


def _pair(keepers: Sequence[Address], others: Sequence[Address]) -> Sequence[Address]:
    return next(((k, o) for k in keepers for o in others if k != o), ())


@dataclass(frozen=True, slots=True)
class Near:
    """Servers that share a host: an affinity group, or those that same_host hints bind to each other.

    ``open_to`` are the hosts that may take a server, whatever is on them.
    """

    rule: str
    subject: str
    words: str
    start: Where
    open_to: OpenTo

    @property
    def servers(self) -> Sequence[Address]:
        """All of them."""
        return tuple(self.start)

    def broken(self, where: Where) -> Iterator[Offence]:
        """One when they are on several hosts."""
        hosts = sorted({where[a] for a in self.start})
        if len(hosts) > 1:
            reason = f"{self.words} on {', '.join(hosts)}"
            yield Offence(self.rule, self.subject, "", reason, tuple(self.start))

    def missing(self, moving: Collection[Address], accepted: Collection[object]) -> Sequence[Address]:
        """Who stays, while some are on other hosts, leave theirs (one alone would be brought back), or cannot come."""
        if any(offence.key in accepted for offence in self.broken(self.start)):
            return ()
        stay = {a: host for a, host in self.start.items() if a not in moving}
        counts = Counter(stay.values())
        if len(counts) > 1:
            return sorted(stay, key=lambda a: (counts[stay[a]], a.order))
        return sorted(stay, key=lambda a: a.order)[:1] if counts.keys() & self._closed(moving) else ()

    def _closed(self, moving: Collection[Address]) -> set[str]:
        """Hosts where those that stay cannot be joined: some left them, or may not go there."""
        left = {host for a, host in self.start.items() if a in moving}
        hosts = set(self.start.values())
        return left.union(*(hosts.difference(self.open_to(a)) for a in self.start if a in moving))

    def least(self, moving: Collection[Address], accepted: Collection[object]) -> int:
        """All but those of one host, which nobody left."""
        if not self.missing(moving, accepted):
            return 0
        counts = Counter(host for a, host in self.start.items() if a not in moving)
        closed = self._closed(moving)
        return counts.total() - max((n for host, n in counts.items() if host not in closed), default=0)

    def goals(self, moving: Collection[Address]) -> dict[Address, str]:
        """Where those that move must go: to those that stay."""
        stay = {host for a, host in self.start.items() if a not in moving}
        return {a: host for host in stay for a in self.start if a in moving} if len(stay) == 1 else {}


@dataclass(frozen=True, slots=True)
class Follow:
    """A server that is where one of several others is, by its same_host hint, or one of these ``hosts``.

    ``open_to`` are the hosts that may take a server, whatever is on them.
    """

    server: Address
    others: tuple[Address, ...]
    hosts: frozenset[str]
    words: str
    start: Where
    open_to: OpenTo

    @property
    def servers(self) -> Sequence[Address]:
        """The server and the others."""
        return (self.server, *self.others)

    def broken(self, where: Where) -> Iterator[Offence]:
        """One when none of them is with it."""
        there = {where[a] for a in self.others} | self.hosts
        if where[self.server] not in there:
            reason = f"same_host: {self.words} is not here, on {', '.join(sorted(there))}"
            yield Offence("filter", "SameHostFilter", where[self.server], reason, (self.server,))

    def missing(self, moving: Collection[Address], accepted: Collection[object]) -> Sequence[Address]:
        """The server, or who could come to it; of one that leaves its host, who keeps it there or could come along."""
        home = self.start[self.server]
        if any(offence.key in accepted for offence in self.broken(self.start)):
            return ()
        staying = {self.start[a] for a in self.others if a not in moving} | self.hosts
        if self.server in moving:
            free = bool(staying.intersection(self.open_to(self.server)) - {home})
            return () if free or any(a in moving for a in self.others) else self.others
        if home in staying or any(a in moving for a in self._distant()):
            return ()
        return [self.server, *(a for a in self.others if a not in moving)]

    def least(self, moving: Collection[Address], accepted: Collection[object]) -> int:
        """One of them."""
        return 1 if self.missing(moving, accepted) else 0

    def goals(self, moving: Collection[Address]) -> dict[Address, str]:
        """Where one of the others must go: to the server that stays without any."""
        home = self.start[self.server]
        stays = any(self.start[a] == home and a not in moving for a in self.others) or home in self.hosts
        if self.server in moving or stays:
            return {}
        return dict.fromkeys([a for a in self._distant() if a in moving][:1], home)

    def _distant(self) -> list[Address]:
        """Who could come to the server."""
        home = self.start[self.server]
        return [a for a in self.others if self.start[a] != home and home in self.open_to(a)]


@dataclass(frozen=True, slots=True)
class Full:
    """A host, a part of one, or a shared storage, of which more is used than it has.

    ``amounts`` are what servers take of it that may leave it; who is on one of the hosts ``within`` has not.
    ``provider`` and ``name`` are those of the inventory.
    """

    offence: Offence
    excess: float
    amounts: Mapping[Address, int]
    within: Collection[str]
    provider: str = ""
    name: str = ""

    @property
    def servers(self) -> Sequence[Address]:
        """Those that may leave it."""
        return tuple(self.amounts)

    def broken(self, where: Where) -> Iterator[Offence]:
        """As long as too few have left."""
        gone = sum(amount for a, amount in self.amounts.items() if where[a] not in self.within)
        if gone < self.excess:
            yield self.offence

    def missing(self, moving: Collection[Address], accepted: Collection[object]) -> Sequence[Address]:
        """Those that are still there: first the smallest of which one is enough, then the largest."""
        left = self.excess - sum(amount for a, amount in self.amounts.items() if a in moving)
        if left <= 0 or self.offence.key in accepted:
            return ()
        stay = [a for a in self.amounts if a not in moving]
        return sorted(stay, key=lambda a: self._rank(a, left))

    def _rank(self, address: Address, left: float) -> tuple[bool, int, object]:
        amount = self.amounts[address]
        return (amount < left, amount if amount >= left else -amount, address.order)

    def least(self, moving: Collection[Address], accepted: Collection[object]) -> int:
        """So many of the largest."""
        if self.offence.key in accepted:
            return 0
        left, count = self.excess - sum(amount for a, amount in self.amounts.items() if a in moving), 0
        for amount in sorted((n for a, n in self.amounts.items() if a not in moving), reverse=True):
            if left <= 0:
                break
            left, count = left - amount, count + 1
        return count


def by_host(addresses: Iterable[Address], where: Where) -> dict[str, list[Address]]:
    """Those of each host, hosts in order of name."""
    found: dict[str, list[Address]] = defaultdict(list)
    for address in addresses:
        found[where[address]].append(address)
    return dict(sorted(found.items()))


def names(addresses: Sequence[Address]) -> str:
    """``server.a, server.b and server.c``, or ``server.a, server.b, server.c and 4 more``."""
    told = [str(address) for address in addresses]
    if len(told) > NAMED:
        told = [*told[:NAMED], f"{len(told) - NAMED} more"]
    return " and ".join(filter(None, (", ".join(told[:-1]), told[-1])))


def listed(names: Sequence[str], most: int = LISTED) -> str:
    """The first of them, and how many more there are: ``hv1, hv2, hv3 and 4 more``."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
