"""A server brought to another host: live when it runs, else cold, in both with its local disks and volumes.

The client is in the middle of a live migration: when it dies, libvirt ends the copy on the destination and the guest
goes on where it was. The copy of a cold one is defined only when all of its disks are whole.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from functools import partial
from typing import Any

import libvirt
from lxml import etree

from stacksmith.model.found import Mark
from stacksmith.model.naming import local_disk_name
from stacksmith.model.realised import Disk, Server
from stacksmith.providers.base import Deadline, Gone, ProviderError, Refused, Target, TimedOut
from stacksmith.providers.libvirt import carry, nvram, power, rebind, server_disk, storage
from stacksmith.providers.libvirt.carry import Carried
from stacksmith.providers.libvirt.connection import Link
from stacksmith.providers.libvirt.host import LibvirtHost
from stacksmith.providers.libvirt.ownership import owned_domain

ABORT_SECONDS = 6.0  # what is left of the time limit when a live migration is broken off, to undo it in
SETTLE_SECONDS = 5.0  # what libvirt takes to end what a killed client had begun
POLL_SECONDS = 0.3
BLOCK_BYTES = 1 << 20
_AT_HOLE = -3  # what virStreamRecvFlags returns for VIR_STREAM_RECV_STOP_AT_HOLE

File = tuple[str, str, str]  # of a disk: its volume type, its name in the pool, its device

_LIVE = (
    libvirt.VIR_MIGRATE_LIVE
    | libvirt.VIR_MIGRATE_PERSIST_DEST
    | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
)


def move(
    source: LibvirtHost, target: Target, destination: LibvirtHost, drive: tuple[str, bytes] | None, deadline: Deadline
) -> None:
    """Leaves one copy, on ``destination``. A fault leaves it on ``source``, and no file of it on ``destination``.

    Raises: Refused, TimedOut, Transient, Gone.
    """
    mark = target.mark
    if source.call(partial(_is_there, mark), deadline):
        _settle(source, destination, mark, deadline)
    if source.call(partial(_is_there, mark), deadline):
        if destination.call(partial(_is_there, mark), deadline):
            raise Refused(f"{mark.address} is defined on {source.name} and on {destination.name}", "host")
        _move_whole(source, target, destination, drive, deadline)
    elif not destination.call(partial(_is_there, mark), deadline):
        raise Gone(f"{mark.address} is neither on {source.name} nor on {destination.name}")
    source.call(partial(server_disk.remove_files, source, mark), deadline)
    assert isinstance(target.wanted, Server)
    destination.call(partial(_set_autostart, mark, target.wanted.autostart), deadline)


def _set_autostart(mark: Mark, wanted: bool, link: Link) -> None:
    """libvirt does not bring it along."""
    power.must_find(link, mark).setAutostart(int(wanted))


def _is_there(mark: Mark, link: Link) -> bool:
    return owned_domain(link, mark) is not None


def _state(mark: Mark, link: Link) -> int | None:
    domain = owned_domain(link, mark)
    try:
        return None if domain is None else int(domain.state()[0])
    except libvirt.libvirtError as error:
        _gone(error)
        return None


def _settle(source: LibvirtHost, destination: LibvirtHost, mark: Mark, deadline: Deadline) -> None:
    """Ends what a killed run left on both hosts: the copy that runs is the server, else the one on ``source``."""
    until = Deadline(deadline.clock() + min(SETTLE_SECONDS, deadline.seconds), deadline.clock)
    while until.seconds and source.call(partial(_has_job, mark), deadline):
        time.sleep(POLL_SECONDS)
    here, there = (host.call(partial(_state, mark), deadline) for host in (source, destination))
    if there is None or here is None:
        if here == libvirt.VIR_DOMAIN_PAUSED:
            source.call(partial(_resume_abandoned, mark), deadline)
        return
    whole = there == libvirt.VIR_DOMAIN_RUNNING and here != libvirt.VIR_DOMAIN_RUNNING
    both_off = here == there == libvirt.VIR_DOMAIN_SHUTOFF  # defined last, when its disks were whole
    loser = source if whole or both_off else destination
    loser.call(partial(_drop, mark), deadline)
    if loser is destination and here == libvirt.VIR_DOMAIN_PAUSED:
        source.call(partial(_resume_abandoned, mark), deadline)


def _has_job(mark: Mark, link: Link) -> bool:
    domain = owned_domain(link, mark)
    return domain is not None and bool(domain.isActive()) and domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE


def _resume_abandoned(mark: Mark, link: Link) -> None:
    """A guest that a migration paused for its last moment, and that never ran elsewhere."""
    domain = power.must_find(link, mark)
    if domain.state()[1] in {libvirt.VIR_DOMAIN_PAUSED_MIGRATION, libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED}:
        domain.resume()


def _drop(mark: Mark, link: Link) -> None:
    domain = owned_domain(link, mark)
    if domain is None:
        return
    try:
        if domain.isActive():
            power.destroy(domain)
        if domain.isPersistent():
            domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
    except libvirt.libvirtError as error:
        _gone(error)


def _gone(error: libvirt.libvirtError) -> None:
    """libvirt itself may end what a killed client began, in any moment. Raises: any other fault."""
    if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
        raise error


def _move_whole(
    source: LibvirtHost, target: Target, destination: LibvirtHost, drive: tuple[str, bytes] | None, deadline: Deadline
) -> None:
    mark, spec = target.mark, target.wanted
    assert isinstance(spec, Server)
    attached = source.call(partial(carry.carried, source, mark, spec), deadline)
    _check(source, spec, destination, attached, deadline)
    volumes = [each for each in attached if not carry.is_shared(each.volume_type, source, destination)]
    try:
        destination.call(
            partial(carry.check_shared, destination, [each for each in attached if each not in volumes]), deadline
        )
        destination.call(partial(server_disk.remove_files, destination, mark), deadline)
        destination.call(partial(carry.prepare, destination, volumes), deadline)
        disks = destination.call(partial(_prepare, destination, mark, spec, drive, deadline), deadline)
        if source.call(partial(power.is_active, mark), deadline):
            copied = [*(disk.device for disk in disks), *(each.device for each in volumes)]
            _live(source, target, destination, (copied, len(volumes) < len(attached)), deadline)
        else:
            files = [(source.storage.default, _local_name(mark, disk), disk.device) for disk in disks]
            files += [(each.volume_type, each.name, each.device) for each in volumes]
            source.call(partial(_cold, source, target, destination, files, deadline), deadline)
    except BaseException as fault:
        _undo(destination, mark, volumes, fault)
        raise


def _local_name(mark: Mark, disk: Disk) -> str:
    return local_disk_name(mark.stack, mark.address, mark.uuid, disk.device)


def _check(
    source: LibvirtHost, spec: Server, destination: LibvirtHost, volumes: Sequence[Carried], deadline: Deadline
) -> None:
    """Raises: Refused for what cannot be brought along."""
    if any(d.source == "volume" and d.device_type == "cdrom" for d in spec.disks):
        raise Refused("a volume that is its cdrom cannot be brought along", "disks", "detach it first")
    for kind in sorted({source.storage.default, *(each.volume_type for each in volumes)}):
        here, there = (h.call(partial(_folder, h, kind), deadline) for h in (source, destination))
        if here != there:
            raise Refused(f"its disks are in {here}, on {destination.name} they would be in {there}", "disks")


def _folder(host: LibvirtHost, volume_type: str, link: Link) -> str:
    host.storage.ensure(link, volume_type)
    return host.storage.directory(link, volume_type)


def _prepare(
    host: LibvirtHost, mark: Mark, spec: Server, drive: tuple[str, bytes] | None, deadline: Deadline, link: Link
) -> list[Disk]:
    """Makes the files on the destination, still empty but for the config drive; gives the disks to fill."""
    if drive is not None:
        server_disk.put_config_drive(host, mark, drive, deadline, link)
    disks = [d for d in spec.disks if d.device_type != "cdrom" and d.source != "volume"]
    for disk in disks:
        server_disk.ensure_disk(host, mark, disk, link)
    return disks


def _live(
    source: LibvirtHost, target: Target, destination: LibvirtHost, disks: tuple[list[str], bool], deadline: Deadline
) -> None:
    """Migrates; breaks it off when the time limit, or the end of the run, is near. ``disks`` are the devices that are
    copied, and whether there are others, which both hosts see."""
    copied, has_shared = disks
    flags = _LIVE | (libvirt.VIR_MIGRATE_NON_SHARED_INC if copied else 0)
    # libvirt may not know that a storage is shared; without disks nothing is written but by the guest's memory.
    flags |= libvirt.VIR_MIGRATE_UNSAFE if has_shared or not copied else 0
    with ThreadPoolExecutor(1) as threads:
        work = partial(_migrate, target, destination.connections.uri, flags, copied if has_shared else [])
        running = threads.submit(source.call, work, deadline)
        is_broken_off = _watch(source, target, running, deadline)
        try:
            running.result()
        except ProviderError as fault:
            if is_broken_off:
                raise TimedOut("it was broken off: the time limit was near, or the run is to end") from fault
            raise


def _migrate(target: Target, uri: str, flags: int, only: list[str], link: Link) -> None:
    """One call on both hosts: a connection of this thread's own goes to the destination. ``only`` these disks are
    copied, where some are named."""
    domain = power.must_find(link, target.mark)
    params: dict[str, Any] = rebind.params(domain, target)
    if only:
        params[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = only
    other = libvirt.open(uri)
    try:
        other.setKeepAlive(2, 3)
        domain.migrate3(other, params, flags)
    finally:
        other.close()


def _watch(source: LibvirtHost, target: Target, running: "Future[Any]", deadline: Deadline) -> bool:
    """Tells how far it is until it ends; True when it was broken off."""
    is_broken_off = False
    while True:
        try:
            running.result(POLL_SECONDS)
        except FutureTimeout:
            if not running.done():
                is_broken_off = _look(source, target, deadline) or is_broken_off
                continue
        except ProviderError:
            return is_broken_off
        return is_broken_off


def _look(source: LibvirtHost, target: Target, deadline: Deadline) -> bool:
    """Notes the progress; breaks the migration off when it must end, and then gives True."""
    try:
        if deadline.seconds <= ABORT_SECONDS:
            source.call(partial(_abort, target.mark), deadline)
            return True
        sent, total = source.call(partial(_progress, target.mark), deadline)
    except ProviderError:
        return False  # it ended in this moment
    if total:
        target.progress(f"{sent >> 20} of {total >> 20} MiB")
    return False


def _abort(mark: Mark, link: Link) -> None:
    power.must_find(link, mark).abortJob()


def _progress(mark: Mark, link: Link) -> tuple[int, int]:
    info = power.must_find(link, mark).jobInfo()
    return int(info[4]), int(info[3])


def _cold(
    source: LibvirtHost, target: Target, destination: LibvirtHost, files: list[File], deadline: Deadline, link: Link
) -> None:
    """Copies disks, firmware variables, then the definition, then removes the one here. In the thread of a connection
    to the source."""
    domain = power.must_find(link, target.mark)
    if domain.hasManagedSaveImage() or domain.snapshotNum():
        raise Refused("its saved memory and snapshots cannot be copied", hint="start it, or remove them first")
    xml = rebind.rebound(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE), target)
    other = Link(libvirt.open(destination.connections.uri))
    try:
        for kind, name, device in files:
            pools = [h.storage.ensure(at, kind) for h, at in ((source, link), (destination, other))]
            volumes = [pool.storageVolLookupByName(name) for pool in pools]
            _copy(link, volumes[0], other, volumes[1], deadline, partial(_told, target, device))
        has_variables = _define((source, link), xml, (destination, other), deadline)
    finally:
        other.pools.clear()
        other.connect.close()
    keep = libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM  # what was not found is not removed
    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM if has_variables else keep)


def _define(here: tuple[LibvirtHost, Link], xml: str, there: tuple[LibvirtHost, Link], deadline: Deadline) -> bool:
    """Defines the server on the destination; True when that was with variables of its firmware."""
    (source, link), (destination, other) = here, there
    path, variables = nvram.path_of(xml, link.connect.getURI()), None
    if path is not None:
        with source.alone("nvram", deadline):
            variables = nvram.read(link, path)
    if path is None or variables is None:
        other.connect.defineXMLFlags(xml, 0)
        return False
    name = etree.fromstring(xml.encode()).findtext("name", "")
    if name in {each.name() for each in other.connect.listAllDomains(0)}:
        raise Refused(f"a domain {name} is there already", "name")  # its variables would be overwritten
    with destination.alone("nvram", deadline):
        try:
            nvram.write(other, path, variables, deadline)
            other.connect.defineXMLFlags(xml, 0)
        except BaseException:
            nvram.remove(other, path)
            raise
    return True


def _told(target: Target, device: str, sent: int, total: int) -> None:
    target.progress(f"{device}: {sent >> 20} of {total >> 20} MiB")


def _copy(
    link: Link, volume: Any, other: Link, copy: Any, deadline: Deadline, told: Callable[[int, int], None]
) -> None:
    """Streams a file's bytes from one host to the other. Raises: TimedOut.

    What is a hole in the file is one in a copy that has no bytes yet; where it has some, as a new qcow2 file has, zeros
    take their place.
    """
    total, sent = storage.facts(volume).physical_bytes, 0
    down, up = link.connect.newStream(0), other.connect.newStream(0)
    is_blank = int(copy.info()[2]) == 0
    volume.download(down, 0, total, libvirt.VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM if is_blank else 0)
    copy.upload(up, 0, total, libvirt.VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM if is_blank else 0)
    while passed := _pass_on(down, up):
        if not deadline.seconds:
            down.abort()
            up.abort()
            raise TimedOut("the copy of its disks did not end in the time limit")
        sent += passed
        told(sent, total)
    down.finish()
    up.finish()


def _pass_on(down: Any, up: Any) -> int:
    """Hands on the next bytes, or the hole that is next, and gives how long that is; 0 at the end."""
    data = down.recvFlags(BLOCK_BYTES, libvirt.VIR_STREAM_RECV_STOP_AT_HOLE)
    if data == _AT_HOLE:
        length = int(down.recvHole())
        up.sendHole(length)
        return length
    rest = data
    while rest:
        rest = rest[up.send(rest) :]
    return len(data)


def _undo(destination: LibvirtHost, mark: Mark, volumes: Sequence[Carried], fault: BaseException) -> None:
    """Removes the files made on the destination, unless the server came to be there after all."""
    deadline = Deadline(destination.clock() + ABORT_SECONDS, destination.clock)
    try:
        if not destination.call(partial(_is_there, mark), deadline):
            destination.call(partial(server_disk.remove_files, destination, mark), deadline)
            destination.call(partial(carry.drop, destination, volumes), deadline)
    except ProviderError as second:  # what failed first matters; the next run removes them
        fault.add_note(f"{destination.name}: {second}")
