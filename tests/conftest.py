"""Golden files: ``golden(text, "views/name.txt")`` compares, ``--accept`` rewrites. In CI a skip is a failure."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres import Place, PostgresServer

CASES = Path(__file__).parent / "cases"
OF_E2E = ("e2e", "conformance")  # the folders that `make test` looks into for the tests that are marked e2e

# A slow machine breaks no promise that an example is about. The examples are the same in every run; others are searched
# for with --hypothesis-profile=search.
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("any machine", settings.get_profile("search"), derandomize=True)
settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--accept", action="store_true", help="write what the tests got as the golden files")


def pytest_configure(config: pytest.Config) -> None:
    """The programs that tests start keep their compiled modules: to compile them is a third of a short one's time."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.setdefault("PYTHONPYCACHEPREFIX", str(config.rootpath / ".pytest_cache" / "compiled"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files begin in the order of the time they take, so that none that is long runs alone at the end.

    What needs root is no part of an ordinary user's run, and said to be left out; CI proves everything.
    """
    marks = {item: item.get_closest_marker("takes") for item in items}
    items.sort(key=lambda item: -mark.args[0] if (mark := marks[item]) else 0)
    of_root = [item for item in items if item.get_closest_marker("root")] if os.geteuid() else []
    if of_root and os.environ.get("CI") == "true":
        raise pytest.UsageError("CI must run as root, or what needs root is not proved")
    if lost := [item.nodeid for item in items if item.get_closest_marker("e2e") and _folder(item) not in OF_E2E]:
        raise pytest.UsageError(f"make test would not run what is marked e2e outside {' and '.join(OF_E2E)}: {lost[0]}")
    config.hook.pytest_deselected(items=of_root)
    items[:] = [item for item in items if item not in set(of_root)]


def _folder(item: pytest.Item) -> str:
    """The name of the folder of tests that an item is in."""
    return item.path.relative_to(Path(__file__).parent).parts[0]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A proof that was skipped proves nothing: with CI=true it fails the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with the golden file at a path inside ``tests/cases``."""

    def compare(text: str, name: str) -> None:
        path = CASES / name
        if request.config.getoption("--accept"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="")
            return
        assert path.exists(), f"{path} is not there: pytest --accept writes it"
        assert text == path.read_text(encoding="utf-8")

    return compare


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server that lives as long as the session."""
    server = PostgresServer()
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.xdist_group("postgres"))])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An empty store, of each kind."""
    if request.param == "sqlite":
        place = Place("sqlite:///state.db", tmp_path)
    else:
        place = Place(request.getfixturevalue("postgres").database(), tmp_path)
    yield place
    for store in place.opened:
        store.close()
