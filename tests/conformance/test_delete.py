"""Deleting: nothing is left, and nothing that is in use or another's is touched."""

from contextlib import suppress
from dataclasses import replace

import pytest

from stacksmith.model.realised import Image, Server
from stacksmith.providers.base import Refused
from tests.conformance.example import ADDRESSES, KINDS, example, make
from tests.conformance.rig import Bench


@pytest.mark.parametrize("kind", KINDS)
def test_delete_leaves_nothing(bench: Bench, kind: str) -> None:
    spec = example(bench, kind)
    before = bench.rig.native()
    bench.create(ADDRESSES[kind], spec)
    made = bench.rig.native() - before
    bench.delete(ADDRESSES[kind])
    assert made or kind == "image"
    assert bench.rig.native() == before
    assert bench.read(ADDRESSES[kind]) is None


@pytest.mark.parametrize("kind", KINDS)
def test_delete_of_what_is_missing_is_success(bench: Bench, kind: str) -> None:
    address = make(bench, kind)
    spec = bench.specs[bench.address(address)]
    bench.delete(address)
    before = bench.rig.native()
    target = bench.target(address, spec)
    bench.session.drivers[kind].delete(replace(target, wanted=None), bench.deadline)
    assert bench.rig.native() == before
    bench.specs.pop(bench.address(address))


def test_delete_of_a_volume_that_a_server_uses_is_refused(bench: Bench) -> None:
    make(bench, "server")
    before = bench.have("volume.data")
    with pytest.raises(Refused):
        bench.delete("volume.data")
    assert bench.have("volume.data").fingerprint == before.fingerprint


def test_delete_of_an_image_that_a_server_uses_leaves_it(bench: Bench) -> None:
    make(bench, "server")
    before, spec = bench.have("image.small"), bench.specs[bench.address("image.small")]
    with suppress(Refused):
        bench.delete("image.small")
    bench.target("image.small", spec)
    assert bench.have("image.small").fingerprint == before.fingerprint


def test_delete_of_an_image_leaves_the_files_another_stack_runs_on(bench: Bench) -> None:
    make(bench, "server")
    image = bench.specs[bench.address("image.small")]
    assert isinstance(image, Image)
    other = Bench(bench.rig, "other")
    other.create("image.same", image)
    other.delete("image.same")
    assert bench.have("image.small").spec == image


def test_delete_keeps_a_volume_of_the_server(bench: Bench) -> None:
    make(bench, "server")
    before = bench.have("volume.data")
    bench.delete("server.web[0]")
    assert bench.have("volume.data").fingerprint == before.fingerprint


@pytest.mark.parametrize("state", ["stopped", "paused"])
def test_delete_of_a_server_that_does_not_run(bench: Bench, state: str) -> None:
    spec = example(bench, "server")
    assert isinstance(spec, Server)
    before = bench.rig.native()
    bench.create("server.web[0]", replace(spec, power_state=state))
    bench.delete("server.web[0]")
    assert bench.rig.native() == before
