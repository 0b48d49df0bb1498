"""The world of the memory provider: faults, its file, and what it counts."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stacksmith.address import Address, identity
from stacksmith.model.fleet import Host
from stacksmith.model.found import Mark, Resources
from stacksmith.model.realised import DhcpHost, Network, Nic, Policy, Server, Subnet, Volume, to_data
from stacksmith.providers.base import Deadline, Refused, Scope, Session, Target, TimedOut, Transient, WaitFor
from stacksmith.providers.memory.fault import Crash, Effect, Fault
from stacksmith.providers.memory.provider import forget, world
from stacksmith.providers.memory.world import World
from stacksmith.providers.registry import provider
from tests.conformance.memory_rig import MemoryContents

DATA, WEB = Address("volume", "data"), Address("server", "web")
SCOPE = Scope("lab", "shop", {})


def deadline(seconds: float = 120.0) -> Deadline:
    """A time limit from now."""
    return Deadline(time.monotonic() + seconds, time.monotonic)


def target(address: Address, spec: Volume | Server | Network) -> Target:
    """A target of stack lab/shop."""
    mark = Mark("lab", "shop", address, identity("lab", "shop", address), to_data(spec))
    return Target(mark, "hv1", spec, Policy())


def create(session: Session, wanted: Target, seconds: float = 120.0) -> None:
    """Creates it."""
    session.drivers[wanted.mark.address.kind].create(wanted, MemoryContents(), deadline(seconds))


def opened(uri: str, host: str = "hv1") -> Session:
    """A session on a host."""
    return provider(uri).open(host, Host(libvirt=uri), False, deadline())


@pytest.fixture
def uri(tmp_path: Path) -> Iterator[str]:
    """A world of this process."""
    name = f"memory:{tmp_path.name}"
    yield name
    forget(name)


@pytest.fixture
def here(uri: str) -> World:
    """The world behind ``uri``."""
    return world(uri)


def test_world_of_a_name_is_one_world(uri: str) -> None:
    assert world(uri) is world(f"{uri}?vcpus=2")


def test_capacity_comes_from_the_uri(uri: str) -> None:
    session = opened(f"{uri}?vcpus=2&memory_mib=4096&disk_gib=10")
    assert session.observe(SCOPE, deadline()).capacity == Resources(2, 4096, 10)


@pytest.mark.parametrize("bad", ["memory:", "memory://", "memory:x?vcpus=many", "memory:x?cpus=2", "memory:x?vcpus="])
def test_open_of_a_bad_uri_is_refused_with_its_text(bad: str) -> None:
    with pytest.raises(Refused, match="memory"):
        opened(bad)


def test_registry_refuses_an_unknown_scheme() -> None:
    with pytest.raises(Refused, match="'vbox'"):
        provider("vbox:///session")


def test_calls_tell_reads_from_writes(uri: str, here: World) -> None:
    session = opened(uri)
    session.observe(SCOPE, deadline())
    assert here.writes == []
    create(session, target(DATA, Volume(1)))
    assert [(c.operation, c.address) for c in here.writes] == [("create", "volume.data")]
    assert [c.operation for c in here.calls] == ["open", "observe", "create"]


def test_transient_fault_strikes_as_often_as_told(uri: str, here: World) -> None:
    here.faults.append(Fault(Effect.TRANSIENT, "create", address="volume.data", times=2))
    session = opened(uri)
    for _ in range(2):
        with pytest.raises(Transient):
            create(session, target(DATA, Volume(1)))
    create(session, target(DATA, Volume(1)))
    assert len(here.objects("hv1")) == 1


def test_fault_strikes_at_the_call_after_those_it_lets_pass(uri: str, here: World) -> None:
    here.faults.append(Fault(Effect.REFUSED, "create", skip=1, message="no space left"))
    session = opened(uri)
    create(session, target(DATA, Volume(1)))
    with pytest.raises(Refused, match="no space left"):
        create(session, target(Address("volume", "more"), Volume(1)))


def test_fault_of_another_host_does_not_strike(uri: str, here: World) -> None:
    here.faults.append(Fault(Effect.TRANSIENT, "observe", host="hv2", times=-1))
    assert opened(uri).observe(SCOPE, deadline()).error is None
    with pytest.raises(Transient):
        opened(uri, "hv2").observe(SCOPE, deadline())


def test_hang_ends_at_the_deadline(uri: str, here: World) -> None:
    here.faults.append(Fault(Effect.HANG, "observe"))
    session, began = opened(uri), time.monotonic()
    with pytest.raises(TimedOut):
        session.observe(SCOPE, deadline(0.2))
    assert time.monotonic() - began >= 0.2


def test_crash_passes_handlers_of_exceptions_and_leaves_what_was_done(uri: str, here: World) -> None:
    here.faults.append(Fault(Effect.CRASH, "create", "server", point="define"))
    session = opened(uri)
    with pytest.raises(Crash):
        create(session, target(WEB, Server("web", 1, 64)))
    assert not issubclass(Crash, Exception)
    left = session.observe(SCOPE, deadline()).found
    assert [(f.partial, f.mark is not None and f.mark.applied) for f in left] == [(True, None)]


def test_wait_for_is_satisfied_at_once_or_times_out_by_a_fault(uri: str, here: World) -> None:
    wanted = replace(target(WEB, Server("web", 1, 64)), wait_for=WaitFor("lease"))
    session = opened(uri)
    here.faults.append(Fault(Effect.TIMED_OUT, "create", point="wait"))
    with pytest.raises(TimedOut):
        create(session, wanted)
    create(session, wanted)
    assert [f.partial for f in session.observe(SCOPE, deadline()).found] == [False]


def test_hook_sees_each_point_of_a_call(uri: str, here: World) -> None:
    points: list[str] = []
    here.hooks.append(lambda call, point: points.append(f"{call.operation} {point}"))
    create(opened(uri), target(WEB, Server("web", 1, 64)))
    assert points == ["open begin", "create begin", "create define", "create start", "create end"]


def test_edit_of_the_saved_definition_waits_for_the_next_start(uri: str, here: World) -> None:
    session = opened(uri)
    create(session, target(WEB, Server("web", 1, 64)))
    here.edit("hv1", "server.web", lambda spec: replace(spec, ram_mib=128), saved=True)
    (found,) = session.observe(SCOPE, deadline()).found
    assert found.spec == Server("web", 1, 64)
    assert found.saved == Server("web", 1, 128)


def test_removed_object_is_missing(uri: str, here: World) -> None:
    session = opened(uri)
    create(session, target(WEB, Server("web", 1, 64)))
    here.remove("hv1", "server.web")
    assert session.observe(SCOPE, deadline()).found == ()
    with pytest.raises(KeyError):
        here.remove("hv1", "server.web")


def test_file_world_is_at_the_very_path(tmp_path: Path) -> None:
    place = tmp_path / "100%25 #1" / "world.json"
    create(opened(f"memory://{place}"), target(DATA, Volume(1)))
    assert place.exists()


def test_file_world_outlives_the_process(tmp_path: Path) -> None:
    place = f"memory://{tmp_path}/world.json?vcpus=4"
    create(opened(place), target(WEB, Server("web", 1, 64, metadata={"role": "é"})))
    before = opened(place).observe(SCOPE, deadline())
    forget(place)
    assert opened(place).observe(SCOPE, deadline()) == before


def test_file_world_sees_an_edit_of_its_file(tmp_path: Path) -> None:
    file, place = tmp_path / "world.json", f"memory://{tmp_path}/world.json"
    session = opened(place)
    create(session, target(WEB, Server("web", 1, 64)))
    (before,) = session.observe(SCOPE, deadline()).found
    data = json.loads(file.read_text())
    data["hosts"]["hv1"]["server"]["shop-web"]["spec"]["ram_mib"] = 4096
    file.write_text(json.dumps(data))
    (after,) = session.observe(SCOPE, deadline()).found
    assert after.spec == Server("web", 1, 4096)
    assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"hosts": {"hv1": {"server": {"x": {"uuid": "u", "spec": {}}}}}}', "\xff"]
)
def test_file_world_that_cannot_be_read_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    (tmp_path / "world.json").write_text(text)
    with pytest.raises(Refused, match=r"cannot read world .*world\.json"):
        opened(f"memory://{tmp_path}/world.json").observe(SCOPE, deadline())


def test_file_world_plants_the_faults_of_its_file(tmp_path: Path) -> None:
    file, place = tmp_path / "world.json", f"memory://{tmp_path}/world.json"
    fault = {"effect": "refused", "operation": "create", "address": "server.web", "times": 1, "message": "no space"}
    file.write_text(json.dumps({"hosts": {}, "faults": [fault]}))
    session = opened(place)
    create(session, target(DATA, Volume(1)))
    with pytest.raises(Refused, match="no space"):
        create(session, target(WEB, Server("web", 1, 64)))
    create(session, target(WEB, Server("web", 1, 64)))
    assert json.loads(file.read_text())["faults"] == [fault]


def test_file_world_is_untouched_by_reading(tmp_path: Path) -> None:
    opened(f"memory://{tmp_path}/world.json").observe(SCOPE, deadline())
    assert list(tmp_path.iterdir()) == []


def test_file_world_keeps_what_several_processes_write(tmp_path: Path) -> None:
    program = """
import sys
sys.path.insert(0, sys.argv[3])
from tests.unit.test_memory_world import Address, Volume, create, opened, target
for number in range(10):
    create(opened(sys.argv[1]), target(Address("volume", f"v{sys.argv[2]}-{number}"), Volume(1)))
"""
    place, root = f"memory://{tmp_path}/world.json", str(Path(__file__).parents[2])
    started = [subprocess.Popen([sys.executable, "-c", program, place, str(n), root]) for n in range(3)]
    assert [process.wait(300) for process in started] == [0, 0, 0]
    assert len(world(place).objects("hv1")) == 30


def test_world_is_safe_from_several_threads(uri: str, here: World) -> None:
    session = opened(uri)

    def work(thread: int) -> None:
        for number in range(50):
            create(session, target(Address("volume", f"v{thread}-{number}"), Volume(1)))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(here.objects("hv1")) == 200


def test_subnet_in_use_is_refused_at_the_start_and_completed_later(uri: str, here: World) -> None:
    session = opened(uri)
    first, second = (Address("network", name, host="hv1") for name in ("lan", "dmz"))
    create(session, target(first, Network(subnets=(Subnet("10.0.0.0/8"),))))
    with pytest.raises(Refused, match="shop-lan"):
        create(session, target(second, Network(subnets=(Subnet("10.1.0.0/16"),))))
    assert [f.partial for f in session.observe(SCOPE, deadline()).found] == [True, False]


def test_server_has_the_fixed_addresses_of_its_networks(uri: str) -> None:
    session, lan = opened(uri), Address("network", "lan", host="hv1")
    hosts = (DhcpHost("52:54:00:00:00:01", "10.0.0.5", "web"),)
    create(session, target(lan, Network(subnets=(Subnet("10.0.0.0/24"),), hosts=hosts)))
    create(session, target(WEB, Server("web", 1, 64, nics=(Nic("52:54:00:00:00:01", "lan"),))))
    found = {f.address: f for f in session.observe(SCOPE, deadline()).found}
    assert found[WEB].facts == {"addresses": {"52:54:00:00:00:01": ["10.0.0.5"]}}
