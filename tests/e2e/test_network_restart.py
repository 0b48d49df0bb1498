"""A network that restarts: its guests are plugged in again, whatever ends on the way, the run too."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import libvirt
import pytest

from stacksmith import lab
from stacksmith.lab.guest import boot_sector
from stacksmith.model.change import Impact
from stacksmith.model.found import Found
from stacksmith.model.realised import Network, Nic, Server, Subnet, to_data
from stacksmith.planner.diff import UNKNOWN, compare
from stacksmith.providers.base import Refused, Scope, Session
from stacksmith.providers.libvirt import network_xml
from stacksmith.providers.libvirt.network_xml import BETWEEN
from tests.e2e import killed
from tests.e2e.kit import Site, operations, settle
from tests.e2e.libvirt_parts import Files, deadline, declared, session, target
from tests.forked import Forked

pytestmark = [pytest.mark.e2e, pytest.mark.takes(60), pytest.mark.xdist_group("lab")]

STACK = "restart"
LAN = Network("isolated", subnets=(Subnet("10.68.0.0/24", "10.68.0.1", False),))
CHANGED = replace(LAN, mtu=1400)
GUEST = Server("web", 1, 32, power_state="paused", autostart=False, nics=(Nic("52:54:00:00:78:01", "lan"),))


def on_bridge(directory: Path, bridge: str) -> set[str]:
    """The devices of hv1 that are plugged into a bridge."""
    argv = lab.command_in(directory, "hv1", ["ip", "-o", "link", "show", "master", bridge])
    told = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return {line.split(": ")[1] for line in told.splitlines()}


@dataclass
class Host:
    """Host hv1, with the network and what the provider makes there."""

    directory: Path
    session: Session
    connection: libvirt.virConnect
    files: Files

    def create(self, address: str, spec: Any) -> Found:
        driver = self.session.drivers[address.partition(".")[0]]
        return driver.create(target(STACK, address, spec), self.files, deadline())

    def change(self, address: str, spec: Any, allowed: Impact = Impact.RESTART) -> Found:
        found = self.found(address)
        changes = tuple(compare(to_data(spec), UNKNOWN, to_data(found.spec)))
        wanted = replace(target(STACK, address, spec, found=found), changes=changes, allowed=allowed)
        return self.session.drivers[address.partition(".")[0]].update(wanted, self.files, deadline())

    def delete(self, address: str, spec: Any) -> None:
        driver = self.session.drivers[address.partition(".")[0]]
        driver.delete(target(STACK, address, spec, wanted=False), deadline())

    def found(self, address: str) -> Found:
        there = self.session.observe(Scope("fleet", STACK, {}), deadline()).found
        return next(found for found in there if str(found.address) == address)

    def guest(self, name: str, last: int) -> libvirt.virDomain:
        nics = (Nic(f"52:54:00:00:78:{last:02}", "lan"),)
        made = self.create(f"server.{name}", replace(GUEST, name=name, nics=nics))
        return self.connection.lookupByName(made.name)

    def plugged_in(self, domain: libvirt.virDomain) -> bool:
        """Whether the device of a guest's interface is on the bridge of the network, as the kernel knows it."""
        bridge = self.connection.networkLookupByName(f"{STACK}-lan").bridgeName()
        (device,) = [p.split("'")[1] for p in domain.XMLDesc().split("<target dev=")[1:] if p.startswith("'vnet")]
        return device in on_bridge(self.directory, bridge)

    def between(self) -> list[str]:
        return [each.name() for each in self.connection.listAllNetworks() if each.name().startswith(BETWEEN)]


@pytest.fixture
def host(lab_dir: Path, tmp_path: Path) -> Iterator[Host]:
    made = Host(lab_dir, session(declared(lab_dir)), libvirt.open(declared(lab_dir).libvirt), Files(tmp_path))
    made.create("network.lan@hv1", LAN)
    yield made
    for name in ("a", "b"):
        made.delete(f"server.{name}", GUEST)
    made.delete("network.lan@hv1", LAN)
    assert made.between() == []
    made.session.close()
    made.connection.close()


def after_call(patch: pytest.MonkeyPatch, kind: type, name: str, happens: Callable[[], object]) -> None:
    """Lets something happen once, when a call of libvirt has just been answered."""
    real, left = getattr(kind, name), [happens]

    def answered(*words: Any) -> Any:
        answer = real(*words)
        if left:
            left.pop()()
        return answer

    patch.setattr(kind, name, answered)


def test_guest_of_anybody_that_ends_since_the_host_was_listed_does_not_keep_the_others(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest, number = host.guest("a", 1), host.guest("a", 1).ID()
    strangers = "<domain type='qemu'><name>stranger</name><memory>16384</memory><os><type>hvm</type></os></domain>"
    stranger = host.connection.createXML(strangers, libvirt.VIR_DOMAIN_START_PAUSED)
    ends = partial(after_call, monkeypatch, libvirt.virConnect, "listAllDomains", stranger.destroy)
    after_call(monkeypatch, libvirt.virNetwork, "create", ends)
    assert host.change("network.lan@hv1", CHANGED).spec == CHANGED
    assert (host.plugged_in(guest), guest.ID()) == (True, number)


def test_guest_that_stops_before_its_turn_does_not_keep_the_others(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    stops, stays, bridges = host.guest("a", 1), host.guest("b", 2), list[str]()

    def stop() -> None:
        bridges.extend(each.bridgeName() for each in host.connection.listAllNetworks() if each.name() in host.between())
        stops.destroy()

    after_call(monkeypatch, libvirt.virConnect, "networkCreateXML", stop)
    assert host.change("network.lan@hv1", CHANGED).spec == CHANGED
    assert host.plugged_in(stays)
    assert [bridge.startswith("virbr") for bridge in bridges] == [False], "libvirt may give the next one the same name"


def test_guests_of_a_network_that_was_stopped_by_hand_are_plugged_in_when_it_starts(host: Host) -> None:
    guest = host.guest("a", 1)
    number = guest.ID()
    host.connection.networkLookupByName(f"{STACK}-lan").destroy()
    started = host.change("network.lan@hv1", LAN, Impact.LIVE)
    assert started.mark is not None
    assert (started.spec, started.mark.applied) == (LAN, to_data(LAN))
    assert (host.plugged_in(guest), guest.ID()) == (True, number)


def test_guests_that_refuse_once_are_plugged_in_by_the_next_run_which_knows_of_them(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    guests, refused = [host.guest("a", 1), host.guest("b", 2)], list[str]()
    real = libvirt.virDomain.updateDeviceFlags

    def refuse_first(domain: libvirt.virDomain, *words: Any) -> int:
        if not refused:
            refused.append(domain.name())
            raise libvirt.libvirtError("not now")
        return int(real(domain, *words))

    monkeypatch.setattr(libvirt.virDomain, "updateDeviceFlags", refuse_first)
    with pytest.raises(Refused):
        host.change("network.lan@hv1", CHANGED)
    assert [host.plugged_in(guest) for guest in guests] == [guest.name() not in refused for guest in guests]
    half = host.found("network.lan@hv1")
    assert half.mark is not None
    assert (half.spec, half.mark.applied) == (CHANGED, None)
    made = host.create("network.lan@hv1", CHANGED)
    assert made.mark is not None
    assert (made.spec, made.mark.applied) == (CHANGED, to_data(CHANGED))
    assert made.fingerprint == host.found("network.lan@hv1").fingerprint
    assert all(host.plugged_in(guest) for guest in guests)
    assert host.between() == []


def test_network_that_gets_a_bridge_of_its_own_restarts_with_one_of_a_name_that_nobody_took(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = Network("bridge", bridge="br0")
    network, taken = host.connection.networkLookupByName(host.create("network.net@hv1", spec).name), list[str]()

    def take() -> None:
        saved = network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE)
        taken.extend(bridge.get("name", "") for bridge in network_xml.parse(saved).findall("bridge"))
        assert lab.exec_in(host.directory, "hv1", ["ip", "link", "add", taken[0], "type", "bridge"]) == 0

    after_call(monkeypatch, libvirt.virConnect, "networkDefineXML", take)
    try:
        assert host.change("network.net@hv1", Network("isolated")).spec == Network("isolated")
        assert network.bridgeName() not in {"br0", *taken}
    finally:
        host.delete("network.net@hv1", spec)
        assert lab.exec_in(host.directory, "hv1", ["ip", "link", "del", taken[0]]) == 0


STACK_FILE = """
networks: {{lan: {{mode: isolated, subnets: [{{cidr: 10.68.2.0/24}}]{more}}}}}
images: {{boot: {{source: boot.raw, format: raw}}}}
servers:
  a: {{flavor: cheap, image: boot, host: hv1, power_state: paused, config_drive: false, networks: [{{network: lan}}]}}
  b: {{flavor: cheap, image: boot, host: hv1, power_state: paused, config_drive: false, networks: [{{network: lan}}]}}
"""
KILLS = {
    "defined": "virConnect.networkDefineXML",
    "stopped": "virNetwork.destroy",
    "started": "virNetwork.create",
    "with the network between": "virConnect.networkCreateXML",
    "with one guest on the network between": "virDomain.updateDeviceFlags",
}


@pytest.mark.parametrize("moment", KILLS)
def test_run_killed_while_a_network_restarts_is_mended_by_the_next(make_site: Callable[[], Site], moment: str) -> None:
    site = make_site()
    site.write(STACK_FILE.format(more=""))
    (site.folder / "boot.raw").write_bytes(boot_sector())
    site.apply()
    connection = libvirt.open(declared(site.lab).libvirt)
    guests = {name: connection.lookupByName(f"{site.name}-{name}") for name in ("a", "b")}
    numbers = {name: guest.ID() for name, guest in guests.items()}
    site.write(STACK_FILE.format(more=", mtu: 1400"))
    assert Forked(killed.main_at_call, KILLS[moment], site.folder, site.fleet).wait(120) == -signal.SIGKILL
    settle(site)
    assert [step.rpartition(" ")[2] for step in operations(site.plan())] == ["network.lan@hv1"]
    site.apply(Impact.RESTART)
    assert not site.plan().steps
    bridge = connection.networkLookupByName(f"{site.name}-lan").bridgeName()
    devices = {text.split("'")[0] for g in guests.values() for text in g.XMLDesc().split("<target dev='vnet")[1:]}
    assert on_bridge(site.lab, bridge) == {f"vnet{device}" for device in devices}
    assert len(devices) == 2
    assert {name: guest.ID() for name, guest in guests.items()} == numbers, "no guest was restarted"
    assert not [each.name() for each in connection.listAllNetworks() if each.name().startswith(BETWEEN)]
    connection.close()


def test_network_that_goes_takes_along_what_a_killed_restart_left(make_site: Callable[[], Site]) -> None:
    site = make_site()
    site.write(STACK_FILE.format(more=""))
    (site.folder / "boot.raw").write_bytes(boot_sector())
    site.apply()
    site.write(STACK_FILE.format(more=", mtu: 1400"))
    call = "virConnect.networkCreateXML"
    assert Forked(killed.main_at_call, call, site.folder, site.fleet).wait(120) == -signal.SIGKILL
    settle(site)
    networks = {f"{site.name}-lan", f"{BETWEEN}{site.name}-lan"}
    assert networks <= set(site.virsh("hv1", "net-list", "--name").split())
    site.destroy()
    assert not networks & set(site.virsh("hv1", "net-list", "--all", "--name").split())
