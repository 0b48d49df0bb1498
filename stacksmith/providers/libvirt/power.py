"""Starting, stopping, pausing a guest."""

import time
from functools import partial
from typing import Any

import libvirt

from stacksmith.model.found import Mark
from stacksmith.providers.base import Deadline, Gone
from stacksmith.providers.libvirt import reading
from stacksmith.providers.libvirt.connection import Link
from stacksmith.providers.libvirt.host import LibvirtHost

SHUTDOWN_SECONDS = 60.0  # Nova's shutdown_timeout
_SHARE = 0.6  # of the time limit that a guest may take to shut down; the rest is for what comes after
_RETRY_SECONDS = 10.0  # between two asks: Nova's SHUTDOWN_RETRY_INTERVAL
_POLL_SECONDS = 0.2


def stop(host: LibvirtHost, mark: Mark, deadline: Deadline) -> None:
    """Asks the guest to shut down; one that does not in its time is cut off. A paused guest cannot hear.

    It is asked again and again, as Nova does: one that is still booting misses the button, and one that is on its way
    down does not mind it.
    """
    limit = Deadline(deadline.clock() + min(SHUTDOWN_SECONDS, deadline.seconds * _SHARE), deadline.clock)
    asked = host.call(partial(_ask_to_stop, mark), deadline)
    again = limit.clock() + _RETRY_SECONDS
    while asked and limit.seconds:
        if not host.call(partial(is_active, mark), deadline):
            return
        if limit.clock() >= again:
            host.call(partial(_ask_to_stop, mark), deadline)
            again += _RETRY_SECONDS
        time.sleep(min(_POLL_SECONDS, limit.seconds))
    host.call(partial(_cut_off, mark), deadline)


def must_find(link: Link, mark: Mark) -> Any:
    """The domain with the mark's uuid. Raises: Gone."""
    domain = reading.find_domain(link, mark.uuid)
    if domain is None:
        raise Gone(f"{mark.address} was removed while it was changed")
    return domain


def is_active(mark: Mark, link: Link) -> bool:
    """True when the guest runs or is paused."""
    return bool(must_find(link, mark).isActive())


def _ask_to_stop(mark: Mark, link: Link) -> bool:
    """True when the guest was asked; False when it is off or paused."""
    domain = must_find(link, mark)
    if domain.state()[0] != libvirt.VIR_DOMAIN_RUNNING:
        return False
    try:
        domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
            raise
        return False  # it stopped in this moment
    return True


def _cut_off(mark: Mark, link: Link) -> None:
    domain = must_find(link, mark)
    if domain.isActive():
        destroy(domain)


def destroy(domain: Any) -> None:
    """Ends the guest at once; one that just ended by itself is well."""
    try:
        domain.destroy()
    except libvirt.libvirtError as error:
        if error.get_error_code() not in {libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN}:
            raise


def start(mark: Mark, paused: bool, link: Link) -> bool:
    """Starts the guest; False when it is on already."""
    domain = must_find(link, mark)
    if domain.isActive():
        return False
    try:
        domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED if paused else 0)
    except libvirt.libvirtError as error:
        # A client that was killed may have left libvirtd in the middle of the same start.
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID or not domain.isActive():
            raise
        return False
    return True


def set_paused(mark: Mark, paused: bool, link: Link) -> None:
    """Halts a running guest, or lets a halted one go on."""
    domain = must_find(link, mark)
    try:
        _set_paused(domain, paused)
    except libvirt.libvirtError as error:
        # It changed in this moment: the start of a client that was killed went on by itself.
        reached = libvirt.VIR_DOMAIN_PAUSED if paused else libvirt.VIR_DOMAIN_RUNNING
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID or domain.state()[0] != reached:
            raise


def _set_paused(domain: Any, paused: bool) -> None:
    state = domain.state()[0]
    if paused and state == libvirt.VIR_DOMAIN_RUNNING:
        domain.suspend()
    elif not paused and state == libvirt.VIR_DOMAIN_PAUSED:
        domain.resume()
    elif not paused and state == libvirt.VIR_DOMAIN_PMSUSPENDED:
        domain.pMWakeup(0)
