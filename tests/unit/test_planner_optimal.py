"""A stack with ``strategy: optimal`` from its file to what is said of it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import pytest

from stacksmith.diagnostics import Faults
from stacksmith.engine import session
from stacksmith.placement.verdict import Optimum
from stacksmith.planner.plan import Plan
from stacksmith.planner.planfile import read_plan, write_plan
from stacksmith.providers.memory.provider import forget
from stacksmith.views.notice import optimum_words
from stacksmith.views.plan_json import plan_data
from stacksmith.views.plan_text import plan_text

CASE = Path(__file__).parents[1] / "cases" / "placement" / "optimal-stack"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield copytree(CASE, tmp_path / "stack")
    forget("memory:case")


def made(folder: Path) -> Plan:
    return session.plan(session.Options(stack=folder / "stack.yaml")).plan


def test_plan_of_an_optimal_stack_tells_its_bound_as_text_json_and_file(folder: Path) -> None:
    plan = made(folder)
    assert "\nPlacement: optimal: opens 1 empty host; proven, no arrangement is better\n" in plan_text(plan)
    data = json.loads(json.dumps(plan_data(plan, "")))
    assert data["stacksmith"]["optimum"] == {
        "opened": 1, "opened_at_least": 1, "missed": 0, "missed_at_least": 0, "proven": True,
        "stopped_after_seconds": None,
    }  # fmt: skip
    write_plan(plan, folder / "plan")
    assert read_plan(folder / "plan").optimum == plan.optimum == Optimum(1, 1)


def test_plan_of_an_optimal_stack_without_the_solver_is_told_with_its_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "highspy", None)
    with pytest.raises(Faults) as caught:
        made(folder)
    (fault,) = caught.value.diagnostics
    assert (fault.code, str(fault.span)) == ("missing-extra", f"{folder}/stack.yaml:3:11")
    assert fault.message == "cannot place by strategy optimal: its solver, highspy, is not installed"
    assert fault.hint == "pip install 'stacksmith[optimal]', or take strategy: pack"


@pytest.mark.parametrize(
    ("optimum", "words"),
    [
        (Optimum(0, 0), "optimal: opens 0 empty hosts; proven, no arrangement is better"),
        (
            Optimum(20, 19, stopped_after=60.0),
            "optimal: opens 20 empty hosts; every arrangement opens at least 19 (gap 5.0 %); "
            "stopped at its time limit of 60 s",
        ),
        (
            Optimum(3, 0, 2, 1, 5.0),
            "optimal: opens 3 empty hosts, 2 members of soft groups not where preferred; every arrangement opens at "
            "least 0 (gap 100.0 %) or misses at least 1; stopped at its time limit of 5 s",
        ),
    ],
)
def test_optimum_is_told_with_bound_gap_and_limit(optimum: Optimum, words: str) -> None:
    assert optimum_words(optimum) == words
