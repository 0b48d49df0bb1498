"""Servers on a host: made, started, removed. Changes are in ``server_update``."""

from dataclasses import replace
from functools import partial
from typing import Any

import libvirt

from stacksmith.model.found import Found, Mark
from stacksmith.model.realised import Server
from stacksmith.providers.base import Contents, Deadline, Driver, Gone, Refused, Target
from stacksmith.providers.configdrive import iso
from stacksmith.providers.libvirt import (
    domain_xml,
    found,
    mark_xml,
    migrate,
    power,
    reading,
    server_disk,
    server_update,
    wait,
)
from stacksmith.providers.libvirt.connection import Link
from stacksmith.providers.libvirt.domain_xml import Parts
from stacksmith.providers.libvirt.host import LibvirtHost
from stacksmith.providers.libvirt.ownership import owned_domain

_LEFTOVERS = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
)
_TPM = getattr(libvirt, "VIR_DOMAIN_UNDEFINE_TPM", 0)  # libvirt 8.9


class ServerDriver:
    """Servers of one host."""

    def __init__(self, host: LibvirtHost) -> None:
        self._host = host

    def read(self, mark: Mark) -> Found | None:
        """The domain with the mark's uuid when it carries a mark, or None."""
        return self._read(mark, self._host.default_deadline())

    def _read(self, mark: Mark, deadline: Deadline) -> Found | None:
        text = self._host.call(partial(_text, self._host, mark.uuid), deadline)
        if text is None:
            return None
        domain = found.parse_domain(text)
        if domain.effect.mark is None:
            return None
        leases = self._host.call(partial(reading.leases_of, uuid=mark.uuid), deadline) if text.live else {}
        return found.server(domain, self._host.name, leases)

    def _must_read(self, mark: Mark, deadline: Deadline) -> Found:
        server = self._read(mark, deadline)
        if server is None:
            raise Gone(f"{mark.address} was removed from {self._host.name} while it was changed")
        return server

    def create(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
        """Finds or makes: disks, config drive, definition, start; the applied spec is written last.

        Raises: Refused when the name is another's, TimedOut when the guest does not come up in the time limit.
        """
        spec = target.wanted
        assert isinstance(spec, Server)
        drive = _config_drive(target, contents)
        xml = self._host.call(partial(_make, self._host, target, drive, deadline), deadline)
        wait.start_and_wait(self._host, target, deadline)
        if xml is not None and _ends_with_definition(target):
            return _as_defined(self._host, xml, spec)
        self._host.call(partial(_set_mark, target.mark, spec), deadline)
        return self._must_read(target.mark, deadline)

    def update(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
        """Applies the changes, live where libvirt can; restarts the guest at most once, and only when allowed.

        A change that needs a restart that is not allowed is saved for the guest's next start.
        """
        server_update.apply(self._host, target, contents, deadline)
        return self._must_read(target.mark, deadline)

    def migrate(self, target: Target, destination: Driver, contents: Contents, deadline: Deadline) -> Found:
        """Brings the server to the destination, live when it runs, with its local disks and config drive."""
        if not isinstance(destination, ServerDriver):
            raise Refused(f"{target.host} is not a libvirt host")
        migrate.move(self._host, target, destination._host, _config_drive(target, contents), deadline)
        destination._host.no_domain.begin(target.mark.uuid)
        return destination._must_read(target.mark, deadline)

    def delete(self, target: Target, deadline: Deadline) -> None:
        """Ends the guest at once, as Nova does, and removes its definition, disks and config drives. Volumes stay."""
        self._host.call(partial(_undefine, target.mark), deadline)
        self._host.call(partial(server_disk.remove_files, self._host, target.mark), deadline)


def _text(host: LibvirtHost, uuid: str, link: Link) -> found.DomainText | None:
    return None if host.no_domain.is_absent(uuid, link) else reading.domain_text(link, uuid)


def _config_drive(target: Target, contents: Contents) -> tuple[str, bytes] | None:
    spec = target.wanted
    assert isinstance(spec, Server)
    if spec.config_drive is None:
        return None
    wanted = spec.config_drive
    return wanted.digest, iso(contents.config_drive(target.mark.address, wanted.digest), wanted.format)


def _ends_with_definition(target: Target) -> bool:
    """True when nothing can be left undone once the domain is defined: then its mark is final from the start."""
    assert isinstance(target.wanted, Server)
    return target.wanted.power_state == "stopped" and target.found is None


def _make(
    host: LibvirtHost, target: Target, drive: tuple[str, bytes] | None, deadline: Deadline, link: Link
) -> str | None:
    """Makes the files and defines the domain; gives its definition, or None when it runs already."""
    spec, mark = target.wanted, target.mark
    assert isinstance(spec, Server)
    if not _ends_with_definition(target):
        mark = replace(mark, applied=None)  # until all is done
    absent = target.found is None and host.no_domain.is_absent(mark.uuid, link)
    host.no_domain.begin(mark.uuid)
    # Even when no mark was found: defining it would take over an unmarked one.
    there = None if absent else owned_domain(link, mark)
    if there is not None and there.isActive() and there.isPersistent():
        _set_autostart(there, spec)
        return None
    host.storage.ensure(link, host.storage.default)
    parts = Parts(
        mark=mark,
        virt_type=host.virt_type(link),
        files={d.device: server_disk.ensure_disk(host, mark, d, link) for d in spec.disks},
        config_drive=server_disk.put_config_drive(host, mark, drive, deadline, link) if drive else None,
        kernel=server_disk.kernel_path(host, spec.kernel, "kernel", link),
        ramdisk=server_disk.kernel_path(host, spec.ramdisk, "ramdisk", link),
    )
    xml = domain_xml.render(spec, parts)
    _set_autostart(link.connect.defineXMLFlags(xml, 0), spec)
    server_disk.check_images(host, spec, link)
    return xml


def _set_autostart(domain: Any, spec: Server) -> None:
    if spec.autostart:
        domain.setAutostart(1)


def _set_mark(mark: Mark, spec: Server, link: Link) -> None:
    domain = power.must_find(link, mark)
    flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG | (libvirt.VIR_DOMAIN_AFFECT_LIVE if domain.isActive() else 0)
    text = mark_xml.text(mark, domain_xml.details(spec))
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, text, mark_xml.PREFIX, mark_xml.URI, flags)


def _as_defined(host: LibvirtHost, xml: str, spec: Server) -> Found:
    """What was just defined and does not run, without asking again."""
    sizes = {d.device: d.size_bytes for d in spec.disks if d.size_bytes is not None}
    text = found.DomainText(None, xml, libvirt.VIR_DOMAIN_SHUTOFF, spec.autostart, sizes, sizes_known=False)
    return found.server(found.parse_domain(text), host.name, {})


def _undefine(mark: Mark, link: Link) -> None:
    domain = owned_domain(link, mark)
    if domain is None:
        return
    try:
        if domain.isActive():
            power.destroy(domain)
        if domain.isPersistent():
            _remove_definition(domain)
    except libvirt.libvirtError as error:  # it went, as one without a saved definition does when it ends
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise


def _remove_definition(domain: Any) -> None:
    try:
        domain.undefineFlags(_LEFTOVERS | _TPM)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG or not _TPM:
            raise
        domain.undefineFlags(_LEFTOVERS)  # a daemon older than the client
