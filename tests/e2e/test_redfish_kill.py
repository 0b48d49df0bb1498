"""All settings of a node, of a new server and of one that is there, killed at each request that changes something, then
run again."""

import hashlib
import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests
from pycdlib.pycdlibexception import PyCdlibException

from tests.e2e import killed_write
from tests.e2e.bmc_parts import served
from tests.e2e.kit import until
from tests.e2e.light_parts import LightBmc, light_farm
from tests.e2e.test_redfish_deploy import Ramdisk
from tests.forked import Forked

pytestmark = [pytest.mark.e2e, pytest.mark.takes(100), pytest.mark.xdist_group("light")]
BMCS = 24
AT_ONCE = 4
Moment = tuple[int, bool]  # the write, and whether it is sent before the end
STACK = """\
stack: shop
fleet: fleet.yaml
flavors: {gold: {vcpus: 1, ram: 1024, extra_specs: {"resources:CUSTOM_BAREMETAL": "1"}}}
servers:
  db: {flavor: gold, power_state: POWER, bare_metal: SETTINGS}
"""
BEFORE = {
    "boot_mode": "bios",
    "secure_boot": False,
    "bios": {"PowerCapWatts": 300},
    "raid": [{"name": "system", "raid_type": "RAID1", "drives": ["Bay0", "Bay1"]}],
    "asset_tag": "R1",
    "indicator_led": "off",
}


class Case:
    """A node, and the stack that it is for."""

    def __init__(self, bmc: LightBmc, folder: Path) -> None:
        self.bmc, self.folder, self.before = bmc, folder, 0
        folder.mkdir()
        fields = {**bmc.fields, "ca": str(bmc.node.ca), "password": {"file": str(bmc.node.password)}}
        (folder / "fleet.yaml").write_text(json.dumps({"fleet": "f", "nodes": {bmc.node.name: fields}}))

    def declare(self, power_state: str, settings: dict[str, object]) -> None:
        self.before = len(self.bmc.writes())
        text = STACK.replace("SETTINGS", json.dumps(settings)).replace("POWER", power_state)
        (self.folder / "stack.yaml").write_text(text)

    def start(self, *words: str, at: int = 0, is_sent: bool = False) -> Forked:
        argv = (words[0], str(self.folder / "stack.yaml"), *words[1:])
        return Forked(killed_write.main, self.folder / "said", at, is_sent, *argv)

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    @property
    def writes(self) -> list[str]:
        """Since the last declaration."""
        return self.bmc.writes()[self.before :]

    def check(self) -> None:
        """Everything is as wanted, and what can be sent once only was."""
        page = self.bmc.get()
        assert (page["PowerState"], page["AssetTag"], page["IndicatorLED"]) == ("On", "R2", "Lit")
        assert self.bmc.get("/BIOS")["Attributes"]["PowerCapWatts"] == 150
        assert self.bmc.get("/SecureBoot")["SecureBootCurrentBoot"] == "Enabled"
        sent = [each.rpartition("/")[2] for each in self.writes if each.startswith("POST")]
        assert (sent.count("UpdateService.SimpleUpdate"), sent.count("Volumes")) == (1, 1)


def every(moments: dict[Moment, Case], status: int, *words: str, dies: bool = False, but: int | None = None) -> int:
    """The command for each, some at a time; each has to end so, or as ``but`` says. How many ended so."""
    ends = []
    left = list(moments.items())
    while left:
        some, left = left[:AT_ONCE], left[AT_ONCE:]
        running = [
            (moment, case, case.start(*words, at=moment[0] if dies else 0, is_sent=moment[1])) for moment, case in some
        ]
        for moment, case, process in running:
            ends.append(process.wait(120))
            assert ends[-1] in (status, but), f"{words[0]}, for one killed at {moment}: {case.said}"
    return ends.count(status)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("images")
    (folder / "bios-2.bin").write_text("BIOS 2.0.0\n")
    with served(folder, "127.0.0.1") as url:
        yield url


@pytest.mark.parametrize("change", ["create", "update"])
def test_change_that_is_killed_at_any_write_is_finished_by_the_same_command(
    tmp_path_factory: pytest.TempPathFactory, images: str, change: str
) -> None:
    """At each write before it is sent, and for what is not the same when it is sent twice after it was answered too."""
    folder = tmp_path_factory.mktemp("kill")
    raid = [{"name": "system", "raid_type": "RAID0", "drives": ["Bay0", "Bay1"]}]
    firmware = {"BIOS firmware": {"version": "2.0.0", "image": f"{images}/bios-2.bin"}}
    after = {"boot_mode": "uefi", "secure_boot": True, "bios": {"PowerCapWatts": 150}, "raid": raid}
    after |= {"asset_tag": "R2", "indicator_led": "lit", "firmware": firmware}
    apply = ("apply", "--yes", "--allow", "data-loss")

    def prepared(moments: list[Moment], farm: list[LightBmc]) -> dict[Moment, Case]:
        cases = {moment: Case(farm.pop(), folder / f"{moment[0]}-{moment[1]}") for moment in moments}
        for case in cases.values():
            case.bmc.behave("raid", "boot-mode-by-bios")
            case.declare("unmanaged", BEFORE)
        if change == "update":
            every(cases, 0, "apply", "--yes")
        for case in cases.values():
            assert change == "create" or case.bmc.reset("On") == 204
            case.declare("running" if change == "create" else "unmanaged", after)
        return cases

    with light_farm(folder / "farm", BMCS) as farm:
        whole = prepared([(0, False)], farm)
        every(whole, 0, *apply)
        (writes,) = [case.writes for case in whole.values()]
        moments = [(at, False) for at in range(1, len(writes) + 1)]
        moments += [(at, True) for at, each in enumerate(writes, 1) if each.startswith("POST")]
        killed = prepared(moments, farm)
        every(killed, -signal.SIGKILL, *apply, dies=True)
        every(killed, 0, *apply)
        every(killed, 0, "plan", "--detailed-exitcode")
        for moment, case in {**whole, **killed}.items():
            try:
                case.check()
            except AssertionError as fault:
                raise AssertionError(f"killed at {moment} of {writes}") from fault


IMAGE = """\
stack: shop
fleet: fleet.yaml
flavors: {gold: {vcpus: 1, ram: 1024, extra_specs: {"resources:CUSTOM_BAREMETAL": "1"}}}
images: {picture: {source: picture.raw, format: raw, checksum: "sha256:CHECKSUM"}}
servers: {db: {flavor: gold, image: picture, bare_metal: {bios: {PowerCapWatts: 150}}}}
"""
ALWAYS = ("BIOS", "media in", "boot from them", "on", "media out", "boot from the disk", "on")


def answer(ramdisk: Ramdisk, bmc: LightBmc, is_over: threading.Event) -> None:
    """Does as ramdisks do, for the runs that are there to hear it: it says that all is done, and its node goes off."""
    while not is_over.wait(0.2):
        if ramdisk.is_booted():
            before = len(bmc.asked())
            with suppress(AssertionError):  # the run was killed
                until(lambda before=before: "GET " in bmc.asked()[before:], 20, "the run sees it on")
            # The run that it was of was killed, and its port may be another's by now.
            with suppress(requests.RequestException, AssertionError, PyCdlibException):
                ramdisk.say("done finish\nwritten")
                time.sleep(0.3)
                bmc.reset("ForceOff")


def test_deployment_that_is_killed_at_any_write_is_finished_by_the_same_command(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """And a disk that a run has heard to be finished is not written again."""
    folder = tmp_path_factory.mktemp("deploy")
    with light_farm(folder / "farm", BMCS) as farm:

        def prepared(moments: list[Moment]) -> dict[Moment, tuple[Case, Ramdisk]]:
            cases = {moment: Case(farm.pop(), folder / f"{moment[0]}-{moment[1]}") for moment in moments}
            for case in cases.values():
                (case.folder / "picture.raw").write_bytes(bytes(4096))
                text = IMAGE.replace("CHECKSUM", hashlib.sha256(bytes(4096)).hexdigest())
                (case.folder / "stack.yaml").write_text(text)
                fleet = json.loads((case.folder / "fleet.yaml").read_text())
                fleet["deploy"] = {"listen": "127.0.0.1:0"}
                (case.folder / "fleet.yaml").write_text(json.dumps(fleet))
            return {moment: (case, Ramdisk(case.bmc)) for moment, case in cases.items()}

        whole = prepared([(0, False)])
        with answered(whole):
            every({moment: case for moment, (case, _) in whole.items()}, 0, "apply", "--yes")
        ((case, ramdisk),) = whole.values()
        writes = case.writes
        assert len(ramdisk.jobs) == 1 and len(writes) > len(ALWAYS)
        heard = next(at for at, each in enumerate(writes) if each.endswith("EjectMedia"))  # one write is the ramdisk's
        last = len(writes) - 1
        killed = prepared([(at, False) for at in range(1, last + 1)] + [(last, True)])
        cases = {moment: case for moment, (case, _) in killed.items()}
        with answered(killed):
            # Whether the run or its ramdisk switches the node off differs: these writes a run has always.
            assert every(cases, -signal.SIGKILL, "apply", "--yes", dies=True, but=0) >= len(ALWAYS), writes
            every(cases, 0, "apply", "--yes")
            every(cases, 0, "plan", "--detailed-exitcode")
        for moment, (case, ramdisk) in killed.items():
            said = f"killed at {moment} of {writes}: {case.writes}"
            page = case.bmc.get()
            assert (page["PowerState"], page["Oem"]["Lab"]["BootedFrom"]) == ("On", "Hdd"), said
            assert case.bmc.get("/BIOS")["Attributes"]["PowerCapWatts"] == 150, said
            assert case.bmc.get("/VirtualMedia/Cd")["Inserted"] is False, said
            assert len(ramdisk.jobs) == 1 if moment[0] >= heard else len(ramdisk.jobs) <= 2, said


@contextmanager
def answered(cases: dict[Moment, tuple[Case, Ramdisk]]) -> Iterator[None]:
    """Has a ramdisk for each."""
    is_over = threading.Event()
    threads = [
        threading.Thread(target=answer, args=(ramdisk, case.bmc, is_over), daemon=True)
        for case, ramdisk in cases.values()
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
