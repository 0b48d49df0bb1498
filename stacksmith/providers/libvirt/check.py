"""What libvirt will not take: faults that need no host to see."""

import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from stacksmith.model.fleet import Host
from stacksmith.model.realised import Network, Realised, Server, Volume

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def check(kind: str, wanted: Realised, host: Host) -> Sequence[tuple[str, str]]:
    """Faults that need no host to see, as (attribute path, cause)."""
    if isinstance(wanted, Server):
        return list(_check_server(wanted, host))
    if isinstance(wanted, Volume) and wanted.volume_type not in host.volume_types:
        known = ", ".join(sorted(host.volume_types)) or "none"
        return [("volume_type", f"the host has no volume type {wanted.volume_type!r} (it has {known})")]
    if isinstance(wanted, Network):
        return list(_check_network(wanted))
    return []


def _check_server(wanted: Server, host: Host) -> Iterator[tuple[str, str]]:
    texts = [("description", wanted.description), ("command_line", wanted.command_line or "")]
    texts += [(f"metadata.{key}", key + value) for key, value in wanted.metadata.items()]
    for path, text in texts + [("tags", tag) for tag in wanted.tags]:
        if _CONTROL.search(text):
            yield path, "it has a control character, which XML cannot hold"
    yield from _check_cpu(wanted, host)
    if wanted.firmware not in {"bios", "uefi"}:
        yield "firmware", f"{wanted.firmware!r} is neither bios nor uefi"
    if wanted.secure_boot and (wanted.firmware != "uefi" or (wanted.machine_type or "q35") == "pc"):
        yield "secure_boot", "it needs firmware uefi and machine type q35"
    is_q35 = "q35" in (wanted.machine_type or "q35")
    for disk in wanted.disks:
        if disk.bus == "ide" and is_q35:
            yield f"disks[{disk.device}].bus", "machine type q35 has no ide; use sata, scsi or virtio"
        if disk.bus == "virtio" and disk.device_type == "cdrom":
            yield f"disks[{disk.device}].bus", "a cdrom cannot be on virtio; use scsi or sata"


def _check_cpu(wanted: Server, host: Host) -> Iterator[tuple[str, str]]:
    most = max(wanted.vcpus, wanted.max_vcpus or 0)
    if wanted.max_vcpus is not None and wanted.max_vcpus < wanted.vcpus:
        yield "max_vcpus", f"{wanted.max_vcpus} is less than vcpus {wanted.vcpus}"
    if wanted.max_ram_mib is not None and wanted.max_ram_mib < wanted.ram_mib:
        yield "max_ram_mib", f"{wanted.max_ram_mib} is less than ram {wanted.ram_mib}"
    if wanted.cpu_mode == "host-passthrough" and host.virt_type == "qemu":
        yield "cpu_mode", "host-passthrough needs KVM, and the host has virt_type qemu"
    sizes = (wanted.cpu_sockets, wanted.cpu_cores, wanted.cpu_threads)
    if any(sizes):
        from stacksmith.providers.libvirt.topology import topology

        sockets, cores, threads = topology(wanted) or (1, 1, 1)
        if sockets * cores * threads != most:
            yield "cpu_sockets", f"{sockets} sockets of {cores} cores of {threads} threads are not {most} vCPUs"


def _check_network(wanted: Network) -> Iterator[tuple[str, str]]:
    if wanted.mode == "bridge" and not wanted.bridge:
        yield "bridge", "mode bridge needs the name of the host's bridge"
    if wanted.bridge and len(wanted.bridge) > 15:
        yield "bridge", f"{wanted.bridge!r} is longer than the 15 letters of a device name"
    for host in wanted.hosts:
        if ip_address(host.ip).version == 6:
            yield f"hosts[{host.mac}].ip", "DHCPv6 knows no MAC: a fixed IPv6 address cannot be given by it"
