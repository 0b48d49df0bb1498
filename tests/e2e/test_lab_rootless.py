"""A lab of an ordinary user, tried by a user that is made for the test and removed after it."""

import json
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import stacksmith

ROOT = Path(stacksmith.__file__).parent.parent
NAME = f"sslab{os.getpid() % 100000}"
PROGRAM = """
import json, libvirt, os, sys
from stacksmith import lab

able = lab.capability()
if able.mode != "rootless":
    print(json.dumps({"none": able.reason}))
    sys.exit()
there = lab.up("rootless", hosts=2)
connection = libvirt.open(there.hosts[0].uri)
network = connection.networkCreateXML(
    "<network><name>lan</name><forward mode='nat'/><ip address='10.99.0.1' netmask='255.255.255.0'>"
    "<dhcp><range start='10.99.0.2' end='10.99.0.9'/></dhcp></ip></network>"
)
disk = there.directory / "images" / "acpi.img"
connection.createXML(
    "<domain type='qemu'><name>crowd</name><memory unit='MiB'>16</memory><os><type>hvm</type></os><devices>"
    f"<disk type='file'><source file='{disk}'/><target dev='vda' bus='virtio'/><readonly/></disk>"
    "<interface type='network'><source network='lan'/></interface></devices></domain>"
)
found = {"running": [(host.name, host.state, host.linked, host.guests) for host in lab.status("rootless")]}
found["exit"] = lab.exec_in("rootless", "hv2", ["sh", "-c", "exit 7"])
try:
    lab.freeze("rootless", "hv1", whole=True)
except lab.LabError as error:
    found["freeze"] = str(error)
lab.crash("rootless", "hv1")
found["crashed"] = [host.state for host in lab.status("rootless")]
lab.up("rootless", hosts=2)
found["again"] = [host.state for host in lab.status("rootless")]
lab.down("rootless")
found["left"] = os.path.exists("rootless") or os.path.exists(there.hosts[0].socket.parent.parent)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def user() -> Iterator[str]:
    """A user with subordinate ids and a home."""
    subprocess.run(["useradd", "--create-home", NAME], check=True)
    yield NAME
    for pid in processes(pwd.getpwnam(NAME).pw_uid):
        os.kill(pid, 9)
    subprocess.run(["userdel", "--remove", NAME], capture_output=True, check=True)


def processes(uid: int) -> list[int]:
    """What runs as this user and is not just waiting to be collected."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and entry.stat().st_uid == uid and (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.root
@pytest.mark.e2e
def test_ordinary_user_has_a_lab_and_leaves_nothing(user: str) -> None:
    account = pwd.getpwnam(user)
    environment = {"PATH": os.environ["PATH"], "HOME": account.pw_dir, "PYTHONPATH": ":".join(map(str, sys.path[1:]))}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": f"{ROOT}:{environment['PYTHONPATH']}"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
        cwd=account.pw_dir,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"other users must be able to read the checkout: {done.stderr}"
    assert json.loads(done.stdout) == {
        "running": [["hv1", "up", True, 1], ["hv2", "up", True, 0]],
        "exit": 7,
        "freeze": "cannot freeze a whole host: there is no cgroup freezer (it needs root)",
        "crashed": ["down", "up"],
        "again": ["up", "up"],
        "left": False,
    }
    assert processes(account.pw_uid) == []
