"""A stack of two virtual machines and a bare-metal server, by the command line on the lab: the whole life of a node.

A node boots slowly here, so its life is lived once; the tests look at what came of it.
"""

import contextlib
import gzip
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pycdlib.pycdlib import PyCdlib

from stacksmith import lab
from stacksmith.lab.layout import RACK, layout_of
from stacksmith.lab.process import is_stopped
from stacksmith.providers.deployment import Stage
from tests.e2e.bmc_parts import Bmc, config_drive_of_another, put
from tests.e2e.kit import until

STOPS = """\
import signal, sys
from stacksmith.cli import main
from stacksmith.state.sql import SqlStore
note, stage = SqlStore.note_node, sys.argv.pop(1)
def noted(store, given, *more, **named):
    note(store, given, *more, **named)
    if given.stage.partition(" ")[0] == stage:
        signal.raise_signal(signal.SIGSTOP)
SqlStore.note_node = noted
main()"""
WRITES = "STACKSMITH-DEPLOY writing the image"
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.takes(225),
    pytest.mark.xdist_group("bmc"),
    pytest.mark.root,
]
SECRET = "hunter2-of-the-user-data"
OTHER_BYTES = (8 << 20) + 3 * 512  # of the second disk
WITHDRAWN = "a-password-that-was-given-up"
MORE = f"      # {'-' * 8000}\n      : {WITHDRAWN}\n"  # so that what takes its place is shorter
STACK = """\
stack: metal
fleet: lab/fleet.yaml
flavors:
  tiny: {{vcpus: 1, ram: 128, disk: 1}}
  gold: {{vcpus: 1, ram: 1024, extra_specs: {{"resources:CUSTOM_BAREMETAL_LAB": "1"}}}}
servers:
  web: {{count: 2, flavor: tiny, image: lab-acpi}}
  db:
    flavor: gold
    image: lab-node
    metadata: {{role: db}}
    bare_metal:
      asset_tag: "{tag}"
      indicator_led: lit
      bios: {{ProcTurboMode: {turbo}}}
      wipe: {{disk-bm1-b: whole}}
    user_data: |
      #!/bin/sh
      echo "{words} of $(hostname)"
      : {secret}
{more}outputs:
  db: "{{{{ server.db.host }}}}"
"""


@dataclass
class Done:
    """What a command gave."""

    status: int
    out: str
    err: str


@dataclass
class Rack:
    """The lab with its node, the stack, and what was seen of both: by name of the scene."""

    folder: Path
    directory: Path
    bmc: Bmc
    done: dict[str, Done] = field(default_factory=dict)
    boots: dict[str, int] = field(default_factory=dict)
    found: dict[str, object] = field(default_factory=dict)
    tokens: list[bytes] = field(default_factory=list)  # of callbacks
    arguments: list[bytes] = field(default_factory=list)  # of processes, with a secret in them

    def write(self, tag: str = "4711", turbo: str = "Disabled", words: str = "user data", more: str = MORE) -> None:
        text = STACK.format(tag=tag, turbo=turbo, words=words, secret=SECRET, more=more)
        (self.folder / "stack.yaml").write_text(text)

    def start(self, *words: str, last: str = "") -> "subprocess.Popen[str]":
        """A command; it stops once it has noted the stage ``last``."""
        program = [str(Path(sys.executable).with_name("stacksmith"))]
        if last:
            program = [sys.executable, "-c", STOPS, last]
        environment = {**os.environ, "NO_COLOR": "1", "XDG_CACHE_HOME": str(self.folder / "cache")}
        return subprocess.Popen(
            [*program, *words],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(self, scene: str, *words: str) -> Done:
        running = self.start(*words)
        out, err = running.communicate(timeout=900)
        self.done[scene] = Done(running.returncode, out, err)
        log = self.bmc.node.console.with_name("bm1.log")
        self.boots[scene] = log.read_text().count(": starting up libvirt") if log.exists() else 0
        return self.done[scene]

    def kill_at(self, stage: str, *words: str) -> None:
        """Kills a command that has stopped once the store has noted the stage."""
        assert self.stage() != stage, "an earlier run has noted it"
        running = self.start(*words, last=stage)
        try:
            until(lambda: self._is_stopped_at(stage, running), 900, f"stage {stage} is reached")
            assert running.poll() is None, f"it ended before {stage}: {running.communicate()}"
            self.arguments += self.arguments_with_secret()
        finally:
            running.kill()
            running.communicate()

    def _is_stopped_at(self, stage: str, running: "subprocess.Popen[str]") -> bool:
        """True too once it has ended."""
        return running.poll() is not None or (is_stopped(running.pid) and self.stage() == stage)

    def stage(self) -> str:
        """What the state store notes of the node."""
        path = self.directory / "state" / "lab.db"
        if not path.exists():
            return ""
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
            try:
                row = store.execute("SELECT stage FROM node WHERE name = 'bm1'").fetchone()
            except sqlite3.OperationalError:
                return ""
        return str(row[0]).partition(" ")[0] if row else ""

    def console(self) -> str:
        return self.bmc.node.console.read_text(errors="replace") if self.bmc.node.console.exists() else ""

    def disk(self, name: str = "bm1-disk.img") -> Path:
        """The file of a disk of the node."""
        return layout_of(self.directory).home(RACK) / "lib" / "nodes" / name

    def has_table(self) -> bool:
        """Whether there is a GPT on the node's disk."""
        with self.disk().open("rb") as file:
            return b"EFI PART" in file.read(4096)

    def end(self) -> bytes:
        """The end of the node's disk, where its config drive is."""
        with self.disk().open("rb") as file:
            file.seek(-8 << 20, os.SEEK_END)
            return file.read()

    def secrets(self) -> list[bytes]:
        """What nobody is to find: of the user data, of the BMC and its sessions, and those of runs that were killed."""
        of_bmc = [self.bmc.password.encode(), self.bmc.signature(), *self.bmc.tokens()]
        return [SECRET.encode(), *of_bmc, *self.tokens]

    def note_token(self) -> None:
        """Takes the token of a killed run from the ISO that its BMC still has."""
        (iso,) = self.media()
        reader, job = PyCdlib(), io.BytesIO()
        reader.open(str(iso))
        reader.get_file_from_iso_fp(job, iso_path="/JOB.;1")
        reader.close()
        found = re.search(rb"token=(\S{20,})", gzip.decompress(job.getvalue()))
        assert found
        self.tokens.append(found[1].strip(b"'"))

    def media(self) -> list[Path]:
        """The copies that BMCs have of ISOs."""
        return [path for path in self.disk().parent.iterdir() if not path.name.endswith("-disk.img")]

    def holds_secret(self) -> list[str]:
        """Files in which a secret stands, beside where the user or the lab has put it and the disks of its machines.

        The guest prints its user data on its console; nothing else may stand there.
        """
        password = self.bmc.node.password
        given = {self.folder / "stack.yaml", password, password.with_name("farm.json"), self.bmc.handed_out}
        found, secrets = [], self.secrets()
        for folder, _, names in os.walk(self.folder):
            for path in (Path(folder) / name for name in names if not name.endswith("-disk.img")):
                with contextlib.suppress(FileNotFoundError):  # a machine that stops takes files along
                    if path.is_file() and path not in given:
                        data, own = path.read_bytes(), {SECRET.encode()} if path == self.bmc.node.console else set()
                        found += [str(path)] if any(each in data for each in secrets if each not in own) else []
        return found

    def arguments_with_secret(self) -> list[bytes]:
        """Arguments of any process of this machine in which a secret stands."""
        found, secrets = [], self.secrets()
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                found.append(path.read_bytes())
        return [words for words in found if any(each in words for each in secrets)]


@pytest.fixture(scope="module")
def rack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rack]:
    """The life of a node, lived once."""
    folder = tmp_path_factory.mktemp("machine")
    directory = folder / "lab"
    try:
        made = Rack(folder, directory, Bmc(directory, lab.up(directory, hosts=1, nodes=1, node_disks=2).nodes[0]))
        live(made)
        yield made
    finally:
        lab.down(directory)


def live(rack: Rack) -> None:
    by_session(rack)
    os.truncate(rack.disk("bm1-b-disk.img"), OTHER_BYTES)  # too small to be the root device, and wiped in no time
    rack.write()
    rack.run("plan", "plan", "--out", "saved.plan")
    for stage in (Stage.MEDIA, Stage.BOOTED, Stage.WRITTEN, Stage.READY):
        rack.kill_at(stage, "apply", "--yes")
        if stage in (Stage.MEDIA, Stage.BOOTED):
            rack.note_token()
        rack.found[f"secret after {stage}"] = rack.holds_secret()
    rack.run("apply", "apply", "--yes", "--json-into", "events.jsonl")
    until(lambda: "user data of db" in rack.console(), 900, "the deployed system has read its config drive")
    rack.run("again", "apply", "--yes")
    rack.run("in sync", "drift")
    rack.found["secret"], rack.found["media"] = rack.holds_secret(), rack.media()
    rack.write(turbo="Enabled")
    rack.run("bios refused", "apply", "--yes")
    rack.run("bios", "apply", "--yes", "--allow", "restart")
    rack.found["bios"] = rack.bmc.get("/BIOS")["Attributes"]["ProcTurboMode"]
    rack.bmc.patch("", {"AssetTag": "by hand"})
    rack.bmc.patch("/BIOS/Settings", {"Attributes": {"ProcTurboMode": "Disabled"}})
    rack.run("drift", "drift")
    rack.run("mended", "apply", "--yes", "--allow", "restart")
    rack.write(turbo="Enabled", words="other words", more="")
    rack.found["withdrawn"] = WITHDRAWN.encode() in rack.end()
    put(rack.disk("bm1-b-disk.img"), config_drive_of_another(rack.folder))
    rack.run("stale drive", "apply", "--yes", "--allow", "restart")
    rack.found["on"] = rack.bmc.get()["PowerState"]
    rack.found["kept"] = WITHDRAWN.encode() in rack.end()
    rack.found["written"] = rack.console().count(WRITES)
    rack.kill_at(Stage.BOOTED, "apply", "--yes", "--allow", "restart,data-loss")
    rack.write(turbo="Enabled")
    rack.run("set back", "plan")
    rack.write(turbo="Enabled", words="other words", more="")
    rack.run("config drive", "apply", "--yes", "--allow", "restart,data-loss")
    rack.found["left"] = WITHDRAWN.encode() in rack.end()
    with rack.disk("bm1-b-disk.img").open("rb") as other:
        rack.found["stale"] = b"CONFIG-2" in other.read(64 << 10)
    until(lambda: "other words of db" in rack.console(), 900, "the system has read its other config drive")
    faults(rack)
    rack.run("list", "node", "list", "--format", "json")
    rack.run("occupied", "node", "clean", "bm1", "--yes")
    rack.found["console"] = rack.console()
    put(rack.disk("bm1-b-disk.img"), b"OF THE SERVER".ljust(16, b".") * (OTHER_BYTES // 16))
    # What wipes boots in the mode that is: by BIOS it takes a third less, and test_deploy wipes by UEFI.
    assert rack.bmc.patch("", {"Boot": {"BootSourceOverrideMode": "Legacy"}}) in (200, 204)
    rack.run("destroy", "destroy", "--yes")
    rack.found["other disk"] = rack.disk("bm1-b-disk.img").read_bytes().strip(b"\0")
    rack.run("after", "node", "list", "--format", "json")
    rack.found["power"] = rack.bmc.get()["PowerState"]
    clean(rack)


def by_session(rack: Rack) -> None:
    """Has every command sign in by sessions, so that there are tokens to be searched for."""
    fleet = rack.directory / "fleet.yaml"
    fleet.write_text(fleet.read_text().replace("    resource_class:", "    auth: session\n    resource_class:"))


def clean(rack: Rack) -> None:
    """The disk is wiped: by a command that is killed while the node is at it, then by the same again."""
    words = ("node", "clean", "bm1", "--disk", "disk-bm1", "--yes")
    rack.found["table"] = rack.has_table()
    begins = "STACKSMITH-DEPLOY clean for"
    before = rack.console().count(begins)
    running = rack.start(*words)
    until(lambda: rack.console().count(begins) > before, 900, "the node is about to be wiped")
    running.kill()
    running.communicate()
    rack.run("killed", "node", "list", "--format", "json")
    rack.run("clean", *words)
    rack.found["table after"] = rack.has_table()
    rack.run("clean list", "node", "list", "--format", "json")
    rack.found["secret at the end"] = rack.holds_secret()


def faults(rack: Rack) -> None:
    """A BMC that is out of reach, and one that takes another password; test_machine_signin has what sessions do."""
    fleet = rack.directory / "fleet.yaml"
    text = fleet.read_text()
    fleet.write_text(text.replace(":8001", ":9"))
    rack.run("unreachable", "drift")
    password = rack.bmc.node.password
    secret = password.read_text()
    fleet.write_text(text)
    password.write_text("wrong")
    rack.run("wrong password", "drift")
    password.write_text(secret)


def test_plan_shows_the_node_and_what_will_be_on_it(rack: Rack) -> None:
    done = rack.done["plan"]
    assert done.status == 0, done.err
    assert "# server.db will be created (on bm1)" in done.out
    assert "Plan: 4 to add, 0 to change, 0 to destroy." in done.out


def test_apply_killed_at_every_stage_converges_and_writes_the_disk_once(rack: Rack) -> None:
    done = rack.done["apply"]
    assert done.status == 0, done.out + done.err
    assert len(re.findall("STACKSMITH-DEPLOY done: sd[ab] is written", rack.console())) == 1


def test_deployed_system_boots_from_its_disk_with_its_own_config_drive(rack: Rack) -> None:
    console = str(rack.found["console"])
    assert "user data of db" in console
    assert "HARDDISK" in console.rpartition("BdsDxe: starting Boot")[2]


def test_apply_again_changes_nothing_and_drift_is_in_sync(rack: Rack) -> None:
    assert "No changes. Your infrastructure matches the configuration." in rack.done["again"].out
    assert rack.boots["again"] == rack.boots["apply"]
    assert rack.done["in sync"].status == 0


def test_secrets_stay_nowhere_also_when_the_run_was_killed(rack: Rack) -> None:
    """Of the user data, of the BMC, the tokens of its sessions, and those of callbacks."""
    found = {scene: files for scene, files in rack.found.items() if scene.startswith("secret")}
    scenes = ("after media", "after booted", "after written", "after ready", "at the end")
    assert found == {"secret": [], **{f"secret {scene}": [] for scene in scenes}}
    assert len(set(rack.tokens)) == 2 and rack.arguments == []
    asked = set(rack.done) - {"unreachable", "wrong password"}
    assert len(set(rack.bmc.tokens())) >= len(asked)
    said = "".join(done.out + done.err for done in rack.done.values())
    assert [each for each in rack.secrets() if each.decode() in said] == []


def test_no_iso_stays_in_a_bmc(rack: Rack) -> None:
    assert rack.found["media"] == []


def test_bios_attribute_needs_leave_and_costs_one_restart(rack: Rack) -> None:
    assert rack.done["bios refused"].status == 7
    assert rack.boots["bios refused"] == rack.boots["again"]
    done = rack.done["bios"]
    assert done.status == 0, done.out + done.err
    assert "ProcTurboMode" in done.out and "restart" in done.out
    assert rack.boots["bios"] == rack.boots["bios refused"] + 1
    assert rack.found["bios"] == "Enabled"


def test_settings_changed_by_hand_are_drift_and_mended(rack: Rack) -> None:
    done = rack.done["drift"]
    assert done.status == 2, done.out
    assert 'asset_tag          = "4711" -> "by hand"' in done.out
    assert "takes effect at the next restart" in done.out
    assert rack.done["mended"].status == 0, rack.done["mended"].out + rack.done["mended"].err


def test_user_data_changes_the_config_drive_and_not_the_image(rack: Rack) -> None:
    done = rack.done["config drive"]
    assert done.status == 0, done.out + done.err
    assert "its image stays" in done.out
    console = rack.console()
    assert console.count(WRITES) == rack.found["written"] > 0
    assert "user data of db" not in console.rpartition("its image stays")[2]


def test_config_drive_whose_change_was_killed_is_written_though_the_stack_is_set_back(rack: Rack) -> None:
    """And it alone: nobody knows which of the two is on the disk."""
    done = rack.done["set back"]
    assert done.status == 0 and "config_drive.digest" in done.out and "restart:" in done.out, done.out
    assert "data-loss" not in done.out


def test_another_config_drive_on_the_other_disk_is_refused_and_the_server_runs_on(rack: Rack) -> None:
    done = rack.done["stale drive"]
    assert done.status == 1, done.out
    assert re.search(r"cannot deploy bm1: other-disks: sd[ab] is labelled config-2", done.out + done.err)
    assert "--allow data-loss" in done.out + done.err
    assert rack.found["on"] == "On"
    assert (rack.found["kept"], rack.found["stale"]) == (True, False)


def test_user_data_that_was_changed_is_not_left_on_the_disk(rack: Rack) -> None:
    assert (rack.found["withdrawn"], rack.found["left"]) == (True, False)


def test_bmc_out_of_reach_is_no_answer_about_its_node(rack: Rack) -> None:
    done = rack.done["unreachable"]
    assert done.status == 4, done.out
    assert "cannot reach the BMC of bm1" in done.out + done.err


def test_wrong_password_is_one_clear_error(rack: Rack) -> None:
    done = rack.done["wrong password"]
    assert done.status == 4, done.out
    assert "cannot sign in to the BMC of bm1: 401" in done.out + done.err


def test_node_list_tells_whose_it_is(rack: Rack) -> None:
    (node,) = json.loads(rack.done["list"].out)["nodes"]
    assert node["tenancy"] == {
        "state": "active",
        "stage": "",
        "reason": "",
        "server": "metal/server.db",
        "adopted": False,
        "another_machine": False,
    }
    assert rack.done["occupied"].status == 1
    assert "server.db of stack metal is on it" in rack.done["occupied"].err


def test_destroy_switches_the_node_off_and_releases_it(rack: Rack) -> None:
    assert rack.done["destroy"].status == 0, rack.done["destroy"].err
    assert "then its disks are wiped: disk-bm1-b whole" in rack.done["destroy"].out
    assert (rack.found["other disk"], rack.found["table"], rack.found["power"]) == (b"", True, "Off")
    (node,) = json.loads(rack.done["after"].out)["nodes"]
    assert (node["tenancy"]["state"], node["provision_state"], node["maintenance"]) == ("available", "available", False)


def test_clean_that_was_killed_is_made_again(rack: Rack) -> None:
    (killed,) = json.loads(rack.done["killed"].out)["nodes"]
    assert killed["provision_state"] == "cleaning"
    assert rack.done["clean"].status == 0, rack.done["clean"].out + rack.done["clean"].err
    assert (rack.found["table"], rack.found["table after"]) == (True, False)
    (node,) = json.loads(rack.done["clean list"].out)["nodes"]
    assert (node["provision_state"], node["found"]["power_state"]) == ("available", "off")
