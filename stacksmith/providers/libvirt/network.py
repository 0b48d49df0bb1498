"""Networks on a host: made, changed live where libvirt can, removed."""

from functools import partial

import libvirt

from stacksmith.model.found import Found, Mark
from stacksmith.model.realised import Network
from stacksmith.providers.base import Contents, Deadline, Gone, Target
from stacksmith.providers.libvirt import found, mark_xml, network_update, network_xml, reading
from stacksmith.providers.libvirt.connection import Link
from stacksmith.providers.libvirt.found import NetworkText
from stacksmith.providers.libvirt.host import LibvirtHost
from stacksmith.providers.libvirt.ownership import owned_network, read_network


class NetworkDriver:
    """Networks of one host."""

    def __init__(self, host: LibvirtHost) -> None:
        self._host = host

    def read(self, mark: Mark) -> Found | None:
        """The network with the mark's uuid, or None."""
        return self._read(mark, self._host.default_deadline())

    def _read(self, mark: Mark, deadline: Deadline) -> Found | None:
        text = self._host.call(partial(_text, self._host, mark.uuid), deadline)
        network = found.network(text, self._host.name) if text is not None else None
        return network if isinstance(network, Found) else None

    def create(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
        """Finds or makes, starts, and sets autostart. Raises: Refused when the name or a subnet is taken."""
        spec = target.wanted
        assert isinstance(spec, Network)
        with self._host.alone("networks", deadline):  # libvirt gives two that come at once the same bridge
            text = self._host.call(partial(_make, self._host, target, spec), deadline)
        made = found.network(text, self._host.name)
        assert isinstance(made, Found)  # it carries the mark that was looked at
        return made

    def update(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
        """Applies the changes: DHCP and DNS live, the rest by restarting the network and plugging its guests again."""
        network_update.apply(self._host, target, deadline)
        return self._must_read(target.mark, deadline)

    def delete(self, target: Target, deadline: Deadline) -> None:
        """Stops and undefines it. Raises: Refused when it is not ours."""
        self._host.call(partial(_remove, target.mark), deadline)

    def _must_read(self, mark: Mark, deadline: Deadline) -> Found:
        read = self._read(mark, deadline)
        if read is None:
            raise Gone(f"{mark.address} was removed from {self._host.name} while it was changed")
        return read


def _text(host: LibvirtHost, uuid: str, link: Link) -> NetworkText | None:
    return None if host.no_network.is_absent(uuid, link) else reading.network_text(link, uuid)


def _make(host: LibvirtHost, target: Target, spec: Network, link: Link) -> NetworkText:
    mark = target.mark
    absent = target.found is None and host.no_network.is_absent(mark.uuid, link)
    host.no_network.begin(mark.uuid)
    network = None if absent else owned_network(link, mark)
    active, autostart = network is not None and bool(network.isActive()), False
    if network is not None and network.isPersistent():
        autostart = bool(network.autostart())
    else:
        network = link.connect.networkDefineXML(network_xml.render(spec, mark))
    if spec.active and not active:
        network_update.start(network, spec, link)
    if spec.autostart != autostart:
        network.setAutostart(int(spec.autostart))
    saved = network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE)
    if mark_xml.is_begun(network_xml.parse(saved)):
        network_update.complete(network, mark, link)
        saved = network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE)
    return NetworkText(saved if active or spec.active else None, saved, spec.autostart)


def _remove(mark: Mark, link: Link) -> None:
    there = read_network(link, mark)
    if there is None:
        return
    network, saved = there
    if mark_xml.is_begun(saved):
        network_update.remove_between(network, link)
    if network.isActive():
        network.destroy()
    if network.isPersistent():
        network.undefine()
