"""Updating: every field that can change does, alone, and never disturbs the guest more than was said."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from stacksmith.model.change import Change, Impact, Status
from stacksmith.model.realised import (
    ConfigDrive,
    DhcpHost,
    Disk,
    DnsHost,
    Image,
    Network,
    Nic,
    NumaCell,
    Policy,
    Realised,
    Server,
    Subnet,
    Volume,
)
from stacksmith.providers.base import Gone, Refused
from tests.conformance.example import ADDRESSES, GIB, MAC, MIB, OTHER_MAC, THIRD_MAC, example, lan, make
from tests.conformance.rig import Bench, differences

pytestmark = pytest.mark.takes(80)


@dataclass(frozen=True)
class Case:
    """A change of the example of one kind. ``impact`` is what it must not exceed; ``prepare`` makes what it needs.

    ``unplugs``: a running guest must give up a device, which takes a kernel.
    """

    name: str
    kind: str
    change: Callable[[Any], Realised]
    impact: Impact
    before: Callable[[Any], Realised] = lambda spec: spec
    prepare: Callable[[Bench], None] = lambda bench: None
    unplugs: bool = False

    @property
    def needs_guest(self) -> bool:
        """True when the guest must answer: it lets go of a device, or shuts down when its button is pressed."""
        return self.unplugs or self.impact is RESTART


def _field(name: str, value: Any) -> Callable[[Any], Realised]:
    return lambda spec: replace(spec, **{name: value})


def _subnet(**values: Any) -> Callable[[Network], Network]:
    return lambda spec: replace(spec, subnets=(replace(spec.subnets[0], **values),))


def _more_volume(bench: Bench) -> None:
    bench.create("volume.more", Volume(32 * MIB))


def _second_network(bench: Bench) -> None:
    bench.create("network.dmz", replace(lan(42), domain="dmz.test", hosts=(), dns=()))


def _without(device: str) -> Callable[[Server], Server]:
    return lambda spec: replace(spec, disks=tuple(d for d in spec.disks if d.device != device))


def _disk(device: str, **values: Any) -> Callable[[Server], Server]:
    return lambda spec: replace(
        spec, disks=tuple(replace(d, **values) if d.device == device else d for d in spec.disks)
    )


def _plus(field: str, *items: Any) -> Callable[[Any], Realised]:
    return lambda spec: replace(spec, **{field: (*getattr(spec, field), *items)})


def _named(spec: Server, device: str) -> Disk:
    """The disk at vdb under another name."""
    return replace(next(d for d in spec.disks if d.device == "vdb"), device=device)


LIVE, RESTART = Impact.LIVE, Impact.RESTART
MORE = Disk("vdd", "volume", "volume.more")
SERVER = [
    Case("description", "server", _field("description", "the second"), LIVE),
    Case("metadata changed, added and removed", "server", _field("metadata", {"role": "db", "zone": "a"}), LIVE),
    Case("tags", "server", _field("tags", ("green", "red")), LIVE),
    Case("autostart", "server", _field("autostart", True), LIVE),
    Case("vcpus up to the maximum", "server", _field("vcpus", 2), LIVE),
    Case("memory down", "server", _field("ram_mib", 112), LIVE),
    Case("memory up to the maximum", "server", _field("ram_mib", 160), LIVE),
    Case("maximum of vcpus", "server", _field("max_vcpus", 4), RESTART),
    Case("maximum of memory", "server", _field("max_ram_mib", 256), RESTART),
    Case(
        "vcpus over the maximum",
        "server",
        lambda spec: replace(spec, vcpus=4, max_vcpus=4),
        RESTART,
    ),
    Case("NUMA cell", "server", _field("numa_cells", (NumaCell(0, (0, 1, 2), 192, 0, ((0,),) * 3),)), RESTART),
    Case("volume attached", "server", _plus("disks", MORE), LIVE, prepare=_more_volume),
    Case(
        "volume exchanged for another",
        "server",
        _disk("vdb", ref="volume.more"),
        LIVE,
        prepare=_more_volume,
        unplugs=True,
    ),
    Case(
        "volume at another device",
        "server",
        lambda spec: _plus("disks", _named(spec, "vde"))(_without("vdb")(spec)),
        LIVE,
        unplugs=True,
    ),
    Case("volume detached", "server", _without("vde"), LIVE, unplugs=True),
    Case("blank disk added", "server", _plus("disks", Disk("vdd", "blank", None, 16 * MIB)), LIVE),
    Case("blank disk removed", "server", _without("vdc"), Impact.DATA_LOSS, unplugs=True),
    Case("local disk grown", "server", _disk("vdc", size_bytes=48 * MIB), LIVE),
    Case("disk serial", "server", _disk("vdb", serial="data-2"), RESTART),
    Case("interface added", "server", _plus("nics", Nic(OTHER_MAC, "lan")), LIVE),
    Case(
        "interface moved to another network",
        "server",
        _field("nics", (Nic(MAC, "dmz"),)),
        LIVE,
        prepare=_second_network,
    ),
    Case("interface model", "server", _field("nics", (Nic(MAC, "lan", "e1000e"),)), LIVE, unplugs=True),
    Case("interface removed", "server", _field("nics", ()), LIVE, unplugs=True),
    Case(
        "config drive",
        "server",
        _field("config_drive", ConfigDrive("configdrive", "b" * 64)),
        LIVE,
        before=_field("config_drive", ConfigDrive("configdrive", "a" * 64)),
    ),
    Case(
        "config drive taken away",
        "server",
        _field("config_drive", None),
        RESTART,
        before=_field("config_drive", ConfigDrive("configdrive", "a" * 64)),
    ),
    Case(
        "config drive added",
        "server",
        _field("config_drive", ConfigDrive("nocloud", "b" * 64)),
        RESTART,
        before=_field("config_drive", None),
    ),
    Case("paused", "server", _field("power_state", "paused"), LIVE),
    Case("stopped", "server", _field("power_state", "stopped"), RESTART),
    Case("started", "server", _field("power_state", "running"), LIVE, before=_field("power_state", "stopped")),
    Case("maximum of memory while off", "server", _field("max_ram_mib", 256), LIVE, _field("power_state", "stopped")),
    Case("vcpus while off", "server", _field("vcpus", 3), LIVE, before=_field("power_state", "stopped")),
]
SIX = DnsHost("fd00:77:41::200", ("api", "www"))
OTHER = [
    Case("volume grown", "volume", _field("size_bytes", GIB), LIVE),
    Case(
        "fixed address changed and added",
        "network",
        _field("hosts", (DhcpHost(MAC, "10.77.41.11", "web-0"), DhcpHost(OTHER_MAC, "10.77.41.12", "web-1"))),
        LIVE,
    ),
    Case("fixed address removed", "network", _field("hosts", ()), LIVE),
    Case("fixed addresses swapped", "network", _field("hosts", (DhcpHost(THIRD_MAC, "10.77.41.10", "web-0"),)), LIVE),
    Case("names changed", "network", _field("dns", (DnsHost("10.77.41.200", ("api", "new")),)), LIVE),
    Case("names added", "network", _plus("dns", DnsHost("10.77.41.201", ("more",))), LIVE),
    Case("names removed", "network", _field("dns", ()), LIVE),
    Case("names given an IPv6 address too", "network", _plus("dns", SIX), LIVE),
    Case(
        "one of the addresses of names removed",
        "network",
        _field("dns", (DnsHost("10.77.41.200", ("api", "www")),)),
        LIVE,
        before=_plus("dns", SIX),
    ),
    Case(
        "names of two addresses changed",
        "network",
        _field("dns", (DnsHost("10.77.41.200", ("www",)), DnsHost(SIX.ip, ("www", "web")))),
        LIVE,
        before=_plus("dns", SIX),
    ),
    Case("range moved", "network", _subnet(ranges=(("10.77.41.60", "10.77.41.90"),)), LIVE),
    Case("autostart of a network", "network", _field("autostart", False), LIVE),
    Case("domain", "network", _field("domain", "other.test"), RESTART),
    Case("mtu", "network", _field("mtu", 1400), RESTART),
    Case("subnet added", "network", _plus("subnets", Subnet("10.77.43.0/24", "10.77.43.1", False)), RESTART),
]
CASES = [*SERVER, *OTHER]


def _made(bench: Bench, case: Case) -> Realised:
    """The example before the change, made; the guest is up."""
    spec = case.before(example(bench, case.kind))
    if case.unplugs and isinstance(spec, Server):
        for number, image in enumerate(bench.rig.kernel_images()):
            bench.create(f"image.boot-{number}", image)
        spec = bench.rig.with_kernel(spec)
    case.prepare(bench)
    found = bench.create(ADDRESSES[case.kind], spec)
    if case.needs_guest and isinstance(spec, Server) and spec.power_state != "stopped":
        bench.rig.started(found.name)
    return spec


@pytest.mark.parametrize("case", [c for c in CASES if not c.unplugs], ids=lambda case: case.name)
def test_update_is_as_wanted_and_disturbs_no_more_than_promised(bench: Bench, case: Case) -> None:
    _update(bench, case, _made(bench, case))


def test_each_device_that_a_running_guest_gives_up_is_gone_and_disturbs_no_more_than_promised(bench: Bench) -> None:
    """One after the other, for a guest with a kernel takes long to be up."""
    cases = [case for case in SERVER if case.unplugs]
    spec = _made(bench, cases[0])
    assert isinstance(spec, Server)
    _refused_interface_leaves_the_old_one(bench, spec)
    for case in cases:
        spec = _update(bench, case, spec)


def _refused_interface_leaves_the_old_one(bench: Bench, spec: Server) -> None:
    bench.create("network.off", replace(lan(44), domain="off.test", hosts=(), dns=(), active=False))
    wanted = replace(spec, nics=(Nic(MAC, "off", "e1000e"),))
    with pytest.raises(Refused):
        bench.update(ADDRESSES["server"], wanted, LIVE)
    assert differences(spec, bench.have(ADDRESSES["server"]).spec) == []


def _update(bench: Bench, case: Case, before: Realised) -> Realised:
    """Makes the change of the case, and holds it to what is wanted and was promised; what is there then."""
    wanted = case.change(before)
    address = ADDRESSES[case.kind]
    promised = [change.impact for change in bench.changes(address, wanted)]
    assert promised, case.name
    assert max(promised) <= case.impact, case.name
    guest = bench.rig.guest(bench.have(address).name) if case.kind == "server" else None
    bench.update(address, wanted, max(promised))
    read = bench.have(address)
    assert differences(wanted, read.spec) == [], case.name
    assert read.saved is None, case.name
    assert bench.changes(address, wanted) == [], case.name
    if guest is not None and max(promised) <= LIVE:
        assert bench.rig.guest(read.name) == guest, case.name
    return wanted


@pytest.mark.parametrize("case", [c for c in SERVER if c.impact is RESTART], ids=lambda case: case.name)
def test_update_that_may_not_restart_the_guest_is_saved_for_the_next_start(bench: Bench, case: Case) -> None:
    before = _made(bench, case)
    wanted, address = case.change(before), ADDRESSES["server"]
    if isinstance(wanted, Server) and wanted.power_state == "stopped":
        with pytest.raises(Refused):
            bench.update(address, wanted, LIVE)
        assert differences(before, bench.have(address).spec) == []
        return
    guest = bench.rig.guest(bench.have(address).name)
    found = bench.update(address, wanted, LIVE)
    assert guest is not None
    assert bench.rig.guest(found.name) == guest
    late = {c.path for c in bench.changes(address, wanted)}
    assert late
    assert differences(wanted, found.saved) == []
    assert {path for path, _, _ in differences(wanted, found.spec)} == late
    bench.update(address, wanted, RESTART)
    assert differences(wanted, bench.have(address).spec) == []
    assert bench.have(address).saved is None


@pytest.mark.parametrize(
    "case",
    [
        Case("volume shrunk", "volume", _field("size_bytes", 32 * MIB), Impact.REPLACE),
        Case("local disk shrunk", "server", _disk("vdc", size_bytes=16 * MIB), Impact.REPLACE),
    ],
    ids=lambda case: case.name,
)
def test_shrinking_is_refused_and_changes_nothing(bench: Bench, case: Case) -> None:
    wanted, address = case.change(_made(bench, case)), ADDRESSES[case.kind]
    before = bench.have(address)
    assert min(c.impact for c in bench.changes(address, wanted)) >= Impact.REPLACE
    with pytest.raises(Refused):
        bench.update(address, wanted, Impact.DATA_LOSS)
    assert bench.have(address).fingerprint == before.fingerprint


def test_update_applies_the_changes_and_no_more(bench: Bench) -> None:
    address = make(bench, "server")
    spec = bench.specs[bench.address(address)]
    wanted = replace(spec, description="new", tags=("red",))
    only = [c for c in bench.changes(address, wanted) if c.path == "tags"]
    target = replace(bench.target(address, wanted), found=bench.have(address), changes=tuple(only))
    bench.session.drivers["server"].update(target, bench.rig.contents, bench.deadline)
    assert [path for path, _, _ in differences(wanted, bench.have(address).spec)] == ["description"]


@pytest.mark.parametrize("kind", ["server", "network"])
def test_update_writes_the_applied_spec_and_policy_in_the_mark(bench: Bench, kind: str) -> None:
    address = make(bench, kind)
    spec = replace(bench.specs[bench.address(address)], autostart=False)
    bench.update(address, spec, Impact.RESTART)
    mark = bench.have(address).mark
    assert mark is not None
    assert mark == bench.target(address, spec).mark


@pytest.mark.parametrize("kind", ["server", "network", "volume"])
def test_update_of_a_missing_object_is_gone(bench: Bench, kind: str) -> None:
    address = make(bench, kind)
    spec = bench.specs[bench.address(address)]
    target = replace(bench.target(address, spec), found=bench.have(address))
    bench.delete(address)
    with pytest.raises(Gone):
        bench.session.drivers[kind].update(target, bench.rig.contents, bench.deadline)


@pytest.mark.parametrize("kind", ["server", "network"])
def test_update_of_the_policy_touches_only_the_mark(bench: Bench, kind: str) -> None:
    make(bench, "server")
    address, guest = ADDRESSES[kind], bench.rig.guest(bench.have("server.web[0]").name)
    before, spec, policy = bench.have(address), bench.specs[bench.address(address)], Policy(protect=True)
    change = Change("policy.protect", True, False, False, Status.CHANGE)
    judged = bench.rig.provider.impact(kind, change, before)
    assert judged.impact <= LIVE
    target = replace(bench.target(address, spec, policy), found=before, changes=(judged,))
    bench.session.drivers[kind].update(target, bench.rig.contents, bench.deadline)
    after = bench.have(address)
    assert after.mark is not None
    assert (after.mark.policy, after.spec) == (policy, before.spec)
    assert bench.rig.guest(bench.have("server.web[0]").name) == guest


@pytest.mark.parametrize("case", [c for c in OTHER if c.impact is RESTART], ids=lambda case: case.name)
def test_update_that_may_not_restart_the_network_is_saved(bench: Bench, case: Case) -> None:
    before = _made(bench, case)
    wanted, address = case.change(before), ADDRESSES["network"]
    found = bench.update(address, wanted, LIVE)
    assert differences(before, found.spec) == []
    assert differences(wanted, found.saved) == []
    bench.update(address, wanted, RESTART)
    assert differences(wanted, bench.have(address).spec) == []
    assert bench.have(address).saved is None


def test_update_of_an_image_brings_its_new_files(bench: Bench) -> None:
    address = make(bench, "image")
    wanted = Image((bench.rig.picture(), bench.rig.picture("kernel"), bench.rig.picture("ramdisk")))
    bench.update(address, wanted, LIVE)
    assert differences(wanted, bench.have(address).spec) == []
