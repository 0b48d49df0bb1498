"""Images on nodes of the lab by Redfish alone: real firmware, real disks, and what the deployed system then says.

A boot takes long here. So two nodes go through what is to be shown at the same time, once, and the tests look at what
came of it.
"""

import hashlib
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import requests

from stacksmith import lab
from stacksmith.lab.layout import RACK, layout_of
from stacksmith.model.deploy import DeploySpec
from stacksmith.model.node import RootDeviceHints
from stacksmith.providers.base import Refused
from stacksmith.providers.deployment import Cleaning, Stage
from tests.e2e.bmc_parts import Bmc, config_drive_of_another, put
from tests.e2e.boot_iso import make_boot_iso
from tests.e2e.deploying import Facts, in_time, lab_cache
from tests.e2e.kit import until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.takes(300),
    pytest.mark.xdist_group("bmc"),
    pytest.mark.root,
]
SERVER, OTHER = "5d2c0a6e-0000-5000-8000-000000000001", "5d2c0a6e-0000-5000-8000-000000000002"
SECRET = "hunter2-of-the-config-drive"
SECTOR, MIB = 512, 1 << 20
SECOND = "disk-bm1-b"  # a serial: without hints, disk-bm1 gets the image
KEPT = b"what another disk holds." * (2 * MIB // 24)
BEGINS = "STACKSMITH-DEPLOY writing the image"
STEPS = ("write-image", "verify-image", "config-drive")  # of the ramdisk, once it writes


@dataclass
class Told:
    """What a node went through: words by step, refusals by step, and the console as it was at the end of a step."""

    words: dict[str, list[str]] = field(default_factory=dict)
    refusals: dict[str, Refused] = field(default_factory=dict)
    consoles: dict[str, str] = field(default_factory=dict)
    power: dict[str, str] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    slots: dict[str, bool] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)  # digests of how the other disk begins


class Rig:
    """A node of the lab with a deployer."""

    def __init__(self, directory: Path, folder: Path, index: int, facts: Facts) -> None:
        self.bmc = Bmc(directory, lab.up(directory, hosts=1).nodes[index])
        self.facts, self.folder, self.told = facts, folder, Told()
        disks = layout_of(directory).home(RACK) / "lib" / "nodes"
        self.disk, self.other = disks / f"{facts.node}-disk.img", disks / f"{facts.node}-b-disk.img"
        self.seen = 0

    def deploy(
        self,
        step: str,
        stage: str = "",
        heard: Callable[[str], None] | None = None,
        settings: DeploySpec | None = None,
        **more: object,
    ) -> None:
        """A deploy in this process; what it says is noted, its refusal too, and told to `heard`."""
        words = self.told.words.setdefault(step, [])

        def note(word: str) -> None:
            words.append(word)
            if heard:
                heard(word)

        deployer = self.facts.deployer(settings)
        try:
            job = self.facts.job(**more)
            words += filter(None, [deployer.deploy(self.facts.session(), job, note, words.append, stage, in_time())])
        except Refused as refusal:
            self.told.refusals[step] = refusal
        finally:
            deployer.close()
        self.note(step)

    def killed(self, step: str, stage: str, last: str) -> None:
        """A deploy in a process of its own that kills itself."""
        path = self.folder / f"{self.facts.node}.json"
        path.write_text(json.dumps(asdict(self.facts)))
        argv = [sys.executable, "-m", "tests.e2e.deploying", str(path), stage, last]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == -9, done.stdout + done.stderr
        self.told.words[step] = done.stdout.splitlines()
        self.note(step)

    def note(self, step: str) -> None:
        """The console since the last note, the power, the drive and the mark on the disk."""
        text = self.console()
        self.told.consoles[step] = text[self.seen :]
        self.seen = len(text)
        self.told.power[step] = self.page()["PowerState"]
        self.told.slots[step] = self.page("/VirtualMedia/Cd")["Inserted"]
        self.told.marks[step] = mark_of(self.disk)

    def page(self, path: str = "") -> Any:
        """A page of the BMC, which dies in one of the scenes."""
        for _ in range(60):
            try:
                return self.bmc.get(path)
            except requests.exceptions.ConnectionError:
                time.sleep(1)
        return self.bmc.get(path)

    def console(self) -> str:
        return self.bmc.node.console.read_text(errors="replace") if self.bmc.node.console.exists() else ""

    def await_system(self, step: str) -> None:
        """Until the deployed system is up; its console is noted."""
        until(lambda: "STACKSMITH-READY" in self.console()[self.seen :], 600, "the deployed system is up")
        self.note(step)


def head(disk: Path) -> str:
    """A digest of how a disk begins."""
    with disk.open("rb") as file:
        return hashlib.sha256(file.read(len(KEPT))).hexdigest()


def mark_of(disk: Path) -> str:
    """The mark in the last sector of the last whole MiB before the backup of a GPT."""
    with disk.open("rb") as file:
        end = (disk.stat().st_size // SECTOR - 34) // 2048
        file.seek(end * MIB - SECTOR)
        return file.read(SECTOR).rstrip(b"\0").decode(errors="replace").strip()


def through_deaths(rig: Rig) -> None:
    """Hints that choose the second disk. Another's config drive on the other disk, and a wrong checksum; then a process
    that dies again and again until the server runs. The ramdisk boots by BIOS, which takes a third less, and the
    server by UEFI."""
    rig.facts = replace(rig.facts, root_serial=SECOND, boot_mode="bios")
    rig.disk, rig.other = rig.other, rig.disk
    put(rig.other, config_drive_of_another(rig.folder))
    rig.deploy("stale drive")
    put(rig.other, KEPT)
    rig.deploy("wrong checksum", checksum="sha256:" + "0" * 64)
    for step, stage, last in (
        ("killed at media", "", "media"),
        ("killed at booted", "media", "booted"),
        ("killed at finish", "booted", "finish"),
        ("killed at written", "booted", "written"),
        ("killed at ready", "written", "ready"),
    ):
        rig.killed(step, stage, last)
    rig.facts = replace(rig.facts, boot_mode="uefi")
    rig.deploy("alive", Stage.READY)
    rig.await_system("server")
    rig.deploy("again", Stage.READY)


def another_owner(rig: Rig) -> None:
    """The disk is another server's: refused, then allowed, with secure boot and a BMC that dies."""
    rig.facts = replace(rig.facts, uuid=OTHER, hostname="metal-3")
    rig.deploy("not empty")
    rig.told.others["servers"] = head(rig.other)
    put(rig.other, config_drive_of_another(rig.folder))
    assert rig.bmc.patch("/SecureBoot", {"SecureBootEnable": True}) == 204
    rig.deploy("overwritten", heard=bmc_death(rig), overwrite=True, clears_others=True)
    assert rig.page("/SecureBoot")["SecureBootCurrentBoot"] == "Enabled"
    rig.await_system("secure server")


def bmc_death(rig: Rig) -> Callable[[str], None]:
    """Kills the BMCs while the disk is verified; they are back once it has been noticed."""

    def heard(word: str) -> None:
        if word.startswith("verify-image"):
            lab.kill_bmcs(rig.bmc.directory)
        if "again: cannot reach" in word and lab.node_status(rig.bmc.directory)[0].state is lab.NodeState.NO_BMC:
            lab.up(rig.bmc.directory, hosts=1)

    return heard


def without_a_network(rig: Rig) -> None:
    """A node without a cable, by BIOS: the image, from qcow2, is on the virtual media."""
    put(rig.other, KEPT)
    qcow2 = rig.folder / "node.qcow2"
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", rig.facts.image, str(qcow2)], check=True)
    checksum = "sha512:" + hashlib.sha512(qcow2.read_bytes()).hexdigest()
    mac = rig.bmc.get(rig.bmc.get("/EthernetInterfaces")["Members"][0]["@odata.id"])["MACAddress"]
    virsh(rig, "domif-setlink", rig.facts.node, mac, "down", "--config")
    facts = {"image": qcow2, "checksum": checksum, "format": "qcow2", "boot_mode": "bios"}
    settings = DeploySpec(method="embedded")
    rig.deploy("embedded", settings=settings, root_device=RootDeviceHints(rotational=True), **facts)
    rig.await_system("bios server")
    virsh(rig, "domif-setlink", rig.facts.node, mac, "up", "--config")


def wiped(rig: Rig) -> None:
    """One disk of two, after one that is not there; by UEFI."""
    deployer = rig.facts.deployer()
    words = rig.told.words.setdefault("clean", [])
    try:
        for step, disk, mode in (("clean nothing", "sdz", "bios"), ("clean", "disk-bm2", "uefi")):
            job = Cleaning(rig.facts.node, rig.facts.uuid, (disk,), boot_mode=mode)
            try:
                deployer.clean(rig.facts.session(), job, words.append, in_time())
            except Refused as refusal:
                rig.told.refusals[step] = refusal
            rig.note(step)
    finally:
        deployer.close()
    rig.told.others["clean"] = head(rig.other)


def live(rig: Rig) -> None:
    """An ISO that is booted once; its system is asked to shut down."""
    images = rig.bmc.directory / "images"
    iso = make_boot_iso(rig.folder, images / "vmlinuz", images / "guest.gz")
    threading.Thread(target=shut_down_when_up, args=(rig,), daemon=True).start()
    rig.deploy("boot_iso", iso=iso, boot_mode="uefi")


def shut_down_when_up(rig: Rig) -> None:
    until(lambda: "STACKSMITH-READY" in rig.console()[rig.seen :], 600, "the ISO's system is up")
    until(lambda: is_asked_to_shut_down(rig), 60, "it is asked to")


def is_asked_to_shut_down(rig: Rig) -> bool:
    """False while the BMCs are away: the other node's test kills them."""
    try:
        return bool(rig.page()["PowerState"] == "On" and rig.bmc.reset("GracefulShutdown") == 204)
    except requests.exceptions.ConnectionError:
        return False


def through_steps(rig: Rig) -> None:
    """A process that dies before the media is in, then in each step of its ramdisk, and last when all is ready; by
    BIOS, whose boot takes less."""
    rig.facts = replace(rig.facts, boot_mode="bios")
    rig.killed("killed at inserting", "", "inserting virtual media")
    for last in STEPS:
        rig.killed(f"killed at {last}", "" if last == STEPS[0] else "booted", last)
    rig.killed("finished", "booted", "ready")


def virsh(rig: Rig, *words: str) -> None:
    argv = lab.command_in(rig.bmc.directory, RACK, ["virsh", "-q", *words])
    subprocess.run(argv, capture_output=True, check=True)


@dataclass(frozen=True)
class Shown:
    """The two nodes at their end."""

    first: Told
    second: Told
    cache: Path
    directory: Path


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp("deploy")
    directory, cache = folder / "lab", lab_cache()
    there = lab.up(directory, hosts=1, nodes=2, node_disks=2)
    image = directory / "images" / "node.img"
    checksum = "sha256:" + hashlib.sha256(image.read_bytes()).hexdigest()
    rigs = []
    for index, node in enumerate(there.nodes):
        names = (node.name, node.redfish, node.system, str(node.password), str(node.ca))
        facts = Facts(*names, SERVER, str(image), checksum, str(cache), f"metal-{index + 1}", SECRET)
        rigs.append(Rig(directory, folder, index, facts))
    first, second = rigs

    def second_run() -> None:
        without_a_network(second)
        wiped(second)
        through_steps(second)
        live(second)

    try:
        with ThreadPoolExecutor(2) as pool:
            runs = [pool.submit(lambda: (through_deaths(first), another_owner(first))), pool.submit(second_run)]
            for run in runs:
                run.result()
        yield Shown(first.told, second.told, cache, directory)
    finally:
        lab.down(directory)


# --- what came of it


def test_wrong_checksum_fails_with_step_and_detail_and_the_node_stays_on(shown: Shown) -> None:
    told, step = shown.first, "wrong checksum"
    cause = str(told.refusals[step])
    assert re.match(
        r"cannot deploy bm1: verify-image: the checksum of the image is sha256:\w{64}, not sha256:0000", cause
    )
    assert (told.power[step], told.slots[step]) == ("On", False)
    assert told.marks[step] == f"stacksmith-deploy writing {SERVER} sha256:{'0' * 64} " + told.marks[step][-66:]
    assert Stage.WRITTEN not in told.words[step]


def test_half_written_disk_of_the_same_server_is_written_again_without_asking(shown: Shown) -> None:
    words = shown.first.words["killed at finish"]
    assert [each for each in words if each in list(Stage)] == ["media", "booted"]
    assert any(re.match(r"write-image: begins: sd[ab], ", each) for each in words)
    assert any(re.fullmatch(r"write-image: \d+ of \d+ MiB", each) for each in words)
    assert shown.first.marks["killed at finish"].startswith(f"stacksmith-deploy done {SERVER} sha256:")


def test_finished_disk_is_not_written_again_whenever_the_process_died(shown: Shown) -> None:
    told = shown.first
    finished = r"finish: sd[ab] was finished before: nothing is written"
    assert any(re.fullmatch(finished, each) for each in told.words["killed at written"])
    assert "waiting for the ramdisk" not in told.words["killed at ready"]
    assert told.words["alive"] == ["setting the next boot", "switching on"] and told.words["again"] == []
    # one begins for the wrong checksum, one for all the lives of the second deploy, one for the server that came after
    assert "".join(told.consoles.values()).count(BEGINS) == 3
    assert told.marks["killed at finish"] == told.marks["killed at written"] == told.marks["server"]


def test_disk_is_finished_once_after_a_process_that_died_in_each_step_of_the_ramdisk(shown: Shown) -> None:
    told, deaths = shown.second, ["killed at inserting", *(f"killed at {step}" for step in STEPS)]
    assert (told.marks[deaths[0]], told.power[deaths[0]], told.slots[deaths[0]]) == ("", "Off", False)
    for step, death in zip(STEPS, deaths[1:], strict=True):
        assert told.words[death][-1].startswith(f"{step}: ") and Stage.WRITTEN not in told.words[death]
    # at the first word of a step its work may be just before or behind it, for the ramdisk goes on by itself
    assert "done" not in told.marks["killed at write-image"]
    assert told.marks["killed at verify-image"].startswith(f"stacksmith-deploy writing {SERVER} ")
    assert told.marks["finished"].startswith(f"stacksmith-deploy done {SERVER} ")
    assert (told.power["finished"], told.slots["finished"]) == ("Off", False)
    console = "".join(told.consoles[step] for step in (*deaths, "finished"))
    assert len(re.findall("done: sd[ab] is written", console)) == 1
    assert console.count(BEGINS) == len(STEPS) + ("was finished before" not in console)


def test_server_boots_with_its_hostname_and_runs_its_user_data(shown: Shown) -> None:
    for told, step, name in (
        (shown.first, "server", "metal-1"),
        (shown.first, "secure server", "metal-3"),
        (shown.second, "bios server", "metal-2"),
    ):
        console = told.consoles[step]
        assert f"STACKSMITH-HOSTNAME {name}" in console and "STACKSMITH-FORMAT configdrive" in console
        assert SECRET in console and "STACKSMITH-USERDATA rc=0" in console
        assert (told.power[step], told.slots[step]) == ("On", False)


def test_disk_that_is_not_ours_is_refused_with_what_is_on_it(shown: Shown) -> None:
    told, step = shown.first, "not empty"
    refusal = told.refusals[step]
    assert re.match(r"cannot deploy bm1: not-empty: sd[ab] has gpt table with .*config-2", str(refusal))
    assert str(refusal).endswith(f", an image for server {SERVER}")
    assert refusal.hint and "--allow data-loss" in refusal.hint
    assert (told.power[step], told.marks[step]) == ("On", told.marks["server"])
    assert BEGINS not in told.consoles[step]


def test_config_drive_of_another_server_on_another_disk_is_refused(shown: Shown) -> None:
    told, step = shown.first, "stale drive"
    assert re.match(r"cannot deploy bm1: other-disks: sd[ab] is labelled config-2", str(told.refusals[step]))
    assert (told.marks[step], told.power[step]) == ("", "On")
    assert BEGINS not in told.consoles[step]


def test_other_disks_are_as_they_were(shown: Shown) -> None:
    kept = hashlib.sha256(KEPT).hexdigest()
    assert (shown.first.others["servers"], shown.second.others["clean"]) == (kept, kept)


def test_disk_that_may_be_lost_is_written_and_boots_signed_from_end_to_end(shown: Shown) -> None:
    told = shown.first
    assert told.marks["overwritten"].startswith(f"stacksmith-deploy done {OTHER} ")
    assert "Access Denied" not in told.consoles["overwritten"] + told.consoles["secure server"]


def test_node_without_a_network_gets_its_image_from_the_virtual_media(shown: Shown) -> None:
    words = shown.second.words["embedded"]
    assert shown.second.marks["embedded"].startswith(f"stacksmith-deploy done {SERVER} sha512:")
    assert (
        words.count("written, unverified: the node switched itself off without a word") == 2
    )  # as it is seen, and then
    assert "STACKSMITH-DEPLOY root device sd" in shown.second.consoles["embedded"]
    assert not any(each.startswith("write-image") for each in words)


def test_hints_choose_the_second_of_two_equal_disks_and_the_node_boots_from_it(shown: Shown) -> None:
    console = "".join(shown.first.consoles.values())
    assert set(re.findall(r"root device sd[ab], serial (\S+)", console)) == {SECOND}
    assert f"HARDDISK {SECOND}" in shown.first.consoles["server"].rpartition("BdsDxe: starting Boot")[2]
    assert shown.first.others["servers"] == hashlib.sha256(KEPT).hexdigest()  # the first disk


def test_root_device_without_a_serial_is_the_first_of_equal_disks_by_theirs(shown: Shown) -> None:
    assert re.search(r"root device sd[ab], serial disk-bm2\s", shown.second.consoles["embedded"])


def test_legacy_node_boots_by_its_bios(shown: Shown) -> None:
    console = shown.second.consoles["embedded"] + shown.second.consoles["bios server"]
    assert re.search("STACKSMITH-DEPLOY done: sd[ab] is written", console) and "BdsDxe" not in console


def test_clean_leaves_no_signature_and_no_mark(shown: Shown) -> None:
    told = shown.second
    assert any(re.fullmatch(r"finish: wiped \(signatures\): sd[ab]", each) for each in told.words["clean"])
    assert (told.power["clean"], told.slots["clean"], told.marks["clean"]) == ("Off", False, "")


def test_clean_of_a_disk_that_is_not_there_changes_nothing(shown: Shown) -> None:
    told, step = shown.second, "clean nothing"
    assert re.search(r"there is no disk sdz: there are sd[ab] \(disk-bm2[^ ]*\), sd", str(told.refusals[step]))
    assert told.marks[step] == told.marks["bios server"] != ""


def test_bmc_that_dies_in_mid_deploy_is_waited_for(shown: Shown) -> None:
    words = shown.first.words["overwritten"]
    lost = [number for number, word in enumerate(words) if "again: cannot reach the BMC of bm1" in word]
    assert lost and words.index("ready") > lost[-1] > words.index("written")


def test_iso_is_booted_once_and_taken_out_when_the_node_switches_itself_off(shown: Shown) -> None:
    told, step = shown.second, "boot_iso"
    assert "LABBOOT is booting" in told.consoles[step] and "STACKSMITH-POWEROFF" in told.consoles[step]
    assert (told.power[step], told.slots[step]) == ("On", False)


def test_no_secret_stays_behind(shown: Shown) -> None:
    """The config drive is on the disk of its server, and nowhere else."""
    disks = {"bm1-disk.img", "bm1-b-disk.img", "bm2-disk.img", "bm2-b-disk.img"}
    nodes = layout_of(shown.directory).home(RACK) / "lib" / "nodes"
    until(lambda: {path.name for path in nodes.iterdir()} == disks, 60, "no ISO is left: a BMC takes its time")
    folders = [shown.cache / "ramdisks", shown.cache / "deploy-images", shown.directory / ".lab" / "nodes"]
    folders.append(layout_of(shown.directory).home(RACK) / "lib")
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.name not in disks]
    assert files and [path for path in files if SECRET.encode() in path.read_bytes()] == []
    said = [*shown.first.words.values(), *shown.second.words.values()]
    assert SECRET not in str(said) and "Bearer" not in str(said)
