"""Waiting for a started guest: for an address by lease or agent, or for a text on its console."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import libvirt

from stacksmith.model.found import Mark
from stacksmith.model.realised import Server
from stacksmith.providers.base import Deadline, Gone, Target, TimedOut, WaitFor
from stacksmith.providers.libvirt import power, reading
from stacksmith.providers.libvirt.connection import ConnectionPool, Link
from stacksmith.providers.libvirt.host import LibvirtHost

_POLL_SECONDS = 0.5
_LATE_SECONDS = 5.0  # so long the last look may take: what it sees is told, not that it was late
_CONSOLE_POLL_SECONDS = 0.05
_KEPT_CHARACTERS = 65536
_SOURCES = {
    "lease": libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE,
    "agent": libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT,
}


def start_and_wait(host: LibvirtHost, target: Target, deadline: Deadline) -> None:
    """Starts the guest unless it is to be stopped, and waits for what it is to reach. A running one is left alone."""
    spec, wanted = target.wanted, target.wait_for
    assert isinstance(spec, Server)
    if spec.power_state == "stopped":
        return
    is_watched = wanted is not None and wanted.source == "console"
    paused = spec.power_state == "paused" or is_watched
    started = host.call(partial(power.start, target.mark, paused), deadline)
    if wanted is not None and spec.power_state == "running" and (started or not is_watched):
        wait_for(host, target.mark, wanted, started, deadline)
    elif spec.power_state == "running":
        host.call(partial(power.set_paused, target.mark, False), deadline)


def wait_for(host: LibvirtHost, mark: Mark, wanted: WaitFor, started_paused: bool, deadline: Deadline) -> None:
    """Returns when the guest has reached it. Raises: TimedOut saying what was seen instead.

    With ``console`` and ``started_paused`` the guest is let go only once its console is read, so no text is missed.
    """
    limit = Deadline(min(deadline.at, deadline.clock() + wanted.timeout_seconds), deadline.clock)
    if wanted.source == "console":
        _console(host, mark, wanted.text, started_paused, limit)
    else:
        _address(host, mark, wanted.source, limit)


def _address(host: LibvirtHost, mark: Mark, source: str, limit: Deadline) -> None:
    began = limit.clock()
    while True:  # asked once at least, however late it is
        addresses, cause = host.call(partial(_ask, mark, source), Deadline(limit.at + _LATE_SECONDS, limit.clock))
        if addresses:
            return
        if not limit.seconds:
            break
        time.sleep(min(_POLL_SECONDS, limit.seconds))
    waited = limit.clock() - began
    raise TimedOut(f"no address of {mark.address} by {source} in {waited:.0f} s: {cause}", "wait_for")


def _ask(mark: Mark, source: str, link: Link) -> tuple[Sequence[str], str]:
    """(addresses, why there are none)."""
    domain = _domain(link, mark)
    try:
        answer = domain.interfaceAddresses(_SOURCES[source])
    except libvirt.libvirtError as error:
        if error.get_error_domain() in {libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE}:
            raise
        return (), str(error.get_error_message())
    found = [a["addr"] for name, nic in answer.items() if name != "lo" for a in nic["addrs"] or ()]
    nothing = "no DHCP lease was given" if source == "lease" else "the agent knows no address"
    return found, "" if found else nothing


def _domain(link: Link, mark: Mark) -> Any:
    domain = reading.find_domain(link, mark.uuid)
    if domain is None:
        raise Gone(f"{mark.address} was removed while it was waited for")
    if not domain.isActive():
        raise TimedOut(f"{mark.address} stopped while it was waited for", "wait_for")
    return domain


def _console(host: LibvirtHost, mark: Mark, text: str, resume: bool, limit: Deadline) -> None:
    """Reads the console on a connection of its own: the guest may take minutes."""
    own = ConnectionPool(host.connections.uri, 1, read_only=False)
    try:
        own.call(partial(_watch, mark, text, resume, limit), Deadline(limit.at + _LATE_SECONDS, limit.clock))
    finally:
        own.close()


def _watch(mark: Mark, text: str, resume: bool, limit: Deadline, link: Link) -> None:
    domain = _domain(link, mark)
    stream = link.connect.newStream(libvirt.VIR_STREAM_NONBLOCK)
    domain.openConsole(None, stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE)
    try:
        if resume:
            domain.resume()
        _read_until(stream, text, limit, mark)
    finally:
        stream.abort()


def _read_until(stream: Any, text: str, limit: Deadline, mark: Mark) -> None:
    seen = ""
    while text not in seen:
        if not limit.seconds:
            raise TimedOut(f"{mark.address} did not print {text!r} in the time limit; {_last(seen)}", "wait_for")
        data = stream.recv(16384)
        if data == -2:  # nothing yet
            time.sleep(_CONSOLE_POLL_SECONDS)
        elif not data:
            raise TimedOut(f"the console of {mark.address} was closed before {text!r}; {_last(seen)}", "wait_for")
        else:
            seen = (seen + data.decode(errors="replace"))[-_KEPT_CHARACTERS:]


def _last(seen: str) -> str:
    lines = [line for line in seen.splitlines() if line.strip()]
    shown = "".join(c for c in lines[-1] if c.isprintable())[:200] if lines else ""
    return f"its last line is {shown!r}" if shown else "it printed nothing"
