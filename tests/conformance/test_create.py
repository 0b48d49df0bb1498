"""Creating: what is made is what was wanted, once, also after a death half way."""

from contextlib import suppress
from dataclasses import replace

import pytest

from stacksmith.model.realised import Network, Server
from stacksmith.providers.base import Refused
from tests.conformance.example import ADDRESSES, KINDS, example, make
from tests.conformance.rig import FLEET, Bench, Killed, differences

pytestmark = pytest.mark.takes(35)


@pytest.mark.parametrize("kind", KINDS)
def test_create_then_read_is_as_wanted(bench: Bench, kind: str) -> None:
    spec = example(bench, kind)
    made = bench.create(ADDRESSES[kind], spec)
    read = bench.have(ADDRESSES[kind])
    assert differences(spec, read.spec) == []
    assert (made.uuid, made.name, made.fingerprint) == (read.uuid, read.name, read.fingerprint)
    assert (read.partial, read.saved, read.problem) == (False, None, None)
    assert read.uuid == bench.uuid(ADDRESSES[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_create_twice_makes_one_object(bench: Bench, kind: str) -> None:
    address = make(bench, kind)
    before, once = bench.rig.native(), bench.have(address)
    again = bench.create(address, bench.specs[bench.address(address)])
    assert bench.rig.native() == before
    assert again.fingerprint == once.fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_create_does_not_restart_what_runs(bench: Bench, kind: str) -> None:
    make(bench, "server")
    name = bench.have(ADDRESSES["server"]).name
    guest = bench.rig.guest(name)
    for address, spec in list(bench.specs.items()):
        if address.kind == kind:
            bench.create(f"{address.kind}.{address.name}" + ("[0]" if kind == "server" else ""), spec)
    assert guest is not None
    assert bench.rig.guest(name) == guest


@pytest.mark.parametrize("kind", KINDS)
def test_create_completes_what_a_killed_create_left(bench: Bench, kind: str) -> None:
    spec, address = example(bench, kind), ADDRESSES[kind]
    ways = bench.rig.interruptions(kind)
    died = 0
    for way in ways:
        try:
            with way():
                bench.create(address, spec)
        except Killed:
            died += 1
        left = bench.observed(address)
        if left is not None and not left.partial:
            assert left.mark is None or left.mark.applied in (None, bench.target(address, spec).mark.applied)
        bench.create(address, spec)
        assert differences(spec, bench.have(address).spec) == []
        assert not bench.have(address).partial
        bench.delete(address)
    assert died


@pytest.mark.parametrize("kind", KINDS)
def test_delete_removes_what_a_killed_create_left(bench: Bench, kind: str) -> None:
    spec, address = example(bench, kind), ADDRESSES[kind]
    before = bench.rig.native()
    for way in bench.rig.interruptions(kind):
        with suppress(Killed), way():
            bench.create(address, spec)
        bench.delete(address)
        assert bench.rig.native() == before


@pytest.mark.parametrize("kind", ["server", "network"])
def test_create_under_a_name_that_is_taken_is_refused(bench: Bench, kind: str) -> None:
    spec = example(bench, kind)
    name = {"server": f"{bench.stack}-web-0", "network": f"{bench.stack}-lan"}[kind]
    with bench.rig.unmanaged(kind, name) as theirs:
        with pytest.raises(Refused, match=name):
            bench.create(ADDRESSES[kind], spec)
        assert bench.rig.definition(kind, name) == theirs


@pytest.mark.parametrize("kind", ["server", "network"])
def test_another_stacks_object_is_never_touched(bench: Bench, kind: str) -> None:
    address = make(bench, kind)
    found = bench.have(address)
    before = bench.rig.definition(kind, found.name)
    other = Bench(bench.rig, "other")
    other.specs = dict(bench.specs)
    target = other.target(address, bench.specs[bench.address(address)])
    stolen = replace(target, mark=replace(target.mark, uuid=found.uuid))
    driver = bench.session.drivers[kind]
    with pytest.raises(Refused):
        driver.update(stolen, bench.rig.contents, bench.deadline)
    with pytest.raises(Refused):
        driver.delete(stolen, bench.deadline)
    assert bench.rig.definition(kind, found.name) == before
    assert found.mark is not None
    assert (found.mark.fleet, found.mark.stack) == (FLEET, bench.stack)


def test_create_of_a_server_without_its_ground_is_refused(bench: Bench) -> None:
    spec = example(bench, "server")
    assert isinstance(spec, Server)
    bench.delete("volume.data")
    before = bench.rig.native()
    with pytest.raises(Refused):
        bench.create("server.web[0]", spec)
    assert {n for n in bench.rig.native() - before if n.startswith("server/")} == set()


def test_create_of_a_network_on_a_taken_subnet_is_refused_and_can_be_repeated(bench: Bench) -> None:
    make(bench, "network")
    spec = example(bench, "network")
    assert isinstance(spec, Network)
    with pytest.raises(Refused):
        bench.create("network.twin", spec)
    bench.delete("network.lan")
    bench.create("network.twin", spec)
    assert differences(spec, bench.have("network.twin").spec) == []
