"""Events of a run and its end."""

import io
import json
from collections.abc import Callable

import pytest

from stacksmith.address import Address
from stacksmith.events import (
    Event,
    LockWaiting,
    RunEnded,
    RunStarted,
    StepDone,
    StepFailed,
    StepProgress,
    StepRetried,
    StepSkipped,
    StepStarted,
)
from stacksmith.model.report import Outcome, Report, StepResult
from stacksmith.views.event_data import event_data
from stacksmith.views.event_text import event_line
from stacksmith.views.json_text import json_line
from stacksmith.views.outcome import outcome_data, outcome_text
from stacksmith.views.paint import COLOURED

Golden = Callable[[str, str], None]
WEB, DB, LAN = Address("server", "web", 0), Address("server", "db"), Address("network", "lan", host="hv1")
EVENTS: tuple[Event, ...] = (
    LockWaiting("ann@ci (pid 7, apply, run r0)", 12.5),
    RunStarted("r1", "apply", 5),
    StepStarted("create network.lan@hv1", "create", LAN, "hv1"),
    StepDone("create network.lan@hv1", "create", LAN, "hv1", 0.4, "1b2c"),
    StepStarted("create server.web[0]", "create", WEB, "hv1"),
    StepProgress("create server.web[0]", "create", WEB, "hv1", 20.2),
    StepProgress("create server.web[0]", "create", WEB, "hv1", 80.0, "uploading 40 of 149 MiB"),
    StepRetried("create server.web[0]", WEB, "hv1", "connection lost", 1, 2.0),
    StepDone("create server.web[0]", "create", WEB, "hv1", 3723.9, warning="written, unverified"),
    StepFailed("update server.db", "update", DB, "hv2", 3.2, "refused", "no space \x1b[31mleft", "free some"),
    StepSkipped("delete server.old", "delete", Address("server", "old"), "hv2", "update server.db"),
    StepSkipped("forget server.x", "forget", Address("server", "x"), "hv2", "SIGINT"),
    RunEnded("r1", 2, 1, 2, 12.0, True),
)
RESULTS = (
    StepResult("create server.web[0]", "create", WEB, "hv1", Outcome.DONE, 3.2),
    StepResult("update server.db", "update", DB, "hv2", Outcome.FAILED, 0.2, "refused", "no space\nleft", "free some"),
    StepResult("delete server.a", "delete", Address("server", "a"), "hv2", Outcome.SKIPPED, because="update server.db"),
    StepResult("forget volume.v", "forget", Address("volume", "v"), "hv2", Outcome.DONE),
    StepResult("forget server.x", "forget", Address("server", "x"), "hv2", Outcome.DONE, 0.1),
)


def test_event_lines_are_as_accepted(golden: Golden) -> None:
    golden("".join(f"{line}\n" for event in EVENTS if (line := event_line(event))), "views/events.txt")


def test_event_json_lines_are_as_accepted(golden: Golden) -> None:
    lines = [json_line(event_data(event, n, "2026-01-02T03:04:05Z")) for n, event in enumerate(EVENTS)]
    golden("".join(lines), "views/events.jsonl")
    assert all(json.loads(line)["sequence"] == n for n, line in enumerate(lines))


def test_live_progress_on_a_terminal_prints_every_line_once() -> None:
    from stacksmith.views.event_live import LiveProgress

    stream = io.StringIO()
    with LiveProgress(stream, COLOURED) as live:
        for event in EVENTS:
            live(event)
    shown = stream.getvalue()
    assert shown.count("Creation complete after 1h2m3s") == 1
    assert "refused" not in shown
    assert "\x1b[31mleft" not in shown


@pytest.mark.parametrize(
    ("report", "command", "name"),
    [
        (Report("r1", RESULTS[:1]), "apply", "apply"),
        (Report("r1", RESULTS), "apply", "failed"),
        (Report("r1", RESULTS[2:4], signal=2, stopped="SIGINT"), "apply", "interrupted"),
        (Report("r1", RESULTS[3:4], signal=2, stopped="SIGINT"), "apply", "interrupted_at_the_end"),
        (Report("r1", RESULTS[3:4]), "destroy", "destroy"),
        (Report("r1", (*RESULTS[:1] * 41, RESULTS[1])), "apply", "many"),
        (Report("r1"), "apply", "nothing"),
    ],
)
def test_outcome_is_as_accepted(report: Report, command: str, name: str, golden: Golden) -> None:
    golden(outcome_text(report, command), f"views/outcome_{name}.txt")


def test_outcome_json_has_every_result_and_the_exit_status() -> None:
    data = outcome_data(Report("r1", RESULTS, 1.0))
    assert [result["outcome"] for result in data["results"]] == ["done", "failed", "skipped", "done", "done"]
    assert data["exit_status"] == 1
