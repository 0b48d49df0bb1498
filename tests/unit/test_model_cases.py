"""Every folder of tests/cases/load: a stack, and what its load says, in ``expected.txt``.

``options.json`` holds LoadOptions, and ``path`` when it is not stack.yaml that is loaded.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stacksmith.diagnostics import Diagnostic
from stacksmith.model.codes import CODES
from stacksmith.model.load import LoadOptions, load_stack
from stacksmith.model.stack import Loaded, Resource, Stack

CASES = Path(__file__).parent.parent / "cases" / "load"
MODEL = Path(load_stack.__code__.co_filename).parent
NAMES = sorted(path.name for path in CASES.iterdir() if path.is_dir())


def options(case: Path) -> tuple[Path, LoadOptions]:
    file = case / "options.json"
    given = json.loads(file.read_text()) if file.exists() else {}
    path = Path(given.pop("path", "stack.yaml"))
    files = tuple(Path(name) for name in given.pop("var_files", ()))
    return path, LoadOptions(var_files=files, **given)


def said(diagnostic: Diagnostic) -> Iterator[str]:
    yield f"{diagnostic.severity}[{diagnostic.code}] {diagnostic.span or '-'}: {diagnostic.message}"
    span, snippet = diagnostic.span, diagnostic.snippet
    if span is not None and snippet is not None:
        width = max(1, span.end_column - span.column)
        yield f"  | {snippet[:150]}"
        yield f"  | {' ' * (span.column - 1)}{'^' * width}"
    for note, place in diagnostic.notes:
        yield f"  note: {note} ({place or '-'})"
    if diagnostic.hint:
        yield f"  hint: {diagnostic.hint}"


def told(resource: Resource) -> Iterator[str]:
    spec = resource.spec.model_dump(exclude_defaults=True)
    yield f"{resource.address} at {resource.where((), key=True)}: {json.dumps(spec)}"
    if resource.depends_on:
        yield f"  depends on {', '.join(map(str, resource.depends_on))}"
    if resource.user_data is not None:
        yield f"  user_data {resource.user_data!r}"


def stack_lines(stack: Stack) -> Iterator[str]:
    yield f"stack {stack.name} on {stack.fleet.fleet}: {', '.join(stack.fleet.hosts)}"
    for resource in stack.resources.values():
        yield from told(resource)
    for name, files in sorted(stack.image_files.items()):
        for role, file in files.items():
            yield f"file {name}.{role}: {Path(file.source).name} {file.format} {file.checksum}"
    for name, value in sorted(stack.variables.items()):
        yield f"var.{name} = {value!r}"


def text(loaded: Loaded) -> str:
    lines = [line for diagnostic in loaded.diagnostics for line in said(diagnostic)]
    if loaded.stack is not None:
        lines += stack_lines(loaded.stack)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_load_case_says_what_is_expected(
    name: str, golden: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CASES / name)
    loaded = load_stack(*options(CASES / name))
    assert (loaded.stack is not None) == name.startswith("good_")
    assert {d.code for d in loaded.diagnostics} <= CODES.keys()
    assert all(d.span for d in loaded.diagnostics if d.code != "unknown-variable")
    golden(text(loaded), f"load/{name}/expected.txt")


def test_codes_each_of_the_load_has_a_case() -> None:
    sources = [path for path in MODEL.rglob("*.py") if path.name != "codes.py"]
    texts = "".join(path.read_text() for path in sources)
    raised = {code for code in CODES if f'"{code}"' in texts}
    seen = {
        line.partition("[")[2].partition("]")[0]
        for name in NAMES
        for line in (CASES / name / "expected.txt").read_text().splitlines()
        if line.startswith(("error[", "warning["))
    }
    tested_elsewhere = {"bad-output", "too-many", "file-unreadable"}  # in test_model_load and test_bad_input
    of_commands = {"file", "locked"}  # words of the model too
    assert len(raised) > 40
    assert raised - seen - tested_elsewhere - of_commands == set()
