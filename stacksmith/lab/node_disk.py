"""The image that the lab offers for its bare-metal nodes: a GPT disk that boots by UEFI, signed, and by BIOS."""

import re
import shutil
from pathlib import Path

from stacksmith.lab import guest, process
from stacksmith.lab.layout import LabError

NAME, FILE = "lab-node", "node.img"
SHIM, GRUB = Path("/usr/lib/shim/shimx64.efi.signed"), Path("/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed")
MASTER_BOOT = (Path("/usr/lib/SYSLINUX/gptmbr.bin"), Path("/usr/lib/syslinux/mbr/gptmbr.bin"))
START_MIB, PARTITION_MIB = 1, 18
GRUB_CONFIG = f"set timeout=0\nlinux /vmlinuz {guest.COMMAND_LINE}\ninitrd /guest.gz\nboot\n"
SYSLINUX_CONFIG = (
    "DEFAULT lab\nPROMPT 0\nTIMEOUT 0\nLABEL lab\n"
    f"  KERNEL /vmlinuz\n  INITRD /guest.gz\n  APPEND {guest.COMMAND_LINE}\n"
)


def kernel() -> str:
    """The release of the newest kernel with a driver for the nodes' disks, which Debian's cloud kernel lacks.

    Raises:
        LabError: there is none.
    """
    names = [path.name for path in Path("/lib/modules").glob("*") if Path(f"/boot/vmlinuz-{path.name}").exists()]
    fitting = [name for name in names if next(Path(f"/lib/modules/{name}/kernel").rglob("ahci.ko*"), None)]
    if not fitting:
        raise LabError("cannot make the image of the nodes: not installed: linux-image-amd64")
    return max(fitting, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])


def needs() -> None:
    """Check what building needs.

    Raises:
        LabError: naming the Debian packages to install.
    """
    guest.needs()
    files = {"shim-signed": (SHIM,), "grub-efi-amd64-signed": (GRUB,), "syslinux-common": MASTER_BOOT}
    missing = [package for package, paths in files.items() if not any(path.exists() for path in paths)]
    if not shutil.which("sgdisk", path=process.PATH):
        missing.append("gdisk")
    if missing:
        raise LabError(f"cannot make the image of the nodes: not installed: {', '.join(sorted(missing))}")


def write(path: Path, release: str) -> None:
    """Write the raw disk, without root and without a mount.

    Raises:
        LabError: a tool fails.
    """
    partition, ramdisk = path.with_suffix(".esp"), path.with_suffix(".gz")
    ramdisk.write_bytes(guest.ramdisk(release, guest.NODE_MODULES, is_signed=True, has_agent=False))
    _write_partition(partition, Path(f"/boot/vmlinuz-{release}"), ramdisk)
    with path.open("wb") as file:
        file.truncate((START_MIB + PARTITION_MIB + 1) << 20)
    area = f"1:{START_MIB << 11}:+{PARTITION_MIB}M"
    process.run(["sgdisk", "-n", area, "-t", "1:ef00", "-c", "1:system", "-A", "1:set:2", str(path)])
    with path.open("r+b") as file:
        file.write(next(each for each in MASTER_BOOT if each.exists()).read_bytes())
        file.seek(START_MIB << 20)
        file.write(partition.read_bytes())
    process.run(["syslinux", "--install", "--offset", str(START_MIB << 20), str(path)])
    partition.unlink()
    ramdisk.unlink()


def _write_partition(path: Path, kernel_file: Path, ramdisk: Path) -> None:
    """The EFI system partition, which SYSLINUX boots from too."""
    configs = {path.with_suffix(".grub"): GRUB_CONFIG, path.with_suffix(".syslinux"): SYSLINUX_CONFIG}
    for config, text in configs.items():
        config.write_text(text)
    grub, syslinux = configs
    with path.open("wb") as file:
        file.truncate(PARTITION_MIB << 20)
    size, hidden = str(PARTITION_MIB << 11), str(START_MIB << 11)
    process.run(["mformat", "-i", str(path), "-c", "4", "-T", size, "-h", "64", "-s", "32", "-H", hidden, "::"])
    process.run(["mmd", "-i", str(path), "::EFI", "::EFI/BOOT", "::EFI/debian"])
    files = {
        "EFI/BOOT/BOOTX64.EFI": SHIM,
        "EFI/BOOT/grubx64.efi": GRUB,
        "EFI/debian/grub.cfg": grub,
        "syslinux.cfg": syslinux,
        "vmlinuz": kernel_file,
        "guest.gz": ramdisk,
    }
    for name, source in files.items():
        process.run(["mcopy", "-i", str(path), str(source), f"::{name}"])
    for config in configs:
        config.unlink()
