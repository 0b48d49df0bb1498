"""The definition of a server that migrates, as it is to be on the other host: bound to the parts of that host."""

from typing import Any

import libvirt

from stacksmith.model.realised import Server
from stacksmith.providers.base import Target
from stacksmith.providers.libvirt import domain_read, domain_xml, mark_xml, numa_xml

_WHOLE = libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_MIGRATABLE


def params(domain: Any, target: Target) -> dict[str, str]:
    """What virDomainMigrate3 takes for the running and for the saved definition; nothing when they stay as they are."""
    if not target.changes:
        return {}
    return {
        libvirt.VIR_MIGRATE_PARAM_DEST_XML: rebound(domain.XMLDesc(_WHOLE), target),
        libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: rebound(
            domain.XMLDesc(_WHOLE | libvirt.VIR_DOMAIN_XML_INACTIVE), target
        ),
    }


def rebound(xml: str, target: Target) -> str:
    """The definition with the cells, CPUs and devices of the other host, and a mark that says so."""
    if not target.changes:
        return xml
    spec = target.wanted
    assert isinstance(spec, Server)
    root = domain_read.parse(xml)
    numa_xml.bind(root, spec)
    numa_xml.set_pci_devices(root, spec)
    mark_xml.put(root, target.mark, domain_xml.details(spec))
    return domain_xml.text(root)
