"""The program of a batch: how many units of each lot go to each host."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from math import ceil, floor, gcd, inf, isinf

from stacksmith.frozen import dataclass
from stacksmith.placement.joint.lot import Lot, takes
from stacksmith.placement.joint.solver import Program
from stacksmith.placement.site import Site
from stacksmith.placement.unit import Apart


def is_open(site: Site) -> bool:
    """True when something is on the host already: putting more there opens no other."""
    return any(site.used.values()) or any(site.members.values())


@dataclass(slots=True)
class Model:
    """A program over lots and sites. ``counts``: the columns by lot and host; ``opens``: the column of an empty host.

    Cost: 1 for each empty host that is opened and, as soft groups come first, ``weight`` for each soft member that is
    not where it should be. With ``opening`` unset nothing costs: any arrangement will do. With ``partial`` set units
    may be left out, and each that is placed costs -1.
    ``sizes``: for the first of several equal hosts how many it stands for, 0 for the others; equal hosts that share
    all that they have are less bound than each by itself, so that the cost can only be lower.
    """

    lots: Sequence[Lot]
    sites: Sequence[Site]
    opening: bool = True
    partial: bool = False
    sizes: Mapping[int, int] = field(default_factory=dict)
    program: Program = field(default_factory=Program)
    counts: list[dict[int, int]] = field(default_factory=list)
    opens: dict[int, int] = field(default_factory=dict)
    fits: bool = True

    @property
    def weight(self) -> int:
        """What one unkept soft rule costs: more than all hosts."""
        return len(self.sites) + 1

    def build(self) -> "Model":
        """Writes the program. ``fits`` is unset when some lot has fewer places than units, whatever the others do."""
        if self.opening:
            used = {host for lot in self.lots for host in lot.hosts}
            empty = [h for h in sorted(used) if self._size(h) and not is_open(self.sites[h])]
            self.opens = {h: self.program.column(self._size(h), 1.0) for h in empty}
        for lot in self.lots:
            self._place_all(lot)
        self._keep_capacity()
        self._keep_apart()
        if self.opening:
            self._prefer()
        return self

    def cost_at_least(self, bound: int) -> None:
        """Adds what is known of the cost from a program with fewer rules."""
        terms = [(column, cost) for column, cost in enumerate(self.program.costs) if cost]
        self.program.row(bound, inf, terms)

    def slots(self, values: Sequence[int]) -> list[dict[int, int]]:
        """Of each lot the number of units by host, of a solution."""
        return [{host: values[c] for host, c in columns.items() if values[c] > 0} for columns in self.counts]

    def _size(self, host: int) -> int:
        return self.sizes.get(host, 1)

    def _place_all(self, lot: Lot) -> None:
        columns: dict[int, int] = {}
        places = 0
        for host in lot.hosts:
            most = min(len(lot.units), self._most(lot, self.sites[host]) * self._size(host))
            if most:
                places += most
                columns[host] = self.program.column(most, -1.0 if self.partial else 0.0)
        self.counts.append(columns)
        self.fits = self.fits and places >= len(lot.units)
        least = 0 if self.partial else len(lot.units)
        self.program.row(least, len(lot.units), [(column, 1.0) for column in columns.values()])

    def _most(self, lot: Lot, site: Site) -> int:
        """The most units of a lot on one host by room and, for each of its bundles, by anti-affinity."""
        most = sum(len(units) if (t := takes(rules, site)) is None else min(t, len(units)) for rules, units in
                   lot.bundles)  # fmt: skip
        for name, amount in lot.one.amounts:
            room = _room(site, name)
            most = min(most, most if isinf(room) else max(0, int(room)) // amount)
        return most

    def _keep_capacity(self) -> None:
        by_host: dict[int, list[tuple[int, Lot]]] = {}
        for columns, lot in zip(self.counts, self.lots, strict=True):
            for host, column in columns.items():
                by_host.setdefault(host, []).append((column, lot))
        for host, members in sorted(by_host.items()):
            bound = {column for name in sorted({n for _, lot in members for n, _ in lot.one.amounts})
                     for column in self._capacity_row(host, name, members)}  # fmt: skip
            for column, _ in members:
                if host in self.opens and column not in bound:
                    self.program.row(-inf, 0, [(column, 1.0), (self.opens[host], -self.program.uppers[column])])

    def _capacity_row(self, host: int, name: str, members: Sequence[tuple[int, Lot]]) -> list[int]:
        """Adds the row of one class, divided by what the amounts have in common, and returns its columns."""
        room = _room(self.sites[host], name)
        if isinf(room):
            return []
        terms = [(column, amount) for column, lot in members for n, amount in lot.one.amounts if n == name]
        common = gcd(*(amount for _, amount in terms))
        row = [(column, float(amount // common)) for column, amount in terms]
        most = float(room // common)
        opened = self.opens.get(host)
        if opened is None:
            self.program.row(-inf, most * self._size(host), row)
        else:
            self.program.row(-inf, 0, [*row, (opened, -most)])
        return [column for column, _ in terms]

    def _keep_apart(self) -> None:
        """Rows for the groups that are counted, and for all the least number of hosts that a group needs."""
        joining: dict[str, list[tuple[int, Apart, int]]] = {}
        for number, lot in enumerate(self.lots):
            for rules, units in lot.bundles:
                for rule in rules:
                    if rule.words:
                        continue  # a hint, which binds only those who come later: left to the deal
                    joining.setdefault(rule.group, []).append((number, rule, len(units)))
        for group, parts in sorted(joining.items()):
            hosts = sorted({host for number, _, _ in parts for host in self.counts[number]})
            limit = parts[0][1].limit
            rooms = {h: max(0, limit - self.sites[h].members.get(group, 0)) for h in hosts}
            if all(len(self.lots[number].bundles) == 1 for number, _, _ in parts):
                for host in hosts:
                    terms = [(self.counts[n][host], float(r.count)) for n, r, _ in parts if host in self.counts[n]]
                    self.program.row(-inf, rooms[host] * self._size(host), terms)
            need = sum(rule.count * size for _, rule, size in parts) - sum(
                room * self._size(h) for h, room in rooms.items() if h not in self.opens
            )
            terms = [(self.opens[h], float(rooms[h])) for h in hosts if h in self.opens]
            if need > 0 and self.opening:
                self.program.row(need, inf, terms)

    def _prefer(self) -> None:
        """Columns for soft members beyond the first on a host, and for a soft group's hosts beyond one."""
        wanted: dict[tuple[str, int], list[tuple[int, int]]] = {}
        for number, lot in enumerate(self.lots):
            for soft in lot.one.soft:
                wanted.setdefault(soft, []).append((number, dict(lot.one.joins)[soft[0]]))
        for (group, sign), parts in sorted(wanted.items()):
            hosts = sorted({host for number, _ in parts for host in self.counts[number]})
            most = sum(count * len(self.lots[number].units) for number, count in parts)
            old = any(site.members.get(group, 0) for site in self.sites)
            terms_used = []
            for host in hosts:
                terms = [(self.counts[n][host], float(count)) for n, count in parts if host in self.counts[n]]
                here = self.sites[host].members.get(group, 0)
                if sign < 0:
                    extra = self.program.column(most, self.weight)
                    self.program.row(-inf, 0 if here else self._size(host), [*terms, (extra, -1.0)])
                elif not here:
                    used = self.program.column(1, self.weight)
                    terms_used.append((used, 1.0))
                    self.program.row(-inf, 0, [*terms, (used, -float(most))])
            if sign > 0 and not old and terms_used:
                # The first host of a new group is free.
                first = self.program.column(1, -self.weight)
                self.program.row(0, inf, [*terms_used, (first, -1.0)])


def _room(site: Site, name: str) -> float:
    """Whole units of a class that are left, below zero where more is used than there is; infinite if not limited."""
    capacity = site.capacity.get(name, 0.0)
    return inf if isinf(capacity) else floor(capacity) - site.used.get(name, 0)


def whole(bound: float) -> int:
    """The least whole cost that a bound leaves."""
    return max(0, ceil(bound - 1e-6)) if not isinf(bound) else 0
