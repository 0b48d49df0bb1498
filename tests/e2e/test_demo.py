"""What `make demo` runs: twice in a row, and nothing of it is left."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stacksmith.lab.layout import layout_of
from tests.e2e.test_lab import lab_namespaces, leftovers

pytestmark = [pytest.mark.e2e, pytest.mark.takes(120), pytest.mark.xdist_group("lab")]

DEMO = Path(__file__).parents[2] / "demo" / "run.py"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for the lab, with a name that is short enough for sockets in it."""
    with tempfile.TemporaryDirectory(prefix="demo-") as name:
        yield Path(name) / "lab"


@pytest.mark.parametrize("time", ["first", "second"])
def test_demo_shows_the_main_job_and_leaves_nothing(time: str, folder: Path) -> None:
    environment = {**os.environ, "STACKSMITH_DEMO_DIR": str(folder)}
    with contextlib.ExitStack() as held:
        demo = held.enter_context(
            subprocess.Popen([sys.executable, DEMO], env=environment, stdout=subprocess.PIPE, text=True)
        )
        assert demo.stdout is not None
        shown: list[str] = []
        spaces: set[str] = set()
        for line in demo.stdout:
            shown.append(line)
            if line.startswith("== What is wanted"):
                spaces = held.enter_context(lab_namespaces(layout_of(folder)))
        assert demo.wait() == 0, "".join(shown[-40:])
        assert spaces, "the lab's hosts have namespaces of their own"
        text = "".join(shown)
        for words in (
            "STACKSMITH-META role=db",
            "database on db",
            "No changes. Your infrastructure matches",
            "server.db has changed",
        ):
            assert words in text
        assert shown[-1] == "== Done: nothing of the lab is left.\n"
        assert leftovers(folder, spaces) == []
    assert not folder.exists() or not list(folder.iterdir())


def test_demo_runs_on_the_memory_provider_too(folder: Path) -> None:
    done = subprocess.run([sys.executable, DEMO, "--memory"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert "Destroy complete!" in done.stdout
