"""Names of live objects, made from addresses so that every run asks for the same ones (rule 6).

Volumes and image files cannot carry a mark, so their names are their identity: ``ss.<stack>.<label>.<part>.<id>``.
"""

import hashlib
from uuid import UUID

from stacksmith.address import Address

PREFIX = "ss."


def server_name(stack: str, address: Address) -> str:
    """Domain name: ``shop-web-0``."""
    return f"{stack}-{address.label}"


def network_name(stack: str, address: Address) -> str:
    """Network name on the host: ``shop-lan``."""
    return f"{stack}-{address.name}"


def volume_name(stack: str, address: Address, uuid: UUID | str, extension: str = "qcow2") -> str:
    """Storage volume of a volume resource: ``ss.shop.db-data.vol.1b2c3d4e.qcow2``."""
    return f"{PREFIX}{stack}.{address.label}.vol.{str(uuid)[:8]}.{extension}"


def local_disk_name(stack: str, address: Address, uuid: UUID | str, device: str) -> str:
    """Storage volume of a server's local disk: ``ss.shop.web-0.vda.1b2c3d4e.qcow2``."""
    return f"{PREFIX}{stack}.{address.label}.{device}.{str(uuid)[:8]}.qcow2"


def config_drive_name(stack: str, address: Address, uuid: UUID | str, digest: str) -> str:
    """Storage volume of a config drive; its content is in its name: ``ss.shop.web-0.config-<sha16>.1b2c3d4e.iso``."""
    return f"{PREFIX}{stack}.{address.label}.config-{digest[:16]}.{str(uuid)[:8]}.iso"


def image_file_name(checksum: str, role: str) -> str:
    """Storage volume of one image file, the same for every stack: ``ss..image.<digest>.disk``.

    The digest is whole, so that what a host holds can be named without anything else: its length tells the algorithm.
    """
    return f"{PREFIX}.image.{checksum.partition(':')[2]}.{role}"


def complete_name(name: str) -> str:
    """The tiny volume beside an uploaded one that says: verified, whole."""
    return f"{name}.complete"


def mac_address(uuid: UUID | str, network: str, index: int = 0) -> str:
    """A locally administered MAC, 32 bits of it from the server's identity, the network and which NIC on it this is.

    What other networks the server has does not matter, so that taking one away leaves the other NICs as they are.
    """
    digest = hashlib.sha256(f"{uuid}/{network}/{index}".encode()).hexdigest()
    return f"52:54:{digest[:2]}:{digest[2:4]}:{digest[4:6]}:{digest[6:8]}"
