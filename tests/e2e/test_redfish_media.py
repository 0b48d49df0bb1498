"""Virtual media and boot overrides through the real session, over HTTPS, on BMCs that get it wrong."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stacksmith import lab
from stacksmith.model.node import Node, SecretRef
from stacksmith.providers.base import Deadline, Refused, TimedOut
from stacksmith.providers.redfish import media as media_of
from stacksmith.providers.redfish.session import RedfishSession
from tests.e2e.bmc_parts import EJECT, INSERT, Bmc, our_address, served
from tests.e2e.light_parts import soon_after

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.xdist_group("bmc"),
    pytest.mark.root,
]


def in_seconds(seconds: float) -> Deadline:
    return Deadline(time.monotonic() + seconds, time.monotonic)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("media") / "lab"
    lab.up(path, hosts=1, nodes=1)
    yield path
    lab.down(path)


@pytest.fixture(scope="module")
def media(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a folder with two things to insert, a.iso and b.iso."""
    folder = tmp_path_factory.mktemp("isos")
    for name in ("a.iso", "b.iso"):
        (folder / name).write_bytes(bytes(65536))
    with served(folder, our_address(lab.up(directory, hosts=1).nodes[0])) as url:
        yield url


@pytest.fixture
def bmc(directory: Path) -> Iterator[Bmc]:
    there = Bmc(directory, lab.up(directory, hosts=1).nodes[0])
    there.make_off()
    yield there
    there.make_off()
    there.patch("", {"Boot": {"BootSourceOverrideMode": "UEFI"}})


@pytest.fixture
def session(bmc: Bmc) -> Iterator[RedfishSession]:
    node = Node(
        redfish=bmc.node.redfish,
        system=bmc.node.system,
        username=bmc.node.username,
        password=SecretRef(file="unused"),
        read_timeout_seconds=5,
    )
    opened = RedfishSession("bm1", node, bmc.password, str(bmc.node.ca))
    yield opened
    opened.close()


def drive(bmc: Bmc) -> tuple[bool, str | None]:
    """Whether media is in the CD drive, and which, from behind all quirks."""
    bmc.behave()
    page = bmc.get("/VirtualMedia/Cd")
    return page["Inserted"], page["Image"] if page["Inserted"] else None


def override(bmc: Bmc) -> tuple[str, str, str]:
    bmc.behave()
    boot = bmc.get()["Boot"]
    return (
        boot["BootSourceOverrideEnabled"],
        boot["BootSourceOverrideTarget"],
        boot["BootSourceOverrideMode"],
    )


@pytest.mark.parametrize(
    "profile",
    [
        *("media-managers", "media-kvm-only", "media-patch-only", "media-no-extras", "media-strict-eject"),
        *("media-wants-protocol", "media-wants-all"),
        *("slow-eject", "busy-after-job", "etag-weak", "etag-empty", "drops", "fails", "odd-data"),
    ],
)
def test_media_goes_in_is_changed_and_comes_out(bmc: Bmc, session: RedfishSession, media: str, profile: str) -> None:
    bmc.behave(profile)
    session.insert_media(f"{media}/a.iso", in_seconds(30))
    session.insert_media(f"{media}/b.iso", in_seconds(30))
    assert drive(bmc) == (True, f"{media}/b.iso")
    bmc.behave(profile)
    session.eject_media(in_seconds(30))
    session.eject_media(in_seconds(30))
    assert drive(bmc) == (False, None)


def test_media_that_the_bmc_cannot_have_is_refused(bmc: Bmc, session: RedfishSession, media: str) -> None:
    with pytest.raises(Refused, match=r"cannot insert virtual media into bm1: .*400"):
        session.insert_media(f"{media}/none.iso", in_seconds(30))
    assert drive(bmc) == (False, None)


def test_bmc_that_cannot_reach_the_url_says_why_and_where(
    bmc: Bmc, session: RedfishSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(bmc.asked())
    with pytest.raises(TimedOut, match=r"insert http://127.0.0.1:1/….iso into .*its time is over; .* 500 ") as late:
        session.insert_media("http://127.0.0.1:1/a.iso", soon_after(lambda: f"POST {INSERT}" in bmc.asked()[before:]))
    monkeypatch.setattr(media_of, "FAILING_SECONDS", 1.0)
    with pytest.raises(Refused, match=r"cannot insert virtual media into bm1: .* 500 ") as refusal:
        session.insert_media("http://127.0.0.1:1/a.iso", in_seconds(30))
    for fault in (late.value, refusal.value):
        assert "must reach this machine at http://127.0.0.1:1: deploy.advertise_url" in str(fault.hint)


def test_missing_licence_is_told_with_what_it_is_needed_for(bmc: Bmc, session: RedfishSession, media: str) -> None:
    bmc.behave("no-licence")
    with pytest.raises(Refused, match="403 A required license") as refusal:
        session.insert_media(f"{media}/a.iso", in_seconds(30))
    assert refusal.value.hint and "needs a licence" in refusal.value.hint


def test_media_that_does_not_come_out_is_given_up_in_time(bmc: Bmc, session: RedfishSession, media: str) -> None:
    session.insert_media(f"{media}/a.iso", in_seconds(30))
    bmc.behave(eject_seconds=3600)
    before = len(bmc.asked())
    with pytest.raises(TimedOut, match=r"cannot eject the media of .* of bm1: its time is over"):
        session.eject_media(soon_after(lambda: f"POST {EJECT}" in bmc.asked()[before:]))


@pytest.mark.parametrize(
    ("profile", "target"),
    [
        *((name, "Cd") for name in ("etag-weak", "etag-empty", "no-continuous", "settings-uri", "busy-after-job")),
        *((name, "Cd") for name in ("drops", "fails", "boot-mode-by-bios")),
        ("enabled-required", "UsbCd"),
    ],
)
def test_next_boot_is_from_the_drive_whatever_the_bmc_wants_to_hear(
    bmc: Bmc, session: RedfishSession, profile: str, target: str
) -> None:
    bmc.behave(profile)
    session.boot_once("cd", "uefi", in_seconds(30))
    session.boot_once("cd", None, in_seconds(30))
    assert override(bmc) == ("Once", target, "UEFI")
    bmc.behave(profile)
    session.boot_once("disk", None, in_seconds(30))
    assert override(bmc) == ("Once", "Hdd", "UEFI")


def test_next_boot_is_from_the_drive_where_the_bmc_has_no_override_for_one_boot(
    bmc: Bmc, session: RedfishSession
) -> None:
    for device, target in (("cd", "Cd"), ("disk", "Hdd")):
        bmc.behave("no-once")
        session.boot_once(device, "uefi", in_seconds(30))
        assert override(bmc) == ("Continuous", target, "UEFI")


def test_next_boot_is_set_after_post(bmc: Bmc, session: RedfishSession) -> None:
    bmc.behave("post")
    bmc.reset("On")
    session.boot_once("cd", "uefi", in_seconds(30))
    assert override(bmc)[:2] == ("Once", "Cd")


def test_next_boot_can_be_in_the_other_mode(bmc: Bmc, session: RedfishSession) -> None:
    session.boot_once("cd", "bios", in_seconds(30))
    assert override(bmc) == ("Once", "Cd", "Legacy")


def test_override_that_is_taken_and_ignored_is_refused(
    bmc: Bmc, session: RedfishSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stacksmith.providers.redfish.media.PATIENCE_SECONDS", 1.0)
    bmc.behave("writes-ignored")
    with pytest.raises(Refused, match="took Once Cd UEFI and still shows Disabled None UEFI"):
        session.boot_once("cd", "uefi", in_seconds(30))
