"""RAID volumes and firmware through the real provider, over HTTPS: what is asked for is there, and there once."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stacksmith.cli.app import run
from stacksmith.model.node_found import Aspects
from stacksmith.model.raid import fits
from stacksmith.model.realised import RaidVolume
from stacksmith.providers.base import Refused, TimedOut
from stacksmith.providers.bmc import NeedsPower, NotNow, Starting
from stacksmith.providers.redfish.firmware import SERVICE
from tests.e2e.bmc_parts import served
from tests.e2e.kit import until
from tests.e2e.light_parts import LightBmc, bad_line, light_farm, patiently, soon

pytestmark = [pytest.mark.e2e, pytest.mark.takes(55), pytest.mark.xdist_group("light")]
VOLUMES = "/Storage/RAID.1/Volumes"
SYSTEM = RaidVolume("system", "RAID1", ("Bay0", "Bay1"), 100 * 10**9)
DATA = RaidVolume("data", "RAID1", ("Bay2", "Bay3"))
RAID, FIRMWARE = Aspects(raid=True), Aspects(firmware=True)
BIOS, BMC = "BIOS firmware", "BMC firmware"
STACK = """\
stack: shop
fleet: fleet.yaml
flavors: {gold: {vcpus: 1, ram: 1024, extra_specs: {"resources:CUSTOM_BAREMETAL": "1"}}}
servers:
  db:
    flavor: gold
    bare_metal: {raid: [{name: system, raid_type: LEVEL, drives: DRIVES}]}
"""
STOPPED = STACK.replace("LEVEL", "RAID1").replace("DRIVES", "[Bay0, Bay1]") + "    power_state: stopped\n"


@pytest.fixture(scope="module")
def bmcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[LightBmc]]:
    with light_farm(tmp_path_factory.mktemp("light") / "farm", 57) as farm:
        yield iter(farm)


@pytest.fixture
def bmc(bmcs: Iterator[LightBmc]) -> LightBmc:
    bmc = next(bmcs)
    bmc.behave("raid")
    return bmc


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a folder with firmware."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "bios-2.bin").write_text("BIOS 2.0.0\n")
    (folder / "bmc-2.bin").write_text("BMC 2.1.0\n")
    with served(folder, "127.0.0.1") as url:
        yield url


def made(bmc: LightBmc) -> list[str]:
    return [each for each in bmc.writes() if each.startswith("POST") and "Volumes" in each]


# --- RAID


def test_volumes_are_made_found_and_left_alone(bmc: LightBmc) -> None:
    with bmc.session() as session:
        assert session.observe(soon(), RAID).raid == ()
        session.set_raid((SYSTEM, DATA), soon())
        session.set_raid((DATA, SYSTEM), soon())
        data, system = session.observe(soon(), RAID).raid
    assert (data.name, data.level, data.drives) == ("data", "RAID1", ("Bay2", "Bay3"))
    assert (system.name, system.level, system.drives) == ("system", "RAID1", ("Bay0", "Bay1"))
    assert system.size_bytes is not None and 0 < 100 * 10**9 - system.size_bytes < 10**9
    assert len(made(bmc)) == 2 and len(bmc.writes()) == 2


@pytest.mark.parametrize("names", [("SBay1", "SBay2"), ("Bay1", "Bay2")])
def test_drives_of_one_name_are_told_apart_by_serial_number(bmc: LightBmc, names: tuple[str, ...]) -> None:
    bmc.behave("raid-names-alike")
    wanted = RaidVolume("data", "RAID1", names)
    with bmc.session() as session:
        session.set_raid((wanted,), soon())
        session.set_raid((wanted,), soon())
        (found,) = session.observe(soon(), replace(RAID, drives=frozenset(names))).raid
        assert found.drives == names and fits(wanted, found) and len(made(bmc)) == 1
        with pytest.raises(Refused, match="no controller has all of its drives: Secondary Storage Device") as caught:
            session.set_raid((RaidVolume("x", "RAID0", ("Secondary Storage Device",)),), soon())
    assert caught.value.hint == "there are SBay0, SBay1, SBay2, SBay3"
    paths = [each["@odata.id"] for each in bmc.get("/Storage/RAID.1/Volumes/1")["Links"]["Drives"]]
    assert [path.rpartition("/")[2] for path in paths] == ["Bay1", "Bay2"]


def test_node_show_tells_volumes_firmware_and_what_waits_for_the_boot(
    bmc: LightBmc, capsys: pytest.CaptureFixture[str]
) -> None:
    name, fleet = bmc.node.name, bmc.folder / "show.json"
    fleet.write_text(json.dumps({"fleet": "one", "nodes": {name: bmc.fields}}))
    with bmc.session() as session:
        session.set_raid((SYSTEM,), soon())
        session.set_bios({"QuietBoot": "false"}, soon())
    assert run(["--fleet", str(fleet), "node", "show", name]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^raid\n  system  RAID1 93.\d GiB on Bay0, Bay1\nfirmware\n", out, re.MULTILINE)
    assert re.search(rf"^  {BIOS} +1.0.0$", out, re.MULTILINE)
    assert re.search(r"^bios at the next boot\n  QuietBoot +false$", out, re.MULTILINE)
    assert run(["--fleet", str(fleet), "node", "show", name, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["found"]
    assert (found["raid"][0]["name"], found["pending"]) == ("system", {"QuietBoot": "false"})
    with bmc.session() as session:
        session.set_raid((), soon())
    assert run(["--fleet", str(fleet), "node", "show", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["found"]["raid"] == [], "asked for, and none"


def test_volumes_that_are_not_wanted_are_deleted_and_the_others_stay(bmc: LightBmc) -> None:
    with bmc.session() as session:
        session.set_raid((SYSTEM, DATA), soon())
        kept = bmc.get(VOLUMES)["Members"][0]
        session.set_raid((SYSTEM,), soon())
        assert bmc.get(VOLUMES)["Members"] == [kept]
        session.set_raid((), soon())
        assert session.observe(soon(), RAID).raid == ()
    assert [each.partition(" ")[0] for each in bmc.writes()] == ["POST", "POST", "DELETE", "DELETE"]


def test_volume_of_another_level_takes_the_place_of_the_one_there_is(bmc: LightBmc) -> None:
    every = RaidVolume("system", "RAID5")
    with bmc.session() as session:
        session.set_raid((SYSTEM,), soon())
        session.set_raid((every,), soon())
        (volume,) = session.observe(soon(), RAID).raid
    assert (volume.level, volume.drives) == ("RAID5", ("Bay0", "Bay1", "Bay2", "Bay3"))
    assert volume.size_bytes is not None and volume.size_bytes > 3 * 479 * 10**9


@pytest.mark.parametrize("profiles", [("tasks",), ("expand",), ("answers-lost",), ("tasks", "expand", "answers-lost")])
def test_volume_is_made_once_whatever_the_bmc_does(bmc: LightBmc, profiles: tuple[str, ...]) -> None:
    bmc.behave("raid", *profiles)
    with bmc.session() as session:
        patiently(lambda: session.set_raid((SYSTEM, DATA), soon()))
        patiently(lambda: session.set_raid((SYSTEM, DATA), soon()))
        assert [each.name for each in session.observe(soon(), RAID).raid] == ["data", "system"]
        patiently(lambda: session.set_raid((DATA,), soon()))
        assert [each.name for each in session.observe(soon(), RAID).raid] == ["data"]
    bmc.behave("raid")
    assert bmc.get(VOLUMES)["Members"][0]["@odata.id"].endswith("/2")


def test_volume_whose_answer_is_lost_is_waited_for_as_long_as_a_task_runs(bmc: LightBmc) -> None:
    bmc.behave("raid", "answers-lost", raid_seconds=8)
    with bmc.session() as session:
        session.set_raid((SYSTEM,), soon())
        assert [each.name for each in session.observe(soon(), RAID).raid] == ["system"]


@pytest.mark.parametrize("fault", ["drop_every", "fail_every"])
def test_volume_is_made_once_over_a_bad_line(bmc: LightBmc, fault: str) -> None:
    over = bad_line(bmc, fault, 7, "raid")
    with bmc.session() as session:
        patiently(lambda: over(lambda: session.set_raid((SYSTEM, DATA), soon())), 60)
    bmc.behave("raid")
    assert [each["@odata.id"].rpartition("/")[2] for each in bmc.get(VOLUMES)["Members"]] == ["1", "2"]


def test_answer_that_comes_too_late_makes_no_second_volume(bmc: LightBmc) -> None:
    bmc.behave("raid", write_seconds=9)
    with bmc.session() as session:
        with pytest.raises(TimedOut):
            session.set_raid((SYSTEM,), soon(6))
        patiently(lambda: session.set_raid((SYSTEM,), soon()))
        assert len(session.observe(soon(), RAID).raid) == 1
    bmc.behave("raid")
    assert [each["@odata.id"].rpartition("/")[2] for each in bmc.get(VOLUMES)["Members"]] == ["1"]


def test_controller_that_asks_for_more_is_told_more(bmc: LightBmc) -> None:
    bmc.behave("raid-strict")
    with bmc.session() as session:
        assert session.observe(soon(), RAID).raid == ()  # a single drive is none
        session.set_raid((SYSTEM, DATA), soon())
        session.set_raid((SYSTEM, DATA), soon())
        assert [each.name for each in session.observe(soon(), RAID).raid] == ["data", "system"]
        session.set_raid((DATA,), soon())
        assert [each.name for each in session.observe(soon(), RAID).raid] == ["data"]
    assert bmc.get(VOLUMES)["Members@odata.count"] == 2


def test_controller_that_makes_volumes_at_a_boot_alone_is_refused(bmc: LightBmc) -> None:
    """And nothing is deleted for what it does not make."""
    bmc.behave("raid-strict")
    with bmc.session() as session:
        session.set_raid((SYSTEM,), soon())
        bmc.behave("raid-at-boot")
        before = bmc.writes()
        assert list(session.check_raid((SYSTEM,), soon())) == []
        cause = "its controller makes volumes OnReset alone, not at once"
        assert list(session.check_raid((DATA,), soon())) == [("data", cause)]
        with pytest.raises(Refused, match=f"cannot make the RAID volume data of .*: {cause}"):
            session.set_raid((DATA,), soon())
    assert bmc.writes() == before


def test_volumes_are_made_where_storage_is_shown_of_a_machine_that_is_on_alone(
    bmc: LightBmc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a boot into its setup; off again, what is not shown is no drift, and no cause to write anything anew."""
    monkeypatch.chdir(tmp_path)
    bmc.behave("storage-needs-power")
    name = bmc.node.name
    (tmp_path / "password").write_text(bmc.password)
    node = {**bmc.fields, "ca": str(bmc.node.ca), "password": {"file": "password"}}
    (tmp_path / "fleet.yaml").write_text(json.dumps({"fleet": "one", "nodes": {name: node}}))
    (tmp_path / "stack.yaml").write_text(STOPPED)
    assert run(["apply", "--yes"]) == 0, capsys.readouterr()
    assert [each["Name"] for each in volumes(bmc)] == ["system"] and bmc.get()["PowerState"] == "Off"
    assert len(made(bmc)) == 1 and bmc.get()["Oem"]["Lab"]["BootedFrom"] == "BiosSetup"
    assert run(["plan", "--detailed-exitcode"]) == 0, capsys.readouterr()
    assert run(["drift"]) == 0
    capsys.readouterr()
    assert run(["node", "show", name]) == 0
    assert re.search(r"^  raid +not told: not shown while it is off, or starts$", capsys.readouterr().out, re.MULTILINE)


def test_volume_that_is_shown_once_the_machine_is_on_is_lost_when_the_plan_says_so(
    bmc: LightBmc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first apply switches it on, finds the volume of somebody, and stops; then the plan knows of it."""
    monkeypatch.chdir(tmp_path)
    with bmc.session() as session:
        session.set_raid((DATA,), soon())
    bmc.behave("storage-needs-power")
    (tmp_path / "password").write_text(bmc.password)
    node = {**bmc.fields, "ca": str(bmc.node.ca), "password": {"file": "password"}}
    (tmp_path / "fleet.yaml").write_text(json.dumps({"fleet": "one", "nodes": {bmc.node.name: node}}))
    (tmp_path / "stack.yaml").write_text(STOPPED)
    assert run(["apply", "--yes", "--allow", "data-loss"]) == 5
    assert "would be deleted that the plan does not name: data (RAID1" in capsys.readouterr().err
    assert [each["Name"] for each in volumes(bmc)] == ["data"]
    assert run(["plan"]) == 0 and "RAID volume data (RAID1" in capsys.readouterr().out
    assert run(["apply", "--yes"]) == 7 and run(["apply", "--yes", "--allow", "data-loss"]) == 0
    assert [each["Name"] for each in volumes(bmc)] == ["system"] and bmc.get()["PowerState"] == "Off"
    assert run(["plan", "--detailed-exitcode"]) == 0


def test_volumes_of_a_machine_that_starts_are_not_told_until_its_firmware_knows_them(bmc: LightBmc) -> None:
    with bmc.session() as session:
        session.set_raid((SYSTEM,), soon())
        bmc.behave("storage-needs-power", storage_seconds=600)
        assert bmc.reset("On") == 204
        assert session.observe(soon(), RAID).raid is None
        with pytest.raises(Starting, match="shows no RAID controller yet: it starts"):
            session.set_raid((SYSTEM,), soon())
        bmc.behave("storage-needs-power")
        until(lambda: session.observe(soon(), RAID).raid, 30, "the firmware knows them")
        session.set_raid((SYSTEM,), soon())
    assert len(made(bmc)) == 1


def volumes(bmc: LightBmc) -> list[Any]:
    """Those that there are, whatever is shown while the machine is off."""
    bmc.behave("raid")
    found = [bmc.get(each["@odata.id"]) for each in bmc.get(VOLUMES)["Members"]]
    bmc.behave("storage-needs-power")
    return found


@pytest.mark.parametrize(("profile", "missing"), [("few-rights", ["firmware", "raid"]), ("no-settings", [])])
def test_node_show_tells_what_it_can(
    bmc: LightBmc, capsys: pytest.CaptureFixture[str], profile: str, missing: list[str]
) -> None:
    name, fleet = bmc.node.name, bmc.folder / "show.json"
    fleet.write_text(json.dumps({"fleet": "one", "nodes": {name: bmc.fields}}))
    bmc.behave("raid", profile)
    assert run(["--fleet", str(fleet), "node", "show", name, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert sorted(told.get("untold", {})) == missing
    assert all("403" in cause for cause in told.get("untold", {}).values())
    assert told["found"]["power_state"] == "off" and told["found"]["bios"] and told["found"]["pending"] == {}
    assert not set(missing) & told["found"].keys()
    assert run(["--fleet", str(fleet), "node", "show", name]) == 0
    out = capsys.readouterr().out
    assert len(re.findall(r"^  (?:firmware|raid) +not told: cannot use .* 403", out, re.MULTILINE)) == len(missing)


def test_controller_that_is_busy_is_not_now(bmc: LightBmc) -> None:
    """And has its turn later; that it is told so is test_18 of the quirks."""
    bmc.behave("raid", raid_seconds=3)
    drives = bmc.get("/Storage/RAID.1")["Drives"]
    assert bmc.post(VOLUMES, {"Name": "other", "RAIDType": "RAID0", "Links": {"Drives": drives[:1]}}) == 202
    bmc.behave("raid")
    with bmc.session() as session:
        patiently(lambda: session.set_raid((DATA,), soon()))
        assert [each.name for each in session.observe(soon(), RAID).raid] == ["data"]


@pytest.mark.parametrize(
    ("volume", "cause", "hint"),
    [
        (RaidVolume("x", "RAID1", ("Bay0", "Bay9")), "no controller has all of its drives: Bay0, Bay9", "Bay0, Bay1"),
        (RaidVolume("x", "RAID7"), "RAID7 is not possible", "RAID0, RAID1, RAID10, RAID5, RAID6"),
    ],
)
def test_volume_that_cannot_be_is_refused_before_any_is_deleted(
    bmc: LightBmc, volume: RaidVolume, cause: str, hint: str
) -> None:
    with bmc.session() as session:
        session.set_raid((SYSTEM,), soon())
        with pytest.raises(Refused, match=cause) as caught:
            session.set_raid((volume,), soon())
        assert hint in str(caught.value.hint) and caught.value.path == "raid"
        assert [each.name for each in session.observe(soon(), RAID).raid] == ["system"]


GIB = 1024**3


@pytest.mark.parametrize(
    ("volumes", "cause"),
    [
        ((SYSTEM, DATA), None),
        ((RaidVolume("x", "RAID1", ("Bay0", "SBay1")),), None),
        (
            (RaidVolume("x", "RAID1", ("Bay0", "Bay9")),),
            "no controller has all of its drives: Bay0, Bay9; there are Bay0, Bay1, Bay2, Bay3",
        ),
        (
            (RaidVolume("x", "RAID7"),),
            "RAID7 is not possible; there are RAID0, RAID1, RAID10, RAID5, RAID6",
        ),
        ((RaidVolume("x", "RAID1", ("Bay0", "SBay0")),), "SBay0 is the same drive as Bay0"),
        (
            (SYSTEM, RaidVolume("x", "RAID1", ("SBay1", "Bay2"))),
            "SBay1 is the same drive as Bay1 of volume system",
        ),
        ((RaidVolume("x", "RAID1", ("Bay0", "Bay1"), 447 * GIB),), None),
        (
            (RaidVolume("x", "RAID1", ("Bay0", "Bay1"), 448 * GIB),),
            "448.0 GiB are asked for, and its drives give 447.1 GiB at most",
        ),
        ((RaidVolume("x", "RAID5", (), 1341 * GIB),), None),
        (
            (RaidVolume("x", "RAID5", (), 1342 * GIB),),
            "1,342.0 GiB are asked for, and its drives give 1,341.4 GiB at most",
        ),
        ((RaidVolume("x", "RAID6", (), 895 * GIB),), "895.0 GiB are asked for, and its drives give 894.3 GiB at most"),
        ((RaidVolume("x", "RAID10", (), 895 * GIB),), "895.0 GiB are asked for, and its drives give 894.3 GiB at most"),
        ((RaidVolume("x", "RAID0", (), 1788 * GIB),), None),
    ],
)
def test_volumes_that_cannot_be_are_told_with_nothing_changed(
    bmc: LightBmc, volumes: tuple[RaidVolume, ...], cause: str | None
) -> None:
    with bmc.session() as session:
        assert session.check_raid(volumes, soon()) == ([] if cause is None else [(volumes[-1].name, cause)])
        assert bmc.writes() == []
        if cause is None:  # what is told to be possible is
            session.set_raid(volumes, soon())
            assert len(session.observe(soon(), RAID).raid) == len(volumes)


def test_bmc_of_the_lab_refuses_drives_that_are_no_whole_volume(bmc: LightBmc) -> None:
    """As a real controller does: otherwise no test would show that stacksmith asks for what can be."""
    drives = bmc.get("/Storage/RAID.1")["Drives"]
    for level, chosen in (("RAID1", [drives[0]] * 2), ("RAID1", drives[:1]), ("RAID5", [*drives[:2], drives[1]])):
        body = {"Name": "x", "RAIDType": level, "Links": {"Drives": chosen}}
        assert bmc.ask("POST", VOLUMES, body).status_code == 400


def test_licence_that_is_missing_is_said(bmc: LightBmc) -> None:
    bmc.behave("raid", "no-licence")
    with bmc.session() as session, pytest.raises(Refused, match="403 A required license is missing") as caught:
        session.set_raid((SYSTEM,), soon())
    assert caught.value.hint == "the BMC needs a licence for this: buy it, or do without"


def test_node_without_a_controller_has_no_volumes(bmc: LightBmc) -> None:
    """Which is not told while it is off: some show none then."""
    bmc.behave()
    with bmc.session() as session:
        assert session.observe(soon(), RAID).raid is None
        session.set_raid((), soon())
        with pytest.raises(NeedsPower, match="shows no RAID controller while it is off"):
            session.set_raid((SYSTEM,), soon())
        assert bmc.reset("On") == 204
        assert session.observe(soon(), RAID).raid == ()
        session.set_raid((), soon())
        with pytest.raises(Refused, match="RAID1 is not possible"):
            session.set_raid((SYSTEM,), soon())


# --- firmware


@pytest.mark.parametrize("profiles", [(), ("tasks",), ("answers-lost",)])
def test_bios_waits_for_the_boot_that_updates_it(bmc: LightBmc, images: str, profiles: tuple[str, ...]) -> None:
    bmc.behave(*profiles)
    with bmc.session() as session:
        assert session.update_firmware(BIOS, f"{images}/bios-2.bin", "2.0.0", soon()) is False
        bmc.behave()
        session.switch_on(soon())
        found = session.observe(soon(), FIRMWARE)
        assert (found.firmware[BIOS], found.bios_version) == ("2.0.0", "2.0.0")
        before = len(bmc.writes())
        assert session.update_firmware(BIOS, f"{images}/bios-2.bin", "2.0.0", soon()) is True
        assert len(bmc.writes()) == before


def test_task_that_is_not_known_yet_is_asked_for_again(bmc: LightBmc, images: str) -> None:
    bmc.behave("tasks", update_seconds=1)
    with bmc.session() as session:
        assert session.update_firmware(BIOS, f"{images}/bios-2.bin", "2.0.0", soon(15)) is False
    assert sum("/Tasks/1" in each for each in bmc.asked()) > 1, "the first answer is that there is none"


def test_update_waits_for_what_a_killed_run_asked_for(bmc: LightBmc, bmcs: Iterator[LightBmc], images: str) -> None:
    busy, action = next(bmcs), f"{SERVICE}/Actions/UpdateService.SimpleUpdate"
    for each, seconds in ((bmc, 3), (busy, 3600)):
        each.behave(update_seconds=seconds)
        assert each.post(action, {"ImageURI": f"{images}/bmc-2.bin"}) == 202
    with bmc.session() as session:
        assert patiently(lambda: session.update_firmware(BMC, f"{images}/bmc-2.bin", "2.1.0", soon())) is True
    still = pytest.raises(NotNow, match="its BMC is still at /redfish/v1/TaskService/Tasks/1")
    with busy.session() as session, still:
        session.update_firmware(BMC, f"{images}/bmc-2.bin", "2.1.0", soon())
    assert [sum("SimpleUpdate" in write for write in each.writes()) for each in (bmc, busy)] == [1, 1]


def test_update_that_needs_no_boot_is_followed_to_its_version(bmc: LightBmc, images: str) -> None:
    bmc.behave("tasks", update_seconds=1)
    with bmc.session() as session:
        assert session.update_firmware(BMC, f"{images}/bmc-2.bin", "2.1.0", soon()) is True
        assert session.observe(soon(), FIRMWARE).firmware == {BIOS: "1.0.0", BMC: "2.1.0"}


@pytest.mark.parametrize(
    ("name", "image", "version", "cause"),
    [
        (
            BIOS,
            "none.bin",
            "2.0.0",
            r"cannot update BIOS firmware of bm.* from http.*none\.bin: a task of .* has ended as Exception: .*404",
        ),
        (BIOS, "bmc-2.bin", "2.1.0", "has ended as Exception: The image of .* is not for this device"),
        (BMC, "bmc-2.bin", "3.0.0", "to 3.0.0: the image is of version 2.1.0"),
        ("NIC firmware", "bmc-2.bin", "3.0.0", "there is no such firmware"),
    ],
)
def test_update_that_fails_says_why(
    bmc: LightBmc, images: str, name: str, image: str, version: str, cause: str
) -> None:
    with bmc.session() as session, pytest.raises(Refused, match=cause):
        session.update_firmware(name, f"{images}/{image}", version, soon())


# --- by the command line


def test_plan_says_which_volumes_are_lost_and_apply_needs_leave_for_it(
    bmc: LightBmc, bmcs: Iterator[LightBmc], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with bmc.session() as session:
        session.set_raid((SYSTEM, DATA), soon())
    other, ca = next(bmcs), {"ca": str(bmc.node.ca)}
    elsewhere = {**other.fields, **ca, "resource_class": "CUSTOM_BAREMETAL_OTHER"}
    fleet = {"fleet": "two", "nodes": {bmc.node.name: {**bmc.fields, **ca}, other.node.name: elsewhere}}
    (tmp_path / "fleet.yaml").write_text(json.dumps(fleet))
    (tmp_path / bmc.fields["password"]["file"]).write_text(bmc.password)
    before = bmc.writes()

    def said(*words: str, level: str = "RAID1", drives: str = "[Bay2, Bay3]") -> tuple[int, str]:
        (tmp_path / "stack.yaml").write_text(STACK.replace("LEVEL", level).replace("DRIVES", drives))
        capsys.readouterr()
        status = run([words[0], str(tmp_path / "stack.yaml"), *words[1:]])
        output = capsys.readouterr()
        return status, output.out + output.err

    status, text = said("plan")
    assert status == 0, text
    assert f"server.db will be created (on {bmc.node.name}; loses data)" in text
    assert "# data-loss: RAID volume data (RAID1, 447.1 GiB) is deleted with what is on it" in text
    assert "# data-loss: RAID volume system (RAID1, 93.1 GiB) is deleted with what is on it" in text
    assert sorted(other.asked()) == ["GET ", "GET /BIOS"], "nodes that get no server with volumes cost two requests"
    status, text = said("apply", "--yes")
    assert status == 7 and "--allow data-loss" in text
    assert bmc.writes() == before
    status, text = said("apply", "--yes", "--allow", "data-loss")
    assert status == 0, text
    assert said("plan", "--detailed-exitcode")[0] == 0
    before = bmc.writes()
    status, text = said("apply", "--yes", level="RAID0", drives="[Bay0]")
    assert status == 7 and "RAID volume system (RAID1, 447.1 GiB) is deleted with what is on it" in text
    assert bmc.writes() == before


def test_plan_tells_volumes_that_the_node_cannot_make_at_their_place(
    bmc: LightBmc, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = {"fleet": "one", "nodes": {bmc.node.name: {**bmc.fields, "ca": str(bmc.node.ca)}}}
    (tmp_path / "fleet.yaml").write_text(json.dumps(fleet))
    (tmp_path / bmc.fields["password"]["file"]).write_text(bmc.password)
    bad = STACK.replace("LEVEL", "RAID1").replace("DRIVES", "[Bay0, Bay7]")
    (tmp_path / "stack.yaml").write_text(bad)
    assert run(["plan", str(tmp_path / "stack.yaml")]) == 1
    said = capsys.readouterr().err
    cause = f"cannot make RAID volume system of {bmc.node.name}: no controller has all of its drives: Bay0, Bay7"
    assert f"{tmp_path}/stack.yaml:7:25: error[bad-raid]: {cause}; there are Bay0, Bay1, Bay2, Bay3" in said
    assert f"stacksmith node inspect {bmc.node.name}" in said and bmc.writes() == []
