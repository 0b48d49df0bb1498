"""What BMCs say of attributes and volumes, and what is made of it."""

from dataclasses import replace
from typing import Any

import pytest

from stacksmith.model.raid import as_applied, fits
from stacksmith.model.realised import RaidVolume
from stacksmith.providers.redfish import reading
from stacksmith.providers.redfish.bios import same
from stacksmith.providers.redfish.fault import messages
from stacksmith.providers.redfish.registry import fault

GIB = 1024**3
WANTED = RaidVolume("system", "RAID1", ("Bay 1", "Bay 0"), 100 * GIB)
FOUND = RaidVolume("system", "RAID1", ("Bay 0", "Bay 1"), 100 * GIB - 64 * 1024**2)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, True),
        ({"size_bytes": 99.5 * GIB}, True),
        ({"size_bytes": 98 * GIB}, False),
        ({"size_bytes": None}, True),
        ({"name": "data"}, False),
        ({"level": "RAID5"}, False),
        ({"drives": ("Bay 0", "Bay 2")}, False),
    ],
)
def test_volume_fits_by_name_level_drives_and_about_its_size(changed: dict[str, Any], expected: bool) -> None:
    assert fits(WANTED, replace(FOUND, **changed)) is expected


def test_volume_without_drives_and_size_fits_whatever_the_controller_chose() -> None:
    assert fits(RaidVolume("system", "RAID1"), FOUND)


def test_volumes_that_fit_are_shown_as_they_were_applied() -> None:
    data, other = RaidVolume("data", "RAID5"), RaidVolume("other", "RAID0", ("Bay 7",), GIB)
    there = RaidVolume("data", "RAID5", ("Bay 2", "Bay 3", "Bay 4"), 9 * GIB)
    assert as_applied((WANTED, data), (there, other, FOUND)) == (WANTED, data, other)
    assert as_applied((WANTED, data), (there,)) == (data,)
    assert as_applied((), (FOUND,)) == (FOUND,)


ENTRIES: dict[str, Any] = {
    "ProcTurboMode": {"Type": "Enumeration", "Value": [{"ValueName": "On"}, {"ValueName": "Off"}]},
    "Words": {"Type": "Enumeration", "Value": None},
    "Fan": {"Type": "Integer", "LowerBound": 10, "UpperBound": None},
    "Note": {"Type": "String", "MinLength": 2, "MaxLength": 4},
    "Wake": {"Type": "Boolean"},
    "Board": {"Type": "String", "ReadOnly": True},
    "Odd": {"Type": "Vendor", "MaxLength": "many"},
}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("ProcTurboMode", "On", None),
        ("ProcTurboMode", "on", "'on' is none of its values: On, Off"),
        ("ProcTurboMode", True, "True is no enumeration"),
        ("Words", "any", None),
        ("Fan", 10, None),
        ("Fan", 9, "9 is not possible: 10 is the least"),
        ("Fan", True, "True is no integer"),
        ("Note", "abc", None),
        ("Note", "a", "'a' has 1 characters: 2 is the least"),
        ("Note", "abcde", "'abcde' has 5 characters: 4 is the most"),
        ("Wake", False, None),
        ("Wake", 0, "0 is no boolean"),
        ("Board", "x", "it is read-only"),
        ("Odd", ["x"], None),
        ("Fann", 10, "there is no such attribute: did you mean 'Fan'?"),
        ("Zzzzzz", 10, "there is no such attribute"),
    ],
)
def test_registry_says_what_an_attribute_does_not_take(name: str, value: Any, expected: str | None) -> None:
    assert fault(ENTRIES, name, value) == expected


def test_long_enumeration_is_cut() -> None:
    entry = {"Type": "Enumeration", "Value": [{"ValueName": f"v{number}"} for number in range(40)]}
    assert str(fault({"A": entry}, "A", "x")).endswith("v10, v11, …")


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [(1, 1, True), (1, True, False), (0, False, False), ("1", 1, False), (None, 1, False)],
)
def test_attribute_is_equal_by_value_and_kind(found: Any, wanted: Any, expected: bool) -> None:
    assert same(found, wanted) is expected


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ({"SecureBootEnable": True, "SecureBootCurrentBoot": "Disabled"}, False),
        ({"SecureBootEnable": False, "SecureBootCurrentBoot": "Enabled"}, True),
        ({"SecureBootEnable": True, "SecureBootCurrentBoot": None}, True),
        ({}, None),
    ],
)
def test_secure_boot_is_that_of_the_current_boot(page: dict[str, Any], expected: bool | None) -> None:
    assert reading.secure_boot(page) is expected


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ([{"MessageId": "IDRAC.2.8.SYS518", "Message": "busy"}, {"Message": "busy"}], (["SYS518", ""], "busy")),
        ({"MessageId": "SYS518", "Message": "busy"}, (["SYS518"], "busy")),
        ([None, "x"], ([], "")),
        (None, ([], "")),
    ],
)
def test_messages_of_a_refusal_in_whatever_form(info: Any, expected: tuple[list[str], str]) -> None:
    assert messages(info) == expected
