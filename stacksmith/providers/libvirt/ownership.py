"""Whose a domain or a network is: nothing without our mark is changed or removed (rule 7)."""

from typing import Any

import libvirt
from lxml import etree

from stacksmith.model.found import Mark
from stacksmith.providers.base import Refused
from stacksmith.providers.libvirt import domain_read, mark_xml, network_xml, reading
from stacksmith.providers.libvirt.connection import Link
from stacksmith.providers.libvirt.mark_xml import Details


def owned_domain(link: Link, mark: Mark) -> Any | None:
    """The domain with the mark's uuid, or None. Raises: Refused when it carries another mark or none."""
    domain = reading.find_domain(link, mark.uuid)
    if domain is None:
        return None
    try:
        text = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return None  # it went while it was read
    _check("domain", domain.name(), mark_xml.read(domain_read.parse(text)), mark)
    return domain


def owned_network(link: Link, mark: Mark) -> Any | None:
    """The network with the mark's uuid, or None. Raises: Refused when it carries another mark or none."""
    there = read_network(link, mark)
    return there[0] if there is not None else None


def read_network(link: Link, mark: Mark) -> tuple[Any, etree._Element] | None:
    """The network with the mark's uuid and its saved definition, or None. Raises: Refused as ``owned_network``."""
    network = reading.find_network(link, mark.uuid)
    if network is None:
        return None
    saved = network_xml.parse(network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE))
    _check("network", network.name(), mark_xml.read(saved), mark)
    return network, saved


def _check(kind: str, name: str, there: tuple[Mark, Details] | None, mark: Mark) -> None:
    if there is None or (there[0].fleet, there[0].stack, there[0].uuid) != (mark.fleet, mark.stack, mark.uuid):
        raise Refused(
            f"{kind} {name!r} ({mark.uuid}) carries no mark of {mark.fleet}/{mark.stack}",
            hint="give it another name or UUID, or remove it by hand",
        )
