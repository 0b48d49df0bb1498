"""The ISO of one deployment: what all nodes boot, the job, and in embedded mode the image. It never has a name."""

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from stacksmith.providers.archive import Archive
from stacksmith.providers.base import Refused
from stacksmith.providers.redfish.deploy.ramdisk import EFI_CONFIG, Boot

LARGEST_FILE = (4 << 30) - (1 << 20)


def build(boot: Boot, label: str, job: Archive, image: Path | None, folder: Path) -> IO[bytes]:
    """An open file without a name in ``folder``'s file system: nothing stays, whatever ends this process.

    It boots by BIOS and UEFI, with secure boot too. Raises: Refused.
    """
    from pycdlib import PyCdlib

    if image is not None and image.stat().st_size > LARGEST_FILE:
        raise Refused(f"cannot embed {image}: it is larger than a file on an ISO can be", hint="use method: http")
    iso = PyCdlib()
    iso.new(interchange_level=3, vol_ident=label, rock_ridge="1.09")
    for path, name in (("/BOOT", "boot"), ("/BOOT/GRUB", "grub"), ("/DISK", ".disk")):
        iso.add_directory(path, rr_name=name)
    add = _adder(iso)
    for path, name in (("/DISK/INFO.;1", "info"), ("/DISK/OURS.;1", "stacksmith")):
        add(path, name, b"stacksmith\n")
    add("/BOOT/GRUB/GRUB.CFG;1", "grub.cfg", EFI_CONFIG.encode())
    add("/JOB.;1", "job", job.pack())
    files = [("/VMLINUZ.;1", "vmlinuz", boot.kernel), ("/RAMDISK.;1", "ramdisk", boot.ramdisk)]
    files += [("/BIOS.IMG;1", "bios.img", boot.bios), ("/EFI.IMG;1", "efi.img", boot.efi)]
    # Files lie in the order of their names, and SeaBIOS reads GRUB's files wrong behind 32 MiB: the image comes last.
    files += [("/ZIMAGE.GZ;1", "image.gz", image)] if image else []
    for path, name, source in files:
        iso.add_file(str(source), path, rr_name=name)
    iso.add_eltorito("/BIOS.IMG;1", boot_load_size=4, boot_info_table=True)
    iso.add_eltorito("/EFI.IMG;1", efi=True)
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
    try:
        iso.write_fp(file)
        file.flush()
    except BaseException:
        file.close()
        raise
    finally:
        iso.close()
    return file


def _adder(iso: Any) -> Callable[[str, str, bytes], None]:
    return lambda path, name, data: iso.add_fp(io.BytesIO(data), len(data), path, rr_name=name)
