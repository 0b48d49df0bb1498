"""Changes of servers on nodes that are cut off, by the command line: what the next plan says, and what is left then.

The BMCs are light ones, and what deploys only goes through its stages: what is on disks test_machine shows.
"""

import hashlib
import json
from pathlib import Path
from typing import ClassVar

import pytest

from stacksmith.cli.app import run
from stacksmith.model.node_found import Aspects
from stacksmith.providers.base import Deadline, Refused
from stacksmith.providers.bmc import BmcSession, Tell
from stacksmith.providers.deployment import Job, Stage
from tests.e2e.bmc_parts import served
from tests.e2e.kit import until
from tests.e2e.light_parts import Killed, LightBmc, soon

pytestmark = [pytest.mark.e2e, pytest.mark.takes(85), pytest.mark.xdist_group("light")]
BMCS = 29
DRIVER = "stacksmith.providers.redfish.machine.MachineDriver"
BOOTS = "stacksmith.providers.redfish.boots.Boots"
SWITCH_ON = "stacksmith.providers.redfish.session.RedfishSession.switch_on"
UNSEEN = "nobody saw it"
RAID = "stacksmith.providers.redfish.raid"
LOSING = ("--yes", "--allow", "data-loss")
FLAVOR = {"vcpus": 1, "ram": 1024, "extra_specs": {"resources:CUSTOM_BAREMETAL": "1"}}
Edit = pytest.MonkeyPatch


def killed(*args: object) -> None:
    raise Killed


class Stages:
    """In place of what deploys. ``end`` is where it comes to one: a stage, or the word of its ramdisk that refuses."""

    end = ""
    written: ClassVar[list[str]] = []

    def deploy(
        self, bmc: BmcSession, wanted: Job, progress: Tell, reached: Tell, stage: str, deadline: Deadline
    ) -> str:
        if stage not in (Stage.WRITTEN, Stage.READY):
            for each in (Stage.MEDIA, Stage.BOOTED):
                reached(each)
                if Stages.end == each:
                    raise Killed
                bmc.switch_on(soon())
            if Stages.end:
                raise Refused(f"cannot deploy: {Stages.end}: sdb is labelled config-2", Stages.end)
            Stages.written.append(wanted.checksum)
            reached(Stage.WRITTEN)
            bmc.switch_off(True, soon())
            reached(Stage.READY)
        bmc.switch_on(soon())
        return UNSEEN

    def close(self) -> None:
        """Nothing is open."""


class Site:
    """The stack of one server, and commands on it."""

    def __init__(self, bmc: LightBmc, folder: Path, output: pytest.CaptureFixture[str]) -> None:
        self.bmc, self.folder, self._output = bmc, folder, output
        fields = {**bmc.fields, "ca": str(bmc.node.ca), "password": {"file": str(bmc.node.password)}}
        (folder / "fleet.yaml").write_text(json.dumps({"fleet": "f", "nodes": {bmc.node.name: fields}}))
        self.images = {}
        for name in ("a", "b"):
            data = name.encode() * 1024
            (folder / f"{name}.raw").write_bytes(data)
            checksum = "sha256:" + hashlib.sha256(data).hexdigest()
            self.images[name] = {"source": f"{name}.raw", "format": "raw", "checksum": checksum}

    def declare(self, *, image: str = "", power: str = "running", user_data: str = "", **settings: object) -> None:
        server = {"flavor": "gold", "power_state": power, "bare_metal": settings}
        server |= {"image": image} if image else {}
        server |= {"user_data": user_data} if user_data else {}
        stack = {"stack": "shop", "fleet": "fleet.yaml", "flavors": {"gold": FLAVOR}, "images": self.images}
        (self.folder / "stack.yaml").write_text(json.dumps({**stack, "servers": {"db": server}}))

    def said(self, command: str, *words: str, path: str = "stack.yaml") -> tuple[int, str]:
        return self._run(command, str(self.folder / path), *words)

    def node(self, *words: str) -> tuple[int, str]:
        command, *more = words
        return self._run("node", command, self.bmc.node.name, *more, "--fleet", str(self.folder / "fleet.yaml"))

    def _run(self, *words: str) -> tuple[int, str]:
        self._output.readouterr()
        status = run(list(words))
        output = self._output.readouterr()
        return status, output.out + output.err

    def apply(self, *words: str, path: str = "stack.yaml") -> str:
        status, text = self.said("apply", *words, path=path)
        assert status == 0, text
        return text

    def cut_off(self, *words: str, end: str = "", path: str = "stack.yaml") -> None:
        Stages.end = end
        with pytest.raises(Killed):
            self.said("apply", *words, path=path)
        Stages.end = ""

    @property
    def listed(self) -> dict[str, object]:
        """As ``node list`` has it."""
        status, text = self._run("node", "list", "--format", "json", "--fleet", str(self.folder / "fleet.yaml"))
        assert status == 0, text
        (node,) = json.loads(text)["nodes"]
        return dict(node)

    @property
    def state(self) -> str:
        return str(self.listed["provision_state"])

    @property
    def is_on(self) -> bool:
        return bool(self.bmc.get()["PowerState"] == "On")


@pytest.fixture
def site(bmc: LightBmc, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Edit) -> Site:
    monkeypatch.setattr("stacksmith.engine.session.make_deployer", lambda fleet, cache: Stages())
    Stages.end, Stages.written = "", []
    return Site(bmc, tmp_path, capsys)


def test_what_an_update_wrote_that_did_not_end_well_is_nobody_elses_change(site: Site, monkeypatch: Edit) -> None:
    """Neither is the firmware that an image brought which is of another version."""
    site.bmc.behave("raid")
    (site.folder / "bmc-2.bin").write_text("BMC 2.0.0\n")
    with served(site.folder, "127.0.0.1") as url:
        pin = {"BMC firmware": {"version": "9.9.9", "image": f"{url}/bmc-2.bin"}}
        site.declare(asset_tag="A", firmware={"BMC firmware": {"version": "1.4.2"}}, indicator_led="off")
        site.apply("--yes")
        site.declare(asset_tag="B", firmware=pin)
        status, text = site.said("apply", "--yes", "--allow", "restart")
        assert status == 1 and "the image is of version 2.0.0" in text, text
        status, text = site.said("plan")
        assert status == 0 and "conflict" not in text and "firmware.BMC firmware" in text, text
        pin["BMC firmware"]["version"] = "2.0.0"
        site.declare(asset_tag="B", firmware=pin)
        with monkeypatch.context() as patch:
            patch.setattr(f"{DRIVER}._finish", killed)
            site.cut_off("--yes", "--allow", "restart")
        site.declare(asset_tag="C", firmware=pin, indicator_led="off")
        assert site.bmc.patch("", {"IndicatorLED": "Lit"}) in (200, 204)
        status, text = site.said("drift")
        told = text.partition("Resource actions")[0]
        assert status == 2 and "indicator_led" in told and "asset_tag" not in told and "firmware" not in told, text
        site.apply("--yes", "--allow", "restart")
    assert site.said("drift")[0] == 0


@pytest.mark.parametrize("end", [Stage.MEDIA, Stage.BOOTED])
@pytest.mark.parametrize("after", [{"image": "b"}, {"image": "a", "user_data": "#cloud-config\n"}], ids=["b", "drive"])
def test_saved_plan_that_was_killed_in_a_deployment_is_applied_again(
    site: Site, end: Stage, after: dict[str, str]
) -> None:
    site.declare(image="a")
    site.apply("--yes")
    site.declare(image=after["image"], user_data=after.get("user_data", ""))
    assert site.said("plan", "--out", str(site.folder / "saved"))[0] == 0
    site.cut_off(*LOSING, end=end, path="saved")
    site.apply(*LOSING, path="saved")
    assert site.said("plan", "--detailed-exitcode")[0] == 0 and site.is_on
    assert len(Stages.written) == 2


def test_image_whose_change_was_killed_is_written_though_the_stack_is_set_back(site: Site) -> None:
    site.declare(image="a")
    site.apply("--yes")
    site.declare(image="b")
    site.cut_off(*LOSING, end=Stage.BOOTED)
    site.declare(image="a")
    assert site.said("apply", "--yes")[0] == 7, "nobody knows what is on the disk: what it loses is to be allowed"
    site.apply(*LOSING)
    checksum = site.images["a"]["checksum"]
    assert Stages.written == [checksum, checksum]


@pytest.mark.parametrize("beside", ["", "firmware", "a boot between"])
def test_deployment_that_was_refused_leaves_the_image_that_is_there(site: Site, beside: str, tmp_path: Path) -> None:
    """Whatever had to be noted before of firmware and restarts."""
    (tmp_path / "bios-2.bin").write_text("BIOS 2.0.0\n")
    site.bmc.behave("boot-mode-by-bios")
    with served(tmp_path, "127.0.0.1") as url:
        settings: dict[str, object] = {}
        if beside == "firmware":
            settings = {"firmware": {"BIOS firmware": {"version": "2.0.0", "image": f"{url}/bios-2.bin"}}}
        elif beside:
            settings = {"boot_mode": "uefi", "secure_boot": True}
        site.declare(image="a", **({"boot_mode": "bios", "secure_boot": False} if "boot" in beside else {}))
        site.apply("--yes")
        site.declare(image="b", **settings)
        Stages.end = "other-disks"
        status, text = site.said("apply", *LOSING)
        assert status == 1 and "sdb is labelled config-2" in text and site.is_on
        Stages.end = ""
        site.declare(image="a", **settings)
        status, text = site.said("plan")
        assert status == 0 and "data-loss" not in text, text
        site.apply("--yes", "--allow", "restart")
    assert (site.state, len(Stages.written)) == ("active", 1)


def restarted(site: Site, monkeypatch: Edit) -> None:
    """A server whose power is left to others, on, with a restart that a killed run had made."""
    site.declare(power="unmanaged", bios={"PowerCapWatts": 300})
    site.apply("--yes")
    assert site.bmc.reset("On") == 204
    site.declare(power="unmanaged", bios={"PowerCapWatts": 150})
    with monkeypatch.context() as patch:
        patch.setattr(f"{DRIVER}._finish", killed)
        site.cut_off("--yes", "--allow", "restart")
    until(lambda: site.bmc.get("/BIOS")["Attributes"]["PowerCapWatts"] == 150, 30, "the settings are in force")


def test_restart_that_was_over_is_no_cause_to_switch_a_node_on(site: Site, monkeypatch: Edit) -> None:
    restarted(site, monkeypatch)
    assert site.state == "deploying"
    assert "No changes" in site.apply("--yes") and site.state == "active"
    assert site.bmc.reset("ForceOff") == 204
    site.declare(power="unmanaged", bios={"PowerCapWatts": 150}, asset_tag="R7")
    site.apply("--yes")
    assert not site.is_on


def test_node_whose_restart_was_cut_off_can_be_kept_and_released(site: Site, monkeypatch: Edit) -> None:
    restarted(site, monkeypatch)
    for words, state in ((("maintenance", "on"), "active"), (("maintenance", "off"), "deploying")):
        status, text = site.node(*words)
        assert status == 0 and site.state == state, text
    status, text = site.node("release")
    assert status == 0 and site.state == "active", text


@pytest.mark.parametrize("is_kept", [False, True], ids=["", "maintenance"])
def test_restart_that_was_cut_off_is_ended_once_its_node_is_not_in_maintenance(
    site: Site, monkeypatch: Edit, is_kept: bool
) -> None:
    site.declare(power="unmanaged", bios={"PowerCapWatts": 300})
    site.apply("--yes")
    assert site.bmc.reset("On") == 204
    site.declare(power="unmanaged", bios={"PowerCapWatts": 150})
    with monkeypatch.context() as patch:
        patch.setattr(SWITCH_ON, killed)
        site.cut_off("--yes", "--allow", "restart")
    assert not site.is_on
    if is_kept:
        assert site.node("maintenance", "on")[0] == 0
        status, text = site.said("apply", "--yes", "--allow", "restart")
        assert status == 7 and "is in maintenance" in text and not site.is_on, text
        assert site.node("maintenance", "off")[0] == 0
    site.apply("--yes", "--allow", "restart")
    assert site.is_on and "No changes" in site.apply("--yes")


def test_power_of_a_node_in_maintenance_is_left_alone(site: Site) -> None:
    """Somebody has shut it down to open it: nothing switches it on, and no drift is told of it."""
    site.declare(asset_tag="R1", bios={"PowerCapWatts": 300})
    site.apply("--yes")
    assert site.is_on and site.node("maintenance", "on", "--reason", "new fan")[0] == 0
    site.declare(asset_tag="R1", bios={"PowerCapWatts": 150})
    status, text = site.said("apply", "--yes", "--allow", "restart")
    assert status == 7 and "is in maintenance: new fan" in text and site.is_on, text

    site.declare(asset_tag="R1", bios={"PowerCapWatts": 300})
    assert site.bmc.reset("ForceOff") == 204
    before = len(site.bmc.writes())
    status, text = site.said("drift")
    assert status == 0 and "server.db stays stopped" in text and "is in maintenance: new fan" in text, text
    assert "No changes" in site.apply("--yes") and site.bmc.writes()[before:] == []
    site.declare(asset_tag="R2", bios={"PowerCapWatts": 300})
    site.apply("--yes")
    assert site.bmc.get()["AssetTag"] == "R2" and site.bmc.writes()[before:] == ["PATCH "]
    site.declare(asset_tag="R2", power="stopped", bios={"PowerCapWatts": 300})
    site.apply("--yes")
    site.declare(asset_tag="R2", bios={"PowerCapWatts": 300})
    status, text = site.said("apply", "--yes")
    assert status == 7 and "is in maintenance: new fan" in text and not site.is_on, text

    assert site.node("maintenance", "off")[0] == 0
    site.apply("--yes")
    assert site.is_on and site.said("drift")[0] == 0


def test_image_that_was_begun_and_is_not_wanted_any_more_leaves_no_ramdisk(site: Site) -> None:
    site.declare()
    site.apply("--yes")
    site.declare(image="a")
    site.cut_off(*LOSING, end=Stage.BOOTED)
    site.declare(asset_tag="R8")
    before = len(site.bmc.writes())
    site.apply("--yes", "--allow", "restart")
    sent = [each.rpartition("/")[2] for each in site.bmc.writes()[before:]]
    assert sent.count("ComputerSystem.Reset") == 2 and site.is_on and site.state == "active"


@pytest.mark.parametrize("act", [f"{BOOTS}.wait_until", SWITCH_ON], ids=["after", "before"])
def test_boot_between_that_was_cut_off_leaves_a_node_off_that_was(site: Site, monkeypatch: Edit, act: str) -> None:
    """One that is on when it is planned again needs the leave for that."""
    site.bmc.behave("boot-mode-by-bios")
    site.declare(power="unmanaged", boot_mode="bios", secure_boot=False)
    site.apply("--yes")
    assert [site.bmc.reset("On"), site.bmc.reset("ForceOff")] == [204, 204]
    site.declare(power="unmanaged", boot_mode="uefi", secure_boot=True)
    with monkeypatch.context() as patch:
        patch.setattr(act, killed)
        site.cut_off("--yes")
    site.apply("--yes", *(("--allow", "restart") if site.is_on else ()))
    assert not site.is_on and "No changes" in site.apply("--yes")
    assert site.bmc.reset("On") == 204
    until(lambda: site.bmc.get("/SecureBoot")["SecureBootCurrentBoot"] == "Enabled", 30, "secure boot is in force")


@pytest.mark.parametrize("image", ["", "a"], ids=["bare", "image"])
@pytest.mark.parametrize(
    "act",
    [f"{RAID}._delete", f"{RAID}._create", f"{DRIVER}._set_live", f"{DRIVER}._finish"],
    ids=["delete", "create", "deploy", "end"],
)
def test_change_of_volumes_that_is_killed_is_finished_by_the_same_command(
    site: Site, monkeypatch: Edit, act: str, image: str
) -> None:
    """Killed in place of that call: nobody else changed anything, and the image is on the new volume, once."""
    site.bmc.behave("raid")
    volume = {"name": "system", "drives": ["Bay0", "Bay1"]}
    site.declare(image=image, raid=[{**volume, "raid_type": "RAID1"}])
    text = site.apply(*LOSING)
    assert text.count(UNSEEN) == (2 if image else 0), "a warning is told as the step ends, and in the table"
    site.declare(image=image, raid=[{**volume, "raid_type": "RAID0"}])
    before = len(Stages.written)
    with monkeypatch.context() as patch:
        patch.setattr(act, killed)
        site.cut_off(*LOSING)
    status, text = site.said("plan")
    assert status == 0 and "raid" not in text.partition("Resource actions")[0], text
    if image or act.startswith(RAID):
        assert site.said("apply", "--yes")[0] == 7
    site.apply(*LOSING)
    assert site.said("plan", "--detailed-exitcode")[0] == 0
    with site.bmc.session() as session:
        assert [each.level for each in session.observe(soon(), Aspects(raid=True)).raid] == ["RAID0"]
    assert len(Stages.written) - before == bool(image)


@pytest.mark.parametrize("is_there", [False, True], ids=["new", "there"])
def test_apply_to_a_bmc_out_of_reach_says_so_and_changes_nothing(site: Site, is_there: bool) -> None:
    if is_there:
        site.declare(asset_tag="A")
        site.apply("--yes")
    site.declare(asset_tag="B")
    fleet = site.folder / "fleet.yaml"
    text, before = fleet.read_text(), len(site.bmc.writes())
    fleet.write_text(text.replace(site.bmc.fields["redfish"], "https://127.0.0.1:9"))
    status, told = site.said("apply", "--yes")
    assert status == 1 and "cannot reach the BMC" in told and "https://127.0.0.1:9" in told, told
    assert len(site.bmc.writes()) == before
    fleet.write_text(text)
    site.apply("--yes")
    assert site.bmc.get()["AssetTag"] == "B"
