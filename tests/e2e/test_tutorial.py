"""The README's tutorial, word for word, on a lab of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.takes(90), pytest.mark.xdist_group("lab")]

README = Path(__file__).parents[2] / "README.md"


@dataclass
class Command:
    """One `$` line (with its here-document), the exit status it names, and the output lines shown below it."""

    text: str
    status: int
    shown: list[str]


def commands(readme: str) -> Iterator[Command]:
    for block in re.findall(r"```console\n(.*?)```", readme, re.S):
        for part in re.split(r"(?m)^\$ ", block)[1:]:
            first, _, rest = part.partition("\n")
            if "<<'EOF'" in first:
                body, _, rest = rest.partition("\nEOF\n")
                yield Command(f"{first}\n{body}\nEOF", 0, [line for line in rest.splitlines() if line])
                continue
            status = re.search(r"# exit (\d+)", first)
            yield Command(first, int(status[1]) if status else 0, [line for line in rest.splitlines() if line])


def run(text: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", text], cwd=folder, env={**os.environ, "PATH": path, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_tutorial_runs_word_for_word(tmp_path: Path) -> None:
    told = list(commands(README.read_text()))
    assert len(told) >= 12
    try:
        for command in told:
            done = run(command.text, tmp_path)
            assert done.returncode == command.status, f"$ {command.text}\n{done.stdout}"
            for line in command.shown:
                assert line in done.stdout.splitlines(), f"$ {command.text}: {line!r} is not in\n{done.stdout}"
        assert sorted(p.name for p in tmp_path.iterdir() if p.name != ".stacksmith") == ["stack.yaml"]
    finally:
        run("stacksmith lab down lab", tmp_path)
