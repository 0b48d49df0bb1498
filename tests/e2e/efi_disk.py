"""A disk that a UEFI machine boots from: by GRUB made here, or by what Debian signed for secure boot."""

from pathlib import Path

from tests.e2e.boot_iso import run

MIB = 48
SIGNED = {
    "/usr/lib/shim/shimx64.efi.signed": "BOOTX64.EFI",
    "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed": "grubx64.efi",
}
FOLDERS = ("EFI", "EFI/BOOT", "EFI/debian")
CONFIG = """linux /vmlinuz console=ttyS0 no_timer_check loglevel=6 cryptomgr.notests
initrd /guest.gz
boot
"""


def make_efi_disk(path: Path, kernel: Path, ramdisk: Path, signed: bool) -> Path:
    """A raw disk at ``path``, without partitions: the firmware takes its FAT as it is."""
    config = path.with_suffix(".cfg")
    config.write_text(CONFIG)
    with path.open("wb") as file:
        file.truncate(MIB * 1024**2)
    run("mformat", "-i", str(path), "-v", "LABEFI", "-c", "8", "-h", "64", "-s", "32", "-T", str(MIB * 2048), "::")
    run("mmd", "-i", str(path), *(f"::{folder}" for folder in FOLDERS))
    for source, name in _loaders(path, signed).items():
        run("mcopy", "-i", str(path), source, f"::EFI/BOOT/{name}")
    for source, name in ((kernel, "vmlinuz"), (ramdisk, "guest.gz"), (config, "EFI/debian/grub.cfg")):
        run("mcopy", "-i", str(path), str(source), f"::{name}")
    config.unlink()
    return path


def _loaders(path: Path, signed: bool) -> dict[str, str]:
    """Files of the machine and their names on the disk."""
    if signed:
        assert all(Path(name).exists() for name in SIGNED), "install shim-signed and grub-efi-amd64-signed"
        return SIGNED
    loader = path.with_suffix(".efi")
    modules = ("normal", "linux", "fat", "configfile")
    run("grub-mkimage", "-O", "x86_64-efi", "-p", "/EFI/debian", "-o", str(loader), *modules)
    return {str(loader): "BOOTX64.EFI"}
