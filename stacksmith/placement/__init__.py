"""Decides where servers go and says why: pure, in Placement's words and arithmetic.

Two halves. *Hosts*: ``place`` puts a batch of requests on hosts, with server groups and a verdict for every host.
*Provider trees*: ``candidates`` answers what can be allocated where, a ``Ledger`` keeps who holds what, ``verdicts``
says why not; ``load`` and ``load_request`` read plain data, ``parse_query`` reads Placement's query strings.
``docs/placement.md`` shows them at work.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from stacksmith.address import Address
from stacksmith.model.scheduler import SchedulerSpec
from stacksmith.placement.allocate import Allocation, allocate, place
from stacksmith.placement.host import UNLIMITED, HostState, Inventory
from stacksmith.placement.refusal import Condition, Refusal, Rule
from stacksmith.placement.request import Goal, Group, Hint, Policy, Request, Strategy
from stacksmith.placement.verdict import (
    Beside,
    Clash,
    Conflict,
    Constraint,
    Optimum,
    Placement,
    Relaxation,
    Remedy,
    Term,
    Verdict,
)

if TYPE_CHECKING:
    from stacksmith.placement.tree.candidate import Candidate, candidates
    from stacksmith.placement.tree.claim import Claim, claim_faults
    from stacksmith.placement.tree.explain import verdicts
    from stacksmith.placement.tree.ledger import Ledger, Reshape
    from stacksmith.placement.tree.plain import load, load_request
    from stacksmith.placement.tree.provider import Consumer, Provider, World
    from stacksmith.placement.tree.query import parse_query
    from stacksmith.placement.tree.reason import GaveUp, Reason, Refused
    from stacksmith.placement.tree.request import CandidateRequest, GroupPolicy, ResourceGroup

__all__ = [
    "UNLIMITED",
    "Address",
    "Allocation",
    "Beside",
    "Candidate",
    "CandidateRequest",
    "Claim",
    "Clash",
    "Condition",
    "Conflict",
    "Constraint",
    "Consumer",
    "GaveUp",
    "Goal",
    "Group",
    "GroupPolicy",
    "Hint",
    "HostState",
    "Inventory",
    "Ledger",
    "Optimum",
    "Placement",
    "Policy",
    "Provider",
    "Reason",
    "Refusal",
    "Refused",
    "Relaxation",
    "Remedy",
    "Request",
    "Reshape",
    "ResourceGroup",
    "Rule",
    "SchedulerSpec",
    "Strategy",
    "Term",
    "Verdict",
    "World",
    "allocate",
    "candidates",
    "claim_faults",
    "load",
    "load_request",
    "parse_query",
    "place",
    "verdicts",
]

# Provider trees are imported when first asked for: a plan that needs none does not wait for them.
_TREE = {
    "candidate": ("Candidate", "candidates"),
    "claim": ("Claim", "claim_faults"),
    "explain": ("verdicts",),
    "ledger": ("Ledger", "Reshape"),
    "plain": ("load", "load_request"),
    "provider": ("Consumer", "Provider", "World"),
    "query": ("parse_query",),
    "reason": ("GaveUp", "Reason", "Refused"),
    "request": ("CandidateRequest", "GroupPolicy", "ResourceGroup"),
}
_MODULE = {name: module for module, names in _TREE.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"stacksmith.placement.tree.{_MODULE[name]}"), name)
