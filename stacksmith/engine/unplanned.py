"""A plan without what none can be made of: drift is told of all the rest."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain

from stacksmith.address import Address
from stacksmith.diagnostics import Diagnostic, Faults, Severity
from stacksmith.engine.quote import quoted
from stacksmith.model.stack import Stack
from stacksmith.planner.make import PlanOptions
from stacksmith.planner.plan import Plan

_UNPLANNED = frozenset({"no-valid-host", "host-unread", "subnet-in-use"})
_IMPOSSIBLE = "not-possible"  # what is there is still compared with what is wanted
_UNORDERED = "circular-steps"  # about no address: a drift needs no order


def plan_what_can_be(
    stack: Stack, wanted: PlanOptions, make: Callable[[PlanOptions], Plan]
) -> tuple[Plan, tuple[Diagnostic, ...]]:
    """The plan that ``make`` gives without the addresses it cannot plan, with those that no host can make, in any order
    where there is none, and a warning for each of these.

    What is left out can show the next fault, as a subnet in use does once the servers are placed.
    Raises: Faults when it has others.
    """
    told: dict[tuple[Address | None, str], list[Diagnostic]] = {}
    while True:
        unplanned = frozenset(a for a, code in told if a is not None and code != _IMPOSSIBLE)
        impossible = frozenset(a for a, code in told if a is not None and code == _IMPOSSIBLE)
        unordered = any(code == _UNORDERED for _, code in told)
        try:
            made = make(replace(wanted, unplanned=unplanned, impossible=impossible, unordered=unordered))
        except Faults as fault:
            if not all(map(_may_be_left, fault.diagnostics)):
                raise
            new = [d for d in as_warnings(fault.diagnostics) if (d.address, d.code) not in told]
            if not new:
                raise
            for each in new:
                told.setdefault((each.address, each.code), []).append(each)
        else:
            return made, tuple(quoted(chain.from_iterable(told.values()), stack.secrets))


def _may_be_left(fault: Diagnostic) -> bool:
    """Whether a drift can do without what it is about."""
    if fault.address is None:
        return fault.code == _UNORDERED
    return fault.code in {*_UNPLANNED, _IMPOSSIBLE}


def as_warnings(faults: Iterable[Diagnostic]) -> list[Diagnostic]:
    """The same, for a drift, which they do not keep from telling the rest."""
    return [replace(each, severity=Severity.WARNING) for each in faults]
