"""Puts a batch of requests on hosts and says why."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from stacksmith.address import Address
from stacksmith.model.scheduler import SchedulerSpec
from stacksmith.placement.arrange import Outcome, arrange
from stacksmith.placement.clash import Clashes, instead
from stacksmith.placement.clash import told as clash_words
from stacksmith.placement.explain import Answers, Complaint, Complaints, company, verdicts
from stacksmith.placement.fault import refuse
from stacksmith.placement.host import HostState
from stacksmith.placement.memory import Memory
from stacksmith.placement.request import Goal, Group, Request, Strategy
from stacksmith.placement.site import Site, open_sites
from stacksmith.placement.unit import Unit, bundle
from stacksmith.placement.verdict import Clash, Optimum, Placement


@dataclass(frozen=True, slots=True)
class Allocation:
    """The placements of a batch in order of address; ``optimum`` is there where the solver placed them jointly."""

    placements: tuple[Placement, ...]
    optimum: Optimum | None = None


def place(
    requests: Sequence[Request],
    hosts: Sequence[HostState],
    groups: Mapping[str, Group],
    kept: Mapping[Address, str] | None = None,
    strategy: str | SchedulerSpec = Strategy.SPREAD,
    explain: bool = True,
) -> tuple[Placement, ...]:
    """Where each request goes, in order of address, whatever the order of the arguments; addresses are unique.

    ``kept`` are servers that stay, with their hosts: already counted in the hosts' ``used`` and ``groups``, they come
    back as kept. Their requests may be given too: verdicts then name them as members of their groups.
    ``strategy`` orders the hosts: a value of ``Strategy``, or what a fleet says, whose weighers then do. Verdicts of
    requests that found a host are left out without ``explain``.
    Raises: KeyError for a group that is not in ``groups``; ValueError for an unknown strategy, weigher, policy or state
    of a host, an address, a host or a part that is there twice, a part without its parent, a count that is no integer
    of 0 or more, an inventory that cannot be, and a kept server on a host that is not there; ImportError for the
    strategy ``optimal`` without its solver.
    """
    chosen = strategy if isinstance(strategy, SchedulerSpec) else Strategy(strategy)
    return allocate(requests, hosts, groups, kept, Goal(chosen), explain).placements


def allocate(
    requests: Sequence[Request],
    hosts: Sequence[HostState],
    groups: Mapping[str, Group],
    kept: Mapping[Address, str] | None = None,
    goal: Goal = Goal(),  # noqa: B008
    explain: bool = True,
) -> Allocation:
    """As ``place``, with how good a joint placement is."""
    hosts, requests = sorted(hosts, key=lambda host: host.name), tuple(requests)
    kept = kept or {}
    refuse(requests, hosts, groups, kept)
    units = bundle((r for r in requests if r.address not in kept), hosts, groups)
    memory = Memory()
    outcome = arrange(units, hosts, goal, memory)
    sites = open_sites(hosts, memory)
    _introduce(requests, sites, kept)
    placements = [Placement(address, host, (), kept=True) for address, host in kept.items()]
    placements += _tell_placed(outcome, sites, explain)
    placements += _tell_failed(outcome, hosts, sites, memory)
    return Allocation(tuple(sorted(placements, key=lambda p: p.address.order)), outcome.optimum)


def _introduce(requests: Sequence[Request], sites: Sequence[Site], kept: Mapping[Address, str]) -> None:
    """Names the kept members of groups to their hosts."""
    by_name = {site.host.name: site for site in sites}
    for request in sorted(requests, key=lambda r: r.address.order):
        site = by_name.get(kept.get(request.address, ""))
        if site is not None and request.group is not None:
            site.guests.setdefault(request.group, []).append(request.address)


def _tell_placed(outcome: Outcome, sites: Sequence[Site], explain: bool) -> Iterator[Placement]:
    """Puts the units on the sites in the order they were decided, with the verdicts of that moment."""
    placed: list[tuple[Placement, Site, Unit]] = []
    known = Answers()
    for unit, index in outcome.placed:
        site = sites[index]
        chosen = (index, outcome.forced) if outcome.forced else None
        told = verdicts(unit, sites, outcome.weigher, chosen, known) if explain else ()
        site.add(unit)
        site.introduce(unit)
        placed += [(Placement(request.address, site.host.name, told), site, unit) for request in unit.requests]
    for placement, site, unit in placed:  # parts that were given may have moved for later units
        choice = site.parts.choices.get(placement.address) if unit.has_parts else None
        if choice is None:
            yield placement
        else:
            yield replace(placement, parts=choice.mappings, allocations=choice.allocations)


def _tell_failed(
    outcome: Outcome, hosts: Sequence[HostState], sites: Sequence[Site], memory: Memory
) -> Iterator[Placement]:
    """Says why the rest found no host, with everything else in its place; equal units share the words."""
    if not outcome.failures:
        return
    units = [*(unit for unit, _ in outcome.placed), *(failure.unit for failure in outcome.failures)]
    complaints = Complaints(hosts, sites, frozenset(mark for unit in units for mark, _ in unit.joins))
    clashes, left = Clashes(hosts, memory), [failure.unit for failure in outcome.failures if failure.proof]
    known: dict[object, tuple[Unit, Complaint, Clash | None]] = {}
    for failure in outcome.failures:
        unit = failure.unit
        key = (unit.key, unit.joins)
        if key not in known:
            clash = clashes.of(unit, [each for each, _ in outcome.placed], left) if failure.proof else None
            known[key] = (unit, complaints.of(unit), clash)
        first, told, clash = known[key]
        clash = clash and instead(clash, first.address, unit.address)
        more = [failure.proof, clash_words(clash) if clash is not None else ""]
        cause = f"{failure.claim}: {'; '.join(filter(None, [told.summary + company(unit), *more]))}"
        why = Placement(unit.address, None, told.verdicts, cause=cause, hint=told.hint, conflict=told.conflict,
                        relaxations=told.relaxations, clash=clash)  # fmt: skip
        yield from (replace(why, address=request.address) for request in unit.requests)
