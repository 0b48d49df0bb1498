"""What runs a host's guests: read of libvirt's capabilities, in nova's words."""

from lxml import etree

from stacksmith.model.found import Hypervisor
from stacksmith.model.types import JSON
from stacksmith.providers.libvirt.connection import Link

TOPOLOGY = ("sockets", "cores", "threads")


def read_names(link: Link) -> tuple[str, int, str]:
    """Type, version and hostname. Three calls, which libvirt answers from what it keeps."""
    connect = link.connect
    return connect.getType(), connect.getVersion(), connect.getHostname()


def hypervisor(capabilities: str, names: tuple[str, int, str]) -> Hypervisor:
    """The hypervisor of a capabilities document and what ``read_names`` gave; each guest's architecture with each of
    its domain types, once."""
    root = etree.fromstring(capabilities.encode())
    supported = {
        (arch.get("name", ""), domain.get("type", ""), guest.findtext("os_type", ""))
        for guest in root.iterfind("guest")
        for arch in guest.iterfind("arch")
        for domain in arch.iterfind("domain")
    }
    machine = root.findtext("host/uuid", "")
    return Hypervisor(*names, _cpu(root), tuple(sorted(supported)), machine)


def _cpu(root: etree._Element) -> dict[str, JSON]:
    cpu: dict[str, JSON] = {}
    for name in ("arch", "model", "vendor"):
        if text := root.findtext(f"host/cpu/{name}"):
            cpu[name] = text
    topology = root.find("host/cpu/topology")
    if topology is not None:
        cpu["topology"] = {name: int(topology.get(name, "1")) for name in TOPOLOGY}
        cpu["topology"]["cells"] = len(root.findall("host/topology/cells/cell")) or 1
    cpu["features"] = sorted(feature.get("name", "") for feature in root.iterfind("host/cpu/feature"))
    return cpu
