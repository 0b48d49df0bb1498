"""Plans built by hand: every branch of the views is in one of them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stacksmith.address import Address
from stacksmith.model.change import Change, Impact, Status
from stacksmith.model.found import Unmanaged
from stacksmith.model.realised import (
    ConfigDrive,
    Disk,
    Image,
    ImageFile,
    Network,
    Nic,
    Policy,
    Server,
    Subnet,
    Volume,
    to_data,
)
from stacksmith.placement.verdict import (
    Beside,
    Clash,
    Conflict,
    Constraint,
    Placement,
    Relaxation,
    Remedy,
    Term,
    Verdict,
)
from stacksmith.planner.plan import Deviation, Operation, Plan, Step, Unchanged
from stacksmith.providers.base import WaitFor

GIB = 2**30
CHECKSUM = "sha256:" + "ab12" * 16
WEB0, WEB1 = Address("server", "web", 0), Address("server", "web", 1)
DB, CACHE, DATA = Address("server", "db"), Address("server", "cache", "eu"), Address("volume", "db-data")
LAN, IMAGE = Address("network", "lan", host="hv1"), Address("image", "debian", host="hv1")
UNWANTED = "it is not in the stack any more"

SERVER = Server(
    "shop-web-0",
    vcpus=1,
    ram_mib=512,
    disks=(Disk("vda", "image", CHECKSUM, 4 * GIB, boot_index=0), Disk("vdb", "volume", "volume.db-data")),
    nics=(Nic("52:54:01:02:03:04", "lan"),),
    config_drive=ConfigDrive("configdrive", "cd" * 32),
    metadata={"role": "web"},
    tags=("blue",),
)
PLACED = Placement(
    WEB0,
    "hv1",
    (
        Verdict("hv1", True, "MEMORY_MB 8,192 free", 0.75),
        Verdict("hv2", True, "MEMORY_MB 4,096 free", 0.5),
        Verdict("hv3", False, "MEMORY_MB 256 short (used 3,840 of 4,096)"),
    ),
)


def step(operation: Operation, address: Address, **rest: Any) -> Step:
    values: dict[str, Any] = {"host": "hv1", "uuid": "00000000-0000-5000-8000-000000000001", "reason": "", **rest}
    return Step(id=f"{operation} {address}", operation=operation, address=address, **values)


def change(path: str, found: Any, wanted: Any, **rest: Any) -> Change:
    return Change(path, wanted, rest.pop("applied", found), found, rest.pop("status", Status.CHANGE), **rest)


def _replacement(address: Address, changes: tuple[Change, ...], **rest: Any) -> tuple[Step, Step]:
    common = {"reason": "firmware cannot change in place", "changes": changes, "replaces": True}
    delete = step(Operation.DELETE, address, before=to_data(SERVER), impact=Impact.REPLACE, fingerprint="f1", **common)
    create = step(Operation.CREATE, address, wanted=replace(SERVER, firmware="efi"), requires=(delete.id,), **common)
    return delete, replace(create, **rest)


CREATE = Plan(
    "lab",
    "shop",
    steps=(
        step(
            Operation.CREATE,
            LAN,
            wanted=Network(subnets=(Subnet("10.20.0.0/24", "10.20.0.1"),)),
            reason="it does not exist",
        ),
        step(Operation.CREATE, IMAGE, wanted=Image((ImageFile("disk", CHECKSUM, "qcow2"),))),
        step(Operation.CREATE, DATA, wanted=Volume(50 * GIB)),
        step(
            Operation.CREATE,
            WEB0,
            wanted=SERVER,
            requires=(f"create {LAN}", f"create {DATA}", f"create {IMAGE}"),
            wait_for=WaitFor("lease"),
        ),
        step(
            Operation.CREATE,
            WEB1,
            wanted=replace(SERVER, name="shop-web-1"),
            partial=True,
            fingerprint="half",
            reason="a run that did not finish left it half made",
        ),
        step(Operation.CREATE, DB, wanted=SERVER, wait_for=WaitFor("console", 30, "ready\n")),
    ),
    placements=(PLACED, replace(PLACED, address=DB, host="hv2"), replace(PLACED, address=WEB1, kept=True)),
    outputs={"web_ips": ["10.20.0.10", "10.20.0.11"], "motd": "hello"},
)
_SCRIPT = "#!/bin/sh\necho one\necho two\necho three\n"
UPDATE = Plan(
    "lab",
    "shop",
    steps=(
        step(
            Operation.UPDATE,
            WEB0,
            host="hv2",
            wanted=replace(SERVER, ram_mib=1024),
            before=to_data(SERVER),
            changes=(
                change("ram_mib", 512, 1024, impact=Impact.RESTART, note="the guest's maximum memory is 512 MiB"),
                change("metadata.role", "web", "front", impact=Impact.NONE),
                change("metadata.os.name", "a", None, impact=Impact.NONE),
                change("tags", ["blue"], ["blue", "green"]),
                change("vcpus", 2, 1, applied=1, status=Status.DRIFT, impact=Impact.RESTART),
                change("autostart", False, True, applied=None, status=Status.CONFLICT),
                change("disks[vdc]", None, {"device": "vdc", "source": "blank", "size_bytes": GIB}),
                change(
                    "disks[vdd]",
                    {"device": "vdd", "source": "file", "ref": "/x"},
                    None,
                    applied=None,
                    status=Status.DRIFT,
                ),
                change("cpu_mode", "host-model", "host-passthrough", impact=Impact.RESTART, saved_only=True),
                change("config_drive.digest", "old-secret", "new-secret", impact=Impact.RESTART, sensitive=True),
                change("description", _SCRIPT, _SCRIPT.replace("two", "2"), impact=Impact.NONE),
                change(
                    "dns",
                    [{"ip": "10.0.0.1", "names": ["a", "b"]}, {"ip": "10.0.0.2", "names": ["long-name.example"]}],
                    [{"ip": "10.0.0.1", "names": ["a", "c"]}, {"ip": "10.0.0.3", "names": ["long-name.example"]}],
                ),
            ),
            impact=Impact.RESTART,
            fingerprint="f0",
        ),
        step(
            Operation.UPDATE,
            DATA,
            wanted=Volume(60 * GIB + 1),
            before=to_data(Volume(50 * GIB)),
            changes=(change("size_bytes", 50 * GIB, 60 * GIB + 1),),
            impact=Impact.LIVE,
        ),
    ),
    unchanged=(Unchanged(DB, "hv1"),),
    outputs={"ip": "10.0.0.2", "new": 1, "same": True},
)
REPLACE = Plan(
    "lab",
    "shop",
    steps=(
        *_replacement(
            WEB0,
            (
                change("firmware", "bios", "efi", impact=Impact.REPLACE),
                change("ram_mib", 512, 1024, impact=Impact.RESTART),
            ),
        ),
        *_replacement(DB, (), host="hv2", reason="asked for by --replace"),
        step(
            Operation.DELETE,
            CACHE,
            before=to_data(SERVER),
            impact=Impact.DATA_LOSS,
            reason=UNWANTED,
        ),
        step(Operation.FORGET, DATA, reason="it is kept: on_destroy is keep"),
    ),
)
DRIFT = Plan(
    "lab",
    "shop",
    steps=(
        step(
            Operation.UPDATE,
            WEB0,
            wanted=SERVER,
            before=to_data(replace(SERVER, ram_mib=1024)),
            changes=(change("ram_mib", 1024, 512, applied=512, status=Status.DRIFT, impact=Impact.RESTART),),
            impact=Impact.RESTART,
        ),
        step(Operation.CREATE, WEB1, wanted=SERVER, reason="it is missing on hv1"),
        step(
            Operation.UPDATE,
            DB,
            wanted=replace(SERVER, vcpus=4),
            before=to_data(replace(SERVER, vcpus=2)),
            changes=(change("vcpus", 2, 4, applied=1, status=Status.CONFLICT, impact=Impact.RESTART),),
            impact=Impact.RESTART,
        ),
        step(
            Operation.UPDATE,
            CACHE,
            wanted=SERVER,
            changes=(change("vcpus", 2, 1),),
            impact=Impact.LIVE,
            before=to_data(SERVER),
        ),
        step(
            Operation.DELETE,
            LAN,
            before=to_data(Network()),
            policy=Policy(protect=True),
            reason=UNWANTED,
        ),
    ),
    unchanged=(Unchanged(IMAGE, "hv1"),),
    deviations=(
        Deviation(
            WEB0,
            "hv1",
            (
                change("ram_mib", 1024, 512, applied=512, status=Status.DRIFT),
                change("cpu_mode", "host-model", "custom", applied="custom", status=Status.DRIFT, saved_only=True),
                change(
                    "config_drive.digest",
                    "a-secret",
                    "b-secret",
                    applied="b-secret",
                    status=Status.DRIFT,
                    sensitive=True,
                ),
            ),
        ),
        Deviation(WEB1, "hv1", missing=True),
        Deviation(DB, "hv1", (change("vcpus", 2, 4, applied=1, status=Status.CONFLICT),)),
        Deviation(DATA, "hv2", missing=True, problem="file is missing: /srv/\x1b[31mx.qcow2"),
        Deviation(Address("server", "old"), "hv2", problem="cannot read its definition"),
    ),
    unmanaged=(
        *(Unmanaged("server", "hv1", f"pet-{n:02}", f"u{n}", detail="running") for n in range(12)),
        Unmanaged("server", "hv2", "other-web", "u99", owner="lab/other"),
    ),
    unreachable=(("hv3", "Connection refused"),),
    unknown=(Address("server", "far"),),
    refusals=(
        (f"delete {LAN}", "network.lan@hv1 is protected"),
        (f"update {DB}", "vcpus was changed on the host too"),
        ("delete volume.gone", "shrinking is not possible"),
    ),
    outputs={"web_ips": ["10.20.0.10"]},
)
UNPLACED = Plan(
    "lab",
    "shop",
    placements=(
        Placement(
            DB,
            None,
            (Verdict("hv1", False, "VCPU 2 short (used 14 of 16)"),),
            cause="no host has room",
            hint="ask for a smaller flavor",
            conflict=Conflict(Beside.BATCH, 1, (Term(Constraint("amount", "VCPU"), "has VCPU 4 free", ()),)),
            relaxations=(Relaxation("hv1", (Remedy(Constraint("amount", "VCPU"), "free VCPU 2 on hv1"),)),),
            clash=Clash((DB, WEB0), (Constraint("amount", "VCPU"),)),
        ),
    ),
)
PLANS: Mapping[str, Plan] = {
    "create": CREATE,
    "update": UPDATE,
    "replace": REPLACE,
    "drift": DRIFT,
    "unplaced": UNPLACED,
    "in_sync": Plan("lab", "shop", unchanged=(Unchanged(WEB0, "hv1"), Unchanged(LAN, "hv1"))),
    "gone": Plan("lab", "shop", destroy=True),
    "unread": Plan("lab", "shop", unreachable=(("hv1", "timed out after 30 s"),)),
}
