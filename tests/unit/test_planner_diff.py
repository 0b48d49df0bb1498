"""Three-way comparison: each field's difference and where it came from."""

import pytest

from stacksmith.model.change import Status
from stacksmith.planner.diff import UNKNOWN, compare


def disk(device: str, **fields: object) -> dict[str, object]:
    return {"device": device, "size_bytes": 1, **fields}


@pytest.mark.parametrize(
    ("wanted", "applied", "found", "status"),
    [
        (2, 1, 1, Status.CHANGE),
        (1, 1, 2, Status.DRIFT),
        (3, 1, 2, Status.CONFLICT),
        (2, UNKNOWN, 1, Status.CHANGE),
    ],
)
def test_compare_scalar_differs_has_status(wanted: int, applied: object, found: int, status: Status) -> None:
    (change,) = compare({"vcpus": wanted}, UNKNOWN if applied is UNKNOWN else {"vcpus": applied}, {"vcpus": found})
    assert (change.path, change.wanted, change.found, change.status) == ("vcpus", wanted, found, status)


def test_compare_found_is_wanted_is_in_sync_whatever_was_applied() -> None:
    assert compare({"vcpus": 2}, {"vcpus": 1}, {"vcpus": 2}) == []


def test_compare_wanted_none_is_left_alone() -> None:
    assert compare({"mtu": None}, {"mtu": None}, {"mtu": 1400}) == []


def test_compare_config_drive_that_is_no_longer_wanted_is_a_change_and_one_that_came_by_hand_is_drift() -> None:
    drive = {"format": "configdrive", "digest": "a"}
    (taken,) = compare({"config_drive": None}, {"config_drive": drive}, {"config_drive": drive})
    assert (taken.path, taken.wanted, taken.status) == ("config_drive", None, Status.CHANGE)
    (came,) = compare({"config_drive": None}, {"config_drive": None}, {"config_drive": drive})
    assert came.status is Status.DRIFT


def test_compare_keyed_list_order_does_not_matter() -> None:
    both = [disk("vda"), disk("vdb")]
    assert compare({"disks": both}, UNKNOWN, {"disks": both[::-1]}) == []


def test_compare_extra_element_found_is_drift() -> None:
    data = {"disks": [disk("vda")]}
    (change,) = compare(data, data, {"disks": [disk("vda"), disk("vdb")]})
    assert (change.path, change.wanted, change.status) == ("disks[vdb]", None, Status.DRIFT)


def test_compare_element_taken_out_of_the_file_is_a_change() -> None:
    both = {"disks": [disk("vda"), disk("vdb")]}
    (change,) = compare({"disks": [disk("vda")]}, both, both)
    assert (change.path, change.wanted, change.status) == ("disks[vdb]", None, Status.CHANGE)


def test_compare_field_inside_an_element_has_its_path() -> None:
    want = {"disks": [disk("vda", size_bytes=2)]}
    have = {"disks": [disk("vda")]}
    (change,) = compare(want, have, have)
    assert (change.path, change.status) == ("disks[vda].size_bytes", Status.CHANGE)


def test_compare_metadata_key_added_by_hand_is_drift() -> None:
    data = {"metadata": {"role": "web"}}
    (change,) = compare(data, data, {"metadata": {"role": "web", "x": "1"}})
    assert (change.path, change.wanted, change.status) == ("metadata.x", None, Status.DRIFT)


def test_compare_field_unknown_to_an_older_release_is_a_change_not_a_conflict() -> None:
    (change,) = compare({"firmware": "bios"}, {}, {"firmware": "uefi"})
    assert change.status is Status.CHANGE
