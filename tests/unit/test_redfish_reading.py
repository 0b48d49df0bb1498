"""Redfish pages, as BMCs really fill them, as our dataclasses."""

import pytest

from stacksmith.model.node_found import Disk, Nic, NodeFound, Power
from stacksmith.providers.redfish import reading


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ({}, NodeFound(Power.UNKNOWN)),
        ({"PowerState": "PoweringOff", "Boot": None, "IndicatorLED": None}, NodeFound(Power.POWERING_OFF)),
        (
            {"PowerState": "On", "Boot": {"BootSourceOverrideMode": "Legacy"}, "AssetTag": " R1 ", "Model": None},
            NodeFound(Power.ON, boot_mode="bios", asset_tag="R1"),
        ),
        ({"PowerState": "Off", "IndicatorLED": "Lit"}, NodeFound(Power.OFF, indicator_led="lit")),
        (
            {"PowerState": "Off", "IndicatorLED": "Lit", "LocationIndicatorActive": False},
            NodeFound(Power.OFF, indicator_led="off"),
        ),
        ({"PowerState": 1, "AssetTag": 7, "UUID": ["x"]}, NodeFound(Power.UNKNOWN)),
    ],
)
def test_system_becomes_a_node(system: dict[str, object], expected: NodeFound) -> None:
    assert reading.found(system, {}) == expected


@pytest.mark.parametrize("bios", [{}, {"Attributes": None}, {"Attributes": []}])
def test_bios_without_attributes_is_empty(bios: dict[str, object]) -> None:
    assert reading.found({}, bios).bios == {}


def test_bios_attributes_are_in_order_of_name_and_keep_their_types() -> None:
    assert list(reading.found({}, {"Attributes": {"b": 1, "a": False, "c": None}}).bios.items()) == [
        ("a", False),
        ("b", 1),
        ("c", None),
    ]


def test_disk_without_a_size_and_card_without_an_address_are_told_as_such() -> None:
    assert reading.disk({"Id": "0", "CapacityBytes": None, "Name": ""}) == Disk("0", 0)
    assert reading.nic({"Id": "1", "MACAddress": ""}) == Nic("1", "")
    assert reading.nic({"Id": "1", "MACAddress": None, "PermanentMACAddress": "AA:BB"}) == Nic("1", "aa:bb")


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ({"Members": [{"@odata.id": "/a"}, {}, None, {"@odata.id": ""}]}, ["/a"]),
        ({"Members": None}, []),
        ({}, []),
    ],
)
def test_links_of_a_collection(page: dict[str, object], expected: list[str]) -> None:
    assert reading.links(page) == expected


@pytest.mark.parametrize(
    ("page", "starts"),
    [
        ({}, False),
        ({"BootProgress": {"LastState": "OSRunning"}}, False),
        ({"BootProgress": {"LastState": "PCIResourceConfigStarted"}}, True),
        ({"BootProgress": None, "Oem": {"Hpe": {"PostState": "InPost"}}}, True),
        ({"Oem": {"Hpe": {"PostState": "FinishedPost"}}}, False),
        ({"Oem": None}, False),
    ],
)
def test_machine_is_starting_where_its_bmc_tells_it(page: dict[str, object], starts: bool) -> None:
    assert reading.is_starting(page) is starts
