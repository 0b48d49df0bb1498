"""Saved plans."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from views_plans import DRIFT, PLANS, UPDATE

from stacksmith.diagnostics import Faults
from stacksmith.planner.planfile import is_planfile, read_plan, write_plan


@pytest.mark.parametrize("name", [name for name in PLANS if name not in ("update", "drift")])
def test_written_plan_reads_back_equal(name: str, tmp_path: Path) -> None:
    write_plan(PLANS[name], tmp_path / "p")
    assert read_plan(tmp_path / "p") == PLANS[name]


@pytest.mark.parametrize("plan", [UPDATE, DRIFT])
def test_sensitive_values_are_not_in_the_file(plan: object, tmp_path: Path) -> None:
    write_plan(plan, tmp_path / "p")
    assert "secret" not in (tmp_path / "p").read_text()
    again = read_plan(tmp_path / "p")
    for step, before in zip(again.steps, plan.steps, strict=True):
        bare = tuple(replace(c, wanted=None, applied=None, found=None) if c.sensitive else c for c in before.changes)
        assert step == replace(before, changes=bare)


def test_plan_file_is_for_its_owner_only(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("old")
    (tmp_path / "p").chmod(0o644)
    write_plan(UPDATE, tmp_path / "p")
    assert stat.S_IMODE((tmp_path / "p").stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["p"]


def test_plan_file_is_known_by_its_beginning(tmp_path: Path) -> None:
    write_plan(UPDATE, tmp_path / "p")
    (tmp_path / "stack.yaml").write_text("stack: shop\n")
    assert is_planfile(tmp_path / "p")
    assert not any(map(is_planfile, (tmp_path / "stack.yaml", tmp_path, tmp_path / "absent")))


def test_every_cut_of_a_plan_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p"
    write_plan(PLANS["replace"], path)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 2, 97):
        path.write_bytes(whole[:length])
        with pytest.raises(Faults, match="cannot read the plan"):
            read_plan(path)


def test_edited_plan_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p"
    write_plan(UPDATE, path)
    path.write_text(path.read_text().replace('"hv2"', '"hv9"'))
    with pytest.raises(Faults, match="its checksum is another"):
        read_plan(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"version": "99"}, "format version '99'"), ({"format": "x"}, "not a plan file"), ({"sha256": 1}, "damaged")],
)
def test_other_file_is_refused_with_its_cause(change: dict[str, object], words: str, tmp_path: Path) -> None:
    path = tmp_path / "p"
    write_plan(UPDATE, path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(Faults, match=words):
        read_plan(path)


@pytest.mark.parametrize("text", ["", "[]", "null", "\x00", "[" * 100_000])
def test_file_that_holds_no_plan_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "p").write_text(text)
    with pytest.raises(Faults, match="cannot read the plan"):
        read_plan(tmp_path / "p")


def test_plan_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    with pytest.raises(Faults, match=r"cannot write the plan .*No such file or directory"):
        write_plan(UPDATE, tmp_path / "absent" / "p")
    with pytest.raises(Faults, match=r"cannot read the plan .*No such file or directory"):
        read_plan(tmp_path / "absent")
