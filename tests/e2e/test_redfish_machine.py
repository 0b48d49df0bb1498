"""The server of a bare-metal node, over HTTPS: one restart brings what waited into force, and it is in force after."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from stacksmith.address import Address
from stacksmith.model.change import Change, Impact, Status
from stacksmith.model.deploy import DeploySpec
from stacksmith.model.found import Mark
from stacksmith.model.node import Node
from stacksmith.model.node_found import Aspects
from stacksmith.model.realised import Machine, Policy, RaidVolume, to_data
from stacksmith.providers.base import Contents, Deadline, Refused, Stale, Target, Transient
from stacksmith.providers.bmc import Access, BmcSession, Occupant, Tell
from stacksmith.providers.deployment import LATER, Cleaning, Job
from stacksmith.providers.redfish.deploy import Deployer
from stacksmith.providers.redfish.place import NodePlace, open_place
from tests.e2e.bmc_parts import served
from tests.e2e.kit import until
from tests.e2e.light_parts import Killed, LightBmc, patiently, soon, soon_after

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("light")]
BMCS = 60
NOTHING = cast(Contents, None)  # no image is written here
BASE = Machine(
    "db",
    "CUSTOM_BAREMETAL",
    boot_mode="uefi",
    secure_boot=False,
    bios={"PowerCapWatts": 0, "ProcTurboMode": "Enabled"},
    indicator_led="off",
    asset_tag="",
)


def occupant(wanted: Machine) -> Occupant:
    return Occupant(Address("server", "db"), "u-1", to_data(wanted))


@contextmanager
def place(
    bmc: LightBmc, of: Occupant | None = None, firmware: Sequence[str] = (), **changed: float
) -> Iterator[NodePlace]:
    everything = Aspects(secure_boot=True, pending=True, raid=True, firmware=True)
    access = Access(bmc.password, str(bmc.node.ca), of, everything, frozenset(BASE.bios), frozenset(firmware))
    node = Node.model_validate({**bmc.fields, "power_timeout_seconds": 20, **changed})
    opened = open_place(bmc.node.name, node, access, None)
    try:
        yield opened
    finally:
        opened.close()


def target(bmc: LightBmc, wanted: Machine, paths: Sequence[str] = (), **more: Any) -> Target:
    mark = Mark("f", "shop", Address("server", "db"), "u-1", to_data(wanted))
    versions = {f"firmware.{name}": version for name, version in wanted.firmware.items()}
    changes = [Change(path, versions.get(path), None, None, Status.CHANGE) for path in paths]
    return Target(mark, bmc.node.name, wanted, Policy(), changes=changes, allowed=Impact.RESTART, **more)


def created(bmc: LightBmc, wanted: Machine = BASE) -> Occupant:
    with place(bmc, firmware=tuple(wanted.firmware)) as opened:
        found = opened.drivers["server"].create(target(bmc, wanted), NOTHING, soon(60))
    assert found.spec == wanted and found.saved is None
    return occupant(wanted)


def resets(bmc: LightBmc) -> int:
    return sum("ComputerSystem.Reset" in each for each in bmc.writes())


def update(bmc: LightBmc, of: Occupant, wanted: Machine, *paths: str) -> Machine:
    with place(bmc, of, tuple(wanted.firmware)) as opened:
        found = opened.read(soon())
        result = opened.drivers["server"].update(target(bmc, wanted, paths, found=found), NOTHING, soon(60))
        assert result.saved is None and isinstance(result.spec, Machine)
        return result.spec


def test_everything_that_needs_a_boot_costs_one(bmc: LightBmc) -> None:
    of = created(bmc)
    before = resets(bmc)
    bios = {"PowerCapWatts": 300, "ProcTurboMode": "Disabled"}
    wanted = replace(BASE, boot_mode="bios", secure_boot=True, bios=bios, asset_tag="R1", indicator_led="lit")
    paths = ("boot_mode", "secure_boot", "bios.PowerCapWatts", "bios.ProcTurboMode", "asset_tag", "indicator_led")
    assert update(bmc, of, wanted, *paths) == wanted
    assert resets(bmc) - before == 2  # off and on


def test_light_and_tag_are_set_before_the_restart_in_which_some_bmcs_take_no_changes(bmc: LightBmc) -> None:
    of = created(bmc)
    bmc.behave("post")
    before = resets(bmc)
    wanted = replace(BASE, bios={**BASE.bios, "PowerCapWatts": 300}, asset_tag="R1", indicator_led="lit")
    paths = ("bios.PowerCapWatts", "asset_tag", "indicator_led")
    assert patiently(lambda: update(bmc, of, wanted, *paths)) == wanted  # it may still be starting for the first time
    assert resets(bmc) - before == 2


def test_update_that_is_tried_again_restarts_once(bmc: LightBmc) -> None:
    of = created(bmc)
    before = resets(bmc)
    wanted = replace(BASE, boot_mode="bios", bios={**BASE.bios, "PowerCapWatts": 300})
    with place(bmc, of) as opened:
        for _ in range(2):
            again = target(bmc, wanted, ("boot_mode", "bios.PowerCapWatts"), found=opened.read(soon()))
            assert opened.drivers["server"].update(again, NOTHING, soon(60)).spec == wanted
    assert resets(bmc) - before == 2


def test_light_and_tag_cost_none(bmc: LightBmc) -> None:
    of = created(bmc)
    before = resets(bmc)
    wanted = replace(BASE, asset_tag="R1", indicator_led="blinking")
    assert update(bmc, of, wanted, "asset_tag", "indicator_led") == wanted
    assert resets(bmc) == before


def test_settings_are_waited_for_until_the_firmware_has_them(bmc: LightBmc) -> None:
    of = created(bmc)
    bmc.behave("late-bios")
    before = time.monotonic()
    wanted = replace(BASE, bios={**BASE.bios, "PowerCapWatts": 300})
    assert update(bmc, of, wanted, "bios.PowerCapWatts") == wanted
    assert time.monotonic() - before >= 2


def test_settings_are_waited_for_too_where_the_power_is_left_to_others(bmc: LightBmc) -> None:
    of = created(bmc)
    bmc.behave(apply_seconds=5)
    wanted = replace(BASE, power_state=None, bios={**BASE.bios, "PowerCapWatts": 300})
    assert update(bmc, of, wanted, "bios.PowerCapWatts") == replace(wanted, power_state="running")


def test_bios_attributes_that_were_applied_to_a_node_that_is_off_are_no_drift_until_it_starts(bmc: LightBmc) -> None:
    wanted = replace(BASE, power_state=None, bios={**BASE.bios, "PowerCapWatts": 300})
    with place(bmc) as opened:
        opened.drivers["server"].create(target(bmc, wanted), NOTHING, soon(60))
        found = opened.read(soon())
        assert found is not None and found.spec == replace(wanted, power_state="stopped") and found.saved == found.spec
        assert bmc.patch("/BIOS/Settings", {"Attributes": {"PowerCapWatts": 400}}) == 204
        changed = opened.read(soon())
        assert changed is not None and changed.spec != found.spec
        assert bmc.patch("/BIOS/Settings", {"Attributes": {"PowerCapWatts": 300}}) == 204
        assert bmc.reset("On") == 204
        started = opened.read(soon())
        assert started is not None and started.spec == replace(wanted, power_state="running") and started.saved is None


WAITING = {
    "boot mode": replace(BASE, power_state="stopped", boot_mode="bios", secure_boot=None),
    "secure boot": replace(BASE, power_state="stopped", secure_boot=True),
    "firmware": replace(BASE, power_state="stopped", firmware={"BIOS firmware": "2.0.0"}),
}


@pytest.mark.parametrize("name", WAITING)
def test_what_was_applied_to_a_node_that_stays_off_is_no_drift_until_it_starts(
    bmc: LightBmc, tmp_path: Path, name: str
) -> None:
    bmc.behave(*(["boot-mode-by-bios"] if name == "boot mode" else []))
    (tmp_path / "bios-2.bin").write_text("BIOS 2.0.0\n")
    with served(tmp_path, "127.0.0.1") as url, place(bmc, firmware=tuple(WAITING[name].firmware)) as opened:
        images = {each: f"{url}/bios-2.bin" for each in WAITING[name].firmware}
        wanted = replace(WAITING[name], firmware_images=images)
        opened.drivers["server"].create(target(bmc, wanted), NOTHING, soon(60))
        found = opened.read(soon())
        assert found is not None and isinstance(found.spec, Machine)
        undeclared = {"secure_boot": None} if wanted.secure_boot is None else {}
        assert replace(found.spec, **undeclared) == wanted
        assert bmc.reset("On") == 204
        started = opened.read(soon())
        assert started is not None and isinstance(started.spec, Machine)
        assert (started.spec.boot_mode, started.spec.firmware) == (wanted.boot_mode, wanted.firmware)
        assert wanted.secure_boot in (None, started.spec.secure_boot)


@pytest.mark.parametrize("name", WAITING)
def test_what_does_not_come_with_the_next_boot_of_a_node_that_is_off_is_drift(bmc: LightBmc, name: str) -> None:
    bmc.behave(*(["boot-mode-by-bios"] if name == "boot mode" else []))
    with place(bmc, occupant(WAITING[name]), tuple(WAITING[name].firmware)) as opened:
        found = opened.read(soon())
    assert found is not None and isinstance(found.spec, Machine)
    told = (found.spec.boot_mode, found.spec.secure_boot, found.spec.firmware)
    assert told == ("uefi", False, dict.fromkeys(WAITING[name].firmware, "1.0.0"))


def test_secure_boot_set_by_hand_for_the_next_boot_is_drift_and_set_back(bmc: LightBmc) -> None:
    of = created(bmc, replace(BASE, secure_boot=True))
    assert bmc.patch("/SecureBoot", {"SecureBootEnable": False}) in (200, 204)
    with place(bmc, of) as opened:
        found = opened.read(soon())
    assert found is not None and isinstance(found.spec, Machine) and isinstance(found.saved, Machine)
    assert (found.spec.secure_boot, found.saved.secure_boot) == (True, False)
    before = resets(bmc)
    assert update(bmc, of, replace(BASE, secure_boot=True), "secure_boot") == replace(BASE, secure_boot=True)
    assert resets(bmc) == before + 2  # off and on
    with place(bmc, of) as opened:
        again = opened.read(soon())
    assert again is not None and again.saved is None and again.spec == replace(BASE, secure_boot=True)


def test_9_every_boot_is_from_the_disk_that_has_the_image(bmc: LightBmc) -> None:
    bmc.behave("network-first")
    of = created(bmc)
    assert bmc.get()["Oem"]["Lab"]["BootedFrom"] == "Pxe"  # without an image the order is the node's own
    deployed = occupant(replace(BASE, image="sha256:ab"))
    for watts in (300, 400):
        wanted = replace(BASE, image="sha256:ab", bios={**BASE.bios, "PowerCapWatts": watts})
        assert update(bmc, deployed, wanted, "bios.PowerCapWatts") == wanted
        assert bmc.get()["Oem"]["Lab"]["BootedFrom"] == "Hdd"
    stopped = replace(wanted, power_state="stopped")
    assert update(bmc, occupant(wanted), stopped, "power_state") == stopped
    assert update(bmc, occupant(stopped), wanted, "power_state") == wanted
    assert bmc.get()["Oem"]["Lab"]["BootedFrom"] == "Hdd"
    assert update(bmc, of, replace(BASE, bios=wanted.bios), "bios.PowerCapWatts").bios == wanted.bios


def test_one_slow_answer_does_not_end_the_wait_for_settings(bmc: LightBmc) -> None:
    of = created(bmc)
    wanted = replace(BASE, bios={**BASE.bios, "PowerCapWatts": 300})
    bmc.behave(apply_seconds=3600)
    before = resets(bmc)
    with place(bmc, of, read_timeout_seconds=5, power_timeout_seconds=60) as opened:
        change = target(bmc, wanted, ("bios.PowerCapWatts",), found=opened.read(soon()))
        with ThreadPoolExecutor() as pool:
            updated = pool.submit(opened.drivers["server"].update, change, NOTHING, soon(90))
            until(lambda: resets(bmc) == before + 2, 30, "it is switched on")
            asked = len(bmc.asked())
            until(lambda: "GET /BIOS/Settings" in bmc.asked()[asked:], 30, "the settings are waited for")
            bmc.behave(latency=8)
            time.sleep(8)  # it is asked every two seconds
            bmc.behave()
            assert bmc.reset("ForceRestart") == 204  # at this boot they are in force at once
            assert updated.result().spec == wanted


def test_boot_mode_and_secure_boot_cost_a_boot_each_where_they_cannot_change_together(bmc: LightBmc) -> None:
    of = created(bmc)
    bmc.behave("boot-mode-by-bios")
    before = resets(bmc)
    wanted = replace(BASE, boot_mode="bios", secure_boot=True)
    assert update(bmc, of, wanted, "boot_mode", "secure_boot") == wanted
    assert resets(bmc) - before == 4


def test_create_brings_both_into_force_too(bmc: LightBmc) -> None:
    bmc.behave("boot-mode-by-bios", "late-bios")
    created(bmc, replace(BASE, boot_mode="bios", secure_boot=True, bios={**BASE.bios, "PowerCapWatts": 1}))


def test_boot_between_runs_nothing_of_what_is_on_the_disks_of_a_new_server(bmc: LightBmc) -> None:
    bmc.behave("boot-mode-by-bios")
    wanted = replace(BASE, boot_mode="bios", secure_boot=True, power_state="stopped")
    with place(bmc) as opened:
        opened.drivers["server"].create(target(bmc, wanted), NOTHING, soon(60))
    assert (resets(bmc), bmc.get()["Oem"]["Lab"]["BootedFrom"]) == (2, "BiosSetup")


def test_firmware_is_updated_and_waited_for_over_the_one_boot(bmc: LightBmc, tmp_path: Path) -> None:
    (tmp_path / "bios-2.bin").write_text("BIOS 2.0.0\n")
    of = created(bmc)
    before = resets(bmc)
    with served(tmp_path, "127.0.0.1") as url:
        images = {"BIOS firmware": f"{url}/bios-2.bin"}
        pinned = {"BIOS firmware": "2.0.0"}
        wanted = replace(BASE, firmware=pinned, firmware_images=images, bios={**BASE.bios, "PowerCapWatts": 9})
        assert update(bmc, of, wanted, "firmware.BIOS firmware", "bios.PowerCapWatts") == wanted
    assert resets(bmc) - before == 2


def test_image_of_another_version_is_told_after_the_boot_that_shows_it(bmc: LightBmc, tmp_path: Path) -> None:
    """At once, and not when the time for firmware is over, which is half an hour."""
    (tmp_path / "bios.bin").write_text("BIOS 3.0.0\n")
    of = created(bmc)
    with served(tmp_path, "127.0.0.1") as url:
        wanted = replace(
            BASE, firmware={"BIOS firmware": "4.0.0"}, firmware_images={"BIOS firmware": f"{url}/bios.bin"}
        )
        with pytest.raises(Refused, match=r"BIOS firmware of .* to 4\.0\.0: the image is of version 3\.0\.0"):
            update(bmc, of, wanted, "firmware.BIOS firmware")


def test_create_brings_firmware_to_its_version(bmc: LightBmc, tmp_path: Path) -> None:
    (tmp_path / "bios-2.bin").write_text("BIOS 2.0.0\n")
    with served(tmp_path, "127.0.0.1") as url:
        images = {"BIOS firmware": f"{url}/bios-2.bin"}
        created(bmc, replace(BASE, firmware={"BIOS firmware": "2.0.0"}, firmware_images=images))


def test_create_that_is_tried_again_sends_an_update_of_firmware_once(bmc: LightBmc, tmp_path: Path) -> None:
    (tmp_path / "bios-2.bin").write_text("BIOS 2.0.0\n")
    bmc.reset("On")
    bmc.reset("GracefulShutdown")
    bmc.behave(post=600)
    refused = []
    with served(tmp_path, "127.0.0.1") as url, place(bmc, firmware=("BIOS firmware",)) as opened:
        images = {"BIOS firmware": f"{url}/bios-2.bin"}
        bios = {**BASE.bios, "PowerCapWatts": 300}
        wanted = replace(BASE, firmware={"BIOS firmware": "2.0.0"}, firmware_images=images, bios=bios)

        def create() -> object:
            try:
                return opened.drivers["server"].create(target(bmc, wanted), NOTHING, soon(60)).spec
            except Transient as fault:
                refused.append(fault)
                bmc.behave()
                raise

        assert patiently(create) == wanted
    assert refused and sum("SimpleUpdate" in each for each in bmc.writes()) == 1


@pytest.mark.parametrize(
    ("notes_kept", "is_noted"),
    [(0, False), (1, True), (1, False), (2, True)],
    ids=["before its note", "before it is sent", "when it is sent", "when its BMC has it"],
)
def test_update_of_firmware_is_sent_once_though_its_run_is_killed(
    bmc: LightBmc, tmp_path: Path, notes_kept: int, is_noted: bool
) -> None:
    """``is_noted``: the kill comes right after the last note that is kept, else in place of the next one."""
    (tmp_path / "bios-2.bin").write_text("BIOS 2.0.0\n")
    notes: list[str] = []

    def note(text: str) -> None:
        if len(notes) < notes_kept:
            notes.append(text)
        if len(notes) == notes_kept and (is_noted or text not in notes):
            raise Killed

    with served(tmp_path, "127.0.0.1") as url:
        images = {"BIOS firmware": f"{url}/bios-2.bin"}
        wanted = replace(BASE, firmware={"BIOS firmware": "2.0.0"}, firmware_images=images)
        with place(bmc, firmware=("BIOS firmware",)) as opened, pytest.raises(Killed):
            opened.drivers["server"].create(target(bmc, wanted, reached=note), NOTHING, soon(60))
        assert len(notes) == notes_kept
        stage = notes[-1] if notes else ""
        with place(bmc, firmware=("BIOS firmware",)) as opened:
            again = target(bmc, wanted, stage=stage, reached=notes.append)
            assert opened.drivers["server"].create(again, NOTHING, soon(60)).spec == wanted
    assert sum("SimpleUpdate" in each for each in bmc.writes()) == 1


def test_update_of_firmware_that_failed_after_its_run_was_killed_is_sent_anew(
    bmc: LightBmc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    with served(tmp_path, "127.0.0.1") as url:
        images = {"BIOS firmware": f"{url}/bios-2.bin"}
        wanted = replace(BASE, firmware={"BIOS firmware": "2.0.0"}, firmware_images=images)

        def create() -> None:
            with place(bmc, firmware=("BIOS firmware",)) as opened:
                again = target(bmc, wanted, stage=notes[-1] if notes else "", reached=notes.append)
                assert opened.drivers["server"].create(again, NOTHING, soon(60)).spec == wanted

        def killed(*args: object) -> None:
            raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr("stacksmith.providers.redfish.firmware._waits", killed)  # the BMC has just taken it
            create()
        with bmc.session() as session:
            patiently(lambda: session.tasks(soon()))  # until none runs: there was no image to fetch
        (tmp_path / "bios-2.bin").write_text("BIOS 2.0.0\n")
        patiently(create)
    assert sum("SimpleUpdate" in each for each in bmc.writes()) == 2


@pytest.mark.parametrize("power_state", [None, "running", "stopped"])
@pytest.mark.parametrize("call", ["update", "create"])
def test_restart_that_was_killed_while_the_node_was_off_is_ended_by_the_next_run(
    bmc: LightBmc, monkeypatch: pytest.MonkeyPatch, power_state: str | None, call: str
) -> None:
    """The next run may do no more than a plan says of a node that is off."""
    of = replace(created(bmc), complete=call == "update")
    wanted = replace(BASE, power_state=power_state, bios={**BASE.bios, "PowerCapWatts": 300})
    notes: list[str] = []

    def act(opened: NodePlace, stage: str, **more: Any) -> Any:
        doing = target(bmc, wanted, ("bios.PowerCapWatts",), found=opened.read(soon()), stage=stage)
        doing = replace(doing, reached=notes.append, **more)
        return getattr(opened.drivers["server"], call)(doing, NOTHING, soon(60))

    def killed(*args: object) -> None:
        raise Killed

    with place(bmc, of) as opened, monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("stacksmith.providers.redfish.session.RedfishSession.switch_on", killed)
        act(opened, "")
        if power_state == "stopped":  # which a half made one is not switched on for
            raise Killed
    assert bmc.get()["PowerState"] == "Off"
    with place(bmc, of) as opened:
        result = act(opened, notes[-1], allowed=Impact.LIVE)
    after = "Off" if power_state == "stopped" else "On"
    assert bmc.get()["PowerState"] == after and result.spec.bios["PowerCapWatts"] == 300
    assert notes[-1] == ""


def test_update_of_firmware_that_its_boot_did_not_bring_is_sent_anew_by_the_next_run(
    bmc: LightBmc, tmp_path: Path
) -> None:
    (tmp_path / "bios.bin").write_text("BIOS 3.0.0\n")
    notes: list[str] = []
    with served(tmp_path, "127.0.0.1") as url, place(bmc, firmware=("BIOS firmware",)) as opened:
        images = {"BIOS firmware": f"{url}/bios.bin"}
        wanted = replace(BASE, firmware={"BIOS firmware": "4.0.0"}, firmware_images=images)
        with pytest.raises(Refused, match=r"the image is of version 3\.0\.0"):
            opened.drivers["server"].create(target(bmc, wanted, reached=notes.append), NOTHING, soon(60))
    assert [each.count("=") for each in notes] == [1, 1, 0]


def test_create_sends_no_update_of_firmware_that_is_as_pinned(bmc: LightBmc) -> None:
    created(bmc, replace(BASE, firmware={"BIOS firmware": "1.0.0"}))
    assert not [each for each in bmc.writes() if "SimpleUpdate" in each]


def test_firmware_that_a_node_cannot_be_brought_to_is_told_before_anything_is_done(bmc: LightBmc) -> None:
    pinned = {"BIOS firmware": "2.0.0", "BMC firmware": "1.4.2", "NIC firmware": "1"}
    with place(bmc) as opened:
        faults = opened.faults(replace(BASE, firmware=pinned, bios={}), soon())
    assert faults == [
        ("firmware", "BIOS firmware", "it has 1.0.0, and no image of 2.0.0 is named"),
        ("firmware", "NIC firmware", "it has no such firmware, but BIOS firmware, BMC firmware"),
    ]


def test_attribute_that_the_registry_does_not_know_stops_before_anything_is_written(bmc: LightBmc) -> None:
    of = created(bmc)
    before = bmc.writes()
    wanted = replace(BASE, bios={**BASE.bios, "PowerCapWatts": 9999}, asset_tag="R1")
    with pytest.raises(Refused, match="BIOS attribute PowerCapWatts: 9999 is not possible: 2000 is the most") as caught:
        update(bmc, of, wanted, "bios.PowerCapWatts", "asset_tag")
    assert caught.value.path == "bios.PowerCapWatts" and bmc.writes() == before


def test_create_that_fails_after_it_changed_the_node_leaves_its_server_there_half_made(bmc: LightBmc) -> None:
    bmc.behave("raid", "writes-ignored")  # which are the PATCHes
    wanted = replace(BASE, bios={}, raid=(RaidVolume("system", "RAID1", ("Bay0", "Bay1")),), asset_tag="R1")
    with place(bmc) as opened:
        with pytest.raises(Refused, match="cannot set the asset tag"):
            opened.drivers["server"].create(target(bmc, wanted), NOTHING, soon(60))
        found = opened.drivers["server"].read(target(bmc, wanted).mark)
    assert found is not None and found.partial


def test_create_that_is_refused_whole_leaves_nothing_on_the_node(bmc: LightBmc) -> None:
    bmc.behave("no-registry")
    wanted = replace(BASE, bios={"Warp": 9})
    with place(bmc) as opened:
        with pytest.raises(Refused, match="Warp"):
            opened.drivers["server"].create(target(bmc, wanted), NOTHING, soon(60))
        assert opened.drivers["server"].read(target(bmc, wanted).mark) is None
    assert bmc.writes() == ["PATCH /BIOS/Settings"]


def test_password_of_the_bios_is_refused_by_its_name_where_no_registry_tells_it(bmc: LightBmc) -> None:
    bmc.behave("no-registry")
    wanted = replace(BASE, bios={"SysPassword": "hunter2", "PasswordStatus": "Locked", "Warp": 9})
    with place(bmc) as opened:
        (told,) = opened.faults(wanted, soon())
    assert told == ("bios", "SysPassword", "it is a password: no BMC shows those, and plans and the state would")


def test_create_deletes_no_volume_that_the_plan_does_not_name(bmc: LightBmc) -> None:
    bmc.behave("raid")
    with bmc.session() as session:
        session.set_raid((RaidVolume("customer-data", "RAID1", ("Bay0", "Bay1")),), soon())
    before, wanted = bmc.writes(), replace(BASE, bios={}, raid=(RaidVolume("system", "RAID1", ("Bay0", "Bay1")),))
    with place(bmc) as opened:
        with pytest.raises(Stale, match="would be deleted that the plan does not name: customer-data") as refused:
            opened.drivers["server"].create(target(bmc, wanted), NOTHING, soon(60))
        assert str(refused.value.hint).startswith("plan again")
        assert bmc.writes() == before
        unnamed = replace(target(bmc, wanted, ("raid[other]",)), allowed=Impact.DATA_LOSS)
        with pytest.raises(Stale, match=r"does not name: customer-data \(RAID1, 447.1 GiB\)"):
            opened.drivers["server"].create(unnamed, NOTHING, soon(60))
        assert bmc.writes() == before
        allowed = replace(target(bmc, wanted, ("raid[customer-data]",)), allowed=Impact.DATA_LOSS)
        made = opened.drivers["server"].create(allowed, NOTHING, soon(60)).spec
    assert isinstance(made, Machine) and made.raid == wanted.raid
    assert any(each.startswith("DELETE") for each in bmc.writes())


@pytest.mark.parametrize(("stage", "sent"), [("booted 1a2b", 1), ("ready 1a2b", 2), ("", 2)])
def test_ramdisk_that_hears_no_power_button_is_switched_off_at_once_by_destroy(
    bmc: LightBmc, stage: str, sent: int
) -> None:
    """What runs from its disk is asked first."""
    of = created(bmc)
    bmc.behave("graceful-ignored")
    before = resets(bmc)
    with place(bmc, of, power_timeout_seconds=3600) as opened:
        leaving = target(bmc, BASE, found=opened.read(soon()), stage=stage)
        limit = soon_after(lambda: resets(bmc) > before, 60)  # half of its time is over then
        opened.drivers["server"].delete(leaving, limit)
    assert (resets(bmc) - before, bmc.get()["PowerState"]) == (sent, "Off")


class Recorder:
    """In place of what deploys: keeps what it is asked for, and stops."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.stages: list[str] = []

    def deploy(
        self, bmc: BmcSession, wanted: Job, progress: Tell, reached: Tell, stage: str, deadline: Deadline
    ) -> str:
        self.jobs.append(wanted)
        self.stages.append(stage)
        reached("media")
        raise Refused("stopped", "write-image")

    def clean(self, bmc: BmcSession, wanted: Cleaning, progress: Tell, deadline: Deadline) -> None:
        """Nothing is cleaned here."""

    def close(self) -> None:
        """Nothing is open."""


class Files:
    """One image for all."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def image_file(self, checksum: str) -> Path:
        return self._path

    def config_drive(self, address: Address, digest: str) -> dict[str, bytes]:
        return {}


def test_server_that_is_made_anew_does_not_take_what_a_former_one_left_for_finished(
    bmc: LightBmc, tmp_path: Path
) -> None:
    """A resumed one does, of its own life; a change has none, and loses only what its own changes may."""
    (tmp_path / "image").write_bytes(b"raw")
    contents, recorder, noted = cast(Contents, Files(tmp_path / "image")), Recorder(), list[str]()
    wanted = replace(BASE, image="sha256:" + "a" * 64)

    def act(operation: str, stage: str, *changes: Change, allowed: Impact = Impact.DATA_LOSS) -> Job:
        access = Access(bmc.password, str(bmc.node.ca), occupant(wanted) if operation == "update" else None)
        node = Node.model_validate({**bmc.fields, "power_timeout_seconds": 20})
        opened = open_place(bmc.node.name, node, access, recorder)
        mark = Mark("f", "shop", Address("server", "db"), "u-1", to_data(wanted))
        try:
            found = opened.read(soon()) if operation == "update" else None
            doing = Target(mark, bmc.node.name, wanted, Policy(), changes=changes, allowed=allowed, found=found)
            doing = replace(doing, stage=stage, reached=noted.append)
            with pytest.raises(Refused, match="stopped"):
                getattr(opened.drivers["server"], operation)(doing, contents, soon(60))
        finally:
            opened.close()
        return recorder.jobs[-1]

    first, second = act("create", ""), act("create", "")
    assert first.life != second.life and LATER not in (first.life, second.life)
    held = Change("disk", None, None, None, Status.CHANGE, Impact.DATA_LOSS)
    job = act("create", "", held)
    assert (first.overwrite, job.overwrite, job.clears_others) == (False, True, False), "what the plan has told is lost"
    others = act("create", "", replace(held, path="other-disks"))
    assert (others.overwrite, others.clears_others) == (False, True)
    resumed = act("create", noted[-1])
    assert (resumed.life, recorder.stages[-1]) == (recorder.jobs[-2].life, "media")
    other = act("create", f"media 0000 {resumed.life}")
    assert other.life not in (resumed.life, LATER) and recorder.stages[-1] == ""
    drive = Change("config_drive.digest", "new", "old", "old", Status.CHANGE, Impact.RESTART)
    changed = act("update", "", drive)
    assert (changed.life, changed.overwrite) == (LATER, False), "though another step may lose data"
    anew = Change("image", "new", "old", "old", Status.CHANGE, Impact.DATA_LOSS)
    assert act("update", "", anew).overwrite


@pytest.mark.parametrize(("stage", "ways"), [("", [False]), ("booted k -", [])])
def test_system_is_asked_to_end_before_its_config_drive_changes_and_a_ramdisk_is_not(
    bmc: LightBmc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, ways: list[bool]
) -> None:
    (tmp_path / "image").write_bytes(b"raw")
    wanted = replace(BASE, image="sha256:" + "a" * 64)
    asked: list[bool] = []
    monkeypatch.setattr(
        "stacksmith.providers.redfish.session.RedfishSession.switch_off", lambda _, hard, limit: asked.append(hard)
    )
    node = Node.model_validate(bmc.fields)
    opened = open_place(bmc.node.name, node, Access(bmc.password, str(bmc.node.ca), occupant(wanted)), Recorder())
    try:
        doing = target(bmc, wanted, ("config_drive.digest",), found=opened.read(soon()), stage=stage)
        with pytest.raises(Refused, match="stopped"):
            opened.drivers["server"].update(doing, cast(Contents, Files(tmp_path / "image")), soon(60))
    finally:
        opened.close()
    assert asked == ways


def test_half_made_server_that_is_on_is_restarted_for_what_was_edited_since(bmc: LightBmc) -> None:
    of = created(bmc)
    before = resets(bmc)
    wanted = replace(BASE, bios={**BASE.bios, "PowerCapWatts": 150})
    with place(bmc, replace(of, complete=False)) as opened:
        half = target(bmc, wanted, found=opened.read(soon()))
        found = opened.drivers["server"].create(half, NOTHING, soon(60))
        assert found.spec == wanted and found.saved is None
        opened.drivers["server"].create(half, NOTHING, soon(60))
    assert resets(bmc) - before == 2  # off and on, once


def test_power_that_is_left_to_others_is_left_by_destroy_too(bmc: LightBmc) -> None:
    of = created(bmc)
    with place(bmc, replace(of, applied={**to_data(BASE), "power_state": None})) as opened:
        opened.drivers["server"].delete(target(bmc, BASE, found=opened.read(soon())), soon(60))
    assert bmc.get()["PowerState"] == "On"


def test_iso_is_booted_by_no_other_change_and_not_below_lost_data(bmc: LightBmc, tmp_path: Path) -> None:
    wanted = replace(BASE, bios={}, boot_iso="sha256:ab")
    before = bmc.writes()
    with place(bmc, occupant(wanted)) as opened:
        driver, found = opened.drivers["server"], opened.read(soon())
        driver.update(target(bmc, replace(wanted, power_state=None), ("config_drive",), found=found), NOTHING, soon(60))
        assert bmc.writes() == before
    node = Node.model_validate(bmc.fields)
    deployer = Deployer(DeploySpec(), {bmc.node.name: node}, tmp_path)
    ready = open_place(bmc.node.name, node, Access(bmc.password, str(bmc.node.ca)), deployer)
    try:
        with pytest.raises(Refused, match="would be started from its ISO"):
            ready.drivers["server"].update(target(bmc, wanted, ("boot_iso",)), cast(Contents, Iso()), soon(60))
    finally:
        ready.close()
    assert bmc.writes() == before


class Iso:
    """Has every image."""

    def image_file(self, checksum: str) -> Path:
        return Path(__file__)


class Imageless:
    """No image of it has the checksum that was declared."""

    def image_file(self, checksum: str) -> Path:
        raise Refused(f"image file has another checksum than {checksum}")


def test_image_that_is_not_there_stops_before_anything_is_written(bmc: LightBmc, tmp_path: Path) -> None:
    before = bmc.writes()
    node = Node.model_validate(bmc.fields)
    deployer = Deployer(DeploySpec(), {bmc.node.name: node}, tmp_path)
    opened = open_place(bmc.node.name, node, Access(bmc.password, str(bmc.node.ca)), deployer)
    wanted = replace(BASE, image="sha256:ab", bios={"PowerCapWatts": 300})
    try:
        with pytest.raises(Refused, match="another checksum than sha256:ab"):
            opened.drivers["server"].create(target(bmc, wanted), cast(Contents, Imageless()), soon(60))
        assert opened.read(soon()) is None
    finally:
        opened.close()
    assert bmc.writes() == before


def test_volumes_are_found_as_they_are_wanted(bmc: LightBmc) -> None:
    bmc.behave("raid")
    wanted = replace(BASE, raid=(RaidVolume("system", "RAID1"), RaidVolume("a", "RAID0", ("Bay0",), 10**9)))
    small = (RaidVolume("system", "RAID1", ("Bay2", "Bay3")), RaidVolume("a", "RAID0", ("Bay0",), 10**9))
    of = created(bmc, replace(wanted, raid=small))
    with place(bmc, of) as opened:
        found = opened.read(soon())
        assert found is not None and found.spec == replace(wanted, raid=small)
    assert bmc.ask("DELETE", bmc.get("/Storage/RAID.1/Volumes")["Members"][0]["@odata.id"]).status_code == 202
    until(lambda: bmc.get("/Storage/RAID.1/Volumes")["Members@odata.count"] == 1, 30, "it is deleted")
    with place(bmc, of) as opened:
        drifted = opened.read(soon())
        assert drifted is not None and drifted.spec == replace(wanted, raid=small[1:])
