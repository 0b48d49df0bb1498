"""What looks like ours on a host and is not: copies, other fleets' volumes, marks that were tampered with."""

import pytest
from lxml import etree

from stacksmith.address import Address, identity
from stacksmith.model.found import Mark
from stacksmith.model.naming import volume_name
from stacksmith.model.realised import Network, to_data
from stacksmith.providers.base import Scope
from stacksmith.providers.libvirt import mark_xml, network_xml
from stacksmith.providers.libvirt.inventory import Inventory, Shelf
from stacksmith.providers.libvirt.storage import Stored

DATA = Address("volume", "data")
LAN = Address("network", "lan", host="hv1")


def volume(fleet: str) -> str:
    return volume_name("shop", DATA, identity(fleet, "shop", DATA))


def marked(applied: object = None) -> etree._Element:
    uuid = identity("lab", "shop", LAN)
    return network_xml.parse(network_xml.render(Network("isolated"), Mark("lab", "shop", LAN, uuid, applied)))


@pytest.mark.parametrize("known", [True, False])
def test_volume_of_another_fleets_stack_of_the_same_name_is_unmanaged(known: bool) -> None:
    ours, theirs = volume("lab"), volume("other")
    inventory = Inventory(Shelf(tuple(Stored("local", name, f"/pool/{name}") for name in (ours, theirs))), {})
    scope = Scope("lab", "shop", {ours: DATA} if known else {})
    assert [(f.address, f.name) for f in inventory.found("hv1", scope, set())] == [(DATA, ours)]
    (other,) = inventory.unmanaged("hv1", scope)
    assert (other.name, other.owner) == (theirs, None)


def test_mark_on_its_own_object_is_read() -> None:
    assert mark_xml.read(marked(to_data(Network("isolated")))) is not None


def test_mark_on_a_copy_with_another_uuid_is_none() -> None:
    root = marked()
    root.find("uuid").text = identity("lab", "shop", DATA)  # type: ignore[union-attr]
    assert mark_xml.read(root) is None


@pytest.mark.parametrize("applied", ["5", "[1]", '"x"', "[" * 100_000, "{", "nul"])
def test_mark_with_a_tampered_spec_is_none(applied: str) -> None:
    root = marked({})
    root.find(f".//{{{mark_xml.URI}}}applied").text = applied  # type: ignore[union-attr]
    assert mark_xml.read(root) is None
