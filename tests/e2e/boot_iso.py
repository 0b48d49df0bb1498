"""A small ISO that a UEFI machine boots from: GRUB in its EFI image, a kernel and a ramdisk beside it."""

import subprocess
from pathlib import Path

import pycdlib

MODULES = ("normal", "linux", "iso9660", "search", "search_label", "serial", "terminal", "echo")
CONFIG = """serial --unit=0 --speed=115200
terminal_output serial
search --no-floppy --label --set=root {label}
echo {label} is booting
linux /vmlinuz.img console=ttyS0 no_timer_check quiet cryptomgr.notests
initrd /guest.gz
boot
"""
EFI_IMAGE_BYTES = 4 * 1024**2


def make_boot_iso(folder: Path, kernel: Path, ramdisk: Path, label: str = "LABBOOT") -> Path:
    """The ISO, made in this folder."""
    config, loader, efi = folder / "grub.cfg", folder / "bootx64.efi", folder / "efi.img"
    config.write_text(CONFIG.format(label=label))
    run("grub-mkimage", "-O", "x86_64-efi", "-p", "/", "-c", str(config), "-o", str(loader), *MODULES)
    with efi.open("wb") as file:
        file.truncate(EFI_IMAGE_BYTES)
    run("mformat", "-i", str(efi), "-h", "64", "-s", "32", "-T", str(EFI_IMAGE_BYTES // 512), "::")
    run("mmd", "-i", str(efi), "::EFI", "::EFI/BOOT")
    run("mcopy", "-i", str(efi), str(loader), "::EFI/BOOT/BOOTX64.EFI")
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, vol_ident=label)
    for source, name in ((kernel, "/VMLINUZ.IMG;1"), (ramdisk, "/GUEST.GZ;1"), (efi, "/EFI.IMG;1")):
        iso.add_file(str(source), name)
    iso.add_eltorito("/EFI.IMG;1", efi=True)
    target = folder / f"{label.lower()}.iso"
    iso.write(str(target))
    iso.close()
    return target


def run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)
