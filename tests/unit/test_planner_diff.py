"""Three-way comparison: each field's difference and where it came from."""

from dataclasses import replace

import pytest

from stacksmith.address import Address
from stacksmith.model.change import Status
from stacksmith.model.found import Found
from stacksmith.model.realised import Disk, Server, to_data
from stacksmith.model.record import Record
from stacksmith.planner.build import Wanted
from stacksmith.planner.diff import UNKNOWN, compare, differences
from stacksmith.planner.step import kept
from stacksmith.planner.view import View


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


def seen(applied: Server, begun: Server | None, found: Server, wanted: Server) -> dict[str, Status]:
    """The changes of a server, whose last update was to bring ``begun`` and did not end well."""
    address = Address("server", "db")
    record = Record(address, "hv1", "u", to_data(applied), begun=None if begun is None else to_data(begun))
    there = Found(address, "hv1", "u", "db", found, "print")
    view = View(records={address: record})
    return {c.path: c.status for c in differences(Wanted(address, "hv1", "u", wanted), there, view)}


def test_what_an_unfinished_update_was_changing_is_no_conflict_and_all_else_is() -> None:
    applied = Server("db", 1, 128, description="a")
    begun = replace(applied, ram_mib=256)
    assert seen(applied, begun, begun, replace(applied, ram_mib=512)) == {"ram_mib": Status.CHANGE}
    assert seen(applied, None, begun, replace(applied, ram_mib=512)) == {"ram_mib": Status.CONFLICT}
    by_hand = replace(begun, description="b")
    told = seen(applied, begun, by_hand, replace(applied, ram_mib=512, description="c"))
    assert told == {"ram_mib": Status.CHANGE, "description": Status.CONFLICT}
    assert seen(applied, begun, by_hand, begun) == {"description": Status.DRIFT}
    assert seen(begun, begun, replace(begun, ram_mib=384), begun) == {"ram_mib": Status.DRIFT}


def test_part_of_what_an_unfinished_update_took_away_is_no_conflict() -> None:
    disks = (Disk("vda", "blank", size_bytes=1), Disk("vdb", "blank", size_bytes=1))
    applied = Server("db", 1, 128, disks=disks)
    begun = replace(applied, disks=(disks[0], replace(disks[1], size_bytes=2)))
    wanted = replace(applied, disks=(disks[0], replace(disks[1], size_bytes=3)))
    assert seen(applied, begun, replace(applied, disks=disks[:1]), wanted) == {"disks[vdb]": Status.CHANGE}
    assert seen(applied, begun, replace(applied, disks=disks[1:]), wanted) == {
        "disks[vda]": Status.DRIFT,
        "disks[vdb].size_bytes": Status.CHANGE,
    }


def test_record_of_what_is_in_sync_forgets_the_update_that_did_not_end_well() -> None:
    spec = Server("db", 1, 128)
    wanted = Wanted(Address("server", "db"), "hv1", "u", spec)
    record = Record(wanted.address, "hv1", "u", to_data(spec), adopted=True, begun={"name": "db"})
    assert kept(wanted, record) == replace(record, begun=None)
    assert kept(wanted, replace(record, begun=None)) is None
