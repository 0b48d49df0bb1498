"""Why a host does not take a unit: one question per function, each answer with its numbers."""

from collections.abc import Iterator

from stacksmith.placement.host import INSTANCES, IO_OPS, HostState
from stacksmith.placement.refusal import NOT_REACHABLE, Refusal, Rule
from stacksmith.placement.request import NO_ZONE, Hint, Request
from stacksmith.placement.site import Site
from stacksmith.placement.unit import Apart, Unit
from stacksmith.placement.wording import capacity_sum, claims_of, number

_LIMITS = {INSTANCES: "max_instances_per_host", IO_OPS: "max_io_ops_per_host"}


def refusals(unit: Unit, site: Site) -> Iterator[Refusal]:
    """Every reason why the host does not take the unit as things stand; none when it fits."""
    yield from unfit(unit, site.host)
    if not _is_known(site.host):
        return
    yield from _asked(unit, site)
    yield from _crowded(unit, site)
    yield from _alone(unit, site)
    yield from _short(unit, site)
    if unit.has_parts and (lack := site.parts_lack(unit)):
        is_there = Rule.UNSETTLED if site.parts.is_unsettled(unit) else Rule.PARTS
        yield Refusal(is_there if site.parts.offers(unit) else Rule.NO_PARTS, "", lack)


def unfit(unit: Unit, host: HostState) -> Iterator[Refusal]:
    """The reasons that do not change while a batch is placed; of a host that is failed or out of reach only that."""
    yield from _of_state(host)
    if not _is_known(host):
        return
    told = set()
    for request in unit.unlike:
        for refusal in _of_request(request, host):
            if refusal not in told:
                told.add(refusal)
                yield refusal
    for group, hosts in unit.near:
        if host.name not in hosts:
            yield Refusal(Rule.AFFINITY, group, f"affinity: {group} is on {', '.join(sorted(hosts))}")
    for name, _ in unit.amounts:
        if name not in host.inventories:
            yield Refusal(Rule.MISSING, name, f"no {name} here")


def _asked(unit: Unit, site: Site) -> Iterator[Refusal]:
    """The queries that are not met now, but for those of which it is told that they were not met before the batch."""
    for query in unit.queries:
        refusal = query.refusal_at(site.host, site.used)
        if refusal is not None and not (query.is_closing and query.refusal(site.host) is not None):
            yield refusal


def _is_known(host: HostState) -> bool:
    return host.reachable and host.state != "failed"


def _of_state(host: HostState) -> Iterator[Refusal]:
    if host.state != "enabled":
        state = "being drained" if host.state == "drain" else host.state
        reason = f"host is {state}{f': {host.state_reason}' if host.state_reason else ''}"
        yield Refusal(Rule.STATE, state, reason, help=host.state_help)
    if not host.reachable and host.state != "failed":
        yield Refusal(Rule.REACH, "", f"{NOT_REACHABLE}: {host.problem}" if host.problem else NOT_REACHABLE)


def _of_request(request: Request, host: HostState) -> Iterator[Refusal]:
    yield from _by_name(request, host)
    zone = request.availability_zone
    if zone is not None and zone != (host.availability_zone or NO_ZONE):
        have = f"availability zone {host.availability_zone} is" if host.availability_zone else "no availability zone,"
        yield Refusal(Rule.ZONE, zone or "none", f"{have} not {zone or 'none'}")
    for trait in sorted(request.required - host.traits):
        yield Refusal(Rule.TRAIT, trait, f"trait {trait} missing")
    for trait in sorted(request.forbidden & host.traits):
        yield Refusal(Rule.FORBIDDEN, trait, f"trait {trait} forbidden")
    if request.member_of and not request.member_of & host.aggregates:
        names = " or ".join(sorted(request.member_of))
        yield Refusal(Rule.AGGREGATE, names, f"not in aggregate {names}")
    closing = (query for query in request.queries if query.is_closing)
    for condition in (*request.conditions, *closing):
        if (refusal := condition.refusal(host)) is not None:
            yield refusal
    yield from _units(request, host)


def _by_name(request: Request, host: HostState) -> Iterator[Refusal]:
    if request.host is not None and request.host != host.name:
        yield Refusal(Rule.PIN, request.host, f"not {request.host}, where it is pinned")
    if request.with_hosts and host.name not in request.with_hosts:
        names = " or ".join(sorted(request.with_hosts))
        yield Refusal(Rule.BESIDE, request.beside, f"not {names}, where {request.beside} is")
    for hint in request.away:
        if host.name in hint.hosts:
            yield _clash(hint.words, "1")
    for hint in request.follows:
        if not hint.mark and host.name not in hint.hosts:
            yield _astray(hint)


def _units(request: Request, host: HostState) -> Iterator[Refusal]:
    for name, amount in sorted(request.amounts.items()):
        inventory = host.inventories.get(name)
        if not amount or inventory is None or inventory.accepts(amount):
            continue
        if amount < inventory.min_unit:
            fault = f"below min_unit {inventory.min_unit:,}"
        elif amount > inventory.max_unit:
            fault = f"over max_unit {inventory.max_unit:,}"
        else:
            fault = f"not a multiple of step_size {inventory.step_size:,}"
        yield Refusal(Rule.UNIT, name, f"{name} {amount:,} {fault}")


def _crowded(unit: Unit, site: Site) -> Iterator[Refusal]:
    for rule in unit.apart:
        here = site.members.get(rule.group, 0)
        if here + rule.count > rule.limit and rule.words:
            yield _clash(rule.words, str(here) if here else "")
        elif here + rule.count > rule.limit:
            yield Refusal(Rule.ANTI_AFFINITY, rule.group, f"anti-affinity: {_who(rule, here, site)}")


def _clash(words: str, here: str) -> Refusal:
    told = f"different_host: {words} is here ({here})" if here else f"different_host: {words} would be here too"
    help = f"drop the hint, or make room apart from {words}"
    return Refusal(Rule.FILTER, "DifferentHostFilter", told, help=help, about=words)


def _alone(unit: Unit, site: Site) -> Iterator[Refusal]:
    for hint in unit.follows:
        if not site.members.get(hint.mark) and site.host.name not in hint.hosts:
            yield _astray(hint)


def _astray(hint: Hint) -> Refusal:
    where = f"not here, on {', '.join(sorted(hint.hosts))}" if hint.hosts else "not here"
    if not hint.hosts and not hint.mark:
        where = "on no host"
    help = f"drop the hint, or make room where {hint.words} is"
    told = f"same_host: {hint.words} is {where}"
    return Refusal(Rule.FILTER, "SameHostFilter", told, help=help, about=hint.words)


def _who(rule: Apart, here: int, site: Site) -> str:
    """``web has server.web[0] and 1 more here``; the limit is told where it is not the plain 1."""
    names = [str(address) for address in site.guests.get(rule.group, ())[:3]]
    rest = here - len(names)
    if not here:
        return f"{rule.count} members of {rule.group} must share a host, at most {rule.limit} may"
    if not names:
        names = [f"{here} member{'s' if here > 1 else ''}"]
    elif rest > 0:
        names.append(f"{rest} more")
    listed = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    limit = f", at most {rule.limit} per host" if rule.limit > 1 else ""
    return f"{rule.group} has {listed} here{limit}"


def _short(unit: Unit, site: Site) -> Iterator[Refusal]:
    for name, amount in unit.amounts:
        if name not in site.capacity:
            continue
        used, capacity = site.used.get(name, 0), site.capacity[name]
        if used + amount > capacity:
            short = used + amount - capacity
            lack = number(short) if short >= 0.001 else "less than 0.001"
            have, claimed = capacity_sum(site.host.inventories[name]), claims_of(site.host.claimed.get(name, {}))
            reason = f"{name} {lack} short (used {used:,} of {have}{claimed})"
            help = f"raise {_LIMITS[name]} for {site.host.name}" if name in _LIMITS else ""
            yield Refusal(Rule.SHORT, name, reason, short, help)
