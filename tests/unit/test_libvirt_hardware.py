"""The parts of a host, from the capabilities of hosts of several shapes."""

from collections.abc import Iterator

import libvirt
import pytest
from lxml import etree

from stacksmith.model.fleet import PciSpec
from stacksmith.model.hardware import Cell, PciDevice, cpu_list, cpu_numbers, page_class
from stacksmith.providers.libvirt.connection import Link
from stacksmith.providers.libvirt.hardware import cells, pci_device, read_hardware

# Two sockets, each a cell of two cores with two threads; large pages on one of them.
TWO_SOCKETS = """<capabilities><host>
  <cpu>
    <arch>x86_64</arch><model>Cascadelake-Server</model>
    <feature name='vmx'/><feature name='avx512vnni'/><feature name='aes'/><feature name='ss'/>
  </cpu>
  <topology><cells num='2'>
    <cell id='1'>
      <memory unit='KiB'>4194304</memory>
      <pages unit='KiB' size='4'>524288</pages>
      <pages unit='KiB' size='2048'>512</pages>
      <pages unit='KiB' size='1048576'>1</pages>
      <cpus num='4'>
        <cpu id='2' socket_id='1' die_id='0' core_id='0' siblings='2,6'/>
        <cpu id='3' socket_id='1' die_id='0' core_id='1' siblings='3,7'/>
        <cpu id='6' socket_id='1' die_id='0' core_id='0' siblings='2,6'/>
        <cpu id='7' socket_id='1' die_id='0' core_id='1' siblings='3,7'/>
      </cpus>
    </cell>
    <cell id='0'>
      <memory unit='KiB'>2097152</memory>
      <pages unit='KiB' size='4'>524288</pages>
      <pages unit='KiB' size='2048'>0</pages>
      <cpus num='4'>
        <cpu id='0' socket_id='0' die_id='0' core_id='0' siblings='0,4'/>
        <cpu id='1' socket_id='0' die_id='0' core_id='1' siblings='1,5'/>
        <cpu id='4' socket_id='0' die_id='0' core_id='0' siblings='0,4'/>
        <cpu id='5' socket_id='0' die_id='0' core_id='1' siblings='1,5'/>
      </cpus>
    </cell>
  </cells></topology>
</host></capabilities>"""
NO_CELLS = "<capabilities><host><cpu><arch>aarch64</arch></cpu></host></capabilities>"
# A cell of memory alone: an expander without CPUs.
MEMORY_ONLY = """<capabilities><host><topology><cells num='1'><cell id='4'>
  <memory unit='KiB'>1048576</memory><pages unit='KiB' size='64'>16384</pages><cpus num='0'/>
</cell></cells></topology></host></capabilities>"""

VIRTUAL_FUNCTION = """<device><name>pci_0000_81_10_2</name><parent>pci_0000_80_03_0</parent>
  <capability type='pci'>
    <class>0x020000</class><domain>0</domain><bus>129</bus><slot>16</slot><function>2</function>
    <product id='0x10ed'>82599 Virtual Function</product><vendor id='0x8086'>Intel</vendor>
    <capability type='phys_function'><address domain='0x0000' bus='0x81' slot='0x00' function='0x0'/></capability>
    <iommuGroup number='31'><address domain='0x0000' bus='0x81' slot='0x10' function='0x2'/></iommuGroup>
    <numa node='1'/>
  </capability></device>"""


@pytest.fixture
def link() -> Iterator[Link]:
    """libvirt's own test host."""
    connect = libvirt.open("test:///default")
    yield Link(connect, {})
    connect.close()


def test_cells_have_their_cpus_memory_and_large_pages() -> None:
    assert cells(etree.fromstring(TWO_SOCKETS)) == (
        Cell(0, (0, 1, 4, 5), 2048, ((2048, 0),)),
        Cell(1, (2, 3, 6, 7), 4096, ((2048, 512), (1048576, 1))),
    )
    assert cells(etree.fromstring(NO_CELLS)) == ()
    assert cells(etree.fromstring(MEMORY_ONLY)) == (Cell(4, (), 1024, ()),)


def test_traits_are_those_of_features_architecture_and_threads(link: Link) -> None:
    traits = set(read_hardware(link, TWO_SOCKETS, ()).traits)
    assert {"HW_ARCH_X86_64", "HW_CPU_HYPERTHREADING", "HW_CPU_X86_VMX", "HW_CPU_X86_AVX512VNNI"} <= traits
    assert {"HW_CPU_X86_AESNI", "COMPUTE_IMAGE_TYPE_QCOW2", "COMPUTE_STORAGE_BUS_VIRTIO"} <= traits
    arm = read_hardware(link, NO_CELLS, ()).traits
    assert {trait for trait in arm if trait.startswith("HW_")} == {"HW_ARCH_AARCH64"}


def test_hardware_of_a_live_host_is_read(link: Link) -> None:
    hardware = read_hardware(link, link.connect.getCapabilities(), (PciSpec(vendor_id="8086"),))
    assert [cell.id for cell in hardware.cells] == [0, 1]
    assert sum(len(cell.cpus) for cell in hardware.cells) == link.connect.getInfo()[2]
    assert hardware.devices == ()


def test_pci_device_has_its_address_ids_and_cell() -> None:
    device = pci_device(VIRTUAL_FUNCTION)
    assert device == PciDevice("0000:81:10.2", "8086", "10ed", 1)
    assert pci_device(VIRTUAL_FUNCTION.replace("<numa node='1'/>", "")).cell is None


@pytest.mark.parametrize(
    ("spec", "offers"),
    [
        (PciSpec(), True),
        (PciSpec(vendor_id="8086"), True),
        (PciSpec(vendor_id="8086", product_id="10ed"), True),
        (PciSpec(vendor_id="8086", product_id="10fb"), False),
        (PciSpec(address="0000:81:10.2"), True),
        (PciSpec(address="0000:81:10.3", vendor_id="8086"), False),
    ],
)
def test_pci_spec_offers_what_all_its_keys_say(spec: PciSpec, offers: bool) -> None:
    assert spec.offers(pci_device(VIRTUAL_FUNCTION)) is offers


@pytest.mark.parametrize(
    ("text", "numbers", "shortest"),
    [("0", (0,), "0"), ("0-3,8", (0, 1, 2, 3, 8), "0-3,8"), ("0-3,^1", (0, 2, 3), "0,2-3"), (" 5, 4", (4, 5), "4-5")],
)
def test_cpu_list_is_read_and_written(text: str, numbers: tuple[int, ...], shortest: str) -> None:
    assert cpu_numbers(text) == numbers
    assert cpu_list(numbers) == shortest


@pytest.mark.parametrize("text", ["", "3-1", "a", "0-9999", "0,,1", "-1"])
def test_cpu_list_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="CPU"):
        cpu_numbers(text)


def test_page_class_is_named_by_its_size() -> None:
    assert [page_class(size) for size in (64, 2048, 1048576)] == [
        "CUSTOM_HUGEPAGES_64K",
        "CUSTOM_HUGEPAGES_2M",
        "CUSTOM_HUGEPAGES_1G",
    ]
