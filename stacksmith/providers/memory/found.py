"""Live objects as an observation reports them."""

from collections.abc import Mapping, Sequence

from stacksmith.address import Address
from stacksmith.model.found import MOVING, Found, Resources, Unmanaged
from stacksmith.model.hardware import Holding, holding
from stacksmith.model.realised import Image, ImageFile, Network, Server, Volume
from stacksmith.model.types import JSON
from stacksmith.providers.memory.world import HostState, Object, Stage

_GIB = 2**30
_LOCAL = frozenset({"image", "blank"})


def found(item: Object, address: Address, host: str, leases: Mapping[str, str]) -> Found:
    """The object as ``address``. ``leases`` maps MACs to the addresses that the host's networks give them.

    Parts of a server are known by name only: no spec, no mark.
    """
    parts = item.stage is Stage.PARTS
    return Found(
        address=address,
        host=host,
        uuid=item.uuid,
        name=item.name,
        spec=None if parts else item.spec,
        fingerprint=item.fingerprint,
        mark=item.shown_mark,
        saved=None if parts else item.saved,
        partial=item.stage not in (Stage.COMPLETE, Stage.MOVED),
        usage=usage(item),
        holds=holds(item),
        facts={} if parts else _facts(item, leases),
        problem=item.problem,
    )


def leases(state: HostState) -> dict[str, str]:
    """Fixed addresses by MAC, of every network of the host."""
    return {
        host.mac: host.ip
        for item in state.objects["network"].values()
        if isinstance(item.spec, Network)
        for host in item.spec.hosts
    }


def found_image(files: Sequence[tuple[ImageFile, Object]], address: Address, uuid: str) -> Found:
    """An image of which these files exist, half uploaded ones too, as the one who asks declares them.

    The bytes are one file for all who use them; what format they are in is the word of each.
    """
    ordered = sorted((item for _, item in files), key=lambda item: item.name)
    whole = tuple(file for file, item in files if item.stage is Stage.COMPLETE)
    return Found(
        address=address,
        host=address.host or "",
        uuid=uuid,
        name=ordered[0].name,
        spec=Image(whole),
        fingerprint=" ".join(item.fingerprint[:16] for item in ordered),
        partial=len(whole) < len(files),
        facts={"files": [item.name for item in ordered]},
        begun=tuple(file for file, item in files if item.stage is not Stage.COMPLETE),
    )


def unmanaged(item: Object, host: str) -> Unmanaged:
    """The object as one that is not this stack's."""
    owner = f"{item.mark.fleet}/{item.mark.stack}" if item.mark else None
    routed = item.spec.routed if isinstance(item.spec, Network) else ()
    return Unmanaged(item.kind, host, item.name, item.uuid, owner, usage(item), holds=holds(item), subnets=routed)


def usage(item: Object) -> Resources:
    """What placement counts for the object: a stopped server holds its share, a half made one only its disks."""
    spec = item.spec
    if isinstance(spec, Volume):
        return Resources(disk_gib=_gib(spec.size_bytes))
    if not isinstance(spec, Server):
        return Resources()
    disk = _gib(sum(d.size_bytes or 0 for d in spec.disks if d.source in _LOCAL))
    if item.stage is Stage.PARTS:
        return Resources(disk_gib=disk)
    return Resources(spec.vcpus, spec.ram_mib, disk)


def holds(item: Object) -> Holding:
    """What placement counts of the host's parts."""
    if isinstance(item.spec, Volume):
        return Holding(disks=((item.spec.volume_type, _gib(item.spec.size_bytes)),))
    is_whole = isinstance(item.spec, Server) and item.stage is not Stage.PARTS
    return holding(item.spec) if is_whole and isinstance(item.spec, Server) else Holding()


def _gib(size_bytes: int) -> int:
    return -(-size_bytes // _GIB)


def _facts(item: Object, leases: Mapping[str, str]) -> dict[str, JSON]:
    spec = item.spec
    if item.stage is Stage.MOVED:
        return {MOVING: True}
    if not isinstance(spec, Server):
        return {}
    return {"addresses": {nic.mac: [leases[nic.mac]] for nic in spec.nics if nic.mac in leases}}
