"""Servers that stay, and how each other host would answer them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from stacksmith.address import Address
from stacksmith.model.scheduler import SchedulerSpec
from stacksmith.placement.arrange import preferred
from stacksmith.placement.explain import verdicts
from stacksmith.placement.host import HostState
from stacksmith.placement.request import Group, Request, Strategy
from stacksmith.placement.site import open_sites
from stacksmith.placement.unit import bundle
from stacksmith.placement.verdict import Placement, Verdict

EVERY_RULE_IS_KEPT: Mapping[Address, Sequence[str]] = MappingProxyType({})


def stays(
    requests: Sequence[Request],
    hosts: Sequence[HostState],
    groups: Mapping[str, Group],
    kept: Mapping[Address, str],
    strategy: str | SchedulerSpec = Strategy.SPREAD,
    against: Mapping[Address, Sequence[str]] = EVERY_RULE_IS_KEPT,
) -> tuple[Placement, ...]:
    """The kept placements of requests, in order of address, each by itself and without what binds it to others.

    ``kept`` are the hosts of all that stays, already counted in the hosts' ``used`` and ``groups``. A verdict says
    what a host would answer now, if the server were to move there alone; ``against`` is why its own host would refuse
    a server if it were new. Raises: as ``place``.
    """
    hosts = sorted(hosts, key=lambda host: host.name)
    sites = open_sites(hosts)
    chosen = strategy if isinstance(strategy, SchedulerSpec) else Strategy(strategy)
    weigher = preferred(chosen, hosts, sites)
    by_name = {site.host.name: site for site in sites}
    ordered = sorted(requests, key=lambda r: r.address.order)
    for request in ordered:
        if request.group is not None and (site := by_name.get(kept[request.address])) is not None:
            site.guests.setdefault(request.group, []).append(request.address)
    found = []
    for request in ordered:
        home = kept[request.address]
        without = [_without(host, request) if host.name == home else host for host in hosts]
        unit = bundle([replace(request, together=None)], without, groups)[0]
        told = verdicts(unit, [site for site in sites if site.host.name != home], weigher)
        here = _here(home, against.get(request.address, ()), any(each.fits for each in told))
        found.append(Placement(request.address, home, (here, *told), kept=True))
    return tuple(found)


def _here(home: str, against: Sequence[str], has_other: bool) -> Verdict:
    """The verdict of the host it is on."""
    if not against:
        return Verdict(home, True, "stays here, where it is")
    other = "stacksmith rebalance shows what ends it"
    if not has_other:
        other = "no other host takes it alone as things stand: stacksmith rebalance says what can be done"
    return Verdict(home, False, f"stays here against its rules: {'; '.join(against)}; {other}")


def _without(host: HostState, request: Request) -> HostState:
    """The server's own host without it as a member of its group: alone, it need not be near itself."""
    if request.group is None:
        return host
    return replace(host, groups={**host.groups, request.group: host.groups.get(request.group, 0) - 1})
