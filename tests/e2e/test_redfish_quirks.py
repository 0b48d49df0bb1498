"""What the provider does about each quirk, where a success alone would not tell that it did: over HTTPS, on light BMCs.

The numbers are those of docs/bmc-profiles.md.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stacksmith.model.realised import RaidVolume
from stacksmith.providers.base import Refused
from stacksmith.providers.bmc import NotNow
from stacksmith.providers.redfish import media as media_of
from stacksmith.providers.redfish.connection import Connection
from tests.e2e.kit import until
from tests.e2e.light_parts import LightBmc, soon, soon_after

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("light")]
BMCS = 37
SYSTEM = RaidVolume("system", "RAID1", ("Bay0", "Bay1"))
TURBO = {"ProcTurboMode": "Disabled"}
CD = "/VirtualMedia/Cd"
INSERT = f"POST {CD}/Actions/VirtualMedia.InsertMedia"
KVM = INSERT.replace("/Cd/", "/RemoteKvm/")
A_ISO, B_ISO = "http://127.0.0.1:1/a.iso", "http://127.0.0.1:1/b.iso"


def resets(bmc: LightBmc) -> int:
    return sum(each.endswith("ComputerSystem.Reset") for each in bmc.writes())


def test_1_power_is_on_or_off_once_it_is_no_longer_on_its_way(bmc: LightBmc) -> None:
    bmc.behave("powering-states")
    with bmc.session() as session:
        session.switch_on(soon())
        assert bmc.get()["PowerState"] == "On"
        session.switch_off(True, soon())
        assert bmc.get()["PowerState"] == "Off"


@pytest.mark.parametrize("profiles", [(), ("already-400",)])
def test_2_node_that_is_switched_between_the_look_and_the_reset_is_as_wanted(
    bmc: LightBmc, monkeypatch: pytest.MonkeyPatch, profiles: tuple[str, ...]
) -> None:
    bmc.behave(*profiles)
    post: Callable[..., Any] = Connection.post

    def outrun(connection: Connection, *rest: Any) -> Any:
        assert bmc.reset("On") == 204
        return post(connection, *rest)

    monkeypatch.setattr(Connection, "post", outrun)
    with bmc.session() as session:
        session.switch_on(soon())
    assert bmc.get()["PowerState"] == "On" and resets(bmc) == 2


def test_3_node_that_was_just_switched_off_is_asked_again_to_go_on(bmc: LightBmc) -> None:
    with bmc.session() as session, ThreadPoolExecutor(1) as pool:
        session.switch_on(soon())
        session.switch_off(True, soon())
        bmc.behave(on_after_off=3600)
        switched = pool.submit(session.switch_on, soon(60))
        until(lambda: resets(bmc) > 2, 30, "it is refused")
        bmc.behave()
        switched.result()
    assert bmc.get()["PowerState"] == "On" and resets(bmc) > 3


def test_4_guest_of_a_machine_that_starts_is_asked_to_shut_down_once_that_is_possible(bmc: LightBmc) -> None:
    bmc.behave("post", post=5)
    began = time.monotonic()
    bmc.reset("On")
    with bmc.session() as session:
        session.switch_off(False, soon(60))  # the power is cut after half of it
    assert time.monotonic() - began >= 4.5


def test_5_change_of_a_bmc_that_can_tell_nothing_for_a_while_is_read_back(bmc: LightBmc) -> None:
    bmc.behave("busy-after-job")
    with bmc.session() as session:
        session.set_bios(TURBO, soon())
    assert bmc.writes() == ["PATCH /BIOS/Settings"]


def test_6_guest_that_does_not_hear_is_off_in_the_end(bmc: LightBmc) -> None:
    bmc.behave("graceful-ignored")
    bmc.reset("On")
    with bmc.session() as session:
        session.switch_off(False, soon_after(lambda: resets(bmc) > 1, 60))  # half of its time is over then
    assert (bmc.get()["PowerState"], resets(bmc)) == ("Off", 3)


@pytest.mark.parametrize("profiles", [("etag-weak-refused",), ("etag-weak", "etag-required"), ("etag-required",)])
def test_7_entity_tag_is_sent_in_the_form_that_is_taken(bmc: LightBmc, profiles: tuple[str, ...]) -> None:
    bmc.behave(*profiles)
    with bmc.session() as session:
        session.set_asset_tag("R1", soon())
    assert bmc.get()["AssetTag"] == "R1"
    assert len(bmc.writes()) == (3 if profiles == ("etag-weak-refused",) else 2)


@pytest.mark.parametrize(
    ("profile", "writes"),
    [
        ("media-managers", ["POST /Actions/VirtualMedia.InsertMedia"]),
        ("media-kvm-only", [KVM, KVM, INSERT]),  # without and with what some want along
        ("media-patch-only", [f"PATCH {CD}"]),
        ("media-no-extras", [INSERT]),
        ("media-strict-eject", [INSERT]),
        ("media-wants-protocol", [INSERT] * 2),
        ("media-wants-all", [INSERT] * 4),  # user and password come together
    ],
)
def test_13_media_goes_in_by_the_way_that_there_is(bmc: LightBmc, profile: str, writes: list[str]) -> None:
    bmc.behave(profile)
    manager = f"{bmc.node.system.replace('/Systems/', '/Managers/')}/VirtualMedia/Cd"
    with bmc.session() as session:
        session.insert_media(A_ISO, soon())
        assert [each.replace(manager, "") for each in bmc.writes()] == writes
        session.insert_media(B_ISO, soon())
        bmc.behave()
        assert bmc.get(CD)["Image"] == B_ISO
        bmc.behave(profile)
        session.eject_media(soon())
    bmc.behave()
    assert bmc.get(CD)["Inserted"] is False


def test_13_protocol_is_that_of_the_url(bmc: LightBmc) -> None:
    bmc.behave("media-wants-protocol")
    with bmc.session() as session:
        session.insert_media(A_ISO.replace("http:", "https:"), soon())
    assert bmc.writes() == [INSERT] * 2


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ((), "400 The action .* requires the parameter TransferMethod"),
        (({"TransferMethod": "Upload"}, *media_of.WANTED[1:]), "400 The value Upload for the parameter TransferMethod"),
    ],
)
def test_13_parameter_that_is_not_known_is_no_matter_of_the_way_to_the_url(
    bmc: LightBmc, monkeypatch: pytest.MonkeyPatch, wanted: tuple[dict[str, str], ...], words: str
) -> None:
    monkeypatch.setattr(media_of, "WANTED", wanted)
    bmc.behave("media-wants-all")
    with bmc.session() as session, pytest.raises(Refused, match=words) as refusal:
        session.insert_media(A_ISO, soon())
    assert refusal.value.hint == media_of.PARAMETER_HINT


@pytest.mark.parametrize("url", [A_ISO, B_ISO])
def test_14_media_goes_in_after_what_was_in_is_out_also_from_the_same_url(bmc: LightBmc, url: str) -> None:
    bmc.behave("slow-eject")
    with bmc.session() as session:
        session.insert_media(A_ISO, soon())
        session.insert_media(url, soon())
    bmc.behave()  # else what was in may still be shown
    assert (bmc.get(CD)["Inserted"], bmc.get(CD)["Image"]) == (True, url)
    assert bmc.writes().count(INSERT) == 2


def test_16_slow_answer_to_a_bios_change_is_awaited(bmc: LightBmc) -> None:
    bmc.behave("slow-bios", bios_seconds=9)
    with bmc.session(read_timeout_seconds=6) as session:
        session.set_bios(TURBO, soon())
    assert bmc.writes() == ["PATCH /BIOS/Settings"]


def test_18_task_is_done_once_it_says_so_whatever_it_says_later(bmc: LightBmc) -> None:
    bmc.behave("raid", "tasks")
    with bmc.session() as session:
        session.set_raid((SYSTEM,), soon())
    assert bmc.get("/redfish/v1/TaskService/Tasks/1")["TaskState"] == "Running"


def test_18_controller_that_is_at_another_job_is_not_now(bmc: LightBmc) -> None:
    bmc.behave("raid", raid_seconds=600)
    drives = bmc.get("/Storage/RAID.1")["Drives"][2:3]
    job = {"Name": "other", "RAIDType": "RAID0", "Links": {"Drives": drives}}
    assert bmc.post("/Storage/RAID.1/Volumes", job) == 202
    with bmc.session() as session, pytest.raises(NotNow, match="A job of the controller is still running"):
        session.set_raid((SYSTEM,), soon())


@pytest.mark.parametrize("profiles", [("post",), ("post", "odd-data")])
def test_20_refusal_that_passes_is_known_by_its_message_in_any_form(bmc: LightBmc, profiles: tuple[str, ...]) -> None:
    bmc.reset("On")
    bmc.behave(*profiles, post=600)
    with bmc.session() as session, pytest.raises(NotNow, match="400 The value cannot change during POST"):
        session.set_asset_tag("R1", soon())


def test_20_words_of_a_refusal_are_told_in_any_form(bmc: LightBmc) -> None:
    bmc.behave("odd-data")
    with bmc.session() as session, pytest.raises(Refused, match="400 The property Warp is not known"):
        session.set_bios({"Warp": 9}, soon())


def test_21_licence_that_a_controller_needs_is_told(bmc: LightBmc) -> None:
    bmc.behave("raid", "no-licence")
    with bmc.session() as session, pytest.raises(Refused, match="A required license is missing") as refusal:
        session.set_raid((SYSTEM,), soon())
    assert refusal.value.hint and "licence" in refusal.value.hint
