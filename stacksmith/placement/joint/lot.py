"""Equal units of a batch as one lot, which a program counts instead of naming."""

from collections.abc import Iterable, Sequence

from stacksmith.frozen import dataclass
from stacksmith.placement.attempt import Eligible
from stacksmith.placement.site import Site
from stacksmith.placement.unit import Apart, Unit


@dataclass(frozen=True, slots=True)
class Lot:
    """Units that fit equally, in order of address, and the indices of the hosts that they may use by themselves.

    ``bundles`` are the units by the anti-affinity rules they are under; more than one in a lot whose groups are left
    to the deal.
    """

    units: tuple[Unit, ...]
    hosts: tuple[int, ...]
    bundles: tuple[tuple[tuple[Apart, ...], tuple[Unit, ...]], ...]

    @property
    def one(self) -> Unit:
        """Any of them."""
        return self.units[0]


def lots(units: Iterable[Unit], eligible: Eligible, counted: frozenset[str] = frozenset()) -> list[Lot]:
    """The lots of a batch in order of their first units. Units of ``counted`` groups share a lot with their likes only.

    Units of soft groups always do.
    """
    found: dict[object, list[Unit]] = {}
    for unit in units:
        rules = tuple(rule for rule in unit.apart if rule.group in counted)
        soft = [group for group, _ in unit.soft]
        members = tuple((group, count) for group, count in unit.joins if group in soft)
        found.setdefault((unit.key, unit.soft, members, rules), []).append(unit)
    return [_lot(members, eligible.hosts(members[0])) for members in found.values()]


def _lot(units: Sequence[Unit], hosts: tuple[int, ...]) -> Lot:
    bundles: dict[tuple[Apart, ...], list[Unit]] = {}
    for unit in units:
        bundles.setdefault(unit.apart, []).append(unit)
    return Lot(tuple(units), hosts, tuple((rules, tuple(members)) for rules, members in bundles.items()))


def takes(rules: Iterable[Apart], site: Site) -> int | None:
    """How many more units under these rules a host takes, None when no rule limits it."""
    limits = []
    for rule in rules:
        left = max(0, rule.limit - site.members.get(rule.group, 0))
        if rule.count:
            limits.append(left // rule.count)
        elif site.members.get(rule.group, 0) > rule.limit:
            limits.append(0)
    return min(limits, default=None)


def twins(lots: Iterable[Lot], sites: Iterable[Site]) -> dict[int, list[int]]:
    """The sets of hosts that all lots see as the same, by the first of each."""
    sees: dict[int, list[int]] = {}
    for number, lot in enumerate(lots):
        for host in lot.hosts:
            sees.setdefault(host, []).append(number)
    equal: dict[object, list[int]] = {}
    for site in sites:
        looks = (
            tuple(sees.get(site.index, ())),
            tuple(sorted(site.capacity.items())),
            tuple(sorted((name, used) for name, used in site.used.items() if used)),
            tuple(sorted((group, count) for group, count in site.members.items() if count)),
        )
        equal.setdefault(looks, []).append(site.index)
    return {hosts[0]: hosts for hosts in equal.values()}
