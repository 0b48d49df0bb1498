"""Live objects as the planner takes them: the spec in effect, the saved one, fingerprint, usage and facts."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import field
from typing import Any

import libvirt
from lxml import etree

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.model.found import ABANDONED, Found, Resources, Unmanaged
from stacksmith.model.realised import Server, to_data
from stacksmith.model.types import JSON
from stacksmith.providers.libvirt import domain_read, network_xml
from stacksmith.providers.libvirt.domain_read import Domain

GIB = 2**30

# virDomainState: which of libvirt's states a user calls running, paused or stopped.
_POWER = {0: "stopped", 1: "running", 2: "running", 3: "paused", 4: "stopped", 5: "stopped", 6: "stopped", 7: "paused"}


@dataclass(frozen=True, slots=True)
class DomainText:
    """A domain as its host tells it. ``live`` is None when it is not running, ``saved`` when it is transient.

    ``sizes`` are bytes by device; ``blocks_known`` is False when QEMU did not answer, ``sizes_known`` when nobody
    looked. ``is_abandoned``: a migration paused it. ``balloon_rests``: the memory that is shown is what the guest was
    told to have.
    """

    live: str | None
    saved: str | None
    state: int
    autostart: bool
    sizes: Mapping[str, int] = field(default_factory=dict)
    blocks_known: bool = True
    sizes_known: bool = True
    is_abandoned: bool = False
    balloon_rests: bool = False


def digest(*parts: Any) -> str:
    """A fingerprint of texts and JSON data."""
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update((part if isinstance(part, str) else json.dumps(part, sort_keys=True)).encode() + b"\0")
    return hashed.hexdigest()


@dataclass(frozen=True, slots=True)
class ReadDomain:
    """A domain parsed: as in effect, and as saved when that is another definition."""

    effect: Domain
    saved: Domain | None
    text: DomainText


def parse_domain(text: DomainText) -> ReadDomain:
    """Both definitions of a domain."""
    saved_root = domain_read.parse(text.saved) if text.saved else None
    live_root = domain_read.parse(text.live) if text.live else None
    root = live_root if live_root is not None else saved_root
    assert root is not None
    power = _POWER.get(text.state, "stopped")
    effect = domain_read.read(root, text.sizes, power, text.autostart, saved_root, text.balloon_rests)
    if live_root is None or saved_root is None:
        return ReadDomain(effect, None, text)
    return ReadDomain(effect, domain_read.read(saved_root, text.sizes, power, text.autostart, saved_root), text)


def definition(domain: Any) -> etree._Element:
    """The saved definition of a domain; a transient one's is what runs."""
    return domain_read.parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))


def server(read: ReadDomain, host: str, leases: Mapping[str, list[str]]) -> Found:
    """A marked domain as found. ``leases`` are addresses by MAC."""
    effect, saved = read.effect, read.saved
    mark = effect.mark
    assert mark is not None
    differs = saved is not None and saved.spec != effect.spec
    return Found(
        address=mark.address,
        host=host,
        uuid=effect.uuid,
        name=effect.name,
        spec=effect.spec,
        saved=saved.spec if saved is not None and differs else None,
        fingerprint=digest(read.text.saved or "", to_data(effect.actual)),
        mark=mark,
        partial=read.text.saved is None,  # transient: it would vanish when it stops
        usage=usage(effect.actual),
        holds=effect.holds,
        facts=_server_facts(effect, leases) | ({ABANDONED: True} if read.text.is_abandoned else {}),
        problem=_problem(read),
    )


def _server_facts(domain: Domain, leases: Mapping[str, list[str]]) -> dict[str, JSON]:
    actual = domain.actual
    return {
        "addresses": {n.mac: leases[n.mac] for n in actual.nics if n.mac in leases},
        "max_vcpus": domain.limits[0],
        "max_ram_mib": domain.limits[1],
        "actual": {
            "machine_type": actual.machine_type,
            "cpu_mode": actual.cpu_mode,
            "cpu_sockets": actual.cpu_sockets,
            "cpu_cores": actual.cpu_cores,
            "cpu_threads": actual.cpu_threads,
            "serials": {d.device: d.serial for d in actual.disks},
        },
        "config_drive_ejected": domain.is_ejected,
        "serial_log": f"/var/log/libvirt/qemu/{domain.name}-serial.log",
    }


def _problem(read: ReadDomain) -> str | None:
    if not read.text.blocks_known:
        return "QEMU does not answer: sizes of disks are not known"
    if read.text.live is None and read.text.sizes_known:
        missing = [p for device, p in sorted(read.effect.files.items()) if device not in read.text.sizes]
        if missing:
            return f"file is missing: {', '.join(missing)}"
    return None


def usage(spec: Server) -> Resources:
    """What placement counts for a server: Nova counts stopped ones too. Volumes are counted by themselves."""
    local = sum(d.size_bytes or 0 for d in spec.disks if d.source in {"image", "blank"})
    return Resources(spec.vcpus, spec.ram_mib, -(-local // GIB))


def unmanaged_server(read: ReadDomain, host: str) -> Unmanaged:
    """A domain that is not of this stack."""
    effect = read.effect
    owner = f"{effect.mark.fleet}/{effect.mark.stack}" if effect.mark is not None else None
    used, state = usage(effect.actual), effect.actual.power_state
    return Unmanaged("server", host, effect.name, effect.uuid, owner, used, state, effect.holds)


@dataclass(frozen=True, slots=True)
class NetworkText:
    """A network as its host tells it: ``live`` is None when it is not running, ``saved`` when it is transient."""

    live: str | None
    saved: str | None
    autostart: bool


def network(text: NetworkText, host: str) -> Found | Unmanaged:
    """A network as found: unmanaged when it has no mark. The caller sorts out marks of other stacks."""
    live = etree.fromstring(text.live.encode()) if text.live else None
    saved = etree.fromstring(text.saved.encode()) if text.saved else None
    root = live if live is not None else saved
    assert root is not None
    effect = network_xml.read(root, live is not None, text.autostart, saved)
    if effect.mark is None:
        routed = effect.spec.routed
        return Unmanaged("network", host, effect.name, effect.uuid, detail=effect.spec.mode, subnets=routed)
    other = (
        network_xml.read(saved, live is not None, text.autostart) if live is not None and saved is not None else None
    )
    return Found(
        address=effect.mark.address if effect.mark.address.host else _on(effect.mark.address, host),
        host=host,
        uuid=effect.uuid,
        name=effect.name,
        spec=effect.spec,
        saved=other.spec if other is not None and other.spec != effect.spec else None,
        fingerprint=digest(text.saved or "", to_data(effect.spec)),
        mark=effect.mark,
        partial=text.saved is None,
        facts={"bridge": effect.bridge},
    )


def _on(address: Address, host: str) -> Address:
    return Address(address.kind, address.name, address.key, host)
