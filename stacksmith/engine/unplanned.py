"""A plan without what none can be made of: drift is told of all the rest."""

from collections.abc import Callable
from dataclasses import replace

from stacksmith.address import Address
from stacksmith.diagnostics import Diagnostic, Faults, Severity
from stacksmith.engine.quote import quoted
from stacksmith.model.stack import Stack
from stacksmith.planner.plan import Plan

_CODES = frozenset({"no-valid-host", "subnet-in-use"})


def plan_what_can_be(stack: Stack, make: Callable[[frozenset[Address]], Plan]) -> tuple[Plan, tuple[Diagnostic, ...]]:
    """The plan that ``make`` gives without the addresses it cannot plan, and a warning for each of these.

    What is left out can show the next fault, as a subnet in use does once the servers are placed.
    Raises: Faults when it has others.
    """
    told: dict[Address, Diagnostic] = {}
    while True:
        try:
            return make(frozenset(told)), tuple(quoted(told.values(), stack.secrets))
        except Faults as fault:
            new = {d.address: d for d in fault.diagnostics if d.address is not None and d.code in _CODES}
            if len(new) < len(fault.diagnostics) or new.keys() <= told.keys():
                raise
            told |= {address: replace(d, severity=Severity.WARNING) for address, d in new.items()}
