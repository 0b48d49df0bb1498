"""The same work by hand, with libvirt-python alone: ``python bench/raw.py plan|hold|create|destroy URI COUNT THREADS``.

Prints the seconds it took once its imports were done.
"""

import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import libvirt

POOL = "stacksmith"
NETWORK = "<network><name>raw-lan</name><forward mode='nat'/><ip address='10.99.0.1' prefix='16'/></network>"
VOLUME = """<volume><name>{0}.qcow2</name><capacity unit='GiB'>1</capacity><target><format type='qcow2'/></target>
<backingStore><path>{1}</path><format type='raw'/></backingStore></volume>"""
DOMAIN = """<domain type='qemu'><name>raw-{0}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{1}'/>
<target dev='vda' bus='virtio'/></disk>
<interface type='network'><source network='raw-lan'/><model type='virtio'/></interface></devices></domain>"""


def plan(uri: str, threads: int) -> None:
    """Reads every domain and every volume of the pool."""

    def read(connection: Any, part: int) -> None:
        pool = connection.storagePoolLookupByName(POOL)
        for item in [*connection.listAllDomains(), *pool.listAllVolumes()][part::threads]:
            item.XMLDesc()

    spread(uri, threads, read, libvirt.openReadOnly)


def hold(uri: str) -> None:
    """Makes a volume on the image, so that nobody takes the image away."""
    connection = libvirt.open(uri)
    pool = connection.storagePoolLookupByName(POOL)
    pool.createXML(VOLUME.format("hold", image(pool)))
    connection.close()


def image(pool: Any) -> str:
    """The path of the image that stacksmith has put there."""
    return str(next(v for v in pool.listAllVolumes() if v.name().endswith(".disk")).path())


def create(uri: str, count: int, threads: int) -> None:
    """Makes a network, then an overlay volume and a domain for each of ``count`` servers."""
    connection = libvirt.open(uri)
    pool = connection.storagePoolLookupByName(POOL)
    base = image(pool)
    network = connection.networkDefineXML(NETWORK)
    network.setAutostart(1)
    network.create()
    connection.close()
    folder = base.rpartition("/")[0]

    def make(connection: Any, part: int) -> None:
        pool = connection.storagePoolLookupByName(POOL)
        for number in range(part, count, threads):
            pool.createXML(VOLUME.format(f"raw-{number}", base))
            connection.defineXML(DOMAIN.format(number, f"{folder}/raw-{number}.qcow2"))

    spread(uri, threads, make, libvirt.open)


def destroy(uri: str) -> None:
    """Removes what ``create`` made."""
    connection = libvirt.open(uri)
    for domain in connection.listAllDomains():
        if domain.name().startswith("raw-"):
            domain.undefine()
    for volume in connection.storagePoolLookupByName(POOL).listAllVolumes():
        if volume.name().startswith("raw-"):
            volume.delete()
    network = connection.networkLookupByName("raw-lan")
    network.destroy()
    network.undefine()
    connection.close()


def spread(uri: str, threads: int, work: Callable[[Any, int], None], opened: Callable[[str], Any]) -> None:
    """Runs ``work`` with its part's number in threads, each with a connection of its own."""

    def run(part: int) -> None:
        connection = opened(uri)
        work(connection, part)
        connection.close()

    with ThreadPoolExecutor(threads) as pool:
        done: Iterable[None] = pool.map(run, range(threads))
        for _ in done:
            pass


def main() -> None:
    what, uri, count, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    began = time.monotonic()
    if what == "plan":
        plan(uri, threads)
    elif what == "create":
        create(uri, count, threads)
    elif what == "hold":
        hold(uri)
    else:
        destroy(uri)
    print(time.monotonic() - began)


if __name__ == "__main__":
    main()
