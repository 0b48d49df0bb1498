"""What is told of a volume that a server brings along, and where the variables of its firmware are."""

from pathlib import PurePosixPath

import pytest

from stacksmith.address import Address, identity
from stacksmith.model.found import MOVING, Found
from stacksmith.model.naming import volume_name
from stacksmith.providers.base import Refused, Scope
from stacksmith.providers.libvirt import native, nvram
from stacksmith.providers.libvirt.inventory import Inventory, Shelf
from stacksmith.providers.libvirt.storage import Stored, VolumeFacts

DATA = Address("volume", "data")
UUID = identity("lab", "shop", DATA)
NAME = volume_name("shop", DATA, UUID)
PATH = f"/pool/{NAME}"


def found(*more: str, user: str | None = None) -> Found:
    names = (NAME, *more)
    shelf = Shelf(tuple(Stored("local", name, f"/pool/{name}") for name in names), users={PATH: user} if user else {})
    facts = {NAME: VolumeFacts(PATH, 1 << 30, 1 << 20, "qcow2", None)}
    (volume,) = Inventory(shelf, facts).found("hv1", Scope("lab", "shop", {NAME: DATA}), set())
    return volume


def test_copy_that_a_move_made_is_nobodys_until_a_domain_has_it() -> None:
    moving = native.moving_name("shop", UUID[:8])
    assert (found().partial, MOVING in found().facts) == (False, False)
    assert (found(moving).partial, MOVING in found(moving).facts) == (True, True)
    brought = found(moving, user="a domain")
    assert (brought.partial, MOVING in brought.facts) == (False, True)
    assert brought.fingerprint == found().fingerprint


@pytest.mark.parametrize(
    ("os", "path"),
    [
        ("<os><type>hvm</type></os>", None),
        ("<os firmware='efi'><nvram>/x/y.fd</nvram></os>", "/x/y.fd"),
        ("<os firmware='efi'><type>hvm</type></os>", "/var/lib/libvirt/qemu/nvram/shop-web_VARS.fd"),
    ],
)
def test_file_of_the_firmware_variables(os: str, path: str | None) -> None:
    text = f"<domain><name>shop-web</name>{os}</domain>"
    assert nvram.path_of(text, "qemu:///system") == (PurePosixPath(path) if path else None)


def test_folder_that_a_daemon_of_a_user_has_is_not_guessed() -> None:
    with pytest.raises(Refused, match="unknown folder"):
        nvram.path_of("<domain><name>a</name><os firmware='efi'/></domain>", "qemu:///session")
