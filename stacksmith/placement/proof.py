"""Shows by counting that a batch cannot be placed, whatever the arrangement."""

from collections.abc import Sequence
from math import floor, isinf

from stacksmith.placement.attempt import Eligible
from stacksmith.placement.site import Site
from stacksmith.placement.unit import Apart, Unit


class Shortage:
    """Counts what the units of a batch need against what the hosts that they may use have before the batch.

    Units of which it is not settled which hosts they may use count nothing.
    """

    def __init__(self, units: Sequence[Unit], sites: Sequence[Site], eligible: Eligible) -> None:
        self._sites = sites
        sets: dict[tuple[int, ...], frozenset[int]] = {}
        settled = (unit for unit in units if not eligible.is_unsettled(unit))
        self._options = [(unit, sets.setdefault(h := eligible.hosts(unit), frozenset(h))) for unit in settled]
        self._eligible = eligible
        self._joining: dict[str, list[tuple[int, frozenset[int]]]] = {}
        for unit, hosts in self._options:
            for group, count in unit.joins:
                self._joining.setdefault(group, []).append((count, hosts))
        self._all = frozenset[int]().union(*sets.values())
        self._by_hosts: dict[frozenset[int], str] = {}
        self._by_rule: dict[Apart, str] = {}

    def cause(self, unit: Unit) -> str:
        """What is short for a unit of the batch, in words; empty when counting does not show it."""
        if self._eligible.is_unsettled(unit):
            return ""
        words = [self._members(rule) for rule in unit.apart if not rule.words]
        return next(filter(None, words), "") or self._amounts(frozenset(self._eligible.hosts(unit)))

    def _members(self, rule: Apart) -> str:
        if rule not in self._by_rule:
            joining = self._joining[rule.group]
            new = sum(count for count, _ in joining)
            hosts = frozenset[int]().union(*{hosts for _, hosts in joining})
            room = sum(max(0, rule.limit - self._sites[i].members.get(rule.group, 0)) for i in hosts)
            text = f"anti-affinity group {rule.group} has {new} new members, their hosts take {room} more"
            self._by_rule[rule] = text if new > room else ""
        return self._by_rule[rule]

    def _amounts(self, hosts: frozenset[int]) -> str:
        """Short on the hosts that one unit may use, by the units that may use no others; else on all hosts."""
        for where in (hosts, self._all):
            if where not in self._by_hosts:
                self._by_hosts[where] = self._short_on(where)
            if self._by_hosts[where]:
                return self._by_hosts[where]
        return ""

    def _short_on(self, where: frozenset[int]) -> str:
        inside: dict[frozenset[int], bool] = {}
        need: dict[str, int] = {}
        count = 0
        for unit, hosts in self._options:
            if inside.setdefault(hosts, hosts <= where):
                count += len(unit.requests)
                for name, amount in unit.amounts:
                    need[name] = need.get(name, 0) + amount
        for name, amount in need.items():
            free = [self._sites[i].free(name) for i in where]
            if not any(map(isinf, free)) and amount > (room := sum(map(floor, free))):
                have = f"{len(where)} hosts have" if len(where) > 1 else "host has"
                return f"{count:,} requests need {name} {amount:,}, their {have} {room:,} free"
        return ""
