"""Every profile of the lab's BMCs does what it is for; the numbers are those of docs/bmc-profiles.md."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from stacksmith import lab
from stacksmith.lab.bmc.profile import PROFILES
from tests.e2e.bmc_parts import EJECT, INSERT, RESET, Bmc, our_address, served
from tests.e2e.kit import until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.takes(50),
    pytest.mark.xdist_group("bmc"),
    pytest.mark.root,
]
ONCE = {"BootSourceOverrideEnabled": "Once"}
CD = {"BootSourceOverrideTarget": "Cd"}
UEFI = {"BootSourceOverrideMode": "UEFI"}
FIRMWARE = "/redfish/v1/UpdateService/FirmwareInventory"
TURBO = {"Attributes": {"ProcTurboMode": "Disabled"}}
Check = Callable[[Bmc, str], None]
CHECKS: dict[str, Check] = {}


def check(profile: str) -> Callable[[Check], Check]:
    """Notes the check of a profile."""

    def note(function: Check) -> Check:
        CHECKS[profile] = function
        return function

    return note


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("profiles") / "lab"
    lab.up(path, hosts=1, nodes=1)
    yield path
    lab.down(path)


@pytest.fixture(scope="module")
def media(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of something to insert."""
    folder = tmp_path_factory.mktemp("media")
    (folder / "a.iso").write_bytes(bytes(65536))
    with served(folder, our_address(lab.up(directory, hosts=1).nodes[0])) as url:
        yield f"{url}/a.iso"


@pytest.fixture
def bmc(directory: Path) -> Iterator[Bmc]:
    there = Bmc(directory, lab.up(directory, hosts=1).nodes[0])
    there.make_off()
    yield there
    there.make_off()
    there.post("/BIOS/Actions/Bios.ResetBios", {})
    there.patch("", {"Boot": UEFI})


@pytest.mark.parametrize("profile", PROFILES)
def test_profile(bmc: Bmc, media: str, profile: str) -> None:
    bmc.behave(profile)
    CHECKS[profile](bmc, media)


@check("powering-states")
def _(bmc: Bmc, media: str) -> None:
    bmc.behave(settle=3600)
    bmc.reset("On")
    assert bmc.get()["PowerState"] == "PoweringOn"
    assert bmc.reset("ForceOff") == 409
    bmc.behave("powering-states")
    until(lambda: bmc.get()["PowerState"] == "On", 30, "the machine is on")
    bmc.behave()
    bmc.reset("ForceRestart")  # which leaves nothing on its way
    bmc.behave(settle=3600)
    bmc.reset("ForceOff")
    assert bmc.get()["PowerState"] == "PoweringOff"


@check("already-400")
def _(bmc: Bmc, media: str) -> None:
    assert bmc.reset("ForceOff") == 400


@check("on-after-off")
def _(bmc: Bmc, media: str) -> None:
    bmc.behave()
    bmc.reset("On")
    bmc.reset("ForceOff")
    bmc.behave(on_after_off=3600)
    refused = bmc.ask("POST", RESET, {"ResetType": "On"})
    assert (refused.status_code, bmc.message(refused).rpartition(".")[2]) == (409, "ActionParameterValueConflict")
    bmc.behave("on-after-off")
    until(lambda: bmc.reset("On") == 204, 30, "On is taken later")


@check("post")
def _(bmc: Bmc, media: str) -> None:
    bmc.behave(post=3600)
    bmc.reset("On")
    answers = [bmc.ask("PATCH", "", {"AssetTag": "x"}), bmc.ask("POST", RESET, {"ResetType": "ForceRestart"})]
    words = ["UnableToModifyDuringSystemPOST", "InvalidOperationForSystemState"]
    assert [bmc.message(answer).rpartition(".")[2] for answer in answers] == words
    bmc.behave("post")
    until(lambda: bmc.patch("", {"AssetTag": "x"}) == 204, 30, "settings are taken later")


@check("busy-after-job")
def _(bmc: Bmc, media: str) -> None:
    bmc.behave(busy_after_job=3600)
    assert bmc.patch("/BIOS/Settings", TURBO) == 204
    busy = bmc.ask("GET", "")
    assert (busy.status_code, bmc.message(busy)) == (503, "IDRAC.2.8.SYS518")
    bmc.behave("busy-after-job")
    until(lambda: bmc.ask("GET", "").status_code == 200, 30, "the BMC is ready again")


@check("graceful-ignored")
def _(bmc: Bmc, media: str) -> None:
    bmc.reset("On")
    assert [bmc.reset(kind) for kind in ("GracefulShutdown", "GracefulRestart")] == [204, 204]
    time.sleep(1)
    assert bmc.get()["PowerState"] == "On"


@check("etag-weak")
def _(bmc: Bmc, media: str) -> None:
    tag = bmc.ask("GET", "").headers["ETag"]
    assert tag.startswith('W/"') and bmc.get()["@odata.etag"] == tag
    assert [bmc.patch("", {"AssetTag": "x"}, If_Match=each) for each in (tag[2:], tag)] == [412, 204]


@check("etag-empty")
def _(bmc: Bmc, media: str) -> None:
    assert bmc.ask("GET", "").headers["ETag"] == '""' and "@odata.etag" not in bmc.get()


@check("etag-weak-refused")
def _(bmc: Bmc, media: str) -> None:
    tag = bmc.ask("GET", "").headers["ETag"]
    assert tag.startswith('W/"') and bmc.patch("", {"AssetTag": "x"}) == 428
    assert [bmc.patch("", {"AssetTag": "x"}, If_Match=each) for each in (tag, tag[2:])] == [412, 204]


@check("registries-compressed")
def _(bmc: Bmc, media: str) -> None:
    path = "/redfish/v1/Registries/BiosAttributeRegistry.v1_0_0"
    assert bmc.ask("GET", path, Accept_Encoding="identity").status_code == 406
    assert bmc.ask("GET", path, Accept_Encoding="gzip").status_code == 200


@check("no-continuous")
def _(bmc: Bmc, media: str) -> None:
    assert bmc.patch("", {"Boot": {**CD, "BootSourceOverrideEnabled": "Continuous"}}) == 400
    assert bmc.get()["Boot"]["BootSourceOverrideEnabled@Redfish.AllowableValues"] == ["Disabled", "Once"]
    assert bmc.patch("", {"Boot": {**CD, **ONCE}}) == 204


@check("no-once")
def _(bmc: Bmc, media: str) -> None:
    assert bmc.patch("", {"Boot": {**CD, **ONCE}}) == 400
    assert bmc.get()["Boot"]["BootSourceOverrideEnabled@Redfish.AllowableValues"] == ["Disabled", "Continuous"]
    assert bmc.patch("", {"Boot": {**CD, "BootSourceOverrideEnabled": "Continuous"}}) == 204


@check("network-first")
def _(bmc: Bmc, media: str) -> None:
    assert bmc.patch("", {"Boot": {**ONCE, "BootSourceOverrideTarget": "Hdd"}}) == 204
    booted = []
    for _ in range(2):
        assert [bmc.reset("On"), bmc.reset("ForceOff")] == [204, 204]
        booted.append(bmc.get()["Oem"]["Lab"]["BootedFrom"])
    assert booted == ["Hdd", "Pxe"]


@check("enabled-required")
def _(bmc: Bmc, media: str) -> None:
    usb = {"BootSourceOverrideTarget": "UsbCd"}
    assert [bmc.patch("", {"Boot": body}) for body in (usb, {**CD, **ONCE})] == [400, 400]
    assert bmc.patch("", {"Boot": {**usb, **ONCE}}) == 204
    assert bmc.get()["Boot"]["BootSourceOverrideMode"] == "Legacy"
    assert bmc.patch("", {"Boot": {**usb, **ONCE, **UEFI}}) == 204
    assert bmc.get()["Boot"]["BootSourceOverrideMode"] == "UEFI"


@check("settings-uri")
def _(bmc: Bmc, media: str) -> None:
    place = bmc.get()["@Redfish.Settings"]["SettingsObject"]["@odata.id"]
    assert bmc.patch("", {"Boot": {**CD, **ONCE, **UEFI}}) == 400
    assert [bmc.patch(place, {"Boot": body}) for body in ({**CD, **ONCE}, {**CD, **ONCE, **UEFI})] == [400, 204]
    assert bmc.get()["Boot"]["BootSourceOverrideTarget"] == "Cd"


@check("writes-ignored")
def _(bmc: Bmc, media: str) -> None:
    before = bmc.get()
    assert bmc.patch("", {"AssetTag": "gone", "Boot": {**CD, **ONCE}}) == 200
    assert bmc.get() == before


@check("media-managers")
def _(bmc: Bmc, media: str) -> None:
    manager = bmc.node.system.replace("/Systems/", "/Managers/")
    assert "VirtualMedia" not in bmc.get() and bmc.ask("GET", "/VirtualMedia/Cd").status_code == 404
    base = bmc.get(manager)["VirtualMedia"]["@odata.id"]
    assert base == f"{manager}/VirtualMedia"
    action = bmc.get(f"{base}/Cd")["Actions"]["#VirtualMedia.InsertMedia"]["target"]
    assert bmc.post(action, {"Image": media}) == 204 and bmc.get(f"{base}/Cd")["Inserted"] is True


@check("media-kvm-only")
def _(bmc: Bmc, media: str) -> None:
    first = bmc.get("/VirtualMedia")["Members"][0]["@odata.id"]
    assert bmc.post(f"{first}/Actions/VirtualMedia.InsertMedia", {"Image": media}) == 405
    assert bmc.post(INSERT, {"Image": media}) == 204


@check("media-patch-only")
def _(bmc: Bmc, media: str) -> None:
    assert bmc.get("/VirtualMedia/Cd")["Actions"] == {}
    assert bmc.post(INSERT, {"Image": media}) == 400
    bodies = ({"Image": media}, {"Image": media, "Inserted": True})
    assert [bmc.patch("/VirtualMedia/Cd", body) for body in bodies] == [400, 204]
    assert bmc.get("/VirtualMedia/Cd")["Inserted"] is True
    assert bmc.patch("/VirtualMedia/Cd", {"Image": None, "Inserted": False}) == 204
    assert bmc.get("/VirtualMedia/Cd")["Inserted"] is False


@check("media-no-extras")
def _(bmc: Bmc, media: str) -> None:
    assert [bmc.post(INSERT, body) for body in ({"Image": media, "Inserted": True}, {"Image": media})] == [400, 204]


@check("media-strict-eject")
def _(bmc: Bmc, media: str) -> None:
    assert bmc.post(INSERT, {"Image": media}) == 204
    assert [bmc.post(EJECT, body) for body in (None, {})] == [400, 204]


@check("media-wants-protocol")
def _(bmc: Bmc, media: str) -> None:
    refused = bmc.ask("POST", INSERT, {"Image": media})
    assert (refused.status_code, bmc.message(refused)) == (400, "Base.1.18.ActionParameterMissing")
    (entry,) = refused.json()["error"]["@Message.ExtendedInfo"]
    assert entry["MessageArgs"][1] == "TransferProtocolType" and "TransferProtocolType" not in entry["Message"]
    protocols = ("HTTPS", "HTTP")
    assert [bmc.post(INSERT, {"Image": media, "TransferProtocolType": each}) for each in protocols] == [400, 204]


@check("media-wants-all")
def _(bmc: Bmc, media: str) -> None:
    body = {"Image": media}
    wanted = {"TransferProtocolType": "HTTP", "TransferMethod": "Stream", "UserName": "any", "Password": "any"}
    for name, value in wanted.items():
        refused = bmc.ask("POST", INSERT, body)
        assert refused.status_code == 400 and f"requires the parameter {name} " in refused.text
        body[name] = value
    assert [bmc.post(INSERT, each) for each in ({**body, "TransferMethod": "Upload"}, body)] == [400, 204]


@check("slow-eject")
def _(bmc: Bmc, media: str) -> None:
    bmc.behave(eject_seconds=3600)
    assert [bmc.post(INSERT, {"Image": media}), bmc.post(EJECT, {})] == [204, 204]
    slot = bmc.get("/VirtualMedia/Cd")
    assert (slot["Inserted"], slot["Image"]) == (True, media)
    assert bmc.post(INSERT, {"Image": media}) == 409
    bmc.behave("slow-eject")
    until(lambda: not bmc.get("/VirtualMedia/Cd")["Inserted"], 30, "the media is out")
    assert bmc.post(INSERT, {"Image": media}) == 204


@check("apply-time")
def _(bmc: Bmc, media: str) -> None:
    assert bmc.patch("/BIOS/Settings", TURBO) == 200
    assert bmc.get("/BIOS/Settings")["Attributes"] == {}
    at_reset = {"@Redfish.SettingsApplyTime": {"ApplyTime": "OnReset"}}
    assert bmc.patch("/BIOS/Settings", {**TURBO, **at_reset}) == 204
    assert bmc.get("/BIOS/Settings")["Attributes"] == TURBO["Attributes"]


@check("late-bios")
def _(bmc: Bmc, media: str) -> None:
    bmc.behave("late-bios", apply_seconds=8)
    assert bmc.patch("/BIOS/Settings", TURBO) == 204
    bmc.reset("On")
    assert bmc.get("/BIOS")["Attributes"]["ProcTurboMode"] == "Enabled"
    until(lambda: bmc.get("/BIOS")["Attributes"]["ProcTurboMode"] == "Disabled", 30, "the attribute is in force")
    assert bmc.get("/BIOS/Settings")["Attributes"]["ProcTurboMode"] == "Disabled"


def seconds_of(is_so: Callable[[], bool]) -> float:
    """How long it took until it was so."""
    started = time.monotonic()
    assert is_so()
    return time.monotonic() - started


@check("slow-bios")
def _(bmc: Bmc, media: str) -> None:
    assert seconds_of(lambda: bmc.patch("/BIOS/Settings", TURBO) == 204) >= 3
    until(lambda: seconds_of(lambda: bmc.patch("", {"AssetTag": "x"}) == 204) < 3, 60, "other writes are quick")


@check("few-sessions")
def _(bmc: Bmc, media: str) -> None:
    path = "/redfish/v1/SessionService/Sessions"
    made = [bmc.ask("POST", path, {"UserName": "admin", "Password": bmc.password}) for _ in range(2)]
    assert [answer.status_code for answer in made] == [201, 503]
    assert bmc.ask("DELETE", made[0].headers["Location"]).status_code == 204


@check("tasks")
def _(bmc: Bmc, media: str) -> None:
    answer = bmc.ask("PATCH", "/BIOS/Settings", TURBO)
    assert answer.status_code == 202
    seen = [bmc.ask("GET", answer.headers["Location"]) for _ in range(5)]
    states = [each.json().get("TaskState", each.status_code) for each in seen]
    assert states == [404, "Running", "Completed", "Running", "Completed"]


@check("boot-mode-by-bios")
def _(bmc: Bmc, media: str) -> None:
    assert bmc.patch("", {"Boot": {"BootSourceOverrideMode": "Legacy"}}) == 400
    both = {"BootMode": "Bios", "SecureBootStatus": "Disabled"}
    assert [bmc.patch("/BIOS/Settings", {"Attributes": each}) for each in (both, {"BootMode": "Bios"})] == [400, 204]
    bmc.reset("On")
    assert bmc.get()["Boot"]["BootSourceOverrideMode"] == "Legacy"


@check("odd-data")
def _(bmc: Bmc, media: str) -> None:
    nic = bmc.get("/EthernetInterfaces")["Members"][0]["@odata.id"]
    assert bmc.get(nic)["MACAddress"] == ""
    assert bmc.get("/Storage/1/Drives/sda")["CapacityBytes"] is None
    assert bmc.ask("GET", "/Nothing").json()["error"]["@Message.ExtendedInfo"]["MessageId"]


@check("no-licence")
def _(bmc: Bmc, media: str) -> None:
    refused = bmc.ask("POST", INSERT, {"Image": media})
    assert (refused.status_code, bmc.message(refused)) == (403, "IDRAC.2.8.LIC501")


@check("expand")
def _(bmc: Bmc, media: str) -> None:
    assert bmc.get("/redfish/v1")["ProtocolFeaturesSupported"]["ExpandQuery"]["NoLinks"] is True
    (storage,) = bmc.get("/Storage?$expand=.($levels=2)")["Members"]
    assert storage["Drives"][0]["CapacityBytes"] == 4 * 1024**3
    assert "CapacityBytes" not in bmc.get("/Storage?$expand=.($levels=1)")["Members"][0]["Drives"][0]
    assert bmc.patch("/BIOS/Settings", TURBO) == 204
    settings = bmc.get("/BIOS?$expand=.($levels=1)")["@Redfish.Settings"]["SettingsObject"]
    assert settings["Attributes"]["ProcTurboMode"] == "Disabled"
    assert list(bmc.get("/BIOS")["@Redfish.Settings"]["SettingsObject"]) == ["@odata.id"]
    bmc.behave()
    assert "ProtocolFeaturesSupported" not in bmc.get("/redfish/v1")
    assert list(bmc.get("/Storage?$expand=.($levels=1)")["Members"][0]) == ["@odata.id"]


@check("expand-collections")
def _(bmc: Bmc, media: str) -> None:
    assert bmc.get("/Storage?$expand=.($levels=2)")["Members"][0]["Drives"][0]["CapacityBytes"]
    refused = bmc.ask("GET", "/BIOS?$expand=.($levels=1)")
    assert (refused.status_code, bmc.message(refused).rpartition(".")[2]) == (400, "QueryNotSupportedOnResource")


@check("slow")
def _(bmc: Bmc, media: str) -> None:
    seconds = []
    for _ in range(4):
        started = time.monotonic()
        bmc.get("/redfish/v1")
        seconds.append(time.monotonic() - started)
    assert all(each >= 0.25 for each in seconds) and len(set(seconds)) == 4


@check("drops")
def _(bmc: Bmc, media: str) -> None:
    outcomes = []
    for _ in range(6):
        try:
            outcomes.append(bmc.ask("GET", "").status_code)
        except requests.exceptions.ConnectionError:
            outcomes.append(0)
    assert sorted(outcomes) == [0, 0, 200, 200, 200, 200]


@check("fails")
def _(bmc: Bmc, media: str) -> None:
    assert sorted(bmc.ask("GET", "").status_code for _ in range(6)) == [200, 200, 200, 200, 500, 500]


@check("short-sessions")
def _(bmc: Bmc, media: str) -> None:
    path = "/redfish/v1/SessionService/Sessions"
    token = bmc.ask("POST", path, {"UserName": "admin", "Password": bmc.password}).headers["X-Auth-Token"]
    time.sleep(1.1)
    assert bmc.stranger().get(bmc.url(""), headers={"X-Auth-Token": token}, timeout=10).status_code == 401


@check("etag-required")
def _(bmc: Bmc, media: str) -> None:
    refused = bmc.ask("PATCH", "", {"AssetTag": "x"})
    assert (refused.status_code, bmc.message(refused).rpartition(".")[2]) == (428, "PreconditionRequired")
    assert bmc.patch("", {"AssetTag": "x"}, If_Match=bmc.get()["@odata.etag"]) == 204


@check("basic-refused")
def _(bmc: Bmc, media: str) -> None:
    path = "/redfish/v1/SessionService/Sessions"
    assert bmc.ask("GET", "").status_code == 401
    made = bmc.ask("POST", path, {"UserName": "admin", "Password": bmc.password})
    token = {"X-Auth-Token": made.headers["X-Auth-Token"]}
    assert bmc.stranger().get(bmc.url(""), headers=token, timeout=10).status_code == 200
    assert bmc.stranger().delete(bmc.url(made.headers["Location"]), headers=token, timeout=10).status_code == 204
    bmc.behave()


@check("no-apply-time")
def _(bmc: Bmc, media: str) -> None:
    assert "SupportedApplyTimes" not in bmc.get("/BIOS")["@Redfish.Settings"]
    at_reset = {"@Redfish.SettingsApplyTime": {"ApplyTime": "OnReset"}}
    assert [bmc.patch("/BIOS/Settings", body) for body in ({**TURBO, **at_reset}, TURBO)] == [400, 204]


@check("no-registry")
def _(bmc: Bmc, media: str) -> None:
    assert "AttributeRegistry" not in bmc.get("/BIOS")
    bmc.behave()
    name = bmc.get("/BIOS")["AttributeRegistry"]
    german, english = (each["Uri"] for each in bmc.get(f"/redfish/v1/Registries/{name}")["Location"])
    assert (bmc.get(german)["Language"], bmc.get(english)["Language"]) == ("de", "en")
    entries = {entry["AttributeName"]: entry for entry in bmc.get(english)["RegistryEntries"]["Attributes"]}
    assert entries.keys() == bmc.get("/BIOS")["Attributes"].keys()
    assert [bmc.patch("/BIOS/Settings", {"Attributes": {"PowerCapWatts": watts}}) for watts in (2001, "1", 2000)] == [
        400,
        400,
        204,
    ]


@check("location-indicator")
def _(bmc: Bmc, media: str) -> None:
    assert "IndicatorLED" not in bmc.get()
    assert [bmc.patch("", body) for body in ({"IndicatorLED": "Lit"}, {"LocationIndicatorActive": True})] == [400, 204]
    assert bmc.get()["LocationIndicatorActive"] is True
    assert bmc.patch("", {"LocationIndicatorActive": False}) == 204


@check("raid")
def _(bmc: Bmc, media: str) -> None:
    storage = bmc.get("/Storage/RAID.1")
    volumes = storage["Volumes"]["@odata.id"]
    body = {"Name": "system", "RAIDType": "RAID1", "Links": {"Drives": storage["Drives"][:2]}}
    bmc.behave("raid", raid_seconds=3)
    made, second = bmc.ask("POST", volumes, body), bmc.ask("POST", volumes, body)
    bmc.behave("raid")
    assert (made.status_code, second.status_code) == (202, 409)  # one task at a time
    until(lambda: bmc.get(made.headers["Location"])["TaskState"] == "Completed", 30, "the volume is made")
    assert bmc.post(volumes, body) == 400  # no room is left
    (member,) = bmc.get(volumes)["Members"]
    assert (bmc.get(member["@odata.id"])["Name"], bmc.get(member["@odata.id"])["RAIDType"]) == ("system", "RAID1")
    task = bmc.ask("DELETE", member["@odata.id"]).headers["Location"]
    until(lambda: bmc.get(task)["TaskState"] == "Completed", 10, "the volume is deleted")
    assert bmc.get(volumes)["Members"] == []
    bmc.behave()
    assert bmc.ask("GET", "/Storage/RAID.1").status_code == 404


@check("raid-strict")
def _(bmc: Bmc, media: str) -> None:
    drives = bmc.get("/Storage/RAID.1")["Drives"][:1]
    volumes = "/Storage/RAID.1/Volumes"
    page = bmc.get(volumes)
    assert page["@Redfish.OperationApplyTimeSupport"]["SupportedValues"] == ["Immediate", "OnReset"]
    (raw,) = page["Members"]
    assert bmc.get(raw["@odata.id"])["VolumeType"] == "RawDevice"
    assert bmc.ask("DELETE", raw["@odata.id"]).status_code == 405
    body = {"RAIDType": "RAID0", "Links": {"Drives": drives}}
    now = {"@Redfish.OperationApplyTime": "Immediate"}
    bodies = ({"Name": "a", **body, **now}, {"DisplayName": "a", **body}, {"DisplayName": "a", **body, **now})
    assert [bmc.post(volumes, each) for each in bodies] == [400, 400, 202]
    until(lambda: bmc.get(volumes)["Members@odata.count"] == 2, 10, "the volume is made")
    made = bmc.get(volumes)["Members"][1]["@odata.id"]
    assert bmc.get(made)["DisplayName"] == "a"
    until(lambda: bmc.ask("DELETE", made).status_code == 202, 10, "the volume is about to go")
    until(lambda: bmc.get(volumes)["Members@odata.count"] == 1, 10, "the volume is deleted")


@check("storage-needs-power")
def _(bmc: Bmc, media: str) -> None:
    assert bmc.get("/Storage")["Members"] == [] and bmc.ask("GET", "/Storage/RAID.1").status_code == 404
    bmc.behave("storage-needs-power", storage_seconds=600)
    bmc.reset("On")
    assert bmc.get("/Storage")["Members"] == []
    assert bmc.get()["BootProgress"] == {"LastState": "PCIResourceConfigStarted"}
    bmc.behave("storage-needs-power")
    until(lambda: bmc.get("/Storage")["Members"], 30, "the firmware knows what there is")
    assert bmc.get()["BootProgress"] == {"LastState": "OSRunning"}
    assert len(bmc.get("/Storage")["Members"]) == 2 and len(bmc.get("/Storage/RAID.1")["Drives"]) == 4


@check("raid-at-boot")
def _(bmc: Bmc, media: str) -> None:
    times = bmc.get("/Storage/RAID.1/Volumes")["@Redfish.OperationApplyTimeSupport"]
    assert times == {"SupportedValues": ["OnReset"]}


@check("few-rights")
def _(bmc: Bmc, media: str) -> None:
    assert bmc.ask("GET", "/Storage").status_code == bmc.ask("GET", FIRMWARE).status_code == 403
    assert bmc.get("/BIOS")["Attributes"]


@check("no-settings")
def _(bmc: Bmc, media: str) -> None:
    assert "@Redfish.Settings" not in bmc.get("/BIOS") and bmc.get("/BIOS")["Attributes"]
    assert bmc.ask("GET", "/BIOS/Settings").status_code == 404


@check("raid-names-alike")
def _(bmc: Bmc, media: str) -> None:
    pages = [bmc.get(each["@odata.id"]) for each in bmc.get("/Storage/RAID.1")["Drives"]]
    assert {page["Name"] for page in pages} == {"Secondary Storage Device"}
    assert [page["SerialNumber"] for page in pages] == ["SBay0", "SBay1", "SBay2", "SBay3"]


@check("firmware-at-once")
def _(bmc: Bmc, media: str) -> None:
    update = "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate"
    answer = bmc.ask("POST", update, {"ImageURI": media})
    assert answer.status_code == 202
    until(lambda: bmc.get(answer.headers["Location"])["TaskState"] == "Exception", 30, "the image is looked at")
    (message,) = bmc.get(answer.headers["Location"])["Messages"]
    assert message["MessageId"] == "Update.1.0.ApplyFailed"  # an ISO is no firmware
    assert bmc.post(update, {"ImageURI": "ftp://x"}) == 400


@check("answers-lost")
def _(bmc: Bmc, media: str) -> None:
    with pytest.raises(requests.exceptions.ConnectionError):
        bmc.patch("", {"AssetTag": "lost"})
    assert bmc.get()["AssetTag"] == "lost"
    bmc.behave()


@check("slow-writes")
def _(bmc: Bmc, media: str) -> None:
    assert seconds_of(lambda: bmc.patch("", {"AssetTag": "late"}) == 204) >= 3
    until(lambda: seconds_of(lambda: bmc.get()["AssetTag"] == "late") < 3, 60, "other requests are quick")


@check("says-again")
def _(bmc: Bmc, media: str) -> None:
    refused = bmc.ask("POST", "/redfish/v1/SessionService/Sessions", {"UserName": "admin", "Password": "x-y-z"})
    assert (refused.status_code, "x-y-z" in refused.text) == (400, True)
    refused = bmc.ask("POST", INSERT, {"Image": media})
    assert (refused.status_code, media in refused.text) == (400, True)


def test_two_requests_at_once_are_answered_together_and_a_third_waits(bmc: Bmc) -> None:
    bmc.behave("slow", jitter=0, latency=2)

    def are_together() -> bool:
        """Unless this machine was slow."""
        ends = ends_of_three(bmc)
        assert ends[0] >= 2 and ends[2] >= 4
        return ends[1] - ends[0] < 2

    until(are_together, 60, "the second is answered with the first")


def ends_of_three(bmc: Bmc) -> list[float]:
    """When each of three requests was answered that were sent together, in seconds."""
    started = time.monotonic()
    ends: list[float] = []

    def ask() -> None:
        bmc.stranger().get(bmc.url("/redfish/v1"), timeout=30)
        ends.append(time.monotonic() - started)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends
