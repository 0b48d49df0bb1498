"""What stands beside a plan: hosts that were not read, refusals, servers with no place, objects of others."""

from collections import Counter
from collections.abc import Iterable, Iterator

from stacksmith.model.change import Status
from stacksmith.model.found import Unmanaged
from stacksmith.placement.verdict import Optimum, Placement
from stacksmith.planner.aim import Evenness
from stacksmith.planner.plan import Operation, Plan, Step
from stacksmith.views.paint import PLAIN, Paint
from stacksmith.views.words import LISTED, counted, few, line, percent


def unreachable(plan: Plan, paint: Paint = PLAIN) -> Iterator[str]:
    """The hosts that could not be read, and what is not known because of it."""
    yield from unread(plan.unreachable, paint)
    if plan.unknown:
        yield f"  Not known, so no step touches it: {few([str(address) for address in sorted(plan.unknown)])}"
    elif plan.unreachable:
        yield "  No step touches what is there."


def unread(hosts: Iterable[tuple[str, str]], paint: Paint = PLAIN) -> Iterator[str]:
    """A warning for each host, with its error."""
    for host, error in hosts:
        yield f"{paint.bold}{paint.yellow}Warning:{paint.reset} cannot read host {host}: {line(error)}"


def placed(placement: Placement) -> str:
    """Why a server goes where it goes: ``placed on hv1: 2 of 3 hosts fit; <reason>``."""
    fitting = [verdict for verdict in placement.verdicts if verdict.fits]
    chosen = next((verdict for verdict in fitting if verdict.host == placement.host), None)
    text = f"placed on {placement.host}: {len(fitting)} of {counted(len(placement.verdicts), 'host')} fit"
    return f"{text}; {chosen.reason.removeprefix('fits: ')}" if chosen is not None and chosen.reason else text


def optimum(plan: Plan) -> Iterator[str]:
    """How good the joint placement of a stack with ``strategy: optimal`` is."""
    if plan.optimum is not None:
        yield f"Placement: {optimum_words(plan.optimum)}"


def optimum_words(optimum: Optimum) -> str:
    """``optimal: opens 3 empty hosts, proven``, or the bound, the gap and the time limit that was hit."""
    text = f"optimal: opens {counted(optimum.opened, 'empty host')}"
    if optimum.missed or optimum.missed_at_least:
        text += f", {counted(optimum.missed, 'member')} of soft groups not where preferred"
    if optimum.proven:
        return f"{text}; proven, no arrangement is better"
    gap = 100 * (optimum.opened - optimum.opened_at_least) / max(1, optimum.opened)
    text += f"; every arrangement opens at least {optimum.opened_at_least} (gap {gap:.1f} %)"
    if optimum.missed != optimum.missed_at_least:
        text += f" or misses at least {optimum.missed_at_least}"
    stopped = optimum.stopped_after
    return text if stopped is None else f"{text}; stopped at its time limit of {stopped:g} s"


def outcome(plan: Plan) -> Iterator[str]:
    """What a rebalance comes to: how evenly hosts are used before and after, and what of its aim is not reached."""
    made = plan.outcome
    if made is None:
        return
    if made.before is not None and made.after is not None:
        moves = _server_moves(plan)
        yield f"Evenness: {made.before.resource_class}, the scarcest class{_evenness(made.before)}"
        if moves:
            yield f"  after {counted(moves, 'migration')}{_evenness(made.after)}"
        if made.after.spread <= made.tolerance:
            yield f"  even: within the tolerance of {percent(made.tolerance)}"
    for left in made.left:
        yield f"Not reached: {line(left)}"


def _evenness(each: Evenness) -> str:
    if not each.shares:
        return ": no host counts"
    (most, share), (least, low) = each.shares[0], each.shares[-1]
    zone = f" in {each.zone}" if each.zone else ""
    between = f"between {percent(low)} ({least}) and {percent(share)} ({most})"
    return f"{zone}: {between}, a spread of {percent(each.spread)}"


def fewest(plan: Plan) -> str:
    """How many migrations, and whether fewer would do."""
    count = _server_moves(plan)
    if plan.outcome is None or not count:
        return ""
    if plan.outcome.is_fewest:
        proof = "fewer do not do it" if not plan.outcome.left else "each is needed"
    else:
        proof = "no fewer were found" if not plan.outcome.left else "nothing nearer was found"
    return f"{counted(count, 'migration')}; {proof}."


def _server_moves(plan: Plan) -> int:
    """Migrations of guests: volumes go with them."""
    return sum(s.operation is Operation.MIGRATE and s.address.kind == "server" for s in plan.steps)


def unplaced(plan: Plan, paint: Paint = PLAIN) -> Iterator[str]:
    """The servers that fit nowhere, with every host's reason."""
    for placement in plan.placements:
        if placement.host is not None:
            continue
        cause = placement.cause or "no host fits"
        yield f"{paint.bold}{paint.red}Error:{paint.reset} cannot place {placement.address}: {line(cause)}"
        for verdict in placement.verdicts:
            yield f"  {verdict.host}: {'fits' if verdict.fits else line(verdict.reason)}"
        if placement.hint:
            yield f"  {paint.cyan}hint:{paint.reset} {line(placement.hint)}"


def refusals(plan: Plan, paint: Paint = PLAIN) -> Iterator[str]:
    """Why the plan cannot be applied, and what to type."""
    steps = {step.id: step for step in plan.steps}
    for identifier, cause in plan.refusals:
        step = steps.get(identifier)
        yield f"{paint.bold}{paint.red}Refused:{paint.reset} cannot {identifier}: {line(cause)}"
        hint = _hint(step) if step is not None else None
        if hint:
            yield f"  {paint.cyan}hint:{paint.reset} {hint}"


def _hint(step: Step) -> str | None:
    if step.policy.protect and (step.replaces or step.operation is Operation.DELETE):
        return f"set protect: false on {step.address} and apply that first"
    if any(change.status is Status.CONFLICT for change in step.changes):
        return "--overwrite-drift applies the stack's value; or write the found value into the stack"
    return None


def barred(entries: Iterable[tuple[str, str, str]], paint: Paint = PLAIN) -> str:
    """Why nothing was done, from (step id, cause, what to type): steps with the same cause share a line."""
    groups: dict[tuple[str, str], list[str]] = {}
    for step, cause, hint in entries:
        groups.setdefault((cause, hint), []).append(step)
    lines = []
    for (cause, hint), steps in groups.items():
        lines.append(f"{paint.bold}{paint.red}Error:{paint.reset} not allowed: {few(steps)}: {line(cause)}")
        if hint:
            lines.append(f"  {paint.cyan}hint:{paint.reset} {line(hint)} allows it")
    return "".join(f"{line}\n" for line in lines)


def unmanaged(plan: Plan, paint: Paint = PLAIN) -> Iterator[str]:
    """The objects that are not this stack's: named by host, never touched."""
    if not plan.unmanaged:
        return
    hosts = {each.host for each in plan.unmanaged}
    yield (
        f"{paint.bold}Unmanaged:{paint.reset} {counted(len(plan.unmanaged), 'object')} on "
        f"{counted(len(hosts), 'host')} not of this stack, left alone"
    )
    own = [each for each in plan.unmanaged if each.owner is None]
    for each in own[:LISTED]:
        yield f"  {_unmanaged(each)}"
    if len(own) > LISTED:
        yield f"  … and {len(own) - LISTED} more that carry no mark"
    for owner, number in sorted(Counter(each.owner for each in plan.unmanaged if each.owner).items()):
        yield f"  {counted(number, 'object')} of {line(owner)}"


def _unmanaged(each: Unmanaged) -> str:
    detail = f" ({line(each.detail)})" if each.detail else ""
    return f"{each.host}: {each.kind} {line(each.name)}{detail}"
