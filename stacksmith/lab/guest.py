"""The lab's guests: a kernel with a small ramdisk, a disk that boots the two, and a boot sector for crowds."""

import lzma
import re
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path

from stacksmith.lab import process
from stacksmith.lab.layout import LabError
from stacksmith.providers.archive import Archive

SCRIPTS = Path(__file__).parent / "guest"
BUSYBOX = Path("/bin/busybox")
AGENT = Path("/usr/sbin/qemu-ga")
MODULES = {  # in the order of loading: under TCG each costs the guest some 30 ms
    "first": "virtio_pci virtio_blk isofs virtio_net",
    "scsi": "virtio_scsi sd_mod sr_mod",
    "vfat": "vfat nls_cp437 nls_ascii",  # for a config drive that is not ISO 9660
    "rest": "button evdev virtio_console virtio_balloon virtio_rng",
}
NODE_MODULES = {**MODULES, "node": "ahci sd_mod"}  # for the disk of a bare-metal node
SIGNATURE_MARK = b"~Module signature appended~\n"
COMMAND_LINE = "console=ttyS0 no_timer_check quiet cryptomgr.notests"  # it uses none of the ciphers it would test
DISK_MIB = 40


def kernel() -> tuple[str, Path]:
    """Release and file of the kernel for the guests: Debian's cloud kernel, else the newest that has its modules.

    Raises:
        LabError: no kernel with modules is installed, or its file cannot be read.
    """
    releases = [path.name for path in Path("/lib/modules").glob("*") if Path(f"/boot/vmlinuz-{path.name}").exists()]
    if not releases:
        raise LabError("cannot make the lab's images: no kernel in /boot has its modules in /lib/modules")
    release = max(releases, key=lambda name: ("cloud" in name, [int(part) for part in re.findall(r"\d+", name)]))
    path = Path(f"/boot/vmlinuz-{release}")
    try:
        path.open("rb").close()
    except PermissionError as error:
        raise LabError(f"cannot make the lab's images: {path} cannot be read by this user") from error
    return release, path


def ramdisk(
    release: str, modules: Mapping[str, str] = MODULES, is_signed: bool = False, has_agent: bool = True
) -> bytes:
    """The guest's whole system: busybox, kernel modules, our scripts, and the guest agent where it is installed.

    With secure boot a kernel takes signed modules alone.
    """
    archive = Archive()
    for folder in ("dev", "proc", "sys", "run", "tmp", "mnt", "etc/acpi/PWRF"):
        archive.folder(folder)
    archive.device("dev/console", 5, 1)
    archive.copy(BUSYBOX, "bin/busybox")
    for applet in process.run([str(BUSYBOX), "--list"]).split():
        if applet != "busybox":
            archive.link(f"bin/{applet}", "busybox")
    for tool in ("bash", "shutdown"):
        archive.link(f"bin/{tool}", "busybox" if tool == "bash" else "poweroff")
    _add_modules(archive, release, modules, is_signed)
    archive.copy(SCRIPTS / "init", "init")
    archive.copy(SCRIPTS / "flat.awk", "etc/flat.awk")
    archive.copy(SCRIPTS / "static.awk", "etc/static.awk")
    archive.copy(SCRIPTS / "udhcpc.sh", "etc/udhcpc.sh")
    archive.copy(SCRIPTS / "power.sh", "etc/acpi/PWRF/00000080")
    archive.file("etc/passwd", b"root::0:0:root:/:/bin/sh\n")
    archive.file("etc/group", b"root:x:0:\n")
    if has_agent and AGENT.exists():
        archive.copy(AGENT)
        for library in _libraries(AGENT):
            archive.file(str(library).lstrip("/"), library.resolve().read_bytes(), 0o755)
    return archive.pack()


def _add_modules(archive: Archive, release: str, wanted: Mapping[str, str], is_signed: bool) -> None:
    for listing, modules in wanted.items():
        order: dict[str, Path] = {}
        for module in modules.split():
            order.update(_with_needs(release, module))
        for name, path in order.items():
            archive.file(f"lib/modules/{name}", _plain(path) if is_signed else _unsigned(_plain(path)))
        archive.file(f"lib/modules/order.{listing}", "".join(f"{name}\n" for name in order).encode())


def _with_needs(release: str, module: str) -> dict[str, Path]:
    """The module and what it needs, in loading order; empty if it is not a module of this kernel (built in, say)."""
    try:
        lines = process.run(["modprobe", "-S", release, "--show-depends", module]).splitlines()
    except LabError:
        return {}
    paths = [Path(line.split()[1]) for line in lines if line.startswith("insmod ")]
    return {re.sub(r"\.ko.*", ".ko", path.name): path for path in paths}


def _plain(module: Path) -> bytes:
    """A module's bytes without compression, which busybox's insmod does not know."""
    data = module.read_bytes()
    if module.suffix == ".xz":
        data = lzma.decompress(data)
    if module.suffix == ".zst":
        data = process.run_bytes(["zstd", "-dcq", str(module)])
    return data


def _unsigned(module: bytes) -> bytes:
    """The module without its signature, which only costs time (struct module_signature, linux/module_signature.h)."""
    if not module.endswith(SIGNATURE_MARK):
        return module
    tail = len(SIGNATURE_MARK) + 12
    (length,) = struct.unpack(">8xI", module[-tail : -len(SIGNATURE_MARK)])
    return module[: -tail - length]


def _libraries(program: Path) -> list[Path]:
    found = re.findall(r"(/\S+) \(0x", process.run(["ldd", str(program)]))
    return [Path(path) for path in found]


def write_disk(path: Path, kernel_file: Path, ramdisk_file: Path) -> None:
    """Write a qcow2 disk that boots the kernel with the ramdisk by BIOS, without root and without a mount.

    Raises:
        LabError: mtools, syslinux or qemu-img is missing or fails.
    """
    raw, config = path.with_suffix(".raw"), path.with_suffix(".cfg")
    config.write_text(
        f"DEFAULT lab\nPROMPT 0\nTIMEOUT 0\nLABEL lab\n  KERNEL /vmlinuz\n  INITRD /guest.gz\n  APPEND {COMMAND_LINE}\n"
    )
    with raw.open("wb") as file:
        file.truncate(DISK_MIB << 20)
    process.run(
        [
            "mformat",
            "-i",
            str(raw),
            "-v",
            "LABDISK",
            "-c",
            "8",
            "-T",
            str(DISK_MIB << 11),
            "-h",
            "64",
            "-s",
            "32",
            "::",
        ]
    )
    for source, name in ((kernel_file, "vmlinuz"), (ramdisk_file, "guest.gz"), (config, "syslinux.cfg")):
        process.run(["mcopy", "-i", str(raw), str(source), f"::{name}"])
    process.run(["syslinux", "--install", str(raw)])
    process.run(["qemu-img", "convert", "-O", "qcow2", "-o", "compat=1.1", str(raw), str(path)])
    raw.unlink()
    config.unlink()


def boot_sector() -> bytes:
    """A 1 MiB disk whose 512 bytes of code print BOOTOK on COM1, wait for the ACPI power button, and power off.

    The ports are as SeaBIOS sets them on QEMU's pc and q35: PM1_STS 0x600, PM1_EN 0x602, PM1_CNT 0x604.
    """
    code = b"\xfb" + _out16(0x602, 0x0100) + _print("BOOTOK\r\n")  # sti; PM1_EN.PWRBTN_EN; print
    loop = len(code)
    code += b"\xf4\xba" + struct.pack("<H", 0x600) + b"\xed\xf6\xc4\x01"  # hlt; mov dx, PM1_STS; in ax, dx; test ah, 1
    code += b"\x74" + struct.pack("b", loop - len(code) - 2)  # jz loop
    code += _print("SHUTDOWN\r\n") + _out16(0x604, 0x2000) + b"\xf4\xeb\xfd"  # PM1_CNT.SLP_EN; hlt; jmp to the hlt
    return code.ljust(510, b"\0") + b"\x55\xaa" + bytes(1024 * 1024 - 512)


def _print(text: str) -> bytes:
    return b"".join(b"\xba\xf8\x03\xb0" + bytes([character]) + b"\xee" for character in text.encode())


def _out16(port: int, value: int) -> bytes:
    return b"\xba" + struct.pack("<H", port) + b"\xb8" + struct.pack("<H", value) + b"\xef"


def needs() -> None:
    """Check the tools that building needs.

    Raises:
        LabError: naming the Debian packages to install.
    """
    programs = {"mformat": "mtools", "syslinux": "syslinux", "qemu-img": "qemu-utils", "modprobe": "kmod"}
    missing = {package for name, package in programs.items() if not shutil.which(name, path=process.PATH)}
    if not BUSYBOX.exists() or _needs_libraries(BUSYBOX):
        missing.add("busybox-static")
    if missing:
        raise LabError(f"cannot make the lab's images: not installed: {', '.join(sorted(missing))}")


def _needs_libraries(program: Path) -> bool:
    """Whether an ELF program has a PT_INTERP header (elf(5), 64 bit)."""
    data = program.read_bytes()
    offset, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    return any(struct.unpack_from("<I", data, offset + size * index)[0] == 3 for index in range(count))
