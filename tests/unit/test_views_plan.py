"""Plans as text, JSON and Markdown."""

import json
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from views_plans import CREATE, DRIFT, PLANS, REPLACE, SERVER, UPDATE, change, step

from stacksmith.address import Address
from stacksmith.diagnostics import Diagnostic, Severity
from stacksmith.events import StepFailed
from stacksmith.model.change import Impact
from stacksmith.model.found import Unmanaged
from stacksmith.model.realised import to_data
from stacksmith.planner.plan import Deviation, Operation, Plan
from stacksmith.source import Span
from stacksmith.views.diagnostic_text import diagnostics_text
from stacksmith.views.event_text import event_line
from stacksmith.views.gitlab import gitlab_data
from stacksmith.views.json_text import json_text
from stacksmith.views.paint import COLOURED
from stacksmith.views.plan_json import plan_data
from stacksmith.views.plan_markdown import plan_markdown
from stacksmith.views.plan_text import plan_text, summary

Golden = Callable[[str, str], None]


@pytest.mark.parametrize("name", PLANS)
def test_plan_text_is_as_accepted(name: str, golden: Golden) -> None:
    golden(plan_text(PLANS[name]), f"views/plan_{name}.txt")


def test_plan_text_in_colour_is_as_accepted(golden: Golden) -> None:
    golden(plan_text(REPLACE, COLOURED).replace("\x1b", "␛"), "views/plan_replace_colour.txt")


@pytest.mark.parametrize("name", PLANS)
def test_plan_json_is_as_accepted(name: str, golden: Golden) -> None:
    golden(json_text(plan_data(PLANS[name], "2026-01-02T03:04:05Z")), f"views/plan_{name}.json")


@pytest.mark.parametrize("name", ["create", "drift", "in_sync"])
def test_plan_markdown_is_as_accepted(name: str, golden: Golden) -> None:
    golden(plan_markdown(PLANS[name]), f"views/plan_{name}.md")


@pytest.mark.parametrize("view", [plan_text, plan_markdown, lambda plan: json.dumps(plan_data(plan, ""))])
@pytest.mark.parametrize("plan", [UPDATE, DRIFT])
def test_sensitive_value_is_in_no_view(view: Callable[[Plan], str], plan: Plan) -> None:
    assert "secret" not in view(plan)


def test_sensitive_value_in_before_and_after_is_null() -> None:
    before = {**to_data(SERVER), "config_drive": {"format": "nocloud", "digest": "x"}}
    update = step(Operation.UPDATE, Address("server", "a"), wanted=SERVER, before=before)
    update = replace(update, changes=(change("config_drive.digest", "x", "y", sensitive=True),))
    (resource,) = plan_data(Plan("lab", "shop", (update,)), "")["resource_changes"]
    assert resource["change"]["before"]["config_drive"] == {"format": "nocloud", "digest": None}
    assert resource["change"]["after"]["config_drive"]["digest"] is None
    assert resource["change"]["after_sensitive"] == {"config_drive": True}


def test_undeclared_field_keeps_its_value_in_after() -> None:
    before = to_data(replace(SERVER, cpu_mode="host-model"))
    update = step(Operation.UPDATE, Address("server", "a"), wanted=SERVER, before=before)
    (resource,) = plan_data(Plan("lab", "shop", (update,)), "")["resource_changes"]
    assert resource["change"]["after"]["cpu_mode"] == "host-model"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("create", "Plan: 6 to add, 0 to change, 0 to destroy."),
        ("update", "Plan: 0 to add, 2 to change, 0 to destroy."),
        ("replace", "Plan: 2 to add, 0 to change, 3 to destroy, 1 to forget."),
        ("in_sync", "No changes. Your infrastructure matches the configuration."),
    ],
)
def test_summary_counts_as_terraform_does(name: str, words: str) -> None:
    assert summary(PLANS[name]) == words


def test_plan_with_an_unread_host_is_never_said_to_match() -> None:
    assert "matches the configuration" not in plan_text(PLANS["unread"])


def test_destroy_with_an_unread_host_is_never_said_to_be_all() -> None:
    text = plan_text(Plan("lab", "shop", unreachable=(("hv1", "no answer in 30 s"),), destroy=True))
    assert "No changes to what could be read." in text and "No objects need" not in text


def test_what_is_allowed_already_is_not_told_how_to_allow() -> None:
    assert "To allow this, apply with --allow restart." in plan_text(DRIFT)
    assert "To allow this" in plan_text(REPLACE, allowed=Impact.RESTART)
    assert "To allow this" not in plan_text(DRIFT, allowed=Impact.RESTART)
    assert "restart: 2 resources: " in plan_text(DRIFT, allowed=Impact.RESTART)


def test_terminal_escapes_in_names_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in plan_text(DRIFT)


def test_markdown_of_a_huge_plan_stays_below_the_limit() -> None:
    steps = tuple(step(Operation.CREATE, Address("server", "w", n), wanted=SERVER) for n in range(2000))
    text = plan_markdown(Plan("lab", "shop", steps))
    assert len(text) <= 65_536
    assert text.endswith("</details>\n")
    assert "more lines" in text


def test_markdown_fence_is_longer_than_the_backticks_of_a_value() -> None:
    wanted = replace(SERVER, description="````\n</details>")
    text = plan_markdown(Plan("lab", "shop", (step(Operation.CREATE, Address("server", "w"), wanted=wanted),)))
    assert "\n`````\n" in text


def test_gitlab_counts_both_halves_of_a_replacement() -> None:
    assert gitlab_data(REPLACE) == {"create": 2, "update": 0, "delete": 3}


def test_json_plan_with_refusals_is_not_applyable() -> None:
    data = plan_data(DRIFT, "")
    assert (data["applyable"], data["complete"]) == (False, False)
    data = plan_data(CREATE, "")
    assert (data["applyable"], data["complete"]) == (True, True)


def test_time_of_a_long_text_grows_as_its_lines_do() -> None:
    updates = tuple(
        step(
            Operation.UPDATE,
            Address("server", "w", n),
            wanted=SERVER,
            changes=(change("ram_mib", 512, 1024, impact=Impact.RESTART), change("tags", ["a"], ["a", "b"])),
            impact=Impact.RESTART,
        )
        for n in range(8000)
    )
    few, many = (Plan("lab", "shop", updates[:count]) for count in (800, 8000))
    assert min(_cpu_seconds(many) for _ in range(3)) < 40 * min(_cpu_seconds(few) for _ in range(3))


def _cpu_seconds(plan: Plan) -> float:
    began = time.process_time()
    assert plan_text(plan).count("\n") > 6 * len(plan.steps)
    return time.process_time() - began


NASTY = "x\n::error::\x1b[2J\x9b2J\u202e"


def test_nasty_keys_names_and_causes_stay_on_their_line_and_off_the_terminal() -> None:
    nasty = change(f"metadata.{NASTY}", None, NASTY)
    server = replace(SERVER, metadata={NASTY: NASTY}, description=NASTY)
    address = Address("server", "w")
    plan = Plan(
        "lab",
        "shop",
        steps=(
            replace(step(Operation.CREATE, address, wanted=server), id="a"),
            replace(step(Operation.UPDATE, address, wanted=server, changes=(nasty,), reason=NASTY), id="b"),
        ),
        deviations=(Deviation(address, "hv1", problem=NASTY), Deviation(address, "hv1", (nasty,))),
        unmanaged=(
            Unmanaged("volume", "hv1", NASTY, "", None, detail=NASTY),
            Unmanaged("server", "hv1", "", "", NASTY),
        ),
        unreachable=(("hv1", NASTY),),
        refusals=(("a", NASTY),),
    )
    for text in (plan_text(plan), plan_markdown(plan), json_text(plan_data(plan, "now"))):
        assert not set(text) & {"\x1b", "\x9b", "\u202e"}
        assert not any(line.strip().startswith("::") for line in text.splitlines())


def test_nasty_causes_of_events_and_diagnostics_stay_on_their_line() -> None:
    event = StepFailed("s", "create", Address("server", "w"), "hv1", 1.0, "refused", NASTY)
    fault = Diagnostic(Severity.ERROR, "x", NASTY, Span(NASTY, 1, 1), hint=NASTY, notes=((NASTY, Span(NASTY, 1, 1)),))
    for text in (event_line(event) or "", diagnostics_text([fault])):
        assert not set(text) & {"\x1b", "\x9b", "\u202e"}
        assert not any(line.strip().startswith("::") for line in text.splitlines())
