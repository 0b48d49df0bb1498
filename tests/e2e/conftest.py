"""One lab for all tests of a worker; each test has a stack of its own name and leaves nothing on the hosts."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from stacksmith import lab
from tests.e2e.kit import Site
from tests.e2e.light_parts import LightBmc, light_farm
from tests.e2e.store import Store, opened_store

_numbers = count(1)


@pytest.fixture(scope="session")
def lab_dir() -> Iterator[Path]:
    """A lab of three hosts."""
    folder = Path(tempfile.mkdtemp(prefix="stacksmith-lab-"))
    try:
        lab.up(folder, hosts=3)
        yield folder
    finally:
        lab.down(folder)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def store(lab_dir: Path, tmp_path: Path) -> Iterator[Store]:
    """The storage of hv1."""
    with opened_store(lab_dir, tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def bmcs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[LightBmc]]:
    """As many light BMCs as the module's ``BMCS`` says."""
    with light_farm(tmp_path_factory.mktemp("light") / "farm", request.module.BMCS) as farm:
        yield iter(farm)


@pytest.fixture
def bmc(bmcs: Iterator[LightBmc]) -> LightBmc:
    """One that no other test has."""
    return next(bmcs)


@pytest.fixture
def make_site(lab_dir: Path, tmp_path: Path) -> Iterator[Callable[[], Site]]:
    """Makes sites; destroys what is left of them afterwards."""
    with _sites(lab_dir, tmp_path) as make:
        yield make


@pytest.fixture(scope="module")
def make_lasting_site(lab_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Site]]:
    """Makes sites that the tests of a module share."""
    with _sites(lab_dir, tmp_path_factory.mktemp("lasting")) as make:
        yield make


@contextmanager
def _sites(lab_dir: Path, folder: Path) -> Iterator[Callable[[], Site]]:
    made: list[Site] = []

    def make() -> Site:
        name = f"t{os.getpid()}-{next(_numbers)}"  # no other on the machine, whose processes tests look through
        made.append(Site(name, folder / name, _fleet(lab_dir, name), lab_dir))
        return made[-1]

    yield make
    for site in made:
        if (site.folder / "stack.yaml").exists():
            site.write("servers: {}")
            site.destroy()
            site.remove_kept()


def _fleet(lab_dir: Path, name: str) -> Path:
    """The lab's fleet file with a state store of the test's own."""
    text = (lab_dir / "fleet.yaml").read_text()
    copy = lab_dir / f"{name}.yaml"
    copy.write_text(text.replace("sqlite:///state/lab.db", f"sqlite:///state/{name}.db"))
    return copy
