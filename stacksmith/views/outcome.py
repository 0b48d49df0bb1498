"""What a run did: the table and the sentence at its end."""

from collections.abc import Iterator

from stacksmith.model.report import Outcome, Report, StepResult
from stacksmith.model.types import JSON
from stacksmith.views.event_text import skip_cause
from stacksmith.views.paint import PLAIN, Paint
from stacksmith.views.table import table
from stacksmith.views.words import counted, duration, line

LISTED = 40  # steps that ended well are only counted beyond this number


def outcome_text(report: Report, command: str, paint: Paint = PLAIN) -> str:
    """The end of a run: every step that failed or was skipped with its cause, what was done, and the counts.

    ``command`` is apply or destroy.
    """
    lines = list(_table(report, paint))
    lines += [""] if lines else []
    lines.append(_sentence(report, command, paint))
    return "\n".join(lines) + "\n"


def outcome_data(report: Report) -> JSON:
    """The report as JSON data."""
    return {
        "run": report.run,
        "seconds": round(report.seconds, 3),
        "signal": report.signal,
        "stopped": report.stopped,
        "exit_status": report.exit_status,
        "results": [_data(result) for result in report.results],
    }


def _data(result: StepResult) -> JSON:
    return {
        "step": result.step,
        "operation": result.operation,
        "address": str(result.address),
        "host": result.host,
        "outcome": result.outcome.value,
        "seconds": round(result.seconds, 3),
        "kind": result.kind,
        "cause": result.cause,
        "hint": result.hint,
        "because": result.because,
        "warning": result.warning,
    }


def _table(report: Report, paint: Paint) -> Iterator[str]:
    done = sum(result.outcome is Outcome.DONE for result in report.results)
    shown = [result for result in report.results if result.outcome is not Outcome.DONE or done <= LISTED]
    if shown:
        rows = [_row(result) for result in sorted(shown, key=_order)]
        yield from table(("RESULT", "STEP", "RESOURCE", "HOST", "TIME", "WHY"), rows, paint)
    if done > LISTED:
        yield f"{'… and ' if shown else ''}{done} steps done"
    for result in report.failed:
        if result.hint:
            yield f"{paint.cyan}hint:{paint.reset} {result.address}: {line(result.hint)}"


def _order(result: StepResult) -> tuple[int, tuple[str, str, int, int, str, str]]:
    return (list(Outcome).index(result.outcome), result.address.order)


def _row(result: StepResult) -> tuple[str, str, str, str, str, str]:
    why = f"{result.kind}: {result.cause}" if result.outcome is Outcome.FAILED else result.warning
    if result.outcome is Outcome.SKIPPED:
        why = skip_cause(result.because)
    time = "" if result.outcome is Outcome.SKIPPED else duration(result.seconds)
    return (result.outcome.value, result.operation, str(result.address), result.host, time, why)


def _sentence(report: Report, command: str, paint: Paint) -> str:
    failed, skipped = len(report.failed), len(report.skipped)
    done = len(report.results) - failed - skipped
    if report.stopped:
        ended = f"{counted(done, 'step')} done, {failed} failed, {skipped} not started"
        head = f"{paint.bold}{paint.yellow}Interrupted{paint.reset} ({line(report.stopped)}): {ended}"
        return f"{head}. {_resources(report)}{' Run again to finish.' if failed or skipped else ''}"
    if failed or skipped:
        head = f"{paint.bold}{paint.red}Error:{paint.reset} {counted(failed, 'step')} failed"
        return f"{head}, {skipped} skipped, {done} done. {_resources(report)}"
    if command == "destroy":
        kept = f", {report.kept} kept" if report.kept else ""
        text = f"Destroy complete! Resources: {report.destroyed} destroyed{kept}."
    else:
        text = f"Apply complete! {_resources(report)}"
    return f"{paint.bold}{paint.green}{text}{paint.reset}"


def _resources(report: Report) -> str:
    forgotten = f", {report.kept} forgotten" if report.kept else ""
    forgotten += f", {report.migrated} migrated" if report.migrated else ""
    return f"Resources: {report.added} added, {report.changed} changed, {report.destroyed} destroyed{forgotten}."
