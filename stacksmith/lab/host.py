"""One host of a lab: its files, its boot, its end."""

import contextlib
import shutil
import subprocess
import uuid
from pathlib import Path

from stacksmith.lab import cgroup, daemon, draft, image, init, process, switch, wire
from stacksmith.lab.layout import RACK, LabError, Layout, address_of, host_names, number

PROBES = "cache/qemu/capabilities"
POOL = "/var/lib/libvirt/stacksmith"
SHARED = {
    "etc": "/etc/libvirt",
    "lib": "/var/lib/libvirt",
    "cache": "/var/cache/libvirt",
    "log": "/var/log/libvirt",
}
NAMESPACE = uuid.UUID("6f8b1c0e-3a52-5c0b-9d53-9a1f0c7c2a11")
MAXIMUM = 200
LARGE_PAGES = "/run/hugepages"
LAST_LINES = 5


def prepare(layout: Layout, name: str, subnet: str) -> None:
    """Write the host's files where they are missing: its identity and configuration stay over a power loss."""
    home = layout.home(name)
    for part in SHARED:
        (home / part).mkdir(parents=True, exist_ok=True)
    (home / "lib" / "stacksmith").mkdir(exist_ok=True)
    filters = Path("/etc/libvirt/nwfilter")
    if filters.is_dir() and not (home / "etc" / "nwfilter").exists():
        with contextlib.suppress(shutil.Error, PermissionError):  # an ordinary user may not read them
            draft.copy_tree(filters, home / "etc" / "nwfilter")
    probes = image.cache_home() / "lab-probes"  # what libvirt found out about QEMU, a second's work
    if probes.is_dir() and not (home / PROBES).exists():
        with contextlib.suppress(OSError, shutil.Error):  # libvirt drops them by itself when they are out of date
            (home / PROBES).parent.mkdir(exist_ok=True)
            draft.copy_tree(probes, home / PROBES)
    address = address_of(subnet, name)
    identity = uuid.uuid5(NAMESPACE, f"{layout.id}/{name}")
    texts = {
        "etc/libvirtd.conf": libvirtd_conf(identity),
        "etc/qemu.conf": qemu_conf(address),
        "machine-id": f"{uuid.uuid5(identity, 'machine').hex}\n",
        "hosts": hosts_file(subnet),
    }
    for path, text in texts.items():
        if not (home / path).exists():
            draft.write(home / path, text)


def libvirtd_conf(identity: uuid.UUID) -> str:
    """Its socket is open to all who can see it: the folder it is in is the caller's alone."""
    lines = [
        f'host_uuid = "{identity}"',
        'auth_unix_rw = "none"',
        'unix_sock_rw_perms = "0700"',
        'log_outputs = "3:file:/var/log/libvirt/libvirtd.log"',
        "listen_tcp = 0",
        *wire.libvirtd_lines(),
    ]
    return "\n".join(lines) + "\n"


def qemu_conf(address: str) -> str:
    """QEMU runs as the host's root; without cgroups (rootless) libvirt must be told so."""
    lines = [
        'security_driver = "none"',
        'user = "root"',
        'group = "root"',
        "dynamic_ownership = 0",
        "remember_owner = 0",
        f'migration_host = "{address}"',
    ]
    lines += wire.qemu_lines()
    if not cgroup.parents():
        lines += ["namespaces = []", "cgroup_controllers = []"]
    return "\n".join(lines) + "\n"


def hosts_file(subnet: str) -> str:
    """/etc/hosts of every lab host."""
    rows = [f"{address_of(subnet, name)} {name}" for name in (*host_names(MAXIMUM), RACK)]
    return "\n".join(["127.0.0.1 localhost", *rows]) + "\n"


def launch(layout: Layout, name: str, subnet: str, guard: int) -> "subprocess.Popen[str]":
    """Start the launcher of a host that is down; the switch must be up."""
    pid = process.first_process(layout, switch.NAME)
    with contextlib.suppress(LabError):  # the wire of a host that just lost its power may linger
        process.run([*process.inside(pid), "ip", "link", "delete", name])
    run = layout.run / name
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(mode=0o700)
    home = layout.home(name)
    (home / "log" / "qemu").mkdir(exist_ok=True)  # the guests' serial logs; Debian's package makes it on a real host
    cgroups = make_cgroups(layout, name)
    plug = [
        f"link add {name} type veth peer name eth0 address {mac_of(layout, name)} netns {{pid}}",
        f"link set {name} master {switch.BRIDGE} up",
    ]
    locks = ["mkdir", "/run/lock"]  # libvirt locks a guest's console there
    inside = ["link set lo up", f"address add {address_of(subnet, name)}/24 dev eth0", "link set eth0 up"]
    binds = [[str(home / part), target] for part, target in SHARED.items()]
    spec: init.Spec = {
        "lock": str(layout.lock(name)),
        "log": str(home / "log" / "console.log"),
        "cgroups": [str(directory) for directory in cgroups],
        "id_maps": [],
        "outside": switch.ip(plug),
        "hostname": name,
        "tmpfs": ["/run"],
        "binds": [
            *binds,
            [str(run), "/run/libvirt"],
            [str(home / "hosts"), "/etc/hosts"],
            [str(home / "machine-id"), "/etc/machine-id"],
        ],
        "inside": [
            locks,
            *large_pages(layout),
            *switch.ip(inside),
            *wire.commands(layout),
            daemon.VIRTLOGD,
            daemon.LIBVIRTD,
        ],
    }
    return process.launch(spec, home / "init.json", process.inside(pid), guard)


def large_pages(layout: Layout) -> list[list[str]]:
    """Commands that mount what guests in large pages live in, before libvirtd looks for it; only root may mount it."""
    if layout.uid != 0 or "hugetlbfs" not in Path("/proc/filesystems").read_text(encoding="ascii"):
        return []
    return [["mkdir", LARGE_PAGES], ["mount", "-t", "hugetlbfs", "hugetlbfs", LARGE_PAGES]]


def mac_of(layout: Layout, name: str) -> str:
    """The MAC of the host's eth0, the same after each boot, so that the others' ARP tables stay true."""
    digits = f"02{layout.id}{number(name):02x}"
    return ":".join(digits[index : index + 2] for index in range(0, 12, 2))


def last_words(layout: Layout, name: str) -> str:
    """The ends of the logs that tell why a host did not start, each line after a newline."""
    lines = []
    for log in ("console.log", "libvirtd.log"):
        with contextlib.suppress(OSError):
            lines += (layout.home(name) / "log" / log).read_text(errors="replace").splitlines()[-LAST_LINES:]
    return "".join(f"\n  {line}" for line in lines)


def make_cgroups(layout: Layout, name: str) -> list[Path]:
    """The host's cgroup in every hierarchy; their parents are noted before they are made, so that `down` finds them."""
    parents = [directory / f"stacksmith-lab-{layout.id}" for directory in cgroup.parents()]
    note = layout.run / "cgroups"
    known = note.read_text().splitlines() if note.exists() else []
    note.write_text("".join(f"{line}\n" for line in dict.fromkeys([*known, *map(str, parents)])))
    return cgroup.make(cgroup.make(cgroup.parents(), f"stacksmith-lab-{layout.id}"), name)


def cgroups(layout: Layout, name: str = "") -> list[Path]:
    """The cgroups of a host that exist, or those of the whole lab."""
    note = layout.run / "cgroups"
    lines = note.read_text().splitlines() if note.exists() else []
    parents = {*lines, *(str(directory / f"stacksmith-lab-{layout.id}") for directory in cgroup.parents())}
    return [path for line in sorted(parents) if (path := Path(line) / name).is_dir()]


def power_off(layout: Layout, name: str) -> None:
    """Take the host's power away: the kernel ends everything of it at once. Does nothing if it is down."""
    groups = cgroups(layout, name)
    with contextlib.suppress(LabError):
        cgroup.freeze(groups, frozen=False)
    pid = process.first_process(layout, name)
    if pid:
        process.end(pid)
    for member in cgroup.processes(groups):
        process.end(member)
    cgroup.remove(groups)
