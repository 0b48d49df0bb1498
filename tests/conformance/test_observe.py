"""Observing: everything ours with its mark, everything else as unmanaged, and nothing is changed by looking."""

from dataclasses import replace

import pytest

from stacksmith.model.change import Impact
from stacksmith.model.found import Resources
from stacksmith.providers.base import Refused, Scope
from tests.conformance.example import ADDRESSES, KINDS, MAC, example, make
from tests.conformance.rig import FLEET, Bench, differences


@pytest.mark.parametrize("kind", KINDS)
def test_observe_finds_what_create_made(bench: Bench, kind: str) -> None:
    address = make(bench, kind)
    read, seen = bench.have(address), bench.observed(address)
    assert seen is not None
    assert differences(bench.specs[bench.address(address)], seen.spec) == []
    assert (seen.fingerprint, seen.uuid, seen.name, seen.mark) == (read.fingerprint, read.uuid, read.name, read.mark)
    assert (seen.host, seen.partial, seen.saved, seen.problem) == (bench.rig.host, False, None, None)


@pytest.mark.parametrize("kind", ["server", "network"])
def test_observe_shows_the_mark(bench: Bench, kind: str) -> None:
    address = make(bench, kind)
    seen = bench.observed(address)
    assert seen is not None
    assert seen.mark == bench.target(address, bench.specs[bench.address(address)]).mark


def test_observe_tells_usage_and_addresses(bench: Bench) -> None:
    make(bench, "server")
    server, volume = bench.observed("server.web[0]"), bench.observed("volume.data")
    assert server is not None
    assert volume is not None
    assert (server.usage.vcpus, server.usage.memory_mib) == (1, 128)
    assert server.usage.disk_gib == 1
    assert volume.usage == Resources(disk_gib=1)
    assert server.facts["addresses"] in ({}, {MAC: ["10.77.41.10"]})  # once the guest has its lease


def test_observe_tells_capacity(bench: Bench) -> None:
    capacity = bench.observe().capacity
    assert min(capacity.vcpus, capacity.memory_mib, capacity.disk_gib) > 0


def test_observe_tells_what_runs_guests(bench: Bench) -> None:
    hypervisor = bench.observe().hypervisor
    assert hypervisor is not None
    assert (hypervisor.type, hypervisor.cpu["arch"]) == ("QEMU", "x86_64")
    assert hypervisor.version > 1_000_000 and hypervisor.hostname
    assert ("x86_64", "qemu", "hvm") in hypervisor.supported


@pytest.mark.parametrize("kind", ["server", "network"])
def test_observe_reports_what_carries_no_mark(bench: Bench, kind: str) -> None:
    with bench.rig.unmanaged(kind, "theirs"):
        theirs = [u for u in bench.observe().unmanaged if u.name == "theirs"]
        assert [(u.kind, u.host, u.owner) for u in theirs] == [(kind, bench.rig.host, None)]
        assert theirs[0].usage.memory_mib == (64 if kind == "server" else 0)


def test_observe_reports_another_stacks_objects_with_their_owner(bench: Bench) -> None:
    make(bench, "server")
    snapshot = bench.session.observe(Scope(FLEET, "other", {}), bench.deadline)
    assert snapshot.found == ()
    owners = {(u.kind, u.owner) for u in snapshot.unmanaged if u.kind in {"server", "network"}}
    assert owners == {("server", f"{FLEET}/{bench.stack}"), ("network", f"{FLEET}/{bench.stack}")}


@pytest.mark.parametrize("read_only", [False, True])
def test_observe_changes_nothing(bench: Bench, read_only: bool) -> None:
    make(bench, "server")
    named = [(a.kind, bench.have(ADDRESSES[a.kind]).name) for a in bench.specs if a.kind in {"server", "network"}]
    before = [bench.rig.definition(*name) for name in named]
    native = bench.rig.native()
    first, second = bench.observe(read_only), bench.observe(read_only)
    assert first == second
    assert bench.rig.native() == native
    assert [bench.rig.definition(*name) for name in named] == before


@pytest.mark.parametrize("kind", KINDS)
def test_read_only_session_writes_nothing(bench: Bench, kind: str) -> None:
    spec = example(bench, kind)
    before = bench.rig.native()
    driver = bench.rig.session(read_only=True).drivers[kind]
    with pytest.raises(Refused):
        driver.create(bench.target(ADDRESSES[kind], spec), bench.rig.contents, bench.deadline)
    assert bench.rig.native() == before


@pytest.mark.parametrize("kind", KINDS)
def test_fingerprint_changes_when_the_object_does_and_only_then(bench: Bench, kind: str) -> None:
    address = make(bench, kind)
    once = bench.have(address)
    assert bench.have(address).fingerprint == once.fingerprint
    bench.rig.edit(once)
    edited = bench.have(address).fingerprint
    assert edited != once.fingerprint
    assert bench.have(address).fingerprint == edited


def test_fingerprint_of_a_server_does_not_change_with_a_restart(bench: Bench) -> None:
    address = make(bench, "server")
    bench.rig.started(bench.have(address).name)
    spec, once = bench.specs[bench.address(address)], bench.have(address)
    bench.update(address, replace(spec, power_state="stopped"), Impact.RESTART)
    assert bench.have(address).fingerprint != once.fingerprint
    bench.update(address, spec, Impact.RESTART)
    assert bench.have(address).fingerprint == once.fingerprint


def test_observe_shows_a_hand_edit(bench: Bench) -> None:
    for kind in ("server", "network", "volume"):
        address = make(bench, kind) if kind == "server" else ADDRESSES[kind]
        bench.rig.edit(bench.have(address))
        assert bench.changes(address, bench.specs[bench.address(address)])
