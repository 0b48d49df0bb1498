"""The definition that goes to the other host: bound to its parts, and the same in all else."""

from dataclasses import replace

from lxml import etree

from stacksmith.address import Address
from stacksmith.model.change import Change, Status
from stacksmith.model.found import Mark
from stacksmith.model.realised import NumaCell, Policy, Server, to_data
from stacksmith.providers.base import Target
from stacksmith.providers.libvirt import domain_read, domain_xml, mark_xml, rebind
from stacksmith.providers.libvirt.domain_xml import Parts

WEB = Address("server", "web")
HERE = Server(
    name="web",
    vcpus=3,
    ram_mib=192,
    page_size="2M",
    pci_devices=("0000:81:00.0",),
    numa_cells=(NumaCell(0, (0, 1), 128, 0, ((2,), (3,))), NumaCell(1, (2,), 64, 1, ((6,),))),
)
THERE = replace(
    HERE,
    pci_devices=("0000:05:00.0",),
    numa_cells=(NumaCell(0, (0, 1), 128, 1, ((5,), (4,))), NumaCell(1, (2,), 64, 0, ((1,),))),
)


def mark(spec: Server) -> Mark:
    return Mark("lab", "shop", WEB, "u", to_data(spec), Policy())


def target(*paths: str) -> Target:
    changes = [Change(path, None, None, None, Status.CHANGE) for path in paths]
    return Target(mark(THERE), "hv2", THERE, Policy(), changes=changes)


def without_binding(xml: str) -> bytes:
    """What the guest sees: all but where it is bound, its host's devices and the mark."""
    root = etree.fromstring(xml.encode(), etree.XMLParser(remove_blank_text=True))
    for path in ("numatune", "cputune", "metadata", "devices/hostdev"):
        for element in root.findall(path):
            element.getparent().remove(element)  # type: ignore[union-attr]
    return etree.tostring(root, method="c14n")


def test_definition_is_bound_to_the_parts_of_the_other_host_and_says_so() -> None:
    xml = domain_xml.render(HERE, Parts(mark(HERE), "qemu"))
    root = domain_read.parse(rebind.rebound(xml, target("numa_cells", "pci_devices")))
    pins = {pin.get("vcpu"): pin.get("cpuset") for pin in root.findall("cputune/vcpupin")}
    assert pins == {"0": "5", "1": "4", "2": "1"}
    assert [(m.get("cellid"), m.get("nodeset")) for m in root.findall("numatune/memnode")] == [("0", "1"), ("1", "0")]
    assert [d.find("source/address").get("bus") for d in root.findall("devices/hostdev")] == ["0x05"]  # type: ignore[union-attr]
    found = mark_xml.read(root)
    assert found is not None
    assert found[0].applied == to_data(THERE)


def test_what_the_guest_sees_stays() -> None:
    xml = domain_xml.render(HERE, Parts(mark(HERE), "qemu"))
    assert without_binding(rebind.rebound(xml, target("numa_cells"))) == without_binding(xml)


def test_definition_of_a_server_without_parts_is_not_touched() -> None:
    assert rebind.rebound("<domain/>", target()) == "<domain/>"
