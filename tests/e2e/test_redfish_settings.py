"""Settings through the real provider, over HTTPS, on BMCs that do what real ones do."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stacksmith.model.node_found import Aspects
from stacksmith.providers.base import ProviderError, Refused, TimedOut, Transient
from stacksmith.providers.bmc import BmcSession, NextBoot, NotNow
from tests.e2e.light_parts import LightBmc, bad_line, patiently, soon, soon_after

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("light")]
BMCS = 120
PENDING = Aspects(pending=True)
TURBO = {"ProcTurboMode": "Disabled"}


def boot(bmc: LightBmc) -> None:
    with bmc.session() as session:
        session.switch_off(True, soon())
        session.switch_on(soon())


# --- reading


def test_observe_asks_no_more_than_it_must(bmc: LightBmc) -> None:
    with bmc.session() as session:
        session.observe(soon())
        assert bmc.asked() == ["GET ", "GET /BIOS"]
        first = ["GET ", "GET /redfish/v1/"]  # what the BMC can is asked once
        for more in (first, ["GET "]):
            before = len(bmc.asked())
            session.observe(soon(), Aspects(secure_boot=True, pending=True))
            assert sorted(bmc.asked()[before:]) == sorted([*more, "GET /BIOS", "GET /BIOS/Settings", "GET /SecureBoot"])


WHOLE = "GET /BIOS?$expand=.($levels=1)"
FIRST = {
    "expand": ["GET ", "GET /redfish/v1/", WHOLE],
    "expand-collections": ["GET ", "GET /redfish/v1/", WHOLE, "GET /BIOS", "GET /BIOS/Settings"],
    "no-registry": ["GET ", "GET /redfish/v1/", "GET /BIOS", "GET /BIOS/Settings"],
}
APART = ["GET ", "GET /BIOS", "GET /BIOS/Settings"]
LATER = {"expand": ["GET ", WHOLE], "expand-collections": APART, "no-registry": APART}


@pytest.mark.parametrize("profile", FIRST)
def test_what_waits_comes_with_the_bios_where_the_bmc_can_as_was_found_out_once(
    bmc: LightBmc, tmp_path: Path, profile: str
) -> None:
    bmc.behave(profile)
    told = []
    for asked in (FIRST, LATER):
        before = len(bmc.asked())
        with bmc.session(sessions=tmp_path / "sessions") as session:
            told.append(session.observe(soon(), PENDING))
        assert sorted(bmc.asked()[before:]) == sorted(asked[profile])
        if asked is FIRST:
            assert bmc.patch("/BIOS/Settings", {"Attributes": TURBO}) == 204
    assert [found.pending for found in told] == [{}, TURBO]


def test_bmc_that_hands_it_out_no_more_is_read_as_whole_as_before(bmc: LightBmc, tmp_path: Path) -> None:
    assert bmc.patch("/BIOS/Settings", {"Attributes": TURBO}) == 204
    lost = ["GET ", WHOLE, "GET /BIOS/Settings"]
    for profile, asked in (("expand", FIRST["expand"]), ("no-registry", lost), ("no-registry", LATER["no-registry"])):
        bmc.behave(profile)
        before = len(bmc.asked())
        with bmc.session(sessions=tmp_path / "sessions") as session:
            assert session.observe(soon(), PENDING).pending == TURBO
        assert sorted(bmc.asked()[before:]) == sorted(asked)


def test_observe_of_firmware_takes_two_more_requests_where_collections_come_whole(bmc: LightBmc) -> None:
    bmc.behave("expand")
    with bmc.session() as session:
        found = session.observe(soon(), Aspects(firmware=True))
        assert found.firmware == {"BIOS firmware": "1.0.0", "BMC firmware": "1.4.2"}
        assert len(bmc.asked()) == 4
        session.observe(soon(), Aspects(firmware=True))
        assert len(bmc.asked()) == 7  # what the BMC can is asked once


def test_observe_is_never_more_requests_at_once_than_the_bmc_stands(bmc: LightBmc) -> None:
    bmc.behave("raid", latency=0.2)
    everything = Aspects(secure_boot=True, pending=True, firmware=True, raid=True)
    with bmc.session(connections=1) as alone, bmc.session(connections=4) as four:
        began = time.monotonic()
        slow = alone.observe(soon(), everything)
        took = time.monotonic() - began
        assert took >= 0.2 * len(bmc.asked())
        tries = []
        for _ in range(3):
            began = time.monotonic()
            assert four.observe(soon(), everything) == slow
            tries.append(time.monotonic() - began)
        assert min(tries) < took


@pytest.mark.parametrize("profile", ["apply-time", "expand"])
def test_pending_holds_changes_alone_whatever_the_bmc_shows(bmc: LightBmc, profile: str) -> None:
    bmc.behave(profile)
    with bmc.session() as session:
        assert session.observe(soon(), PENDING).pending == {}
        session.set_bios(TURBO, soon())
        found = session.observe(soon(), PENDING)
        assert (found.pending, found.bios["ProcTurboMode"]) == (TURBO, "Enabled")
        boot(bmc)
        found = session.observe(soon(), PENDING)
        assert (found.pending, found.bios["ProcTurboMode"]) == ({}, "Disabled")


# --- light and asset tag


@pytest.mark.parametrize("state", ["lit", "blinking", "off"])
def test_light_is_set_once_and_left_alone_when_it_is_so(bmc: LightBmc, state: str) -> None:
    with bmc.session() as session:
        session.set_indicator_led(state, soon())
        session.set_indicator_led(state, soon())
        assert session.observe(soon()).indicator_led == state
    assert len(bmc.writes()) == (state != "off")


def test_light_of_newer_bmcs_blinks_or_is_off(bmc: LightBmc) -> None:
    bmc.behave("location-indicator")
    with bmc.session() as session:
        for state in ("blinking", "off"):
            session.set_indicator_led(state, soon())
            assert session.observe(soon()).indicator_led == state
        with pytest.raises(Refused, match="its light only blinks"):
            session.set_indicator_led("lit", soon())


def test_asset_tag_is_read_back_and_written_once(bmc: LightBmc) -> None:
    with bmc.session() as session:
        session.set_asset_tag("R1-U7", soon())
        session.set_asset_tag("R1-U7", soon())
        assert session.observe(soon()).asset_tag == "R1-U7"
        session.set_asset_tag("", soon())
        assert session.observe(soon()).asset_tag == ""
    assert bmc.writes() == ["PATCH ", "PATCH "]


# --- BIOS


def test_bios_attributes_wait_for_the_boot_and_are_written_once(bmc: LightBmc) -> None:
    wanted = {"ProcTurboMode": "Disabled", "PowerCapWatts": 300, "WakeOnLan": False, "QuietBoot": "true"}
    with bmc.session() as session:
        session.set_bios(wanted, soon())
        session.set_bios(wanted, soon())
        assert bmc.writes() == ["PATCH /BIOS/Settings"]
        boot(bmc)
        session.set_bios(wanted, soon())
        assert wanted.items() <= session.observe(soon()).bios.items()
    assert bmc.writes().count("PATCH /BIOS/Settings") == 1


def test_bios_attribute_that_waits_with_another_value_is_taken_back(bmc: LightBmc) -> None:
    with bmc.session() as session:
        session.set_bios({"ProcTurboMode": "Disabled", "PowerCapWatts": 5}, soon())
        session.set_bios({"ProcTurboMode": "Enabled"}, soon())
        assert session.observe(soon(), PENDING).pending == {"PowerCapWatts": 5}


def test_several_settings_wait_for_one_boot(bmc: LightBmc) -> None:
    with bmc.session() as session:
        session.set_bios(TURBO, soon())
        session.set_boot("bios", True, soon())
        session.set_bios({"PowerCapWatts": 7}, soon())
        boot(bmc)
        found = session.observe(soon(), Aspects(secure_boot=True, pending=True))
    assert (found.boot_mode, found.secure_boot, found.pending) == ("bios", True, {})
    assert (found.bios["ProcTurboMode"], found.bios["PowerCapWatts"]) == ("Disabled", 7)


def test_bios_attribute_the_bmc_refuses_is_refused_with_its_words(bmc: LightBmc) -> None:
    with bmc.session() as session:
        with pytest.raises(Refused, match="400 The property Warp is not known"):
            session.set_bios({"Warp": 9}, soon())
        assert session.observe(soon(), PENDING).pending == {}


def test_bios_change_outlasts_the_time_limit_of_other_answers(bmc: LightBmc) -> None:
    bmc.behave("slow-bios", bios_seconds=7)
    with bmc.session(read_timeout_seconds=5) as session:
        session.set_bios(TURBO, soon())
        with pytest.raises(TimedOut):
            session.set_bios({"PowerCapWatts": 7}, soon(2))


@pytest.mark.parametrize("profiles", [(), ("registries-compressed",), ("drops",)])
def test_attributes_are_checked_against_the_registry(bmc: LightBmc, profiles: tuple[str, ...]) -> None:
    bmc.behave(*profiles)
    wanted = {
        "ProcTurboMod": "Enabled",
        "NicBoot1": "Networkboot",
        "L2Cache": "1x1 KB",
        "SerialNumber": "QPX12345",
        "PowerCapWatts": 2001,
        "WakeOnLan": "true",
        "ServiceNote": "x" * 33,
        "QuietBoot": "false",
        "NumCores": 10,
        "SysPassword": "of the machine's setup",
    }
    with bmc.session() as session:
        faults = dict(patiently(lambda: session.check_bios(wanted, soon())))
        asked = len(bmc.asked())
        assert session.check_bios({"QuietBoot": "true"}, soon()) == []
        assert len(bmc.asked()) - asked <= 3  # the registry is asked for once
    assert faults == {
        "ProcTurboMod": "there is no such attribute: did you mean 'ProcTurboMode'?",
        "NicBoot1": "'Networkboot' is none of its values: Disabled, NetworkBoot",
        "L2Cache": "it is read-only",
        "PowerCapWatts": "2001 is not possible: 2000 is the most",
        "WakeOnLan": "'true' is no boolean",
        "ServiceNote": f"{'x' * 33!r} has 33 characters: 32 is the most",
        "NumCores": "10 is no string",
        "SysPassword": "it is a password: no BMC shows those, and plans and the state would",
    }


def test_without_a_registry_nothing_is_found_at_fault(bmc: LightBmc) -> None:
    bmc.behave("no-registry")
    with bmc.session() as session:
        assert session.check_bios({"Warp": 9}, soon()) == []


# --- boot mode and secure boot


@pytest.mark.parametrize("profiles", [(), ("enabled-required",), ("settings-uri",), ("etag-required",)])
def test_boot_mode_is_set_however_the_bmc_wants_it(bmc: LightBmc, profiles: tuple[str, ...]) -> None:
    bmc.behave(*profiles)
    with bmc.session() as session:
        for mode in ("bios", "bios", "uefi"):
            session.set_boot(mode, None, soon())
            assert session.observe(soon()).boot_mode == mode


def test_boot_mode_by_bios_waits_for_the_boot(bmc: LightBmc) -> None:
    bmc.behave("boot-mode-by-bios")
    with bmc.session() as session:
        session.set_boot("bios", None, soon())
        session.set_boot("bios", None, soon())
        found = session.observe(soon(), PENDING)
        assert (found.boot_mode, found.pending) == ("uefi", {"BootMode": "Bios"})
        boot(bmc)
        assert session.observe(soon()).boot_mode == "bios"
        session.set_boot("bios", None, soon())
    assert bmc.writes().count("PATCH /BIOS/Settings") == 1


def test_boot_mode_and_secure_boot_one_after_the_other_where_they_cannot_change_together(bmc: LightBmc) -> None:
    bmc.behave("boot-mode-by-bios")
    everything = Aspects(secure_boot=True, pending=True)
    with bmc.session() as session:
        with pytest.raises(NextBoot, match=r"cannot set secure boot of bm\d+ yet: the boot mode waits"):
            session.set_boot("bios", True, soon())
        assert session.observe(soon(), everything).pending == {"BootMode": "Bios"}
        boot(bmc)
        session.set_boot("bios", True, soon())
        with pytest.raises(NextBoot, match=r"cannot set the boot mode of bm\d+ yet: secure boot waits"):
            session.set_boot("uefi", True, soon())
        boot(bmc)
        found = session.observe(soon(), everything)
        assert (found.boot_mode, found.secure_boot, found.pending) == ("bios", True, {})


def test_secure_boot_is_found_once_it_is_in_force(bmc: LightBmc) -> None:
    with bmc.session() as session:
        session.set_boot(None, True, soon())
        session.set_boot(None, True, soon())
        assert session.observe(soon(), Aspects(secure_boot=True)).secure_boot is False
        boot(bmc)
        assert session.observe(soon(), Aspects(secure_boot=True)).secure_boot is True
    assert bmc.writes().count("PATCH /SecureBoot") == 1


# --- what BMCs do


def everything(session: BmcSession, over: Callable[[Callable[[], None]], None] = lambda call: call()) -> None:
    """Each kind of setting once; ``over`` a line, it may be."""
    for call in (
        lambda: session.set_indicator_led("blinking", soon()),
        lambda: session.set_asset_tag("R1", soon()),
        lambda: session.set_bios(TURBO, soon()),
        lambda: session.set_boot("bios", True, soon()),
    ):
        patiently(partial(over, call))


@pytest.mark.parametrize(
    "profiles",
    [
        ("post",),
        ("busy-after-job",),
        ("etag-weak", "etag-required"),
        ("etag-required",),
        ("apply-time",),
        ("no-apply-time",),
        ("tasks",),
        ("odd-data",),
        ("answers-lost",),
        ("settings-uri", "etag-required"),
        ("busy-after-job", "apply-time", "tasks", "etag-weak"),
    ],
)
def test_settings_get_there_whatever_the_bmc_does(bmc: LightBmc, profiles: tuple[str, ...]) -> None:
    bmc.post("/Actions/ComputerSystem.Reset", {"ResetType": "On"})
    bmc.behave(*profiles)
    if "post" in profiles:
        assert bmc.reset("ForceOff") == 204 and bmc.reset("On") == 204
    with bmc.session() as session:
        everything(session)
        bmc.behave()
        boot(bmc)
        found = session.observe(soon(), Aspects(secure_boot=True, pending=True))
    assert (found.indicator_led, found.asset_tag, found.boot_mode) == ("blinking", "R1", "bios")
    assert (found.secure_boot, found.pending, found.bios["ProcTurboMode"]) == (True, {}, "Disabled")


@pytest.mark.parametrize("fault", ["drop_every", "fail_every"])
def test_settings_get_there_over_a_bad_line(bmc: LightBmc, fault: str) -> None:
    over = bad_line(bmc, fault, 5)
    with bmc.session() as session:
        everything(session, over)
    bmc.behave()
    assert (bmc.get()["IndicatorLED"], bmc.get()["AssetTag"]) == ("Blinking", "R1")
    assert bmc.get("/BIOS/Settings")["Attributes"]["ProcTurboMode"] == "Disabled"


def test_write_whose_answer_is_lost_is_not_sent_again(bmc: LightBmc) -> None:
    bmc.behave("answers-lost")
    with bmc.session() as session:
        session.set_asset_tag("R1", soon())
        session.set_bios(TURBO, soon())
    bmc.behave()
    assert bmc.get()["AssetTag"] == "R1" and bmc.get("/BIOS/Settings")["Attributes"]["ProcTurboMode"] == "Disabled"


def test_write_that_is_answered_too_late_is_read_back(bmc: LightBmc) -> None:
    bmc.behave("slow-writes", write_seconds=8)
    with bmc.session(read_timeout_seconds=5) as session:
        session.set_asset_tag("R1", soon())


@pytest.mark.parametrize("value", ["tag", "bios"])
def test_write_that_is_ignored_is_an_error(bmc: LightBmc, value: str) -> None:
    bmc.behave("writes-ignored")
    calls = {
        "tag": lambda session: session.set_asset_tag("R1", soon()),
        "bios": lambda session: session.set_bios(TURBO, soon()),
    }
    with bmc.session() as session, pytest.raises(Refused, match="its BMC took the change, and nothing came of it"):
        calls[value](session)
    assert len(bmc.writes()) == 1


def test_entity_tags_that_say_nothing_are_given_up(bmc: LightBmc) -> None:
    bmc.behave("etag-required", "etag-empty")
    with bmc.session() as session, pytest.raises(Transient, match="428 The request must name the entity tag"):
        session.set_asset_tag("R1", soon())


def test_machine_in_post_is_told_as_such(bmc: LightBmc) -> None:
    bmc.reset("On")
    bmc.behave("post", post=600)
    with bmc.session() as session, pytest.raises(NotNow, match="cannot change during POST"):
        session.set_asset_tag("R1", soon())


def test_request_that_the_time_limit_cuts_off_does_not_hide_what_was_said_before(bmc: LightBmc) -> None:
    assert [bmc.reset("On"), bmc.reset("ForceOff")] == [204, 204]
    bmc.behave(on_after_off=3600, latency=0.4)
    before = len(bmc.writes())
    with bmc.session() as session, pytest.raises(TimedOut, match=r"it is off; cannot use .*: 409 The value On"):
        session.switch_on(soon_after(lambda: len(bmc.writes()) > before, 0.6))  # no time for another answer


def test_bmc_that_cannot_be_reached_is_not_waited_for(bmc: LightBmc) -> None:
    began = time.monotonic()
    with bmc.session(redfish="https://127.0.0.1:1") as session:
        calls: list[Any] = [
            lambda: session.set_asset_tag("R1", soon()),
            lambda: session.set_bios(TURBO, soon()),
            lambda: session.set_raid((), soon()),
            lambda: session.update_firmware("BIOS firmware", "http://127.0.0.1:1/", "2", soon()),
        ]
        for call in calls:
            with pytest.raises(ProviderError, match="cannot reach the BMC"):
                call()
    assert time.monotonic() - began < 30, "the time limit of one call"
