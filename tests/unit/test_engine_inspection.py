"""What is kept of inspections, and when it counts."""

from dataclasses import replace
from pathlib import Path

import pytest

from stacksmith.address import Address
from stacksmith.engine.inspection import Inspections, inspections
from stacksmith.engine.outdated import forget_updated
from stacksmith.model.change import Change, Status
from stacksmith.model.node_found import Disk, Nic, NodeFound, NodeInventory, Power
from stacksmith.model.realised import Machine
from stacksmith.model.record import Record
from stacksmith.planner.plan import Operation, Plan
from tests.unit.engine_parts import step

FOUND = NodeFound(Power.ON, uuid="4C4C", serial="S1", bios_version="2.1", bios={"SysPassword": "s3cret"})
INVENTORY = NodeInventory(FOUND, 64, 262144, (Disk("sda", 480, serial="D1"),), (Nic("1", "06:00"),), {"BIOS": "2.1"})


def test_inspection_is_found_with_the_settings_of_now(tmp_path: Path) -> None:
    kept = Inspections(tmp_path / "nodes")
    kept.keep(INVENTORY)
    now = replace(FOUND, power_state=Power.OFF, uuid="4c4c", bios={})
    assert kept.find(now) == replace(INVENTORY, found=now)


@pytest.mark.parametrize("changed", [{"uuid": "4C4D"}, {"serial": "S2"}, {"bios_version": "2.2"}])
def test_another_machine_or_bios_is_inspected_anew(tmp_path: Path, changed: dict[str, str]) -> None:
    kept = Inspections(tmp_path)
    kept.keep(INVENTORY)
    assert kept.find(replace(FOUND, **changed)) is None


def test_file_is_its_owners_and_holds_no_setting(tmp_path: Path) -> None:
    Inspections(tmp_path / "nodes").keep(INVENTORY)
    (path,) = (tmp_path / "nodes").iterdir()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert "s3cret" not in path.read_text()


def test_node_that_does_not_say_which_it_is_is_not_kept(tmp_path: Path) -> None:
    kept = Inspections(tmp_path / "nodes")
    kept.keep(replace(INVENTORY, found=NodeFound(Power.ON, bios_version="2.1")))
    assert not (tmp_path / "nodes").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', "\xff"])
def test_broken_file_is_none_and_is_written_anew(tmp_path: Path, text: str) -> None:
    kept = Inspections(tmp_path)
    kept.keep(INVENTORY)
    (path,) = tmp_path.iterdir()
    path.write_bytes(text.encode("latin-1"))
    assert kept.find(FOUND) is None
    kept.keep(INVENTORY)
    assert kept.find(FOUND) == INVENTORY


def test_folder_that_cannot_be_written_costs_no_inspection(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    Inspections(tmp_path / "file" / "nodes").keep(INVENTORY)


def test_folder_is_in_the_users_cache() -> None:
    assert inspections({"XDG_CACHE_HOME": "/c"}).folder == Path("/c/stacksmith/nodes")


@pytest.mark.parametrize(
    ("operation", "path", "is_kept"),
    [
        (Operation.CREATE, "", False),
        (Operation.UPDATE, "firmware.BMC", False),
        (Operation.UPDATE, "asset_tag", True),
    ],
)
def test_inspection_is_not_kept_over_an_update_of_firmware(
    tmp_path: Path, operation: Operation, path: str, is_kept: bool
) -> None:
    kept, address = Inspections(tmp_path), Address("server", "db")
    seen = replace(FOUND, uuid="4C4C4544-0042-3510-8052-B7C04F4D3132")
    kept.keep(replace(INVENTORY, found=seen))
    changes = (Change(path, "new", "old", "old", Status.CHANGE),) if path else ()
    wanted = Machine("db", "CUSTOM_GOLD", firmware={"BMC": "2"})
    plan = Plan("f", "shop", (step(operation, "server.db", wanted, changes=changes),))
    forget_updated(kept, plan, [Record(address, "bm1", "u", {}, machine=seen.identity)])
    assert (kept.find(seen) is not None) is is_kept
