"""Providers × kinds: every test here runs on each provider."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stacksmith import lab
from tests.conformance.libvirt_rig import LibvirtRig
from tests.conformance.memory_rig import MemoryRig
from tests.conformance.rig import Bench, Rig

PROVIDERS: list[Any] = ["memory", "memory-file", pytest.param("libvirt", marks=pytest.mark.e2e)]


@pytest.fixture(scope="session")
def lab_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Lab]:
    """A lab of one host."""
    directory = tmp_path_factory.mktemp("lab")
    yield lab.up(directory, hosts=1)
    lab.down(directory)


@pytest.fixture(params=PROVIDERS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """A host under test, with nothing of the suite on it."""
    if request.param == "memory":
        yield MemoryRig(f"memory:{tmp_path.name}")
    elif request.param == "memory-file":
        yield MemoryRig(f"memory://{tmp_path}/world.json")
    else:
        made = LibvirtRig(request.getfixturevalue("lab_host"), tmp_path)
        yield made
        made.drop()


@pytest.fixture
def bench(rig: Rig) -> Iterator[Bench]:
    """A bench on the host. What the test leaves is cleared away, and nothing may be left after that."""
    before = rig.native()
    bench = Bench(rig, rig.stack)
    yield bench
    bench.clear()
    assert rig.native() - before == frozenset()
