"""What the hosts of a lab hold, told so that two ends can be compared."""

import hashlib
from collections import Counter
from typing import Any, NamedTuple

import libvirt
import yaml
from lxml import etree

from tests.e2e.kit import Site


class Thing(NamedTuple):
    """A domain, network or volume on a host, and all of it that an equal run makes again."""

    kind: str
    name: str
    host: str
    content: str


def live(site: Site) -> Counter[Thing]:
    """How often each is on the site's hosts."""
    found: Counter[Thing] = Counter()
    for host, declared in yaml.safe_load(site.fleet.read_text())["hosts"].items():
        connection = libvirt.open(declared["libvirt"])
        found.update(Thing("server", d.name(), host, _server(d)) for d in connection.listAllDomains())
        found.update(Thing("network", n.name(), host, _network(n)) for n in connection.listAllNetworks())
        for pool in connection.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
            pool.refresh()
            volumes = pool.listAllVolumes()
            found.update(Thing("volume", v.name(), host, _volume(connection, v)) for v in volumes)
        connection.close()
    return found


def differences(found: Counter[Thing], wanted: Counter[Thing]) -> list[str]:
    """What is in one only, a line for each."""
    more, less = found - wanted, wanted - found
    return [f"+ {each}" for each in sorted(more)] + [f"- {each}" for each in sorted(less)]


def make_pools(site: Site) -> None:
    """Gives each host its pool now, whose size placement goes by: an apply makes one only where it is needed."""
    for host, declared in yaml.safe_load(site.fleet.read_text())["hosts"].items():
        (storage,) = declared["volume_types"].values()
        if storage["pool"] not in site.virsh(host, "pool-list", "--name").split():
            site.virsh(host, "pool-create-as", storage["pool"], "dir", "--target", storage["path"], "--build")


def _server(domain: Any) -> str:
    """Its power state and its definition as of the next start, mark and UUIDs of disks and NICs and all."""
    return f"{domain.state()[0]} {_text(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))}"


def _network(network: Any) -> str:
    """Its definition but for what libvirt draws by lot: the bridge's MAC."""
    root = etree.fromstring(network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE))
    for drawn in root.findall("mac"):
        root.remove(drawn)
    return f"{network.isActive()} {network.autostart()} {_text(etree.tostring(root))}"


def _volume(connection: Any, volume: Any) -> str:
    """Capacity, format and what it is laid over; the bytes too of a file that is written once, whole."""
    root = etree.fromstring(volume.XMLDesc())
    told = [root.findtext("capacity"), root.find("target/format").get("type"), root.findtext("backingStore/path")]
    if ".image." in volume.name() or volume.name().endswith(".iso"):
        told.append(digest(connection, volume))
    return " ".join(str(each) for each in told)


def digest(connection: Any, volume: Any) -> str:
    """The SHA-256 of a volume's file."""
    seen = hashlib.sha256()
    stream = connection.newStream()
    volume.download(stream, 0, 0)
    stream.recvAll(lambda _, data, seen: seen.update(data) or 0, seen)
    stream.finish()
    return seen.hexdigest()


def _text(xml: str | bytes) -> str:
    """The same document's one text."""
    root = etree.fromstring(xml, etree.XMLParser(remove_blank_text=True))
    return str(etree.tostring(root, method="c14n"), "utf-8")
