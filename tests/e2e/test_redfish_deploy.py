"""Deployments to machines that never boot, over HTTPS: what is said when a BMC or node does not do its part, and what
is never said."""

import gzip
import hashlib
import io
import os
import re
import shlex
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from pycdlib.pycdlib import PyCdlib

from stacksmith.cli.app import run
from stacksmith.engine.node import nodes
from stacksmith.engine.options import Options
from stacksmith.engine.run import RunOptions
from stacksmith.engine.store import opened
from stacksmith.model.deploy import DeploySpec
from stacksmith.model.node import Node
from stacksmith.providers.base import Deadline, ProviderError, Refused, TimedOut
from stacksmith.providers.deployment import NO_DISK, Cleaning, Job, Stage
from stacksmith.providers.redfish.deploy import Deployer
from stacksmith.state.store import NodeNote
from tests.e2e.deploying import lab_cache
from tests.e2e.kit import until
from tests.e2e.light_parts import Killed, LightBmc, soon

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("light")]
BMCS = 35
DEPLOY = {"listen": "127.0.0.1:0", "boot_timeout_seconds": 60}
STACK = """\
stack: shop
fleet: fleet.yaml
flavors: {metal: {vcpus: 1, ram: 1024, extra_specs: {"resources:CUSTOM_BAREMETAL": "1"}}}
servers:
  db: {flavor: metal, bare_metal: {wipe: {S-A: whole, S-B: signatures, S-C: whole}}}
"""


class Run:
    """A cleaning of a node in a thread: it needs no image, and is a deployment otherwise."""

    def __init__(self, bmc: LightBmc, deadline: Deadline | None = None, **settings: Any) -> None:
        self._bmc, self.said, self._deadline = bmc, list[str](), deadline or soon(60)
        self._settings = DeploySpec(listen="127.0.0.1:0", **settings)
        self.fault: ProviderError | None = None
        self._thread = threading.Thread(target=self._clean)

    def __enter__(self) -> "Run":
        self._thread.start()
        return self

    def __exit__(self, *cause: object) -> None:
        self._thread.join()

    def _clean(self) -> None:
        name = self._bmc.node.name
        deployer = Deployer(self._settings, {name: Node.model_validate(self._bmc.fields)}, lab_cache())
        try:
            with self._bmc.session() as session:
                deployer.clean(session, Cleaning(name, "u-1"), self.said.append, self._deadline)
        except ProviderError as fault:
            self.fault = fault
        finally:
            deployer.close()

    def url(self) -> str:
        """Where the ISO is, as the BMC was told."""
        until(lambda: self._drive()["Inserted"], 60, "the ISO is in")
        return str(self._drive()["Image"])

    def _drive(self) -> Any:
        return self._bmc.get("/VirtualMedia/Cd")


class Said(list[str]):
    """What a run says; ``act`` is called at some words in the run's own thread, which goes on when it is done."""

    def __init__(self, words: str, act: Callable[[], object]) -> None:
        super().__init__()
        self._words, self._act = words, act

    def append(self, words: str) -> None:
        super().append(words)
        if words == self._words:
            self._act()


def hasten(patch: pytest.MonkeyPatch, lasting: float = 0.3, eject: float = 30.0) -> None:
    """The power is asked for often; with ``eject`` a BMC that is out of reach is soon given up."""
    short = (
        ("POWER_POLL_SECONDS", 0.2),
        ("LEAST_SECONDS", 0.0),
        ("LASTING_SECONDS", lasting),
        ("EJECT_SECONDS", eject),
    )
    for name, seconds in short:
        patch.setattr(f"stacksmith.providers.redfish.deploy.deployer.{name}", seconds)


class Ramdisk:
    """In place of a node's ramdisk: reads the jobs of ISOs that its BMC is given, and answers them."""

    def __init__(self, bmc: LightBmc) -> None:
        self._bmc, self.jobs = bmc, list[dict[str, str]]()

    def serve(self, count: int) -> None:
        for _ in range(count):
            before = self.say("done finish\nwiped")
            until(
                lambda before=before: "GET /BIOS" in self._bmc.asked()[before:], 60, "the run looks whether it is off"
            )
            assert self._bmc.reset("ForceOff") == 204

    def say(self, words: str) -> int:
        """Tells it, once there is another job. Returns how much the BMC had been asked before."""
        until(self.is_booted, 60, "the node is on with another ISO")
        job = self._job(str(self._bmc.get("/VirtualMedia/Cd")["Image"]))
        self.jobs.append(job)
        before = len(self._bmc.asked())
        self.say_more(words)
        return before

    def say_more(self, words: str) -> None:
        """Of the last job."""
        job = self.jobs[-1]
        signed = {"Authorization": f"Bearer {job['token']}"}
        assert requests.post(f"{job['url']}/event", words, headers=signed, timeout=10).ok

    def is_booted(self) -> bool:
        """Whether the node is on with an ISO that it was not asked about yet."""
        drive, before = self._bmc.get("/VirtualMedia/Cd"), [f"{job['url']}.iso" for job in self.jobs]
        return drive["Inserted"] and drive["Image"] not in before and self._bmc.get()["PowerState"] == "On"

    def _job(self, url: str) -> dict[str, str]:
        """The assignments of the job on the ISO."""
        reader, packed = PyCdlib(), io.BytesIO()
        reader.open_fp(io.BytesIO(requests.get(url, timeout=60).content))
        reader.get_file_from_iso_fp(packed, iso_path="/JOB.;1")
        found = re.search(r"task=[^\0]*", gzip.decompress(packed.getvalue()).decode(errors="replace"))
        assert found
        return dict(word.split("=", 1) for word in shlex.split(found[0]))


@pytest.mark.parametrize("method", ["http", "embedded"])
def test_bmc_that_never_asks_for_the_iso_is_told_from_a_node_that_is_silent(bmc: LightBmc, method: str) -> None:
    urls: list[str] = []
    run = Run(bmc, method=method, boot_timeout_seconds=1)
    run.said = Said("waiting for the ramdisk", lambda: urls.append(run.url()))
    with run:
        pass
    assert isinstance(run.fault, TimedOut)
    silent = r"nothing was heard of its ramdisk for \d+ s; it is on, and its BMC never asked for the ISO"
    assert re.search(silent, str(run.fault))
    assert f"reach this machine at {urls[0].rsplit('/', 2)[0]}: deploy.advertise_url" in str(run.fault.hint)
    assert bmc.get("/VirtualMedia/Cd")["Inserted"] is False and bmc.get()["PowerState"] == "On"


def test_media_that_are_out_before_the_bmc_says_so_are_out(bmc: LightBmc) -> None:
    with bmc.session(read_timeout_seconds=4) as session:
        session.insert_media("http://127.0.0.1:9/a.iso", soon())
        bmc.behave(write_seconds=8)
        session.eject_media(soon(60))
    assert bmc.get("/VirtualMedia/Cd")["Inserted"] is False


def test_node_that_got_its_iso_and_is_silent_has_a_console(bmc: LightBmc) -> None:
    urls: list[str] = []

    def look() -> None:
        urls.append(run.url())
        assert requests.head(urls[0], timeout=60).status_code == 200

    run = Run(bmc, boot_timeout_seconds=1)
    run.said = Said("waiting for the ramdisk", look)
    with run:
        pass
    assert isinstance(run.fault, TimedOut) and re.search(r"of its ramdisk for \d+ s; it is on$", str(run.fault))
    assert "its console tells more" in str(run.fault.hint)
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.head(urls[0], timeout=10)  # nothing is served once the run is over


@pytest.mark.parametrize("method", ["http", "embedded"])
def test_node_that_goes_off_before_its_end_is_told_at_once(
    bmc: LightBmc, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after the whole ``silence_timeout_seconds``; who has a network says that it is done before it is off."""
    hasten(monkeypatch)
    with Run(bmc, method=method) as run:
        Ramdisk(bmc).say("progress clean\nsda (signatures)")
        until(lambda: "clean: sda (signatures)" in run.said, 60, "the run has heard it")
        assert bmc.reset("ForceOff") == 204
    assert isinstance(run.fault, Refused) and run.fault.path == "clean"
    assert str(run.fault) == f"cannot clean {bmc.node.name}: it went off after clean"
    assert bmc.get("/VirtualMedia/Cd")["Inserted"] is False


def test_node_that_is_silent_and_goes_off_is_done_where_its_image_is_on_its_media_alone(
    bmc: LightBmc, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasten(monkeypatch)
    with Run(bmc) as run:
        assert requests.head(run.url(), timeout=10).ok
        until(lambda: "waiting for the ramdisk" in run.said, 60, "the node is on")
        assert bmc.reset("ForceOff") == 204
    assert str(run.fault) == f"cannot clean {bmc.node.name}: it went off before its ramdisk said anything"
    with Run(bmc, method="embedded") as run:
        until(lambda: "waiting for the ramdisk" in run.said, 60, "the node is on")
        assert bmc.reset("ForceOff") == 204  # its BMC has not read the ISO: nothing can be written
    assert str(run.fault) == f"cannot clean {bmc.node.name}: it went off before its ramdisk said anything"
    with Run(bmc, method="embedded") as run:
        assert requests.head(run.url(), timeout=10).ok
        until(lambda: "waiting for the ramdisk" in run.said, 60, "the node is on")
        assert bmc.reset("ForceOff") == 204
    assert run.fault is None
    assert "written, unverified: the node switched itself off without a word" in run.said


def test_node_without_the_disk_that_is_to_be_wiped_is_switched_off_at_once(
    bmc: LightBmc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ramdisk has ended, and does not do it by itself."""
    monkeypatch.setattr("stacksmith.providers.redfish.deploy.deployer.OFF_SECONDS", 1e6)
    with Run(bmc) as run:
        Ramdisk(bmc).say("failed no-disk\nthere is no sdx")
    assert isinstance(run.fault, Refused) and run.fault.path == NO_DISK, run.fault
    assert (bmc.get()["PowerState"], bmc.get("/VirtualMedia/Cd")["Inserted"]) == ("Off", False)


@pytest.mark.parametrize("kept", ["", "new fan"])
def test_cleaning_is_noted_once_the_node_is_touched(
    bmc: LightBmc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    """A node that could not be read, or for which nothing can be served, is what it was."""
    monkeypatch.chdir(tmp_path)
    bm, before = bmc.node.name, []
    node = {**bmc.fields, "password": {"file": "password"}, "ca": str(bmc.node.ca)}

    def cleaned(password: str = bmc.password, **deploy: Any) -> list[NodeNote]:
        """What is noted after a cleaning that fails."""
        fleet = {"fleet": "one", "nodes": {bm: node}, "deploy": {**DEPLOY, **deploy}}
        (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(fleet))
        (tmp_path / "password").write_text(password)
        assert run(["--fleet", "fleet.yaml", "node", "clean", bm, "--yes"]) == 1
        of = nodes(Options(fleet=Path("fleet.yaml"), environment={}))
        with opened(of, of.environment, read_only=True) as store:
            return [replace(note, since=0.0) for note in store.nodes()]

    assert cleaned("wrong") == []
    if kept:
        assert run(["--fleet", "fleet.yaml", "node", "maintenance", bm, "on", "--reason", kept]) == 0
        before = [NodeNote(bm, "maintenance", reason=kept)]
    assert cleaned("wrong") == before
    assert cleaned(listen="192.0.2.1:1") == before and bmc.writes() == []
    (note,) = cleaned(boot_timeout_seconds=1)
    assert f"cannot clean {bm}: nothing was heard of its ramdisk" in note.reason
    if kept:
        assert note.state == "maintenance" and note.reason.startswith("new fan; ")
    else:
        assert (note.state, note.stage) == ("failed", "cleaning")


@pytest.mark.parametrize("last", [Stage.MEDIA, Stage.BOOTED])
def test_iso_is_booted_once_though_its_run_is_killed(
    bmc: LightBmc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: Stage
) -> None:
    """``last`` is what the killed run could note; the node is on by then."""
    hasten(monkeypatch)
    (tmp_path / "installer.iso").write_bytes(bytes(2048))
    name, noted = bmc.node.name, list[str]()
    deployer = Deployer(DeploySpec(listen="127.0.0.1:0"), {name: Node.model_validate(bmc.fields)}, lab_cache())

    def deploy(reached: Callable[[str], None]) -> None:
        with bmc.session() as session:
            wanted = Job(name, "u-1", iso=tmp_path / "installer.iso")
            deployer.deploy(session, wanted, lambda words: None, reached, noted[-1] if noted else "", soon(60))

    def reached(stage: str) -> None:
        if noted != [last]:
            noted.append(stage)
        if stage == Stage.BOOTED:
            raise Killed

    try:
        with pytest.raises(Killed):
            deploy(reached)
        noted[:] = [last]
        assert bmc.get()["Oem"]["Lab"]["BootedFrom"] == "Cd"
        with ThreadPoolExecutor(1) as pool:
            before, asked = len(bmc.writes()), len(bmc.asked())
            resumed = pool.submit(deploy, noted.append)
            until(lambda: bmc.asked()[asked:].count("GET ") > 3, 60, "the run looks whether it is off")
            assert bmc.writes()[before:] == [] and not resumed.done()
            assert bmc.reset("ForceOff") == 204
            resumed.result()
    finally:
        deployer.close()
    assert sum("InsertMedia" in each for each in bmc.writes()) == 1
    assert (bmc.get()["PowerState"], bmc.get()["Oem"]["Lab"]["BootedFrom"]) == ("On", "Hdd")


def test_iso_that_is_at_work_for_longer_than_it_may_is_told(
    bmc: LightBmc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasten(monkeypatch)
    (tmp_path / "installer.iso").write_bytes(bytes(2048))
    settings = DeploySpec(listen="127.0.0.1:0", boot_iso_seconds=1)
    name = bmc.node.name
    deployer = Deployer(settings, {name: Node.model_validate(bmc.fields)}, lab_cache())
    try:
        with bmc.session() as session:
            wanted = Job(name, "u-1", iso=tmp_path / "installer.iso")
            told = deployer.deploy(session, wanted, lambda words: None, lambda stage: None, "", soon(60))
    finally:
        deployer.close()
    assert told == "it is on from its ISO after 1 s, with the ISO in: nobody waits for it"
    assert (bmc.get()["PowerState"], bmc.get("/VirtualMedia/Cd")["Inserted"]) == ("On", True)


def test_cleaning_that_is_interrupted_takes_its_iso_out(bmc: LightBmc) -> None:
    def tell(words: str) -> None:
        if words == "waiting for the ramdisk":
            raise KeyboardInterrupt

    name = bmc.node.name
    settings = DeploySpec(listen="127.0.0.1:0")
    deployer = Deployer(settings, {name: Node.model_validate(bmc.fields)}, lab_cache())
    try:
        with bmc.session() as session, pytest.raises(KeyboardInterrupt):
            deployer.clean(session, Cleaning(name, "u-1"), tell, soon(60))
    finally:
        deployer.close()
    assert any("InsertMedia" in each for each in bmc.writes())
    assert bmc.get("/VirtualMedia/Cd")["Inserted"] is False


def test_firmware_that_switches_a_node_off_and_on_again_ends_no_deploy(
    bmc: LightBmc, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasten(monkeypatch, lasting=30.0)
    with Run(bmc) as run:
        run.url()
        until(lambda: "waiting for the ramdisk" in run.said, 60, "the node is on")
        assert bmc.reset("ForceOff") == 204
        before = len(bmc.asked())
        until(lambda: bmc.asked()[before:].count("GET /BIOS") > 1, 60, "the run has seen that it is off")
        assert bmc.reset("On") == 204
        Ramdisk(bmc).serve(1)
    assert run.fault is None


def test_bmc_that_fails_does_not_end_what_the_ramdisk_does(bmc: LightBmc, monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch, eject=1.0)
    run = Run(bmc, silence_timeout_seconds=4)
    run.said = Said("clean: sda (signatures)", lambda: bmc.behave(fail_every=1))
    with run:
        Ramdisk(bmc).say("progress clean\nsda (signatures)")
    assert isinstance(run.fault, TimedOut)
    assert re.search(r"nothing was heard for \d+ s after clean; whether it is on is not known: ", str(run.fault))


class Jump:
    """A clock that comes to be ``to`` seconds beside the real one at once."""

    def __init__(self, to: float) -> None:
        self.to, self.by = to, -1000.0

    def __call__(self) -> float:
        return time.monotonic() + self.by

    def deadline(self) -> Deadline:
        """One that has come on the real clock, and is far on this one."""
        return Deadline(time.monotonic(), self)


@pytest.mark.parametrize(
    ("beside", "why", "hint"),
    [(0.0, "its time is over", "a longer deploy_timeout_seconds of the node"), (1000.0, "its run had to end", "")],
)
def test_cleaning_whose_time_is_over_says_where_it_was_and_what_gives_it_more(
    bmc: LightBmc, beside: float, why: str, hint: str
) -> None:
    """None does when the run has to end: it moves the clock on."""
    clock = Jump(beside)
    with Run(bmc, clock.deadline()) as run:
        Ramdisk(bmc).say("progress clean\nsda: 12 of 4096 MiB")
        until(lambda: "clean: sda: 12 of 4096 MiB" in run.said, 60, "the run has heard it")
        clock.by = clock.to
    assert isinstance(run.fault, TimedOut)
    assert str(run.fault) == f"cannot clean {bmc.node.name}: {why}: it was at clean; it is on"
    assert hint in (run.fault.hint or "") and bool(run.fault.hint) == bool(hint)
    assert bmc.get("/VirtualMedia/Cd")["Inserted"] is False


def test_time_that_is_over_before_the_ramdisk_says_anything_has_both_hints(bmc: LightBmc) -> None:
    clock = Jump(0.0)
    with Run(bmc, clock.deadline()) as run:
        run.url()
        until(lambda: "waiting for the ramdisk" in run.said, 60, "the node is on")
        clock.by = clock.to
    silent = r"its time is over: nothing was heard of its ramdisk for \d+ s; it is on, and its BMC never asked"
    assert re.search(silent, str(run.fault)) and isinstance(run.fault, TimedOut)
    assert re.search("deploy.advertise_url.*; .*deploy_timeout_seconds", str(run.fault.hint))


def test_iso_of_a_run_whose_time_is_over_before_the_node_is_on_is_taken_out(bmc: LightBmc) -> None:
    clock = Jump(0.0)

    def look() -> None:
        assert bmc.get("/VirtualMedia/Cd")["Inserted"] is True
        clock.by = clock.to

    run = Run(bmc, clock.deadline())
    run.said = Said("switching on", look)
    with run:
        pass
    assert isinstance(run.fault, TimedOut) and "its time is over" in str(run.fault)
    assert bmc.get("/VirtualMedia/Cd")["Inserted"] is False


def test_bmc_that_fails_until_the_time_is_over_is_told_with_it(bmc: LightBmc) -> None:
    bmc.behave(fail_every=1)
    with Run(bmc, soon(3)) as run:
        pass
    assert isinstance(run.fault, TimedOut) and "deploy_timeout_seconds of the node" in str(run.fault.hint)
    assert re.match(f"cannot clean {bmc.node.name}: its time is over: cannot .* 5\\d\\d ", str(run.fault))


def test_iso_that_is_at_work_when_the_time_is_over_is_told_with_the_setting(bmc: LightBmc, tmp_path: Path) -> None:
    (tmp_path / "installer.iso").write_bytes(bytes(2048))
    clock, name = Jump(0.0), bmc.node.name

    def reached(stage: str) -> None:
        if stage == Stage.BOOTED:
            clock.by = clock.to

    deployer = Deployer(DeploySpec(listen="127.0.0.1:0"), {name: Node.model_validate(bmc.fields)}, lab_cache())
    try:
        with bmc.session() as session, pytest.raises(TimedOut, match="its time is over: it is on from its ISO") as late:
            wanted = Job(name, "u-1", iso=tmp_path / "installer.iso")
            deployer.deploy(session, wanted, lambda words: None, reached, "", clock.deadline())
    finally:
        deployer.close()
    assert "deploy_timeout_seconds of the node" in str(late.value.hint)


def test_iso_of_a_server_is_taken_out_where_the_bmc_does_not_boot_from_it(
    bmc: LightBmc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "installer.iso").write_bytes(bytes(2048))
    name, there = bmc.node.name, list[bool]()
    deployer = Deployer(DeploySpec(listen="127.0.0.1:0"), {name: Node.model_validate(bmc.fields)}, lab_cache())

    def refuse(*of: object) -> None:
        there.append(bmc.get("/VirtualMedia/Cd")["Inserted"])
        raise Refused("it boots from no such device")

    try:
        with bmc.session() as session, pytest.raises(Refused, match="no such device"):
            monkeypatch.setattr(session, "boot_once", refuse)
            wanted = Job(name, "u-1", iso=tmp_path / "installer.iso")
            deployer.deploy(session, wanted, lambda words: None, lambda stage: None, "", soon(60))
    finally:
        deployer.close()
    assert there == [True] and bmc.get("/VirtualMedia/Cd")["Inserted"] is False


def test_whole_disks_are_not_wiped_by_the_time_of_a_deployment(
    bmc: LightBmc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk takes longer than an image; signatures take no more than one."""
    monkeypatch.chdir(tmp_path)
    node = {**bmc.fields, "password": {"file": "password"}, "ca": str(bmc.node.ca), "deploy_timeout_seconds": 1}
    fleet = {"fleet": "one", "nodes": {bmc.node.name: node}, "deploy": DEPLOY}
    (tmp_path / "password").write_text(bmc.password)
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(fleet))
    words = ["--fleet", "fleet.yaml", "node", "clean", bmc.node.name, "--yes"]
    assert run(words) == 1
    assert "where it only takes longer: a longer deploy_timeout_seconds of the node" in capsys.readouterr().err
    with ThreadPoolExecutor(1) as pool:
        ramdisk = Ramdisk(bmc)

        def serve() -> None:
            ramdisk.say("progress clean\nsda: 0 of 4096 MiB")
            time.sleep(1.5)  # more than deploy_timeout_seconds
            before = len(bmc.asked())
            ramdisk.say_more("done finish\nwiped")
            until(lambda: "GET /BIOS" in bmc.asked()[before:], 60, "the run looks whether it is off")
            assert bmc.reset("ForceOff") == 204

        served = pool.submit(serve)
        status = run([*words, "--whole"])
        served.result()  # why it was not heard, when it was not
        assert status == 0
    assert ramdisk.jobs[0]["wipe"] == "whole"


def test_disks_that_a_stack_names_are_wiped_as_it_says(
    bmc: LightBmc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of one way at a time, when the server leaves the node."""
    monkeypatch.chdir(tmp_path)
    assert bmc.reset("On") == 204
    node = {**bmc.fields, "password": {"file": "password"}, "ca": str(bmc.node.ca)}
    fleet = {"fleet": "one", "nodes": {bmc.node.name: node}, "deploy": DEPLOY}
    (tmp_path / "password").write_text(bmc.password)
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(fleet))
    (tmp_path / "stack.yaml").write_text(STACK)
    for words in (("node", "adopt", bmc.node.name, "server.db"), ("apply", "--yes")):
        assert run(words) == 0, words
    ramdisk = Ramdisk(bmc)
    with ThreadPoolExecutor(1) as pool:
        served = pool.submit(ramdisk.serve, 2)
        assert run(("destroy", "--yes")) == 0
        served.result()
    asked = [(job["task"], job["wipe"], job["names"]) for job in ramdisk.jobs]
    assert asked == [("clean", "signatures", "S-B"), ("clean", "whole", "S-A S-C")]
    assert "then its disks are wiped: S-A whole, S-B signatures, S-C whole" in capsys.readouterr().out
    assert bmc.get("/VirtualMedia/Cd")["Inserted"] is False and bmc.get()["PowerState"] == "Off"


def test_fault_of_a_call_that_took_long_is_waited_out_too(bmc: LightBmc) -> None:
    """The time that a BMC may be out of reach begins with the fault, not with the call that ends in it."""
    said: list[str] = []

    def heard(word: str) -> None:
        said.append(word)
        bmc.behave()

    name, settings = bmc.node.name, DeploySpec(bmc_timeout_seconds=1.2)
    deployer = Deployer(settings, {name: Node.model_validate(bmc.fields)}, lab_cache())
    bmc.behave(latency=0.5, drop_every=1)
    with bmc.session() as session:
        deployer.deploy(session, Job(name, "u-1"), heard, heard, Stage.READY, soon(60))
    assert said[0].startswith("reading, again: ") and said[-1] == "switching on"
    assert bmc.get()["PowerState"] == "On"


def test_iso_that_a_bmc_cannot_read_is_said_without_its_path(bmc: LightBmc) -> None:
    bmc.behave("says-again")
    with Run(bmc) as run:
        pass
    assert isinstance(run.fault, Refused)
    assert re.search(r"The resource at the URI http://127.0.0.1:\d+/….iso is in a format", str(run.fault))
    assert "must reach this machine at http://127.0.0.1:" in str(run.fault.hint)
    assert not re.search(r"/[A-Za-z0-9_-]{16}", f"{run.fault} {run.fault.hint} {run.said}".replace(bmc.node.system, ""))


APPLIED = """\
stack: shop
fleet: fleet.yaml
flavors: {metal: {vcpus: 1, ram: 1024, extra_specs: {"resources:CUSTOM_BAREMETAL": "1"}}}
images: {picture: {source: picture.raw, format: raw, checksum: "sha256:CHECKSUM"}}
servers: {db: {flavor: metal, image: picture}}
"""


@pytest.fixture
def command(
    bmc: LightBmc, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """A command on a stack with a server on the node, whose ramdisk ``says`` what it is told to; (status, output)."""
    monkeypatch.chdir(tmp_path)
    node = {**bmc.fields, "ca": str(bmc.node.ca), "password": {"file": str(bmc.node.password)}}
    fleet = {"fleet": "f", "deploy": {"listen": "127.0.0.1:0"}, "nodes": {"bm1": node}}
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(fleet))
    (tmp_path / "picture.raw").write_bytes(bytes(4096))
    (tmp_path / "stack.yaml").write_text(APPLIED.replace("CHECKSUM", hashlib.sha256(bytes(4096)).hexdigest()))

    def run_it(*words: str, ramdisk: Ramdisk | None = None, says: str = "") -> tuple[int, str]:
        capsys.readouterr()
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(run, list(words))
            if ramdisk is not None and says == "done":
                ramdisk.serve(1)
            elif ramdisk is not None:
                ramdisk.say(says)
            status = running.result()
        output = capsys.readouterr()
        return status, output.out + output.err

    return run_it


Command = Callable[..., tuple[int, str]]
ALLOWED = ("apply", "--yes", "--allow", "data-loss")


def test_disk_that_holds_something_is_written_over_once_the_plan_has_said_so(bmc: LightBmc, command: Command) -> None:
    """``--allow data-loss`` of the first apply may be for another server. What was found is told until it is gone."""
    ramdisk, holds = Ramdisk(bmc), "sda has gpt table with sda1"
    status, text = command(*ALLOWED, ramdisk=ramdisk, says=f"failed not-empty\n{holds}")
    assert status == 1 and f"cannot deploy bm1: not-empty: {holds}" in text, text
    assert "plan again, which tells it" in text and ramdisk.jobs[-1]["overwrite"] == "no"
    status, text = command("plan")
    assert status == 0 and f"the root disk is written over: {holds}" in text, text
    status, text = command("apply", "--yes")
    assert status == 7 and "its impact is data-loss" in text, text
    status, text = command(*ALLOWED, ramdisk=ramdisk, says="failed write-image\nsda is broken")
    assert status == 1 and (ramdisk.jobs[-1]["overwrite"], ramdisk.jobs[-1]["clears_others"]) == ("yes", "no"), text
    status, text = command(*ALLOWED, ramdisk=ramdisk, says="failed other-disks\nsdb1 is labelled config-2")
    assert status == 1 and ramdisk.jobs[-1]["overwrite"] == "yes", text
    text = command("plan")[1]
    assert f"is written over: {holds}" in text and "a config drive is removed: sdb1 is labelled config-2" in text
    status, text = command(*ALLOWED, ramdisk=ramdisk, says="done")
    assert status == 0 and (ramdisk.jobs[-1]["overwrite"], ramdisk.jobs[-1]["clears_others"]) == ("yes", "yes"), text
    assert "No changes" in command("plan")[1]
    status, text = command("plan", "--replace", "server.db")
    assert "the root disk is written over, with what server.db has on it" in text, text


def test_server_that_is_to_keep_what_its_disk_holds_leaves_the_ramdisk(bmc: LightBmc, command: Command) -> None:
    status, text = command("apply", "--yes", ramdisk=Ramdisk(bmc), says="failed not-empty\nsda has what I want")
    assert status == 1 and bmc.get()["Oem"]["Lab"]["BootedFrom"] == "Cd", text
    stack = Path("stack.yaml")
    stack.write_text(stack.read_text().replace(", image: picture", ""))
    status, text = command("apply", "--yes")
    assert status == 0 and (bmc.get()["PowerState"], bmc.get()["Oem"]["Lab"]["BootedFrom"]) == ("On", "Hdd"), text
    assert "No changes" in command("plan")[1]


def free_port() -> int:
    """One that the kernel gives to nobody who asks for any."""
    for port in range(20000 + os.getpid() % 10000, 32000):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


def test_apply_tells_how_far_it_is_and_goes_on_after_a_wrong_checksum_and_a_dead_bmc(
    bmc: LightBmc, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server is told to the BMC by the address that the fleet file advertises."""
    port = free_port()
    deploy = {"listen": f"127.0.0.1:{port}", "advertise_url": f"http://localhost:{port}", "bmc_timeout_seconds": 2}
    node = {**bmc.fields, "ca": str(bmc.node.ca), "password": {"file": str(bmc.node.password)}}
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump({"fleet": "f", "deploy": deploy, "nodes": {"bm1": node}}))
    (tmp_path / "picture.raw").write_bytes(bytes(4096))
    checksum = hashlib.sha256(bytes(4096)).hexdigest()
    (tmp_path / "stack.yaml").write_text(APPLIED.replace("CHECKSUM", checksum))
    monkeypatch.setattr(
        "stacksmith.engine.session.RunOptions", partial(RunOptions, retry_seconds=1, heartbeat_seconds=1)
    )
    ramdisk = Ramdisk(bmc)

    def applied(act: Callable[[], None]) -> tuple[int, str]:
        capsys.readouterr()
        with ThreadPoolExecutor(1) as pool:
            applying = pool.submit(run, ["apply", str(tmp_path / "stack.yaml"), "--yes"])
            act()
            status = applying.result()
        output = capsys.readouterr()
        return status, output.out + output.err

    def fails() -> None:
        ramdisk.say("progress write-image\n3 of 4 KiB")
        assert str(bmc.get("/VirtualMedia/Cd")["Image"]).startswith(f"http://localhost:{port}/")
        time.sleep(6)
        ramdisk.say_more("failed verify-image\nthe checksum of the image is sha256:0, not sha256:1")

    status, text = applied(fails)
    assert status == 1 and "cannot deploy bm1: verify-image: the checksum of the image is sha256:0" in text, text
    assert re.search(r"Still creating... \[\d+s elapsed, write-image: 3 of 4 KiB\]", text), text
    assert bmc.get()["PowerState"] == "On"

    def dies() -> None:
        before = ramdisk.say("progress write-image\nall of it")
        until(lambda: "GET /BIOS" in bmc.asked()[before:], 60, "the run waits for the ramdisk, and looks at the power")
        bmc.behave(drop_every=1)
        ramdisk.say_more("done finish\nwritten")

    status, text = applied(dies)
    assert status == 1 and "bm1" in text.partition("failed after")[2] and "Traceback" not in text, text
    bmc.behave()
    assert bmc.reset("ForceOff") == 204  # as the ramdisk does when it is done
    status, text = applied(lambda: None)
    assert status == 0 and len(ramdisk.jobs) == 2, "what was written is not written again"
    assert (bmc.get()["PowerState"], bmc.get()["Oem"]["Lab"]["BootedFrom"]) == ("On", "Hdd")
    assert "No changes" in applied(lambda: None)[1]
