"""How many calls, and which, reads and creates cost: counted at the socket, so independent of the machine's load."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from stacksmith.address import Address
from stacksmith.model.fleet import Host
from stacksmith.model.naming import mac_address
from stacksmith.model.realised import Disk, Network, Nic, Server, Subnet
from stacksmith.providers.base import Scope
from tests.e2e.libvirt_parts import MIB, Files, deadline, declared, image, session, target
from tests.tools.rpcproxy import RpcProxy

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

STACK, SERVERS = "calls", 20
LAN = Network(subnets=(Subnet("10.66.0.0/24", "10.66.0.1", True, (("10.66.0.2", "10.66.0.254"),)),))
_sockets = count()


@pytest.fixture(scope="module")
def proxied(lab_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., tuple[Host, RpcProxy]]]:
    """Makes (host behind a proxy, proxy)."""
    host, folder = declared(lab_dir), tmp_path_factory.mktemp("proxy")
    with ExitStack() as stack:

        def make(rtt_seconds: float = 0.0) -> tuple[Host, RpcProxy]:
            real = Path(host.libvirt.partition("socket=")[2])
            proxy = stack.enter_context(RpcProxy(real, folder / f"s{next(_sockets)}", rtt_seconds))
            return host.model_copy(update={"libvirt": f"qemu+unix:///system?socket={proxy.socket}"}), proxy

        yield make


def server(base: str, number: int) -> Server:
    return Server(
        name=f"web-{number}",
        vcpus=1,
        ram_mib=32,
        disks=(Disk("vda", "image", base, 8 * MIB, boot_index=0),),
        nics=(Nic(mac_address("calls", "lan", number), "lan"),),
        power_state="stopped",
        autostart=False,
    )


@pytest.fixture(scope="module")
def made(
    proxied: Callable[..., tuple[Host, RpcProxy]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Scope, list[Server], int]]:
    """(scope, specs, calls it took to create the servers)."""
    files = Files(tmp_path_factory.mktemp("files"))
    file = files.make("disk", b"boot" * (MIB // 4))
    host, proxy = proxied()
    ground = [("image.base@hv1", image(file)), ("network.lan@hv1", LAN)]
    with_ground = session(host)
    for address, spec in ground:
        with_ground.drivers[address.partition(".")[0]].create(target(STACK, address, spec), files, deadline())
    with_ground.close()
    specs = [server(file.checksum, number) for number in range(SERVERS)]
    proxy.take()
    opened = session(host)

    def create(number: int) -> None:
        wanted = target(STACK, f"server.web[{number}]", specs[number])
        driver = opened.drivers["server"]
        assert driver.read(wanted.mark) is None
        assert driver.create(wanted, files, deadline()).spec == specs[number]

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(create, range(SERVERS)))
    calls = proxy.take().total
    yield Scope("fleet", STACK, {}, {Address("image", "base"): (file,)}), specs, calls
    for number, spec in enumerate(specs):
        opened.drivers["server"].delete(target(STACK, f"server.web[{number}]", spec, wanted=False), deadline())
    for address, ground_spec in reversed(ground):
        driver = opened.drivers[address.partition(".")[0]]
        driver.delete(target(STACK, address, ground_spec, wanted=False), deadline())
    opened.close()


def test_create_of_twenty_servers_costs_at_most_a_hundred_calls(made: tuple[Scope, list[Server], int]) -> None:
    assert made[2] <= 100


def test_observe_of_twenty_servers_costs_at_most_sixty_calls_and_writes_nothing(
    made: tuple[Scope, list[Server], int], proxied: Callable[..., tuple[Host, RpcProxy]]
) -> None:
    scope, specs, _ = made
    host, proxy = proxied()
    opened = session(host, read_only=True)
    snapshot = opened.observe(scope, deadline())
    opened.close()
    found = {f.address.key: f.spec for f in snapshot.found if f.address.kind == "server"}
    counts = proxy.take()
    assert found == dict(enumerate(specs))
    assert counts.writes == {}
    assert counts.total <= 60


def test_observe_over_a_long_wire_overlaps_its_calls(
    made: tuple[Scope, list[Server], int], proxied: Callable[..., tuple[Host, RpcProxy]]
) -> None:
    host, proxy = proxied(rtt_seconds=0.4)
    opened = session(host, read_only=True)
    proxy.take()
    opened.observe(made[0], deadline())
    counts = proxy.take()
    opened.close()
    assert counts.overlapping > counts.total / 10, counts
