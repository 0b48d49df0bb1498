"""A server changed in place: live where libvirt can, the rest by one restart when that is allowed.

Order: files are made; the running guest is changed; the saved definition is changed (never undefined); the guest is
restarted; what is no longer used is removed; the mark says last what was applied. A killed run is repeated.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import libvirt

from stacksmith.frozen import dataclass
from stacksmith.model.change import Impact
from stacksmith.model.found import Found
from stacksmith.model.realised import Disk, Server
from stacksmith.providers import rules
from stacksmith.providers.base import Contents, Deadline, Gone, Refused, Target
from stacksmith.providers.configdrive import iso
from stacksmith.providers.libvirt import (
    domain_edit,
    domain_xml,
    found,
    mark_xml,
    power,
    reading,
    server_disk,
    server_live,
    wait,
)
from stacksmith.providers.libvirt.connection import Link
from stacksmith.providers.libvirt.domain_edit import Edit, Path
from stacksmith.providers.libvirt.domain_xml import Parts
from stacksmith.providers.libvirt.found import ReadDomain
from stacksmith.providers.libvirt.host import LibvirtHost
from stacksmith.providers.libvirt.ownership import owned_domain

LIVE, CONFIG = libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The changes of an update sorted: ``live`` can be made on the running guest, ``late`` at its next start."""

    every: tuple[Path, ...]
    live: tuple[Path, ...]
    late: tuple[Path, ...]


def apply(host: LibvirtHost, target: Target, contents: Contents, deadline: Deadline) -> None:
    """Makes ``target.changes``. Raises: Gone, Refused for what cannot be done in place or was not allowed."""
    before = _read(host, target, deadline)
    spec = target.wanted
    assert isinstance(spec, Server)
    verdicts = _judge(target, found.server(before, host.name, {}))
    if is_active := before.text.live is not None:
        server_live.check_ports(before.text.live or "", Edit(spec, verdicts.live, Parts(target.mark, "")))
    drive = _new_drive(target, contents, verdicts)
    parts = host.call(partial(_prepare, host, target, (before, verdicts, drive), deadline), deadline)
    live = None
    if is_active:
        live = server_live.apply(host, target.mark, Edit(spec, verdicts.live, parts), deadline)
    host.call(partial(_define, host, target, Edit(spec, verdicts.every, parts, live)), deadline)
    restarts = is_active and bool(verdicts.late) and target.allowed >= Impact.RESTART
    _power(host, target, (before.effect.actual.power_state, restarts), verdicts, deadline)
    host.call(partial(_finish, host, target, before, verdicts), deadline)


def _read(host: LibvirtHost, target: Target, deadline: Deadline) -> ReadDomain:
    host.call(partial(_check_ours, target), deadline)
    text = host.call(partial(reading.domain_text, uuid=target.mark.uuid), deadline)
    if text is None:
        raise Gone(f"{target.mark.address} is not on {host.name}")
    return found.parse_domain(text)


def _check_ours(target: Target, link: Link) -> None:
    if owned_domain(link, target.mark) is None:
        raise Gone(f"{target.mark.address} no longer exists")


def _judge(target: Target, server: Found) -> Verdicts:
    """Sorts the changes. Raises: Refused when one cannot be done in place, or worse than allowed."""
    late: list[Path] = []
    live: list[Path] = []
    for change in target.changes:
        path, judged = Path.of(change), rules.impact("server", change, server)
        loses_data = judged.impact is Impact.DATA_LOSS and change.wanted is None
        if judged.impact >= Impact.REPLACE and not loses_data:
            raise Refused(f"cannot change {change.path} in place: {judged.note}", change.path)
        if judged.impact > target.allowed and (loses_data or path.field == "power_state"):
            raise Refused(f"{judged.impact.word} is not allowed: {judged.note}", change.path)
        is_late = judged.impact is Impact.RESTART and path.field != "power_state"
        (late if is_late else live).append(path)
    return Verdicts(tuple(live + late), tuple(live), tuple(late))


def _new_drive(target: Target, contents: Contents, verdicts: Verdicts) -> tuple[str, bytes] | None:
    """The config drive's digest and bytes when its content changes."""
    spec = target.wanted
    assert isinstance(spec, Server)
    if spec.config_drive is None or not any(p.field == "config_drive" for p in verdicts.every):
        return None
    wanted = spec.config_drive
    return wanted.digest, iso(contents.config_drive(target.mark.address, wanted.digest), wanted.format)


def _prepare(
    host: LibvirtHost,
    target: Target,
    state: tuple[ReadDomain, Verdicts, tuple[str, bytes] | None],
    deadline: Deadline,
    link: Link,
) -> Parts:
    """Makes the files of new disks and the new config drive; grows the local disks of a guest that is off."""
    spec, mark = target.wanted, target.mark
    assert isinstance(spec, Server)
    before, verdicts, drive = state
    changed = {p.key for p in verdicts.every if p.field == "disks"}
    host.storage.ensure(link, host.storage.default)
    files = {}
    for disk in (d for d in spec.disks if d.device in changed):
        is_there = any(d.device == disk.device for d in before.effect.spec.disks)
        files[disk.device] = (
            server_disk.present_disk(host, mark, disk, link)
            if is_there
            else server_disk.ensure_disk(host, mark, disk, link)
        )
        if is_there and before.text.live is None:
            _grow(disk, files[disk.device].path, link)
    return Parts(
        mark=mark,
        virt_type="",
        files=files,
        config_drive=server_disk.put_config_drive(host, mark, drive, deadline, link) if drive else None,
        kernel=server_disk.kernel_path(host, spec.kernel, "kernel", link),
        ramdisk=server_disk.kernel_path(host, spec.ramdisk, "ramdisk", link),
    )


def _grow(disk: Disk, path: str, link: Link) -> None:
    if disk.source not in {"image", "blank"} or disk.size_bytes is None:
        return
    volume = link.connect.storageVolLookupByKey(path)
    if volume.info()[1] < disk.size_bytes:
        volume.resize(disk.size_bytes, 0)


def _define(host: LibvirtHost, target: Target, edit: Edit, link: Link) -> None:
    """Writes the saved definition when it changes, over the same UUID."""
    domain = owned_domain(link, target.mark)
    if domain is None:
        raise Gone(f"{target.mark.address} was removed while it was changed")
    saved = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
    after = domain_edit.edited(saved, edit)
    if after != saved or not domain.isPersistent():
        domain = link.connect.defineXMLFlags(after, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    if edit.touches("autostart"):
        domain.setAutostart(int(edit.spec.autostart))
    if edit.touches("disks", "kernel", "ramdisk"):
        server_disk.check_images(host, edit.spec, link)


def _power(host: LibvirtHost, target: Target, was: tuple[str, bool], verdicts: Verdicts, deadline: Deadline) -> None:
    """Restarts the guest, or brings it to its wanted state when that changes."""
    spec, (before, restarts) = target.wanted, was
    assert isinstance(spec, Server)
    changes = any(p.field == "power_state" for p in verdicts.every)
    wanted = spec.power_state if changes else before
    if restarts or (changes and wanted == "stopped"):
        power.stop(host, target.mark, deadline)
    if wanted == "stopped":
        return
    if restarts or (changes and before == "stopped"):
        wait.start_and_wait(host, replace(target, wanted=replace(spec, power_state=wanted)), deadline)
    elif changes:
        host.call(partial(power.set_paused, target.mark, wanted == "paused"), deadline)


def _finish(host: LibvirtHost, target: Target, before: ReadDomain, verdicts: Verdicts, link: Link) -> None:
    """Removes what the server no longer has, and writes the mark."""
    spec, mark = target.wanted, target.mark
    assert isinstance(spec, Server)
    domain = owned_domain(link, mark)
    if domain is None:
        raise Gone(f"{mark.address} was removed while it was changed")
    wanted = {d.device for d in spec.disks}
    local = domain_edit.local_files(before.effect.spec, before.effect.files)
    dropped = {p.key for p in verdicts.every if p.field == "disks"} - wanted
    server_disk.remove_paths(link, [local[device] for device in sorted(dropped & local.keys())])
    if any(p.field == "config_drive" for p in verdicts.every):
        server_disk.remove_config_drives(host, mark, link)
    there = mark_xml.read(found.definition(domain))
    details = _details(spec, there[1] if there else mark_xml.Details(), verdicts)
    domain.setMetadata(
        libvirt.VIR_DOMAIN_METADATA_ELEMENT,
        mark_xml.text(mark, details),
        mark_xml.PREFIX,
        mark_xml.URI,
        CONFIG | (LIVE if domain.isActive() else 0),
    )


def _details(spec: Server, before: mark_xml.Details, verdicts: Verdicts) -> mark_xml.Details:
    """What is kept in metadata after the changes, and only they."""
    fields = {p.field for p in verdicts.every}
    wanted = domain_xml.details(spec)
    changed: dict[str, Any] = {n: getattr(wanted, n) for n in ("name", "metadata", "tags") if n in fields}
    if "config_drive" in fields:
        changed |= {"config_format": wanted.config_format, "config_digest": wanted.config_digest}
    return replace(before, **changed)
