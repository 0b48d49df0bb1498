"""Servers that run where a rule does not let them be: a warning for each rule, and what to type."""

from collections.abc import Iterator
from itertools import groupby

from stacksmith.diagnostics import Diagnostic, Severity
from stacksmith.model.stack import Stack
from stacksmith.planner.offence import NAMED, Offence, listed, names
from stacksmith.planner.plan import Plan

_HINT = "`stacksmith rebalance` shows what ends this, `stacksmith placement explain` the hosts"


def against_rules(stack: Stack, plan: Plan) -> Iterator[Diagnostic]:
    """One warning for all offences of a plan that are against the same rule, at the first server."""
    ordered = sorted(plan.offences, key=lambda each: (each.rule, each.subject))
    for _, group in groupby(ordered, key=lambda each: (each.rule, each.subject)):
        offences = list(group)
        first = offences[0].servers[0]
        resource = stack.resources.get(first)
        place = resource.where() if resource is not None else None
        yield Diagnostic(Severity.WARNING, "against-rules", _told(offences), place, hint=_HINT, address=first)


def _told(offences: list[Offence]) -> str:
    servers = list(dict.fromkeys(address for each in offences for address in each.servers))
    hosts = list(dict.fromkeys(each.host for each in offences if each.host))
    on = f" on {listed(hosts, NAMED)}" if hosts else ""
    verb, whose = ("runs", "its") if len(servers) == 1 else ("run", "their")
    reasons = {each.reason for each in offences}
    where = f" ({hosts[0]})" if hosts and len(reasons) > 1 and hosts[0] not in offences[0].reason else ""
    more = f" and {len(reasons) - 1} more like it" if len(reasons) > 1 else ""
    return f"{names(servers)} {verb}{on} against {whose} rules: {offences[0].reason}{where}{more}"
