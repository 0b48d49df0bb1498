"""A whole host read in bulk: lists and statistics once, one definition for each object, side by side.

Only calls that a read-only connection may make.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field, replace
from functools import partial
from typing import Any

import libvirt

from stacksmith.frozen import dataclass
from stacksmith.model.found import Found, HostSnapshot, Hypervisor, Resources, Unmanaged
from stacksmith.model.hardware import Hardware, Pool
from stacksmith.model.naming import complete_name
from stacksmith.model.realised import Network
from stacksmith.providers.base import Deadline, Scope
from stacksmith.providers.libvirt import found, inventory, reading, storage
from stacksmith.providers.libvirt.connection import Link
from stacksmith.providers.libvirt.found import NetworkText, ReadDomain
from stacksmith.providers.libvirt.hardware import read_hardware
from stacksmith.providers.libvirt.host import LibvirtHost
from stacksmith.providers.libvirt.hypervisor import hypervisor, read_names
from stacksmith.providers.libvirt.inventory import Shelf
from stacksmith.providers.libvirt.storage import VolumeFacts

FIRST_CONNECTION = 20  # objects that one connection reads: another costs about six calls to open
PER_CONNECTION = 10  # and so many for each more
_KIB_PER_MIB = 1024


@dataclass(frozen=True, slots=True)
class _DomainList:
    stats: Mapping[str, Mapping[str, Any]]
    autostart: frozenset[str]
    transient: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Networks:
    texts: tuple[NetworkText, ...] = ()
    leases: Mapping[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Node:
    cpus: int
    memory_mib: int
    hardware: Hardware
    hypervisor: Hypervisor

    @property
    def whole_hardware(self) -> Hardware:
        """The only cell has all of the memory: capabilities tell what it was when the daemon started."""
        cells = self.hardware.cells
        if len(cells) != 1:
            return self.hardware
        return replace(self.hardware, cells=(replace(cells[0], memory_mib=self.memory_mib),))


@dataclass(frozen=True, slots=True)
class _Storage:
    disk_gib: int
    pools: tuple[Pool, ...]
    shelf: Shelf
    images: Mapping[str, VolumeFacts | None]


def observe(host: LibvirtHost, scope: Scope, deadline: Deadline) -> HostSnapshot:
    """The host as it is. Raises: Transient, TimedOut."""
    with ThreadPoolExecutor(host.connections.warm_count) as threads:
        # The longest first; where there are few domains, their connection reads of the rest, too.
        reading_domains = threads.submit(_read_domains, host, deadline)
        reading_storage = threads.submit(host.call, partial(_read_storage, host, scope), deadline)
        reading_sizes = threads.submit(host.call, _read_sizes, deadline)
        reading_names = threads.submit(host.call, read_names, deadline)
        reading_hardware = threads.submit(host.call, partial(_read_hardware, host), deadline)
        reading_networks = threads.submit(host.call, _read_networks, deadline)
    networks, stored, (cpus, memory) = reading_networks.result(), reading_storage.result(), reading_sizes.result()
    capabilities, hardware = reading_hardware.result()
    node = _Node(cpus, memory, hardware, hypervisor(capabilities, reading_names.result()))
    images: dict[str, VolumeFacts | None] = dict(stored.images)
    domains = reading_domains.result()
    shelf = _with_sizes(stored.shelf, domains)
    facts = images | _volume_facts(host, shelf, deadline)
    return _snapshot(host, scope, domains, networks, (node, stored, inventory.Inventory(shelf, facts)))


def _read_domains(host: LibvirtHost, deadline: Deadline) -> list[ReadDomain]:
    listed = host.call(partial(_list_domains, host), deadline)
    if not listed.stats:
        return []
    shards = _domain_shards(host, len(listed.stats))
    works = [partial(_read_shard, listed, shard, shards) for shard in range(shards)]
    return [domain for part in host.spread(works, deadline) for domain in part]


def _domain_shards(host: LibvirtHost, domains: int) -> int:
    """On how many connections to read so many domains: what else is read keeps one."""
    return min(max(1, host.connections.size - 1), _shards(host, domains))


def _shards(host: LibvirtHost, objects: int) -> int:
    """On how many connections to read so many objects."""
    return min(host.connections.size, 1 + max(0, objects - FIRST_CONNECTION) // PER_CONNECTION)


def _volume_facts(host: LibvirtHost, shelf: Shelf, deadline: Deadline) -> dict[str, VolumeFacts | None]:
    wanted = inventory.to_read(shelf)
    if not wanted:
        return {}
    shards = _shards(host, len(wanted))
    works = [partial(inventory.volume_facts, wanted[shard::shards]) for shard in range(shards)]
    facts: dict[str, VolumeFacts | None] = {}
    for part in host.spread(works, deadline):
        facts |= part
    return facts


def _list_domains(host: LibvirtHost, link: Link) -> _DomainList:
    connect = link.connect
    stats = {domain.UUIDString(): values for domain, values in storage.all_stats(link)}
    if not stats:
        return _DomainList({}, frozenset(), frozenset())
    shards = _domain_shards(host, len(stats))
    if shards > 1:
        host.connections.warm(shards + 1)  # they open while this one goes on
    autostart = connect.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART)
    transient = connect.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT)
    return _DomainList(
        stats, frozenset(d.UUIDString() for d in autostart), frozenset(d.UUIDString() for d in transient)
    )


def _read_shard(listed: _DomainList, shard: int, shards: int, link: Link) -> list[ReadDomain]:
    """Every ``shards``-th domain: handles belong to a connection, so each one lists for itself.

    Each is parsed while the other connections wait for their answers.
    """
    places = {uuid: place for place, uuid in enumerate(sorted(listed.stats))}
    domains = []
    for domain in link.connect.listAllDomains(0):
        uuid = domain.UUIDString()
        if places.get(uuid, 0) % shards != shard:  # one that came since the list was made is the first's
            continue
        try:
            text = reading.text_of(
                domain, listed.stats.get(uuid, {}), uuid not in listed.transient, uuid in listed.autostart
            )
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            continue  # it went while the host was read
        domains.append(found.parse_domain(text))
    return domains


def _read_networks(link: Link) -> _Networks:
    connect = link.connect
    networks = connect.listAllNetworks(0)
    if not networks:
        return _Networks()
    names = [
        {n.name() for n in connect.listAllNetworks(flag)}
        for flag in (
            libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE,
            libvirt.VIR_CONNECT_LIST_NETWORKS_AUTOSTART,
            libvirt.VIR_CONNECT_LIST_NETWORKS_TRANSIENT,
        )
    ]
    active, autostart, transient = names
    texts: list[NetworkText] = []
    leases: dict[str, list[str]] = {}
    for network in sorted(networks, key=lambda n: n.name()):
        name = network.name()
        text = reading.network_text_of(network, name in active, name in autostart, name not in transient)
        if text is None:
            continue
        texts.append(text)
        if name in active:
            leases |= reading.leases(network)
    return _Networks(tuple(texts), leases)


def _read_hardware(host: LibvirtHost, link: Link) -> tuple[str, Hardware]:
    """The host's capabilities and devices."""
    capabilities = host.capabilities(link)
    return capabilities, read_hardware(link, capabilities, host.declared.pci)


def _read_sizes(link: Link) -> tuple[int, int]:
    """CPUs and MiB of memory. A host's memory by getInfo drifts; by its statistics it does not."""
    stats = link.connect.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
    return link.connect.getInfo()[2], stats["total"] // _KIB_PER_MIB


def _read_storage(host: LibvirtHost, scope: Scope, link: Link) -> _Storage:
    """What the pools hold and how large they are."""
    pool = host.storage.find(link, host.storage.default)
    disk = -1 if pool is None else int(pool.info()[1] // found.GIB)
    volumes = host.storage.volumes(link)
    shelf = Shelf(tuple(stored for stored, _ in volumes))
    images = inventory.image_facts(volumes, scope)
    host.saw(facts for name, facts in images.items() if facts and complete_name(name) in shelf.names)
    return _Storage(disk, _pools(host, link), shelf, images)


def _pools(host: LibvirtHost, link: Link) -> tuple[Pool, ...]:
    """The storage of volume types that is apart from the host's own disks. One call for each that was found."""
    found_pools = {name: host.storage.find(link, name) for name in host.declared.volume_types_apart}
    return tuple(
        Pool(name, -1 if pool is None else int(pool.info()[1] // found.GIB)) for name, pool in found_pools.items()
    )


def _with_sizes(shelf: Shelf, domains: Sequence[ReadDomain]) -> Shelf:
    sizes = {}
    for domain in domains:
        for device, path in domain.effect.files.items():
            if device in domain.text.sizes:
                sizes[path] = domain.text.sizes[device]
    used = {p: d.effect.uuid for d in domains for p in d.effect.files.values()}
    return Shelf(shelf.stored, sizes, used)


def _snapshot(
    host: LibvirtHost,
    scope: Scope,
    domains: Sequence[ReadDomain],
    networks: _Networks,
    read: tuple[_Node, _Storage, inventory.Inventory],
) -> HostSnapshot:
    node, storage, stored = read
    ours: list[Found] = []
    others: list[Unmanaged] = []
    for domain in domains:
        mark = domain.effect.mark
        if mark is not None and (mark.fleet, mark.stack) == (scope.fleet, scope.stack):
            ours.append(found.server(domain, host.name, networks.leases))
        else:
            others.append(found.unmanaged_server(domain, host.name))
    for text in networks.texts:
        network = found.network(text, host.name)
        if isinstance(network, Found) and _is_ours(network, scope):
            ours.append(network)
        else:
            others.append(network if isinstance(network, Unmanaged) else _other(network))
    ours += stored.found(host.name, scope, {f.uuid for f in ours if f.address.kind == "server"})
    others += stored.unmanaged(host.name, scope)
    return HostSnapshot(
        host=host.name,
        capacity=Resources(node.cpus, node.memory_mib, storage.disk_gib),
        hardware=replace(node.whole_hardware, pools=storage.pools),
        found=tuple(sorted(ours, key=lambda f: (f.address, f.uuid))),
        unmanaged=tuple(sorted(others, key=lambda u: (u.kind, u.name))),
        facts={"uri": host.declared.libvirt, "pool_missing": storage.disk_gib < 0},
        hypervisor=node.hypervisor,
    )


def _is_ours(network: Found, scope: Scope) -> bool:
    mark = network.mark
    return mark is not None and (mark.fleet, mark.stack) == (scope.fleet, scope.stack)


def _other(network: Found) -> Unmanaged:
    mark = network.mark
    owner = f"{mark.fleet}/{mark.stack}" if mark is not None else None
    routed = network.spec.routed if isinstance(network.spec, Network) else ()
    return Unmanaged("network", network.host, network.name, network.uuid, owner, subnets=routed)
