"""What a node boots, made once of this machine's Debian packages and kept: it holds nothing about any node."""

import fcntl
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from stacksmith.frozen import dataclass
from stacksmith.providers import archive
from stacksmith.providers.archive import Archive
from stacksmith.providers.base import Refused

SCRIPTS = Path(__file__).parent / "guest"
BUSYBOX = Path("/bin/busybox")
SHIM, GRUB = Path("/usr/lib/shim/shimx64.efi.signed"), Path("/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed")
BIOS_MODULES = Path("/usr/lib/grub/i386-pc")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PACKAGES = {
    str(BUSYBOX): "busybox-static",
    str(SHIM): "shim-signed",
    str(GRUB): "grub-efi-amd64-signed",
    str(BIOS_MODULES / "cdboot.img"): "grub-pc-bin",
    "sgdisk": "gdisk",
    "blkid": "util-linux",
    "depmod": "kmod",
    "mformat": "mtools",
    "grub-mkimage": "grub-common",
    "ldd": "libc-bin",
}
MODULES = (
    *("ahci", "ata_piix", "nvme", "sd_mod", "sr_mod", "usb-storage", "uas", "isofs"),
    *("megaraid_sas", "mpt3sas", "aacraid", "hpsa", "smartpqi"),
    *("xhci_pci", "ehci_pci", "uhci_hcd"),
    *("virtio_pci", "virtio_blk", "virtio_scsi", "virtio_net"),
    *("e1000", "e1000e", "igb", "ixgbe", "i40e", "ice", "bnxt_en", "tg3", "be2net", "mlx4_en", "mlx5_core", "r8169"),
)
KEPT_BUILDS = 3
EFI_MIB = 8
# The kernel's tests of its own ciphers would take it a second, and nothing here uses one of them.
COMMAND_LINE = "console=tty0 console=ttyS0,115200 quiet cryptomgr.notests scsi_mod.scan=sync"
BIOS_CONFIG = f"""search --no-floppy --file --set=root /.disk/stacksmith
linux ($root)/vmlinuz {COMMAND_LINE}
initrd ($root)/ramdisk ($root)/job
boot
"""
EFI_CONFIG = f"""set timeout=0
linux /vmlinuz {COMMAND_LINE}
initrd /ramdisk /job
boot
"""


@dataclass(frozen=True, slots=True)
class Boot:
    """The files that all nodes boot; ``efi`` is a FAT image with shim and GRUB, ``bios`` GRUB for El Torito."""

    folder: Path

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def ramdisk(self) -> Path:
        return self.folder / "ramdisk.gz"

    @property
    def efi(self) -> Path:
        return self.folder / "efi.img"

    @property
    def bios(self) -> Path:
        return self.folder / "bios.img"


def ensure(cache: Path) -> Boot:
    """The files, built below ``cache`` if need be; another builder is waited for.

    Raises: Refused, with what is to be installed.
    """
    check_tools()
    release = kernel_release()
    home = cache / "ramdisks"
    folder = home / f"{release}-{_digest(release)}"
    if not folder.exists():
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(home / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                _build(folder, release)
                _prune(home)
    return Boot(folder)


def check_tools() -> None:
    """Raises: Refused, naming the Debian packages that are missing."""
    missing = sorted(
        {package for name, package in PACKAGES.items() if not shutil.which(name, path=PATH) and not _is(name)}
    )
    if missing:
        raise _not_installed(missing)


def kernel_release() -> str:
    """The newest kernel with the drivers of real machines, which Debian's cloud kernel lacks. Raises: Refused."""
    names = [path.name for path in Path("/lib/modules").glob("*") if Path(f"/boot/vmlinuz-{path.name}").exists()]
    fitting = [name for name in names if next(Path(f"/lib/modules/{name}/kernel").rglob("ahci.ko*"), None)]
    if not fitting:
        raise _not_installed(["linux-image-amd64"])
    return max(fitting, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])


def run(*argv: str) -> str:
    """What a program prints. Raises: Refused."""
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            check=True,
            env={"PATH": PATH, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.CalledProcessError) as fault:
        said = getattr(fault, "stderr", None) or fault
        raise Refused(f"cannot make the deploy ramdisk: {argv[0]}: {str(said).strip()}") from fault
    return done.stdout


def _is(name: str) -> bool:
    return name.startswith("/") and Path(name).exists()


def _not_installed(packages: Sequence[str]) -> Refused:
    hint = f"apt-get install {' '.join(packages)}"
    return Refused(f"cannot make the deploy ramdisk: not installed: {', '.join(packages)}", hint=hint)


def _digest(release: str) -> str:
    """Twelve hex digits that change with our code and with what is packed."""
    total = hashlib.sha256()
    for path in sorted([Path(__file__), Path(archive.__file__), *SCRIPTS.iterdir()]):
        total.update(path.read_bytes())
    programs = [Path(found) for name in ("sgdisk", "blkid") if (found := shutil.which(name, path=PATH))]
    packed = [Path(f"/boot/vmlinuz-{release}"), Path(f"/lib/modules/{release}/modules.dep"), BUSYBOX, SHIM, GRUB]
    for path in (*packed, *programs):
        facts = path.stat()
        total.update(f"{path}:{facts.st_size}:{facts.st_mtime_ns}".encode())
    return total.hexdigest()[:12]


def _build(folder: Path, release: str) -> None:
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    boot = Boot(draft)
    try:
        shutil.copyfile(f"/boot/vmlinuz-{release}", boot.kernel)
    except OSError as fault:
        raise Refused(f"cannot make the deploy ramdisk: {fault.filename}: {fault.strerror}") from fault
    boot.ramdisk.write_bytes(_ramdisk(release))
    _write_efi(boot.efi)
    _write_bios(boot.bios)
    draft.replace(folder)


def _prune(home: Path) -> None:
    """Forgets all but the newest builds."""
    builds = sorted((path for path in home.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for folder in builds[:-KEPT_BUILDS]:
        shutil.rmtree(folder, ignore_errors=True)


def _ramdisk(release: str) -> bytes:
    packed = Archive()
    for folder in ("dev", "proc", "sys", "run", "tmp", "etc"):
        packed.folder(folder)
    packed.device("dev/console", 5, 1)
    packed.copy(BUSYBOX, "bin/busybox")
    for applet in run(str(BUSYBOX), "--list").split():
        if applet not in ("busybox", "blkid"):
            packed.link(f"bin/{applet}", "busybox")
    for name in ("sgdisk", "blkid"):
        program = Path(str(shutil.which(name, path=PATH)))
        packed.copy(program, f"sbin/{name}")
        for library in re.findall(r"(/\S+) \(0x", run("ldd", str(program))):
            packed.file(library.lstrip("/"), Path(library).resolve().read_bytes(), 0o755)
    packed.copy(SCRIPTS / "init", "init")
    for name in ("disk.sh", "choose.awk", "lease"):
        packed.copy(SCRIPTS / name, f"bin/{name}")
    _add_modules(packed, release)
    return packed.pack()


def _add_modules(packed: Archive, release: str) -> None:
    """The modules with what they need, signed as they are, and the tables that modprobe reads."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "lib/modules" / release
        (tree / "kernel").mkdir(parents=True)
        for name in MODULES:
            for module in _with_needs(release, name):
                target = tree / "kernel" / re.sub(r"\.ko.*", ".ko", module.name)
                target.write_bytes(_plain(module))
        for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
            if (source := Path(f"/lib/modules/{release}/{name}")).exists():
                shutil.copyfile(source, tree / name)
        run("depmod", "-b", folder, release)
        packed.file("etc/buses", buses((tree / "modules.alias").read_text()).encode())
        for path in sorted(tree.rglob("*")):
            if path.is_file() and not path.name.endswith((".bin", ".modinfo")):
                packed.file(str(path.relative_to(folder)), path.read_bytes())


def buses(aliases: str) -> str:
    """Patterns for grep, a line each: how the aliases of what is on a bus with modules for it begin (depmod(8))."""
    return "".join(f"^{bus}:\n" for bus in sorted(set(re.findall(r"^alias (\w+)\*?:", aliases, re.MULTILINE))))


def _with_needs(release: str, name: str) -> list[Path]:
    """The files of a module and of what it needs; none if this kernel has it built in, or not at all."""
    try:
        lines = run("modprobe", "-S", release, "--show-depends", name).splitlines()
    except Refused:
        return []
    return [Path(line.split()[1]) for line in lines if line.startswith("insmod ")]


def _plain(module: Path) -> bytes:
    """A module's bytes, signature included, without compression."""
    if module.suffix == ".xz":
        return lzma.decompress(module.read_bytes())
    if module.suffix == ".zst":
        return subprocess.run(["zstd", "-dcq", str(module)], capture_output=True, check=True).stdout
    return module.read_bytes()


def _write_efi(path: Path) -> None:
    """A FAT image with Debian's signed shim and its signed GRUB for CDs, which looks for /boot/grub/grub.cfg."""
    with path.open("wb") as file:
        file.truncate(EFI_MIB << 20)
    run("mformat", "-i", str(path), "-h", "64", "-s", "32", "-T", str(EFI_MIB << 11), "::")
    run("mmd", "-i", str(path), "::EFI", "::EFI/BOOT")
    for source, name in ((SHIM, "BOOTX64.EFI"), (GRUB, "grubx64.efi")):
        run("mcopy", "-i", str(path), str(source), f"::EFI/BOOT/{name}")


def _write_bios(path: Path) -> None:
    config = path.with_suffix(".cfg")
    config.write_text(BIOS_CONFIG)
    modules = ("biosdisk", "iso9660", "linux", "boot", "search", "search_fs_file")
    run("grub-mkimage", "-O", "i386-pc-eltorito", "-p", "/boot/grub", "-c", str(config), "-o", str(path), *modules)
    os.unlink(config)
