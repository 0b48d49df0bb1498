"""The lab's BMCs over HTTPS, in front of real libvirt domains."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import sushy
import yaml
from sushy import auth

from stacksmith import lab
from stacksmith.lab import init
from stacksmith.lab.layout import RACK, layout_of
from stacksmith.model.fleet import Fleet
from tests.e2e.bmc_parts import INSERT, Bmc, our_address, served
from tests.e2e.boot_iso import make_boot_iso
from tests.e2e.kit import until
from tests.e2e.test_lab import lab_namespaces, leftovers

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.takes(40),
    pytest.mark.xdist_group("bmc"),
    pytest.mark.root,
]
SESSIONS = "/redfish/v1/SessionService/Sessions"
CD_ONCE = {"BootSourceOverrideTarget": "Cd", "BootSourceOverrideEnabled": "Once", "BootSourceOverrideMode": "UEFI"}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A lab of one host and three nodes."""
    path = tmp_path_factory.mktemp("bmc") / "lab"
    lab.up(path, hosts=1, nodes=3)
    yield path
    lab.down(path)


@pytest.fixture
def bmc(directory: Path) -> Iterator[Bmc]:
    """The first node, off and well-behaved before and after."""
    there = Bmc(directory, lab.up(directory, hosts=1).nodes[0])
    there.make_off()
    yield there
    there.make_off()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Path]:
    """A place for a lab of the test's own."""
    yield tmp_path / "own"
    lab.down(tmp_path / "own")


def farm_pid(directory: Path) -> int:
    return init.holder(str(layout_of(directory).run / RACK / "farm.lock"), init.READY)


# --- what the lab says of its nodes


def test_fleet_file_names_the_nodes_and_holds_no_password(directory: Path, bmc: Bmc) -> None:
    text = (directory / "fleet.yaml").read_text()
    fleet = Fleet.model_validate(yaml.safe_load(text))
    assert list(fleet.nodes) == ["bm1", "bm2", "bm3"] and list(fleet.hosts) == ["hv1"]
    node = fleet.nodes["bm1"]
    assert (node.redfish, node.system, node.username) == (bmc.node.redfish, bmc.node.system, "admin")
    assert node.password.file and (directory / node.password.file).read_text().strip() == bmc.password
    assert (directory / node.password.file).stat().st_mode & 0o077 == 0
    assert node.ca and (directory / node.ca).exists()
    assert bmc.password not in text


def test_status_tells_how_each_node_is(directory: Path, bmc: Bmc) -> None:
    assert [(n.name, str(n.state)) for n in lab.node_status(directory)] == [
        ("bm1", "off"),
        ("bm2", "off"),
        ("bm3", "off"),
    ]
    bmc.reset("On")
    bmc.behave("slow-eject", "drops")
    assert lab.node_status(directory)[0] == lab.NodeStatus(
        "bm1", lab.NodeState.ON, bmc.node.redfish, ["slow-eject", "drops"]
    )
    assert [h.name for h in lab.status(directory)] == ["hv1"]
    bmc.behave()


def test_up_twice_is_up_once(directory: Path, bmc: Bmc) -> None:
    before = farm_pid(directory), (directory / "fleet.yaml").read_text()
    lab.up(directory, hosts=1, nodes=3)
    assert before == (farm_pid(directory), (directory / "fleet.yaml").read_text())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda path: lab.up(path, hosts=1, nodes=201), "cannot make 201 nodes: 0 to 200 are possible"),
        (lambda path: lab.behave(path, "bm9"), "cannot find bm9 .*there are bm1, bm2, bm3"),
        (lambda path: lab.behave(path, "bm1", ["odd"]), "cannot set odd for bm1: there are already-400, "),
        (lambda path: lab.behave(path, "bm1", heat=3.0), "cannot set heat for bm1: there are already_status, "),
    ],
)
def test_what_is_not_possible_is_refused(directory: Path, call: object, said: str) -> None:
    with pytest.raises(lab.LabError, match=said):
        call(directory)  # type: ignore[operator]


# --- sign-in


def test_bmc_answers_nobody_without_credentials(bmc: Bmc) -> None:
    stranger = bmc.stranger()
    assert stranger.get(bmc.url("/redfish/v1/"), timeout=10).status_code == 200
    assert stranger.get(bmc.url(""), timeout=10).status_code == 401
    assert stranger.get(bmc.url(""), auth=("admin", "guess"), timeout=10).status_code == 401
    assert stranger.get(bmc.url(""), headers={"X-Auth-Token": "guess"}, timeout=10).status_code == 401


def test_certificate_is_the_labs_own(bmc: Bmc) -> None:
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(bmc.url("/redfish/v1/"), timeout=10)


@pytest.mark.parametrize("kind", [auth.BasicAuth, auth.SessionAuth])
def test_sushy_signs_in_and_reads_the_node(bmc: Bmc, kind: type) -> None:
    with kind("admin", bmc.password) as signed:
        root = sushy.Sushy(bmc.node.redfish, auth=signed, verify=str(bmc.node.ca))
        (system,) = root.get_system_collection().get_members()
        assert (system.path, system.name, system.uuid) == (bmc.node.system, "bm1", bmc.node.system.rpartition("/")[2])
        assert system.memory_summary.size_gib == 1
        assert [drive.capacity_bytes for s in system.storage.get_members() for drive in s.drives] == [4 * 1024**3]
        (nic,) = system.ethernet_interfaces.get_members()
        assert nic.mac_address.startswith("06:")
        assert [f.version for f in root.get_update_service().firmware_inventory.get_members()] == ["1.0.0", "1.4.2"]
        assert "NumCores" in system.bios.attributes
    assert bmc.get(SESSIONS)["Members"] == []


def test_sessions_are_few_and_freed_by_delete(bmc: Bmc) -> None:
    bmc.behave(sessions=2)
    user = {"UserName": "admin", "Password": bmc.password}
    made = [bmc.ask("POST", SESSIONS, user) for _ in range(3)]
    assert [answer.status_code for answer in made] == [201, 201, 503]
    assert bmc.message(made[2]).endswith("RAC0218")
    token = {"X-Auth-Token": made[0].headers["X-Auth-Token"]}
    assert bmc.stranger().get(bmc.url(""), headers=token, timeout=10).status_code == 200
    for answer in made[:2]:
        assert bmc.ask("DELETE", answer.headers["Location"]).status_code == 204
    assert bmc.stranger().get(bmc.url(""), headers=token, timeout=10).status_code == 401
    assert bmc.get(SESSIONS)["Members@odata.count"] == 0


def test_session_that_is_not_used_expires(bmc: Bmc) -> None:
    made = bmc.ask("POST", SESSIONS, {"UserName": "admin", "Password": bmc.password})
    token = {"X-Auth-Token": made.headers["X-Auth-Token"]}
    assert bmc.stranger().get(bmc.url(""), headers=token, timeout=10).status_code == 200
    bmc.behave("short-sessions")
    time.sleep(1.1)
    assert bmc.stranger().get(bmc.url(""), headers=token, timeout=10).status_code == 401


# --- power


def test_sushy_switches_the_machine_on_and_off(directory: Path, bmc: Bmc) -> None:
    system = sushy.Sushy(
        bmc.node.redfish, auth=auth.BasicAuth("admin", bmc.password), verify=str(bmc.node.ca)
    ).get_system(bmc.node.system)
    system.reset_system(sushy.ResetType.ON)
    system.invalidate()
    system.refresh(force=False)
    assert system.power_state == sushy.PowerState.ON
    argv = lab.command_in(directory, RACK, ["virsh", "-q", "list", "--name"])
    machines = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert machines.stdout.split() == ["bm1"]
    system.reset_system(sushy.ResetType.FORCE_RESTART)
    system.reset_system(sushy.ResetType.FORCE_OFF)
    system.invalidate()
    system.refresh(force=False)
    assert system.power_state == sushy.PowerState.OFF


def test_reset_to_the_state_that_is_conflicts(bmc: Bmc) -> None:
    assert [bmc.reset(kind) for kind in ("ForceOff", "ForceRestart", "GracefulShutdown")] == [409] * 3
    assert [bmc.reset(kind) for kind in ("On", "On", "ForceOn", "Explode")] == [204, 409, 409, 400]


# --- settings


def test_write_with_another_entity_tag_is_refused(bmc: Bmc) -> None:
    tag = bmc.ask("GET", "").headers["ETag"]
    assert bmc.patch("", {"AssetTag": "R1-U1"}, If_Match=tag) == 204
    assert bmc.patch("", {"AssetTag": "R1-U2"}, If_Match=tag) == 412
    assert bmc.get()["AssetTag"] == "R1-U1"
    assert bmc.patch("", {"AssetTag": "R1-U2"}, If_Match="*") == 204
    assert bmc.get()["AssetTag"] == "R1-U2"


def test_system_takes_what_it_knows_and_nothing_else(bmc: Bmc) -> None:
    assert bmc.patch("", {"IndicatorLED": "Blinking"}) == 204
    assert bmc.get()["IndicatorLED"] == "Blinking"
    assert bmc.patch("", {"IndicatorLED": "Green"}) == 400
    assert bmc.patch("", {"AssetTag": "no", "Colour": "red"}) == 400
    assert bmc.get()["AssetTag"] != "no"
    for name, value in (("BootSourceOverrideEnabled", "Twice"), ("BootSourceOverrideTarget", "Moon"), ("X", 1)):
        assert bmc.patch("", {"Boot": {name: value}}) == 400
    assert bmc.get("/Memory/DIMM1")["CapacityMiB"] == 1024
    assert bmc.ask("GET", "/Nothing").status_code == 404


def test_bios_attributes_wait_for_the_next_boot(bmc: Bmc) -> None:
    before = bmc.get("/BIOS")["Attributes"]
    wanted = "Disabled" if before["ProcTurboMode"] == "Enabled" else "Enabled"
    bmc.reset("On")
    assert bmc.patch("/BIOS/Settings", {"Attributes": {"ProcTurboMode": wanted}}) == 204
    assert bmc.patch("/BIOS/Settings", {"Attributes": {"Warp": "9"}}) == 400
    assert bmc.get("/BIOS")["Attributes"] == before
    assert bmc.get("/BIOS/Settings")["Attributes"] == {**before, "ProcTurboMode": wanted}
    bmc.reset("ForceRestart")
    assert bmc.get("/BIOS")["Attributes"] == {**before, "ProcTurboMode": wanted}
    assert bmc.post("/BIOS/Actions/Bios.ResetBios", {}) == 204
    assert bmc.get("/BIOS")["Attributes"]["ProcTurboMode"] == wanted
    bmc.reset("ForceRestart")
    assert bmc.get("/BIOS")["Attributes"]["ProcTurboMode"] == "Enabled"


def test_secure_boot_waits_for_the_next_boot(bmc: Bmc) -> None:
    assert bmc.get("/SecureBoot")["SecureBootEnable"] is False
    assert bmc.patch("/SecureBoot", {"SecureBootEnable": True}) == 204
    page = bmc.get("/SecureBoot")
    assert (page["SecureBootEnable"], page["SecureBootCurrentBoot"]) == (True, "Disabled")
    bmc.reset("On")
    assert bmc.get("/SecureBoot")["SecureBootCurrentBoot"] == "Enabled"
    bmc.reset("ForceOff")
    assert bmc.patch("/SecureBoot", {"SecureBootEnable": False}) == 204
    assert [bmc.reset(kind) for kind in ("On", "ForceOff")] == [204, 204]
    assert bmc.get("/SecureBoot")["SecureBootEnable"] is False


# --- virtual media


@pytest.fixture(scope="module")
def media(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a small ISO that boots the lab's kernel."""
    folder = tmp_path_factory.mktemp("iso")
    images = directory / "images"
    iso = make_boot_iso(folder, images / "vmlinuz", images / "guest.gz")
    with served(folder, our_address(lab.up(directory, hosts=1).nodes[0])) as url:
        yield f"{url}/{iso.name}"


def test_node_boots_once_from_virtual_media(directory: Path, bmc: Bmc, media: str) -> None:
    assert bmc.post(INSERT, {"Image": media}) == 204
    slot = bmc.get("/VirtualMedia/Cd")
    assert (slot["Inserted"], slot["Image"]) == (True, media)
    assert bmc.patch("", {"Boot": CD_ONCE}) == 204
    assert bmc.get()["Boot"]["BootSourceOverrideEnabled"] == "Once"
    bmc.node.console.unlink(missing_ok=True)
    assert bmc.reset("On") == 204
    until(lambda: "STACKSMITH-READY" in console(bmc), 600, "the ISO's kernel is up")
    assert "LABBOOT is booting" in console(bmc)
    assert "STACKSMITH-ADDRESS eth0 06:" in console(bmc)  # the node's network card has an address
    boot = bmc.get()["Boot"]
    assert (boot["BootSourceOverrideEnabled"], boot["BootSourceOverrideTarget"]) == ("Disabled", "None")

    bmc.reset("ForceOff")
    before = len(console(bmc))
    bmc.reset("On")  # with the media still in: the disk comes first again, and there is nothing on it
    until(lambda: "Shell>" in console(bmc)[before:] or "LABBOOT" in console(bmc)[before:], 600, "the firmware gave up")
    assert "Hard Drive" in console(bmc)[before:] or "HARDDISK" in console(bmc)[before:]


def console(bmc: Bmc) -> str:
    return bmc.node.console.read_text(errors="replace") if bmc.node.console.exists() else ""


def test_media_that_cannot_be_had_is_refused_and_nothing_is_left_of_what_is_ejected(
    directory: Path, bmc: Bmc, media: str
) -> None:
    assert bmc.post(INSERT, {"Image": media.replace("labboot", "nothing")}) == 400
    assert bmc.post(INSERT, {"Image": "file:///etc/passwd"}) == 400
    assert bmc.get("/VirtualMedia/Cd")["Inserted"] is False
    assert bmc.post(INSERT, {"Image": media}) == 204
    assert bmc.post(INSERT, {"Image": media}) == 409
    bmc.make_off()
    assert bmc.get("/VirtualMedia/Cd")["Inserted"] is False
    pool = layout_of(directory).home(RACK) / "lib" / "nodes"
    assert sorted(path.name for path in pool.iterdir()) == [f"bm{n}-disk.img" for n in (1, 2, 3)]
    kept = layout_of(directory).private / "nodes" / "bmc" / "media"
    assert [path for path in kept.rglob("*") if path.is_file()] == []


# --- a farm that ends


def test_bmcs_come_back_with_what_they_knew_and_the_machine_runs_on(directory: Path, bmc: Bmc) -> None:
    bmc.patch("", {"AssetTag": "kept", "Boot": CD_ONCE})
    bmc.patch("/BIOS/Settings", {"Attributes": {"QuietBoot": "false"}})
    bmc.reset("ForceOff")
    assert bmc.reset("On") == 204
    bmc.patch("", {"Boot": CD_ONCE})
    lab.kill_bmcs(directory)
    assert {str(node.state) for node in lab.node_status(directory)} == {"no BMC"}
    with pytest.raises(requests.exceptions.ConnectionError):
        bmc.ask("GET", "")
    lab.up(directory, hosts=1)
    system = bmc.get()
    assert (system["PowerState"], system["AssetTag"]) == ("On", "kept")
    assert system["Boot"]["BootSourceOverrideTarget"] == "Cd"
    assert bmc.get("/BIOS")["Attributes"]["QuietBoot"] == "false"


def test_bmc_answers_again_after_its_libvirtd_was_killed(directory: Path, bmc: Bmc) -> None:
    bmc.reset("On")
    lab.kill_daemon(directory, RACK)
    assert bmc.ask("GET", "").status_code == 500
    lab.start_daemon(directory, RACK)
    until(lambda: bmc.ask("GET", "").status_code == 200, 10, "the BMC has its libvirtd again")
    assert bmc.get()["PowerState"] == "On"


def test_power_loss_of_the_rack_is_mended_by_boot(directory: Path, bmc: Bmc) -> None:
    bmc.reset("On")
    lab.crash(directory, RACK)
    assert {str(node.state) for node in lab.node_status(directory)} == {"no BMC"}
    lab.boot(directory, RACK)
    assert bmc.get()["PowerState"] == "Off"


@pytest.mark.parametrize("is_killed", [False, True])
def test_down_leaves_nothing(empty: Path, is_killed: bool) -> None:
    there = Bmc(empty, lab.up(empty, hosts=1, nodes=2).nodes[1])
    assert there.reset("On") == 204
    with lab_namespaces(layout_of(empty)) as spaces:
        if is_killed:
            lab.kill_bmcs(empty)
        lab.down(empty)
        assert leftovers(empty, spaces) == []
    assert not empty.exists()


def test_down_leaves_nothing_of_an_up_that_was_killed_while_the_bmcs_started(empty: Path) -> None:
    config = layout_of(empty).private / "nodes" / "farm.json"
    argv = [Path(sys.executable).with_name("stacksmith"), "lab", "up", empty, "--hosts", "1", "--nodes", "3"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as command:
        until(config.exists, 120, "the BMCs are about to start")
        command.kill()
    with lab_namespaces(layout_of(empty)) as spaces:
        lab.down(empty)
        assert leftovers(empty, spaces) == []


def test_fifty_bmcs_fit_in_one_small_process(empty: Path) -> None:
    nodes = lab.up(empty, hosts=1, nodes=50).nodes
    bmcs = [Bmc(empty, node) for node in nodes]
    assert [bmc.get()["Name"] for bmc in bmcs] == [node.name for node in nodes]
    for bmc in bmcs:
        bmc.get("/BIOS")
        bmc.get("/VirtualMedia/Cd")
    status = Path(f"/proc/{farm_pid(empty)}/status").read_text()
    rss_mb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1000
    print(f"50 BMCs take {rss_mb:.0f} MB")
    assert rss_mb < 100
