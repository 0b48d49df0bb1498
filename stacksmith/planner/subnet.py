"""Subnets that networks bring to a host: from which other network of the stack, and not from one of anybody else."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_network

from stacksmith.address import Address
from stacksmith.diagnostics import Diagnostic, Faults, error
from stacksmith.model.document import DataPath
from stacksmith.model.found import Found, Snapshot, Unmanaged
from stacksmith.model.kinds.network import NetworkSpec
from stacksmith.model.realised import Network, Realised
from stacksmith.planner.build import Wanted
from stacksmith.planner.plan import Operation, Step

_HINT = "give it another subnet, or keep its servers off the host with host: or availability_zone:"


def check_subnets(
    steps: Iterable[Step], snapshot: Snapshot, found: Mapping[Address, Found], wanted: Mapping[Address, Wanted]
) -> None:
    """Passes when no step routes a subnet on a host that routes some of it to another network.

    libvirt starts no network with the very IPv4 subnet of a route of its host; one with a part of it, or with IPv6,
    would start, and take those addresses from the other's guests. One that is not running routes nothing.

    Raises: Faults, one for each subnet and the network in its way.
    """
    others: dict[str, Sequence[Unmanaged]] = {
        host.host: [each for each in host.unmanaged if each.subnets] for host in snapshot.hosts
    }
    faults = [
        _taken(step, cidr, (other, there), wanted[step.address])
        for step in steps
        if step.operation in (Operation.CREATE, Operation.UPDATE) and step.address.kind == "network"
        for other in others.get(step.host, ())
        for cidr in _gained(step, found.get(step.address))
        if (there := _overlapped(cidr, other)) is not None
    ]
    if faults:
        raise Faults(faults)


def freed_before(steps: Iterable[Step], found: Mapping[Address, Found]) -> dict[str, list[str]]:
    """For steps that bring a subnet to a host, by id, those that take it from another network of the stack there."""
    networks = [step for step in steps if step.address.kind == "network"]
    leaving: dict[str, list[tuple[Step, str]]] = defaultdict(list)
    for step in networks:
        if not step.replaces:  # else it comes back
            leaving[step.host] += [(step, cidr) for cidr in _freed(step, found.get(step.address))]
    needs: dict[str, list[str]] = defaultdict(list)
    for step in networks:
        others = leaving.get(step.host, ())
        for cidr in _gained(step, found.get(step.address)) if others else ():
            needs[step.id] += [o.id for o, freed in others if o.address != step.address and _overlap(cidr, freed)]
    return needs


def _freed(step: Step, found: Found | None) -> Iterator[str]:
    """The subnets that the host routes no more once the step is done."""
    return _routed_only(found.spec if found is not None else None, step.wanted)


def _routed_only(one: Realised | None, other: Realised | None) -> Iterator[str]:
    """The subnets that one network has its host route, and the other does not."""
    others = other.routed if isinstance(other, Network) else ()
    return (cidr for cidr in one.routed if cidr not in others) if isinstance(one, Network) else iter(())


def _gained(step: Step, found: Found | None) -> Iterator[str]:
    """The subnets that the host routes once the step is done, and did not before."""
    return _routed_only(step.wanted, found.spec if found is not None else None)


def _overlapped(cidr: str, other: Unmanaged) -> str | None:
    """The subnet of the other network that has some of the addresses."""
    return next((each for each in other.subnets if _overlap(cidr, each)), None)


def _overlap(one: str, other: str) -> bool:
    first, second = ip_network(one), ip_network(other)
    return first.version == second.version and first.overlaps(second)


def _taken(step: Step, cidr: str, taken: tuple[Unmanaged, str], wanted: Wanted) -> Diagnostic:
    other, there = taken
    owner = f"of {other.owner}" if other.owner else "which is no stack's"
    cause = "is in use by" if there == cidr else f"overlaps {there} of"
    message = f"cannot make {step.address}: {cidr} {cause} the network {other.name} on {step.host}, {owner}"
    place = wanted.block.where(_path(wanted.block.spec, cidr)) if wanted.block else None
    return error("subnet-in-use", message, place, _HINT, step.address)


def _path(spec: object, cidr: str) -> DataPath:
    """Where the block says the subnet, in whatever spelling."""
    assert isinstance(spec, NetworkSpec)
    return "subnets", [str(ip_network(each.cidr)) for each in spec.subnets].index(cidr), "cidr"
