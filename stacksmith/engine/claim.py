"""A plan's claims, made before its first step and put right after its last."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from stacksmith.diagnostics import Diagnostic, Faults, Severity
from stacksmith.model.found import Found, Snapshot
from stacksmith.model.report import Outcome, Report, StepResult
from stacksmith.model.stack import Stack
from stacksmith.placement import Claim, Consumer, Provider, Reason, Refused, claim_faults
from stacksmith.placement.tree.reason import OverCapacity
from stacksmith.planner.claim import Allocations, PlannedClaim, Room
from stacksmith.planner.layout import provider_name
from stacksmith.planner.ledger import CLAIMED_KINDS, Ledger, Sight, make_claims
from stacksmith.planner.plan import Operation, Plan, Step
from stacksmith.state.claim import Check
from stacksmith.state.store import Store

_MAKES = (Operation.CREATE, Operation.UPDATE, Operation.MIGRATE)


def claim_rooms(plan: Plan, store: Store) -> Mapping[str, Consumer]:
    """Claims all that the plan needs, in one transaction; what its stack held before, by uuid. The caller holds the
    stack's lease.

    Raises: Faults (``claim-lost``) with the numbers when the room was taken since the plan; nothing is claimed then.
    """
    before = {consumer.uuid: consumer for consumer in store.claims(plan.stack)}
    recorded = {record.uuid for record in store.records(plan.stack)} if plan.claims.there else set()
    # What a run between the plan and now made is there, though the plan did not see it.
    there = [claim for claim in plan.claims.there if claim.allocations or claim.uuid not in recorded]
    before |= _written(plan.stack, there, before, store)
    if not plan.claims.wanted:
        return before
    claims = [_claim(each, before) for each in plan.claims.wanted]
    try:
        store.claim(plan.stack, claims, _check(plan.claims.rooms))
    except Refused as refused:
        raise Faults([_lost(plan, refused.reasons, store.claims())]) from refused
    return before


def settle(plan: Plan, report: Report, before: Mapping[str, Consumer], store: Store) -> None:
    """Gives back what was claimed for steps that were not started, or were undone. What it cannot write the next plan
    puts right."""
    if report.stopped and report.signal is None:
        return  # the lease is lost, or the store
    undone = {result.step for result in report.results if _is_undone(result)}
    back = [
        _back(step, before, f"{Operation.DELETE} {step.address}" in undone)
        for step in plan.steps
        if step.id in undone and step.address.kind in CLAIMED_KINDS and step.operation in _MAKES
    ]
    with suppress(Faults, Refused):
        if back:
            _written(plan.stack, back, {c.uuid: c for c in store.claims(plan.stack)}, store)


def _is_undone(result: StepResult) -> bool:
    """True for a step that was not started, and for a migration that was refused: the server is where it was."""
    is_refused = result.outcome is Outcome.FAILED and result.kind == "refused"
    return result.outcome is Outcome.SKIPPED or (is_refused and result.operation == Operation.MIGRATE)


def hold_found(stack: Stack, snapshot: Snapshot, found: Iterable[Found], store: Store) -> None:
    """Makes the stack's claims those of the objects that were found, and no others."""
    objects = {each.address: each for each in found}
    ledger = Ledger(stack.name, stack.fleet, snapshot, store.claims(stack.name))
    _written(stack.name, make_claims(ledger, (), Sight((), objects, objects, {})).there, ledger.own, store)


def hold(stack: str, name: str, uuid: str, allocations: Allocations, store: Store) -> None:
    """Writes what an object holds that is there, whatever room there is."""
    known = {each.uuid: each for each in store.claims(stack)}
    _written(stack, [PlannedClaim(uuid, name, allocations)], known, store)


def give_up(stack: str, consumers: Iterable[Consumer], store: Store) -> None:
    """Drops what consumers of a stack hold."""
    gone = {consumer.uuid: consumer for consumer in consumers}
    _written(stack, [PlannedClaim(uuid, each.name) for uuid, each in gone.items()], gone, store)


def _back(step: Step, before: Mapping[str, Consumer], is_kept: bool) -> PlannedClaim:
    """What a step that was not started leaves: nothing for what is not there, else what was held before.
    ``is_kept``: the other half of the replacement was not started either."""
    held, name = before.get(step.uuid), str(step.address)
    is_there = step.operation is not Operation.CREATE or step.partial or (step.replaces and is_kept)
    return PlannedClaim(step.uuid, name, held.allocations if is_there and held is not None else {})


def _written(
    stack: str, there: Iterable[PlannedClaim], known: Mapping[str, Consumer], store: Store
) -> dict[str, Consumer]:
    """Writes what is so, whatever room there is; the consumers as they are now."""
    claims = [_claim(each, known) for each in there]
    return {each.uuid: each for each in store.claim(stack, claims, _unasked)} if claims else {}


def _claim(planned: PlannedClaim, known: Mapping[str, Consumer]) -> Claim:
    held = known.get(planned.uuid)
    return Claim(planned.uuid, planned.allocations, held.generation if held is not None else None, planned.name)


def _unasked(*_: object) -> Iterable[Reason]:
    return ()


def _check(rooms: Sequence[Room]) -> Check:
    """Whether the claims fit beside what the store has now and what ran unclaimed when the plan was made."""
    providers = {r.provider: Provider(r.provider, provider_name(r.provider), None, r.inventories) for r in rooms}

    def check(
        claims: Sequence[Claim], held: Mapping[str, Consumer], used: Mapping[str, Mapping[str, int]]
    ) -> Iterable[Reason]:
        taken: dict[str, Counter[str]] = defaultdict(Counter)
        for provider, amounts in used.items():
            taken[provider].update(amounts)
        for room in rooms:
            taken[room.provider].update(room.unclaimed)
            taken[room.provider].subtract(room.leaving)
        return claim_faults(providers, claims, held, taken)

    return check


def _lost(plan: Plan, reasons: Sequence[Reason], consumers: Iterable[Consumer]) -> Diagnostic:
    names = [each.name for each in plan.claims.wanted]
    listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return Diagnostic(
        Severity.ERROR,
        "claim-lost",
        f"cannot claim room for {listed}: it was taken since the plan",
        hint="plan again; nothing was changed",
        notes=(
            *((str(reason), None) for reason in reasons),
            *((text, None) for text in _holders(plan.stack, reasons, consumers)),
        ),
    )


def _holders(stack: str, reasons: Iterable[Reason], consumers: Iterable[Consumer]) -> Iterator[str]:
    """What other stacks hold of the providers that are short."""
    short = {reason.provider for reason in reasons if isinstance(reason, OverCapacity)}
    held: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for consumer in consumers:
        for uuid, amounts in consumer.allocations.items() if consumer.owner != stack else ():
            if (name := provider_name(uuid)) in short:
                held[name, consumer.owner].update(amounts)
    for (name, owner), total in sorted(held.items()):
        yield f"{name}: stack {owner} holds {', '.join(f'{each} {n:,}' for each, n in sorted(total.items()))}"
