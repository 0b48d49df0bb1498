"""The stack compiled into what each host must have: realised specs with identity, policy and what they stand on."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import field, replace
from ipaddress import ip_address, ip_network
from typing import Any

from stacksmith.address import Address, address_of, identity
from stacksmith.frozen import dataclass
from stacksmith.model.bare_metal import class_of
from stacksmith.model.kinds.image import ImageSpec
from stacksmith.model.kinds.network import NetworkSpec, SubnetSpec
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.kinds.volume import VolumeSpec
from stacksmith.model.naming import mac_address
from stacksmith.model.realised import (
    DhcpHost,
    DnsHost,
    Image,
    ImageFile,
    Network,
    Nic,
    Policy,
    Realised,
    Server,
    Subnet,
    Volume,
)
from stacksmith.model.stack import Resource, Stack
from stacksmith.planner.disk import GIB, Layout, layout
from stacksmith.planner.drive import config_drive, server_label
from stacksmith.planner.machine import machine, machine_policy
from stacksmith.planner.part import Parts
from stacksmith.providers.base import WaitFor

_MODELS = {"virtio": "virtio", "e1000": "e1000", "e1000e": "e1000e", "rtl8139": "rtl8139"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """One object that one host must have. ``depends_on`` are addresses of objects it stands on.

    ``limit_seconds``: how long making or changing it may take, where that is longer than usual.
    """

    address: Address
    host: str
    uuid: str
    spec: Realised
    policy: Policy = field(default_factory=Policy)
    depends_on: tuple[Address, ...] = ()
    wait_for: WaitFor | None = None
    block: Resource | None = None
    limit_seconds: float = 0.0


@dataclass(slots=True)
class Draft:
    """What is wanted, before hosts are known: servers with their disks, and the volumes."""

    layouts: dict[Address, Layout]
    volumes: dict[Address, tuple[Volume, Policy, Resource]]
    machines: dict[Address, Resource] = field(default_factory=dict)  # servers on bare-metal nodes

    @property
    def blocks(self) -> set[Address]:
        """All of them."""
        return {*self.layouts, *self.volumes, *self.machines}

    def without(self, held: Container[Address]) -> "Draft":
        """The rest of it, when some servers and volumes are left out."""
        layouts = {address: layout for address, layout in self.layouts.items() if address not in held}
        volumes = {address: volume for address, volume in self.volumes.items() if address not in held}
        return Draft(layouts, volumes, self.machines)

    def local_bytes(self, server: Address) -> int:
        """What the server's own disks take on its host."""
        return sum(d.size_bytes or 0 for d in self.layouts[server].disks if d.source != "volume")

    def users(self) -> dict[Address, Address]:
        """The server of each attached volume."""
        found = {}
        for server, disks in self.layouts.items():
            for disk in disks.disks:
                if disk.source == "volume" and disk.ref:
                    found[Address.parse(disk.ref)] = server
        return found


def draft(stack: Stack, devices: Mapping[Address, Mapping[str, str]]) -> Draft:
    """Disks and volumes of the stack. ``devices`` maps a server to the devices its volumes already have."""
    return _draft(stack, stack.resources.values(), devices)


def volumes_of(stack: Stack) -> dict[Address, tuple[Volume, Policy, Resource]]:
    """The volumes of the stack alone, as a draft has them: only servers with a mapping are looked at."""
    blocks = stack.resources.values()
    having = (b for b in blocks if not isinstance(b.spec, ServerSpec) or b.spec.block_device_mapping)
    return _draft(stack, having, {}).volumes


def _draft(stack: Stack, blocks: Iterable[Resource], devices: Mapping[Address, Mapping[str, str]]) -> Draft:
    layouts: dict[Address, Layout] = {}
    volumes: dict[Address, tuple[Volume, Policy, Resource]] = {}
    machines: dict[Address, Resource] = {}
    plain: dict[tuple[str | None, str], Layout] = {}  # of servers without a mapping, by image and flavor
    for resource in blocks:
        address = resource.address
        if class_of(stack, resource) is not None:
            machines[address] = resource
        elif isinstance(resource.spec, ServerSpec) and not resource.spec.block_device_mapping:
            alike = resource.spec.image, resource.spec.flavor
            layouts[address] = plain.get(alike) or plain.setdefault(alike, layout(stack, resource))
        elif isinstance(resource.spec, ServerSpec):
            layouts[address] = layout(stack, resource, devices.get(address))
            for implicit in layouts[address].volumes:
                volumes[implicit.address] = (implicit.spec, implicit.policy, resource)
        elif isinstance(resource.spec, VolumeSpec):
            spec = resource.spec
            policy = Policy(protect=spec.protect, on_destroy=spec.on_destroy)
            volumes[address] = (_volume(stack, spec), policy, resource)
    return Draft(layouts, volumes, machines)


def _volume(stack: Stack, spec: VolumeSpec) -> Volume:
    file = stack.image_files[spec.image].get("disk") if spec.image else None
    return Volume(
        size_bytes=spec.size * GIB,
        volume_type=spec.volume_type,
        format=spec.format,
        image=file.checksum if file else None,
    )


def build(
    stack: Stack, draft: Draft, hosts: Mapping[Address, str], parts: Mapping[Address, Parts] | None = None
) -> dict[Address, Wanted]:
    """Every object wanted, by address, given the host of each server and volume (those without one are left out).

    ``parts`` are what servers were given of their hosts.
    """
    wanted: dict[Address, Wanted] = {}
    images = _Images(stack)
    for address, (spec, policy, block) in draft.volumes.items():
        if address in hosts:
            wanted[address] = _wanted_volume(stack, address, hosts[address], (spec, policy, block), images)
    for address, resource in draft.machines.items():
        if hosts.get(address) in stack.fleet.nodes:  # of one that is gone nothing can be said
            wanted[address] = _wanted_machine(stack, resource, hosts[address])
    servers = [stack.resources[a] for a in stack.resources if a in draft.layouts and a in hosts]
    for resource in servers:
        made = _wanted_server(stack, resource, hosts[resource.address], draft, images)
        wanted[resource.address] = _with_parts(made, (parts or {}).get(resource.address))
    for network in _networks(stack, servers, wanted):
        wanted[network.address] = network
    for name, host in sorted(images.needed):
        wanted[Address("image", name, host=host)] = _wanted_image(stack, name, host)
    return wanted


def _id(stack: Stack, address: Address) -> str:
    return identity(stack.fleet.fleet, stack.name, address)


class _Images:
    """The images that a plan needs, as (name, host); of equal files the first image's name counts."""

    def __init__(self, stack: Stack) -> None:
        self.needed: set[tuple[str, str]] = set()
        self._files = stack.image_files
        self._of_servers: dict[tuple[str | None, tuple[str, ...]], list[str]] = {}
        self._names: dict[str, str] = {}
        for name, files in stack.image_files.items():
            for file in files.values():
                self._names.setdefault(file.checksum, name)

    def of(self, checksum: str) -> str:
        """The image that has this file."""
        return self._names[checksum]

    def of_server(self, image: str | None, checksums: tuple[str, ...]) -> list[str]:
        """The images of which a server needs files: its own, if it boots from a kernel, and those of its disks."""
        alike = image, checksums
        if alike not in self._of_servers:
            names = dict.fromkeys([*([image] if image else []), *map(self.of, checksums)])
            files = {name: self._files[name] for name in names}
            self._of_servers[alike] = [
                name
                for name in names
                if files[name].keys() - {"disk"} or any(f.checksum in checksums for f in files[name].values())
            ]
        return self._of_servers[alike]

    def need(self, name: str, host: str) -> Address:
        """The image on the host, which is needed from now on."""
        self.needed.add((name, host))
        return address_of("image", name, None, host)


def _wanted_volume(
    stack: Stack,
    address: Address,
    host: str,
    draft: tuple[Volume, Policy, Resource],
    images: _Images,
) -> Wanted:
    spec, policy, block = draft
    needs = []
    if spec.image:
        needs.append(images.need(images.of(spec.image), host))
    extra = block.depends_on if block.address == address else ()
    return Wanted(address, host, _id(stack, address), spec, policy, (*needs, *extra), block=block)


def _wanted_server(stack: Stack, resource: Resource, host: str, draft: Draft, images: _Images) -> Wanted:
    spec = resource.spec
    assert isinstance(spec, ServerSpec)
    uuid = _id(stack, resource.address)
    disks = draft.layouts[resource.address].disks
    networks = [address_of("network", n.network, None, host) for n in spec.networks]
    volumes = [Address.parse(d.ref) for d in disks if d.source == "volume" and d.ref]
    checksums = tuple(d.ref for d in disks if d.source == "image" and d.ref)
    needs = [*networks, *volumes, *(images.need(name, host) for name in images.of_server(spec.image, checksums))]
    wait = spec.wait_for
    return Wanted(
        resource.address,
        host,
        uuid,
        _server(stack, resource, host, uuid, draft.layouts[resource.address]),
        Policy(protect=spec.protect),
        tuple(dict.fromkeys([*needs, *resource.depends_on])),
        WaitFor(wait.source, wait.timeout, wait.text or "") if wait else None,
        resource,
    )


def _wanted_machine(stack: Stack, resource: Resource, name: str) -> Wanted:
    spec = resource.spec
    assert isinstance(spec, ServerSpec)
    uuid, node = _id(stack, resource.address), stack.fleet.nodes[name]
    return Wanted(
        resource.address,
        name,
        uuid,
        machine(stack, resource, uuid, node),
        machine_policy(spec),
        resource.depends_on,
        block=resource,
        limit_seconds=node.deploy_timeout_seconds,
    )


def _with_parts(wanted: Wanted, parts: Parts | None) -> Wanted:
    if parts is None:
        return wanted
    assert isinstance(wanted.spec, Server)
    cells, size, devices = parts.numa_cells, parts.page_size, parts.pci_devices
    return replace(wanted, spec=replace(wanted.spec, numa_cells=cells, page_size=size, pci_devices=devices))


def server_nics(stack: Stack, resource: Resource, uuid: str) -> tuple[Nic, ...]:
    """The interfaces of a server, with the MACs its identity gives them."""
    spec = resource.spec
    assert isinstance(spec, ServerSpec)
    image = stack.images[spec.image] if spec.image else None
    default = _MODELS.get(image.properties.get("hw_vif_model", "") if image else "", "virtio")
    nics: list[Nic] = []
    for nic in spec.networks:
        mac = nic.mac or mac_address(uuid, nic.network, sum(made.network == nic.network for made in nics))
        nics.append(Nic(mac.lower(), nic.network, nic.model or default))
    return tuple(nics)


def _server(stack: Stack, resource: Resource, host: str, uuid: str, disks: Layout) -> Server:
    spec = resource.spec
    assert isinstance(spec, ServerSpec)
    flavor = stack.flavors[spec.flavor]
    image = stack.images[spec.image] if spec.image else None
    files = stack.image_files[spec.image] if spec.image else {}
    nics = server_nics(stack, resource, uuid)
    zone = stack.fleet.hosts[host].availability_zone
    return Server(
        name=server_label(resource),
        description=spec.description,
        vcpus=flavor.vcpus,
        ram_mib=flavor.ram,
        max_vcpus=flavor.max_vcpus,
        max_ram_mib=flavor.max_ram,
        kernel=files["kernel"].checksum if "kernel" in files else None,
        ramdisk=files["ramdisk"].checksum if "ramdisk" in files else None,
        command_line=image.properties.get("os_command_line") if image else None,
        disks=disks.disks,
        nics=nics,
        config_drive=config_drive(stack, resource, uuid, nics, zone),
        power_state=spec.power_state,
        autostart=spec.autostart,
        metadata=dict(spec.metadata),
        tags=tuple(sorted(spec.tags)),
        **_knobs(flavor.extra_specs, image),
    )


def _knobs(extra: Mapping[str, str], image: ImageSpec | None) -> dict[str, Any]:
    """Fields of a server by name: the knobs of Nova's extra specs and image properties; the flavor wins, as in Nova."""
    properties = image.properties if image else {}
    if not extra and not properties:
        return {}

    def knob(name: str) -> str | None:
        return extra.get(f"hw:{name}") or properties.get(f"hw_{name}")

    def number(name: str) -> int | None:
        value = knob(name)
        return int(value) if value else None

    secure = extra.get("os:secure_boot") or properties.get("os_secure_boot")
    return {
        "cpu_mode": knob("cpu_mode"),
        "cpu_sockets": number("cpu_sockets"),
        "cpu_cores": number("cpu_cores"),
        "cpu_threads": number("cpu_threads"),
        "machine_type": properties.get("hw_machine_type"),
        "firmware": properties.get("hw_firmware_type") or "bios",
        "secure_boot": secure == "required",
    }


def _wanted_image(stack: Stack, name: str, host: str) -> Wanted:
    address = Address("image", name, host=host)
    files = tuple(ImageFile(role, f.checksum, f.format) for role, f in sorted(stack.image_files[name].items()))
    return Wanted(address, host, _id(stack, address), Image(files), block=stack.resources.get(address.block))


def _networks(stack: Stack, servers: Iterable[Resource], wanted: Mapping[Address, Wanted]) -> Iterable[Wanted]:
    """Each network once on every host that has a server on it, with the fixed addresses of those servers."""
    hosts: dict[Address, list[DhcpHost]] = {}
    for resource in servers:
        spec, made = resource.spec, wanted[resource.address]
        assert isinstance(spec, ServerSpec) and isinstance(made.spec, Server)
        for declared, nic in zip(spec.networks, made.spec.nics, strict=True):
            fixed = hosts.setdefault(address_of("network", declared.network, None, made.host), [])
            if declared.fixed_ip:
                fixed.append(DhcpHost(nic.mac, declared.fixed_ip, made.spec.name))
    for address, fixed in sorted(hosts.items()):
        block = stack.resources[address.block]
        assert isinstance(block.spec, NetworkSpec)
        yield Wanted(
            address,
            address.host or "",
            _id(stack, address),
            _network(block.spec, fixed),
            Policy(protect=block.spec.protect),
            block=block,
        )


def _network(spec: NetworkSpec, fixed: Iterable[DhcpHost]) -> Network:
    if spec.mode == "bridge":
        return Network(mode="bridge", bridge=spec.bridge, mtu=spec.mtu)
    subnets = tuple(sorted((_subnet(s) for s in spec.subnets), key=lambda s: s.cidr))
    # dnsmasq reserves IPv6 addresses by client identifier, which nobody knows before the guest runs.
    served = [net for s in subnets if s.dhcp and (net := ip_network(s.cidr)).version == 4]
    return Network(
        mode=spec.mode,
        mtu=spec.mtu,
        domain=spec.dns_domain,
        subnets=subnets,
        hosts=tuple(sorted((h for h in fixed if any(ip_address(h.ip) in n for n in served)), key=lambda h: h.mac)),
        dns=tuple(sorted((DnsHost(str(ip_address(d.ip)), tuple(d.names)) for d in spec.dns), key=lambda d: d.ip)),
    )


def _subnet(spec: SubnetSpec) -> Subnet:
    """The subnet with its addresses written as libvirt writes them."""
    net = ip_network(spec.cidr)
    gateway = str(ip_address(spec.gateway_ip)) if spec.gateway_ip else str(net[1])
    if not spec.enable_dhcp:
        return Subnet(str(net), gateway, dhcp=False)
    pools = tuple((str(ip_address(p.start)), str(ip_address(p.end))) for p in spec.allocation_pools)
    if net.version == 6 and not pools:  # guests make their own addresses from the prefix that is announced
        return Subnet(str(net), gateway, dhcp=False)
    if not pools and net.version == 4 and net.num_addresses > 4:
        first, last = (net[2], net[-2]) if gateway == str(net[1]) else (net[1], net[-2])
        pools = ((str(first), str(last)),)
    return Subnet(str(net), gateway, dhcp=True, ranges=pools)
