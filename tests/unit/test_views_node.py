"""A node's state in Ironic's words, and what it consists of."""

import pytest

from stacksmith.engine.tenancy import Tenancy
from stacksmith.model.fleet import Fleet
from stacksmith.model.node_found import Disk, NodeFound, NodeInspection, NodeInventory, NodeSnapshot, Power
from stacksmith.model.realised import RaidVolume
from stacksmith.views.node import inspections_data, inspections_text, node_text, nodes_data, nodes_text

FLEET = Fleet.model_validate(
    {
        "fleet": "f",
        "nodes": {"bm1": {"redfish": "https://bmc1", "username": "u", "password": {"env": "P"}}},
    }
)
OFF, ON = (
    NodeSnapshot("bm1", NodeFound(uuid="u", power_state=power, boot_mode="uefi")) for power in (Power.OFF, Power.ON)
)
UNREAD = NodeSnapshot("bm1", error="cannot reach the BMC", hint="look at https://bmc1")


@pytest.mark.parametrize(
    ("seen", "tenancy", "state"),
    [
        (UNREAD, Tenancy("available"), "enroll"),
        (ON, Tenancy("available"), "manageable"),
        (OFF, Tenancy("available"), "available"),
        (ON, Tenancy("active", server="shop/server.db"), "active"),
        (UNREAD, Tenancy("active", server="shop/server.db"), "active"),
        (ON, Tenancy("deploying", "booted", server="shop/server.db"), "deploying (booted)"),
        (ON, Tenancy("failed", "booted", "wrong checksum"), "deploy failed"),
        (OFF, Tenancy("cleaning"), "cleaning"),
        (OFF, Tenancy("failed", "cleaning", "cannot write"), "clean failed"),
        (OFF, Tenancy("maintenance", reason="fan"), "available (maintenance)"),
        (ON, Tenancy("maintenance", server="shop/server.db"), "active (maintenance)"),
        (OFF, Tenancy("cleaning", "maintenance"), "cleaning (maintenance)"),
        (ON, Tenancy("active", server="shop/server.db", adopted=True), "active (adopted)"),
        (ON, Tenancy("maintenance", server="shop/server.db", adopted=True), "active (adopted, maintenance)"),
    ],
)
def test_state_of_a_node(seen: NodeSnapshot, tenancy: Tenancy, state: str) -> None:
    line = nodes_text(FLEET, [seen], {"bm1": tenancy}).splitlines()[1]
    assert f" {state} " in line
    data = nodes_data(FLEET, [seen], {"bm1": tenancy})
    assert isinstance(data, dict)
    (node,) = data["nodes"]
    assert state.startswith(node["provision_state"])
    assert node["tenancy"]["adopted"] == ("adopted" in state)
    assert node["maintenance"] == state.endswith("maintenance)")


def test_hints_of_nodes_that_cannot_be_read_are_told_once_below_and_beside_the_error() -> None:
    node = FLEET.nodes["bm1"]
    names = [f"bm{number}" for number in range(13)]
    fleet = FLEET.model_copy(update={"nodes": dict.fromkeys(names, node)})
    hints = ["export P=…"] * 12 + ["look at\nhttps://bmc12"]
    read = [NodeSnapshot(name, error="no", hint=hint) for name, hint in zip(names, hints, strict=True)]
    told = [
        f"hint: {', '.join(names[:10])} and 2 more: export P=…",
        "hint: bm12: look at\\nhttps://bmc12",
    ]
    tenancies = dict.fromkeys(names, Tenancy("available"))
    lines = nodes_text(fleet, [*read[:-1], NodeSnapshot("bm0", error="failed"), read[-1]], tenancies).splitlines()
    assert (len(lines), lines[-2:]) == (1 + 14 + 2, told)
    data = nodes_data(fleet, [read[-1], OFF], {**tenancies, "bm1": Tenancy("available")})
    assert isinstance(data, dict)
    assert [(each["error"], each["hint"]) for each in data["nodes"]] == [("no", hints[-1]), (None, None)]

    inspections = [NodeInspection(each.node, error=each.error, hint=each.hint) for each in read]
    assert inspections_text(inspections).splitlines()[-3:] == ["  error  no", *told]
    found = inspections_data(inspections)
    assert isinstance(found, dict)
    assert [each["hint"] for each in found["nodes"]] == hints


def test_volumes_of_a_node_name_the_drives_that_are_told() -> None:
    raid = RaidVolume("os", "RAID1", ("D1", "D2"), 2**30), RaidVolume("data", "RAID5")
    text = node_text(NodeSnapshot("bm1", NodeFound(power_state=Power.ON, raid=raid)), Tenancy("available"), {})
    assert {"os RAID1 1.0 GiB on D1, D2", "data RAID5"} <= {" ".join(line.split()) for line in text.splitlines()}


def test_disks_of_one_name_are_all_shown_each_with_its_serial() -> None:
    disks = (Disk("Drive", 480 * 1024**3, "MZ1", "S64G", "SSD"), Disk("Drive", 0, serial="S64H"), Disk("Bay 2", 0))
    inventory = NodeInventory(NodeFound(power_state=Power.OFF), 1, 1024, disks, (), {})
    lines = inspections_text([NodeInspection("bm1", inventory)]).splitlines()
    assert [line.strip() for line in lines if "disk" in line] == [
        "disk Drive  480.0 GiB SSD MZ1 serial S64G",
        "disk Drive  size not told serial S64H",
        "disk Bay 2  size not told",
    ]
