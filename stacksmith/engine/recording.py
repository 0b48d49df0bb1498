"""Records written from live objects: what the store lost, or never knew."""

from collections.abc import Iterable

from stacksmith.model.found import Found, Mark, Snapshot
from stacksmith.model.machine_identity import machine_of
from stacksmith.model.realised import Image, Policy, Server, Volume, to_data
from stacksmith.model.record import Record
from stacksmith.model.stack import Stack
from stacksmith.planner.build import volumes_of
from stacksmith.state.store import Store


def live(snapshot: Snapshot) -> list[Found]:
    """The whole objects of all hosts."""
    return [f for host in snapshot.places for f in host.found if not f.partial and f.spec is not None]


def stood_on(found: Iterable[Found]) -> list[Found]:
    """The objects without the images that nothing of the stack on their host is made from: those are another's."""
    found = list(found)
    used = {(f.host, checksum) for f in found for checksum in _made_from(f)}
    return [
        f for f in found if not isinstance(f.spec, Image) or any((f.host, i.checksum) in used for i in f.spec.files)
    ]


def _made_from(found: Found) -> set[str | None]:
    if isinstance(found.spec, Server):
        return {found.spec.kernel, found.spec.ramdisk, *(d.ref for d in found.spec.disks if d.source == "image")}
    return {found.spec.image} if isinstance(found.spec, Volume) else set()


def record_found(stack: Stack, found: Iterable[Found], store: Store) -> None:
    """Writes a record of each object, with the policy of its mark or of its block."""
    policies = {address: policy for address, (_, policy, _) in volumes_of(stack).items()}
    before = {record.address: record for record in store.records(stack.name)}
    for each in found:
        store.put(stack.name, _record(each, policies.get(each.address), before.get(each.address)))


def _record(found: Found, policy: Policy | None, before: Record | None) -> Record:
    """A record as the live object tells it. A volume whose block is gone is kept: nothing says it may be deleted.
    That a server was adopted only the record tells."""
    mark = found.mark or Mark("", "", found.address, found.uuid)
    kept = Policy(on_destroy="keep" if found.address.kind == "volume" else "delete")
    applied = mark.applied if mark.applied is not None else to_data(found.spec)
    return Record(
        found.address,
        found.host,
        found.uuid,
        applied,
        mark.policy if found.mark else policy or kept,
        adopted=before is not None and before.adopted and before.host == found.host,
        machine=machine_of(found.facts),
    )
