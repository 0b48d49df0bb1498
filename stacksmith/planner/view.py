"""What is there and what is recorded, by address."""

from collections.abc import Mapping, Sequence
from dataclasses import field

from stacksmith.address import Address
from stacksmith.diagnostics import Diagnostic, Faults, Severity, error
from stacksmith.frozen import dataclass
from stacksmith.model.found import ABANDONED, MOVING, Found, Hypervisor, Snapshot
from stacksmith.model.realised import Policy, Server
from stacksmith.model.record import Record
from stacksmith.model.types import JSON
from stacksmith.source import Span


@dataclass(slots=True)
class View:
    """The live side and the store's, by address. ``twice``: the hosts of what is on several.

    ``leftovers`` are parts of what is whole on another host.
    """

    found: dict[Address, Found] = field(default_factory=dict)
    twice: dict[Address, list[str]] = field(default_factory=dict)
    leftovers: list[Found] = field(default_factory=list)
    records: dict[Address, Record] = field(default_factory=dict)
    unreachable: frozenset[str] = frozenset()

    def policy(self, address: Address) -> Policy | None:
        """The policy last applied, from the object's mark or the store."""
        found, record = self.found.get(address), self.records.get(address)
        if found is not None and found.mark is not None:
            return found.mark.policy
        return record.policy if record is not None else None

    def left(self, address: Address) -> Found | None:
        """The whole copy of what is on another host now."""
        return next((f for f in self.leftovers if f.address == address and not f.partial), None)

    def devices(self) -> dict[Address, dict[str, str]]:
        """The device of each volume of each server."""
        servers = [(address, found.spec) for address, found in self.found.items() if isinstance(found.spec, Server)]
        return {a: {d.ref: d.device for d in s.disks if d.source == "volume" and d.ref} for a, s in servers}

    def host(self, address: Address) -> str | None:
        """Where the resource is, or is known to be though its host cannot be read."""
        if address in self.found:
            return self.found[address].host
        record = self.records.get(address)
        return record.host if record is not None and record.host in self.unreachable else None


def view_of(snapshot: Snapshot, records: Sequence[Record]) -> View:
    """The view of what was read; of what is on several hosts, the one that is recorded."""
    view = View(records={r.address: r for r in records})
    view.unreachable = frozenset(h.host for h in snapshot.unreachable)
    everything = [found for host in snapshot.places for found in host.found]
    left = _left_by_moves(everything)
    view.leftovers += left
    for host in snapshot.places:
        for found in (f for f in host.found if f not in left):
            if found.address in view.found:
                there = view.found[found.address]
                if there.partial != found.partial:  # what a move by hand, or a killed one, left
                    view.leftovers.append(found if found.partial else there)
                    view.found[found.address] = there if found.partial else found
                    continue
                view.twice.setdefault(found.address, [view.found[found.address].host]).append(found.host)
                record = view.records.get(found.address)
                if record is None or record.host != found.host:
                    continue
            view.found[found.address] = found
    return view


def check_machines(snapshot: Snapshot, places: Mapping[str, Span]) -> None:
    """Passes when no two hosts are one machine: its room, and all that is on it, would be there twice.

    One machine is one UUID and one host name: firmware that gives many machines one UUID is not rare, and libvirt has
    ``host_uuid`` for it. ``places`` are those of the hosts' URIs. Raises: Faults, one for each host too many.
    """
    first: dict[tuple[str, str], str] = {}
    faults = []
    for host in snapshot.hosts:
        if host.hypervisor is not None and host.hypervisor.machine:
            same = first.setdefault((host.hypervisor.machine, host.hypervisor.hostname), host.host)
            if same != host.host:
                faults.append(_same_machine(host.hypervisor, (host.host, same), places))
    if faults:
        raise Faults(faults)


def _same_machine(hypervisor: Hypervisor, names: tuple[str, str], places: Mapping[str, Span]) -> Diagnostic:
    name, same = names
    machine = f"{hypervisor.hostname}, UUID {hypervisor.machine}"
    one = "take one of the two names out of the fleet file"
    return Diagnostic(
        Severity.ERROR,
        "same-machine",
        f"cannot use host {name}: its URI leads to the same machine as that of {same}: {machine}",
        places.get(name),
        hint=f"{one}; if they are two machines, give one a host_uuid of its own in its libvirtd.conf",
        notes=((f"host {same}", places.get(same)),),
    )


def check_names(snapshot: Snapshot) -> None:
    """Passes when every network is on the host it was applied to: its identity has the host's name in it, so under
    another name it would be made anew beside itself. Raises: Faults, one for each host that was renamed or exchanged.
    """
    former = {
        (host.host, found.address.host)
        for host in snapshot.hosts
        for found in host.found
        if found.mark is not None and found.address.kind == "network" and found.address.host not in (None, host.host)
    }
    if former:
        raise Faults([_renamed(now, before or "") for now, before in sorted(former, key=str)])


def _renamed(now: str, before: str) -> Diagnostic:
    message = f"cannot use host {now}: what is on its machine was applied there under the name {before}"
    return error("renamed-host", message, hint=f"call it {before} again in the fleet file, or destroy the stack first")


def _left_by_moves(everything: Sequence[Found]) -> list[Found]:
    """The copies of servers, and of volumes, that are whole on a host they left for another.

    Of a server on two hosts, one that a migration paused is left when the other is not paused by it. A volume that
    arrived says so, and has the server with it; while a server is still on both hosts none has.
    """
    whole = [f for f in everything if not f.partial]
    servers = {f.address for f in whole if f.address.kind == "server" and ABANDONED not in f.facts}
    left = [f for f in whole if ABANDONED in f.facts and f.address in servers]
    arrived = {f.address: f.host for f in whole if MOVING in f.facts}
    if not arrived:
        return left
    users = {None, *((f.host, f.uuid) for f in left)}
    volumes = [f for f in whole if f.host != arrived.get(f.address, f.host)]
    return left + [f for f in volumes if _user(f) in users]


def _user(volume: Found) -> tuple[str, JSON] | None:
    """The server that has the volume, by its host and UUID."""
    uuid = volume.facts.get("attached_to")
    return (volume.host, uuid) if uuid else None
