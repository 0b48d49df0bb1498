"""Sets of servers that end what is broken when they leave their hosts, the smallest first."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import field

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.planner.offence import Astray, Crowd, Follow, Full, Near, Rule
from stacksmith.planner.watch import Watch

MOST_NODES = 20_000  # choices that a search looks at
MOST_DEPTH = 400  # choices one after the other

Moving = frozenset[Address]


@dataclass
class Search:
    """Chooses servers that move: of each rule that is not kept one more, until all are.

    Offences whose keys are ``accepted`` need not end. Of servers that stand for each other the first are chosen.
    ``forced`` are those that their own host refuses. ``is_cut`` is set when the search was given up.
    """

    watch: Watch
    accepted: Collection[object] = frozenset()
    is_cut: bool = False
    _nodes: int = 0
    _touching: dict[Address, list[Rule]] = field(default_factory=lambda: defaultdict(list))
    _broken: list[Rule] = field(default_factory=list)
    _kinds: dict[Address, tuple[object, ...]] = field(default_factory=dict)
    _hinted: set[Address] = field(default_factory=set)

    def __post_init__(self) -> None:
        forced: list[Address] = []
        for rule in self.watch.rules:
            is_broken = next(rule.broken(self.watch.where), None) is not None
            if isinstance(rule, Astray):
                forced += rule.missing((), self.accepted)
            elif is_broken:
                self._broken.append(rule)
            elif isinstance(rule, Near | Follow):
                for address in rule.servers:
                    self._touching[address].append(rule)
            if not (isinstance(rule, Astray | Crowd | Full) or _is_group(rule)):
                self._hinted.update(rule.servers)
        self.forced = frozenset(forced)

    @property
    def most(self) -> int:
        """No more servers than these are chosen."""
        return len({*self.forced, *self._touching, *(a for rule in self._broken for a in rule.servers)})

    def sets(self, size: int, start: Moving = frozenset()) -> Iterator[Moving]:
        """Sets of so many servers at most that have those of ``start``, after which every rule can be kept."""
        start |= self.forced
        if all(map(self.watch.may_leave, start)):
            yield from self._sets(size, start, frozenset(), 0)

    def wider(self, chosen: Moving, size: int) -> Iterator[Moving]:
        """The same, each with those that were chosen and one that may make room for them."""
        tried: set[tuple[object, ...]] = set()
        wanted = {host for address in chosen for host in self.watch.hosts(address) - {self.watch.where[address]}}
        for address, host in self.watch.where.items():
            if host in wanted and address not in chosen and self.kind(address) not in tried:
                tried.add(self.kind(address))
                yield from self.sets(size, chosen | {address})

    def goals(self, moving: Moving) -> dict[Address, str]:
        """The only hosts for some that move, so that they are with those that stay; a plan knows those of groups."""
        goals: dict[Address, str] = {}
        for rule in self._rules(moving):
            if isinstance(rule, Near | Follow) and not _is_group(rule) and not self._is_accepted(rule):
                goals |= rule.goals(moving)
        return goals

    def _is_accepted(self, rule: Rule) -> bool:
        return any(offence.key in self.accepted for offence in rule.broken(self.watch.where))

    def kind(self, address: Address) -> tuple[object, ...]:
        """Equal for servers on one host that can stand for each other."""
        if address not in self._kinds:
            spec = self.watch.stack.resources[address].spec
            assert isinstance(spec, ServerSpec)
            amounts = tuple((p, *sorted(each.items())) for p, each in sorted(self.watch.amounts(address).items()))
            own = address if address in self._hinted else None
            home = self.watch.where[address]
            self._kinds[address] = (home, self.watch.question(address), spec.group, own, amounts)
        return self._kinds[address]

    def _sets(self, size: int, chosen: Moving, barred: Moving, depth: int) -> Iterator[Moving]:
        self._nodes += 1
        if self._nodes > MOST_NODES or depth > MOST_DEPTH:
            self.is_cut = True
            return
        while len(chosen) + self._least(chosen) <= size:
            missing = self._missing(chosen)
            if not missing:
                yield chosen
                return
            free = [a for a in missing if a not in barred and self.watch.may_leave(a)]
            if len({self.kind(a) for a in free}) != 1:
                break
            chosen |= {free[0]}
        else:
            return
        tried: set[tuple[object, ...]] = set()
        for address in free:
            if self.kind(address) not in tried:
                tried.add(self.kind(address))
                yield from self._sets(size, chosen | {address}, barred, depth + 1)
                barred |= {each for each in free if self.kind(each) == self.kind(address)}

    def _least(self, chosen: Moving) -> int:
        return max((rule.least(chosen, self.accepted) for rule in self._rules(chosen)), default=0)

    def _missing(self, chosen: Moving) -> Sequence[Address]:
        return next(filter(None, (rule.missing(chosen, self.accepted) for rule in self._rules(chosen))), ())

    def _rules(self, chosen: Moving) -> Iterator[Rule]:
        """Those that may not be kept when these move."""
        yield from self._broken
        touched = sorted((a for a in chosen if a in self._touching), key=lambda a: a.order)
        yield from {id(rule): rule for a in touched for rule in self._touching[a]}.values()


def _is_group(rule: Rule) -> bool:
    return isinstance(rule, Near) and rule.rule == "affinity"
