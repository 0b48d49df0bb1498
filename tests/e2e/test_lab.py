"""The lab itself, with real namespaces and a real libvirtd in each host."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import libvirt
import pytest
import yaml

from stacksmith import lab
from stacksmith.lab import switch
from stacksmith.lab.layout import Layout, layout_of
from stacksmith.lab.process import first_process
from tests.e2e.kit import until

libvirt.registerErrorHandler(lambda _context, _error: None, None)
pytestmark = [pytest.mark.e2e, pytest.mark.takes(35)]
NETWORK = "<network><name>kept</name><ip address='10.99.0.1' netmask='255.255.255.0'/></network>"
GUEST = """<domain type='qemu'><name>crowd</name><memory unit='MiB'>16</memory>
<os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features><devices>
<disk type='file'><driver name='qemu' type='raw'/><source file='{disk}'/><target dev='vda' bus='virtio'/>
<readonly/></disk>
</devices></domain>"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A lab of two hosts for the tests that leave it as they found it."""
    path = tmp_path_factory.mktemp("lab") / "shared"
    lab.up(path, hosts=2)
    yield path
    lab.down(path)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Path]:
    """A place for a lab of the test's own, ended whatever the test does to it."""
    yield tmp_path / "own"
    lab.down(tmp_path / "own")


def states(directory: Path) -> list[str]:
    return [str(host.state) for host in lab.status(directory)]


def output(directory: Path, host: str, *argv: str) -> str:
    return subprocess.run(lab.command_in(directory, host, argv), capture_output=True, text=True, check=True).stdout


def reaches(directory: Path, source: str, target: str, seconds: float) -> bool:
    """Whether one host can open a connection to another by name, within these seconds."""
    serve = "import socket; s = socket.create_server(('', 9999)); print('up', flush=True); s.accept()"
    call = f"""
import socket, time
end = time.monotonic() + {seconds}
while True:
    try:
        socket.create_connection(("{target}", 9999), 1)
        break
    except OSError:
        if time.monotonic() > end:
            raise
"""
    argv = lab.command_in(directory, target, [sys.executable, "-c", serve])
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        try:
            client = lab.command_in(directory, source, [sys.executable, "-c", call])
            return subprocess.run(client, capture_output=True, check=False).returncode == 0
        finally:
            server.kill()


# --- what is left


SPACES = ("pid", "pid_for_children")  # what enters a lab enters these with all others


def namespaces(pid: int | str) -> set[str]:
    found = set()
    for name in SPACES:
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/{pid}/ns/{name}"))
    return found


def all_namespaces() -> dict[int, set[str]]:
    """Process namespaces of every process but those of this one."""
    own = namespaces("self")
    return {pid: namespaces(pid) - own for pid in processes()}


def processes() -> Iterator[int]:
    """Every process but those that have ended and wait to be collected by the machine's first process."""
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                yield int(name)
        except OSError:
            continue


@contextlib.contextmanager
def lab_namespaces(layout: Layout) -> Iterator[set[str]]:
    """The process namespaces of this lab, held open: the kernel gives the name of one that ended to the next."""
    with contextlib.ExitStack() as held:
        found: set[str] = set()
        for pid, spaces in all_namespaces().items():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if spaces - found and any(word.startswith(bytes(layout.private)) for word in words):
                for name in SPACES:
                    held.enter_context(open(f"/proc/{pid}/ns/{name}", "rb"))
                found |= spaces
        yield found


def leftovers(directory: Path, spaces: set[str]) -> list[str]:
    """Everything of the lab that is still there; `spaces` are the namespaces that were its own."""
    layout = layout_of(directory)
    found = [f"process {pid}" for pid, own in all_namespaces().items() if own & spaces]
    for pid in processes():
        try:
            if bytes(layout.private) in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(f"process {pid}")
        except OSError:
            continue
    found += [name for name in os.listdir("/sys/class/net") if layout.id in name]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(layout.directory) in line]
    groups = os.walk("/sys/fs/cgroup")  # which does not mind those of others that go meanwhile
    found += [os.path.join(at, name) for at, names, _ in groups for name in names if layout.id in name]
    found += [str(path) for path in (layout.run, layout.guard, layout.private, layout.fleet) if path.exists()]
    loops = subprocess.run(["losetup", "--list", "--noheadings"], capture_output=True, text=True, check=False).stdout
    return found + [line for line in loops.splitlines() if str(layout.directory) in line]


# --- up, status, down


def test_up_writes_a_fleet_file_that_names_every_host_and_image(directory: Path) -> None:
    fleet = yaml.safe_load((directory / "fleet.yaml").read_text())
    assert list(fleet["hosts"]) == ["hv1", "hv2"]
    assert fleet["hosts"]["hv2"]["availability_zone"] == "rack-b"
    assert set(fleet["images"]) == {"lab", "lab-disk", "lab-acpi"}
    for host in fleet["hosts"].values():
        with_uri = libvirt.open(host["libvirt"])
        assert with_uri.getType() == "QEMU"
        with_uri.close()


def test_up_twice_leaves_the_running_hosts_alone(directory: Path) -> None:
    before = [lab.daemon_pid(directory, host) for host in ("hv1", "hv2")], (directory / "fleet.yaml").read_text()
    lab.up(directory, hosts=2)
    assert before == (
        [lab.daemon_pid(directory, host) for host in ("hv1", "hv2")],
        (directory / "fleet.yaml").read_text(),
    )


def test_up_in_a_folder_with_a_fleet_file_of_the_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("fleet: mine\n")
    with pytest.raises(lab.LabError, match=r"fleet\.yaml is there and is not the lab's"):
        lab.up(tmp_path)
    lab.down(tmp_path)
    assert (tmp_path / "fleet.yaml").read_text() == "fleet: mine\n"


def test_hosts_differ_in_identity_and_reach_each_other(directory: Path) -> None:
    assert [output(directory, host, "hostname").strip() for host in ("hv1", "hv2")] == ["hv1", "hv2"]
    assert len({output(directory, host, "cat", "/etc/machine-id") for host in ("hv1", "hv2")}) == 2
    capabilities = [output(directory, host, "virsh", "capabilities") for host in ("hv1", "hv2")]
    assert len({text.split("<uuid>")[1].split("<")[0] for text in capabilities}) == 2
    assert reaches(directory, "hv1", "hv2", 30)


@pytest.mark.root  # nobody else has a wire to the hosts
def test_caller_reaches_a_host_by_address(directory: Path) -> None:
    serve = "import socket; s = socket.create_server(('', 9998)); print('up', flush=True); s.accept()"
    with subprocess.Popen(
        lab.command_in(directory, "hv1", [sys.executable, "-c", serve]), stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        server.stdout.readline()
        socket.create_connection((lab.status(directory)[0].address, 9998), 300).close()


@pytest.mark.root  # nobody else has a wire to the hosts
@pytest.mark.parametrize("way", ["tls_uri", "ssh_uri"])
def test_caller_reaches_a_host_over_the_network(directory: Path, way: str) -> None:
    uri = getattr(lab.boot(directory, "hv2"), way)
    assert uri, "gnutls-bin and openssh-server are installed by make dev"
    connection = libvirt.open(uri)
    assert connection.getHostname() == "hv2"
    connection.close()


def test_guest_migrates_over_tls(directory: Path) -> None:
    hosts = lab.up(directory, hosts=2).hosts
    guest = libvirt.open(hosts[0].uri).createXML(GUEST.format(disk=directory / "images" / "acpi.img"))
    flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_UNSAFE
    guest.migrateToURI3("qemu+tls://hv2/system?pkipath=/etc/libvirt/pki", {}, flags | libvirt.VIR_MIGRATE_TLS)
    assert [host.guests for host in lab.status(directory)] == [0, 1]
    libvirt.open(hosts[1].uri).lookupByName("crowd").destroy()


def test_exec_in_returns_the_exit_status(directory: Path) -> None:
    assert lab.exec_in(directory, "hv1", ["sh", "-c", "exit 7"]) == 7


def test_exec_in_an_unknown_host_names_those_there_are(directory: Path) -> None:
    with pytest.raises(lab.LabError, match=r"cannot find hv9 .*there are hv1, hv2"):
        lab.exec_in(directory, "hv9", ["true"])


def test_first_process_reaps_orphans_at_once(directory: Path) -> None:
    output(directory, "hv1", "sh", "-c", "for i in 1 2 3 4 5; do (sleep 0.05 &) ; done")
    until(lambda: "Z" not in output(directory, "hv1", "ps", "-e", "-o", "stat="), 10)


def test_two_labs_at_once_differ_in_subnet_and_sockets(directory: Path, empty: Path) -> None:
    here, there = lab.up(empty, hosts=1).hosts[0], lab.status(directory)[0]
    assert here.uri != there.uri
    assert here.address.rpartition(".")[0] != there.address.rpartition(".")[0]
    lab.down(empty)
    assert states(directory) == ["up", "up"]


def test_lock_of_the_subnets_is_not_removed_while_another_lab_has_it(empty: Path) -> None:
    layout = layout_of(empty)
    with switch.guarded(layout):
        pass
    with ThreadPoolExecutor(1) as threads:
        with switch.subnet_guarded(layout) as held:
            ending = threads.submit(lab.down, empty)
            until(lambda: not layout.guard.exists(), 60, "the rest has been removed")
            time.sleep(0.2)
            assert os.path.samestat(os.fstat(held), os.stat(layout.run_root / "subnet.guard"))
        ending.result(60)


def test_deep_directory_keeps_the_socket_path_short(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120) / 'it\'s a "lab" é'
    there = lab.up(deep, hosts=1)
    try:
        assert len(bytes(there.hosts[0].socket)) < 60
        libvirt.open(there.hosts[0].uri).close()
    finally:
        lab.down(deep)
    assert not deep.exists()


def test_down_leaves_nothing_but_the_files_of_others(empty: Path) -> None:
    there = lab.up(empty, hosts=3)
    (empty / "mine.txt").write_text("keep")
    connection = libvirt.open(there.hosts[0].uri)
    connection.networkCreateXML(NETWORK)
    connection.createXML(GUEST.format(disk=empty / "images" / "acpi.img"))
    assert lab.status(empty)[0].guests == 1
    with lab_namespaces(layout_of(empty)) as spaces:
        assert len(spaces) == 4
        lab.down(empty)
        assert leftovers(empty, spaces) == []
    assert [path.name for path in empty.iterdir()] == ["mine.txt"]
    lab.down(empty)


# --- after a kill


@pytest.mark.parametrize("after_seconds", [0.0, 0.05, 0.15, 0.25, 0.4])
def test_up_after_a_kill_of_up_brings_the_lab_up(empty: Path, after_seconds: float) -> None:
    program = "import sys; from stacksmith import lab; print(1, flush=True); lab.up(sys.argv[1], hosts=2)"
    with subprocess.Popen([sys.executable, "-c", program, str(empty)], stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        killed.stdout.readline()
        time.sleep(after_seconds)
        killed.kill()
    lab.up(empty, hosts=2)
    assert states(empty) == ["up", "up"]
    with lab_namespaces(layout_of(empty)) as spaces:
        lab.down(empty)
        assert leftovers(empty, spaces) == []


@pytest.mark.parametrize("after_seconds", [0.05, 0.2])
def test_down_after_a_kill_of_up_leaves_nothing(empty: Path, after_seconds: float) -> None:
    program = "import sys; from stacksmith import lab; print(1, flush=True); lab.up(sys.argv[1], hosts=2)"
    with subprocess.Popen([sys.executable, "-c", program, str(empty)], stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        killed.stdout.readline()
        time.sleep(after_seconds)
        killed.kill()
    lab.down(empty)
    until(lambda: leftovers(empty, set()) == [], 30, "a program that makes a key has ended, too")
    assert not empty.exists()


def test_down_removes_what_a_program_of_a_killed_up_still_writes(empty: Path) -> None:
    keys = layout_of(empty).private / "keys"
    keys.mkdir(parents=True)
    writes = 'while :; do : >"$0/$((n += 1))"; done'
    with subprocess.Popen(["timeout", "0.3", "sh", "-c", writes, str(keys)], stderr=subprocess.DEVNULL):
        until(lambda: any(keys.iterdir()), 60, "it writes")
        lab.down(empty)
    assert not empty.exists()


def test_kill_of_the_switch_ends_every_host_and_up_mends_it(empty: Path) -> None:
    lab.up(empty, hosts=2)
    layout = layout_of(empty)
    os.kill(first_process(layout, "switch"), signal.SIGKILL)
    until(lambda: states(empty) == ["down", "down"], 30)
    lab.up(empty, hosts=2)
    assert states(empty) == ["up", "up"]


def test_down_of_a_directory_that_was_deleted_ends_the_hosts(empty: Path) -> None:
    lab.up(empty, hosts=1)
    with lab_namespaces(layout_of(empty)) as spaces:
        subprocess.run(["rm", "-rf", str(empty)], check=True)
        lab.down(empty)
        assert leftovers(empty, spaces) == []


# --- faults


def test_crash_loses_the_running_and_boot_finds_the_defined(directory: Path) -> None:
    uri = lab.status(directory)[0].uri
    connection = libvirt.open(uri)
    network = connection.networkDefineXML(NETWORK)
    network.setAutostart(1)
    connection.createXML(GUEST.format(disk=directory / "images" / "acpi.img"))
    lab.crash(directory, "hv1")
    assert states(directory) == ["down", "up"]
    assert lab.status(directory)[0].guests == 0
    lab.boot(directory, "hv1")
    again = libvirt.open(uri)
    assert [net.name() for net in again.listAllNetworks(libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE)] == ["kept"]
    assert again.listAllDomains() == []
    again.networkLookupByName("kept").destroy()
    again.networkLookupByName("kept").undefine()
    assert reaches(directory, "hv2", "hv1", 30)


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.root)])
def test_frozen_host_answers_nothing_until_thawed(directory: Path, whole: bool) -> None:
    lab.freeze(directory, "hv1", whole=whole)
    try:
        assert states(directory) == ["frozen", "up"]
        argv = ["virsh", "-q", "-c", lab.status(directory)[0].uri, "version"]
        with pytest.raises(subprocess.TimeoutExpired):
            subprocess.run(argv, timeout=0.5, capture_output=True, check=False)
    finally:
        lab.thaw(directory, "hv1")
    assert states(directory) == ["up", "up"]
    assert subprocess.run(argv, timeout=300, capture_output=True, check=False).returncode == 0


@pytest.mark.root
def test_crash_ends_a_frozen_host(directory: Path) -> None:
    lab.freeze(directory, "hv2", whole=True)
    lab.crash(directory, "hv2")
    assert states(directory) == ["up", "down"]
    lab.up(directory, hosts=2)
    assert states(directory) == ["up", "up"]


def test_guests_outlive_a_killed_daemon(directory: Path) -> None:
    uri = lab.status(directory)[0].uri
    libvirt.open(uri).createXML(GUEST.format(disk=directory / "images" / "acpi.img"))
    lab.kill_daemon(directory, "hv1")
    assert states(directory) == ["no daemon", "up"]
    assert lab.status(directory)[0].guests == 1
    with pytest.raises(lab.LabError, match="cannot signal libvirtd of hv1: it does not run"):
        lab.kill_daemon(directory, "hv1")
    lab.start_daemon(directory, "hv1")
    connection = libvirt.open(uri)
    guest = connection.lookupByName("crowd")
    assert guest.isActive()
    guest.memoryStats()  # waits until libvirtd has taken the guest up again: a destroy before that confuses it
    guest.destroy()


def test_pulled_cable_parts_a_host_from_the_others(directory: Path) -> None:
    lab.link(directory, "hv1", up=False)
    try:
        assert [host.linked for host in lab.status(directory)] == [False, True]
        assert not reaches(directory, "hv2", "hv1", 1)
    finally:
        lab.link(directory, "hv1", up=True)
    assert reaches(directory, "hv2", "hv1", 30)
