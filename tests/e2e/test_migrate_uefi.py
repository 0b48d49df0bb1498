"""A stopped server with UEFI firmware, brought to another host of a real lab with the variables it has."""

import subprocess
from collections.abc import Callable

import pytest

from stacksmith import lab
from tests.e2e.kit import Site
from tests.e2e.moving import HOSTS, empty

pytestmark = [pytest.mark.e2e, pytest.mark.takes(60), pytest.mark.xdist_group("lab")]

FOLDER = "/var/lib/libvirt/qemu/nvram"
STACK = """
  tiny: {{vcpus: 1, ram: 128, disk: 1}}
images:
  blank: {{source: blank.raw, format: raw, properties: {{hw_firmware_type: uefi, hw_machine_type: q35}}}}
servers:
  firm: {{flavor: tiny, image: blank, power_state: {state}}}
"""


def variables(site: Site, host: str) -> bytes | None:
    """The file of the server's firmware on a host."""
    path = f"{FOLDER}/{site.name}-firm_VARS.fd"
    done = subprocess.run(lab.command_in(site.lab, host, ["cat", path]), capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def write(site: Site, host: str, content: bytes) -> None:
    path = f"{FOLDER}/{site.name}-firm_VARS.fd"
    argv = lab.command_in(site.lab, host, ["tee", path])
    subprocess.run(argv, input=content, stdout=subprocess.DEVNULL, check=True)


def where(site: Site) -> str:
    hosts = [h for h in HOSTS if f"{site.name}-firm" in site.virsh(h, "list", "--all", "--name").split()]
    assert len(hosts) == 1, hosts
    return hosts[0]


def test_variables_of_the_firmware_go_along_and_nothing_stays(make_site: Callable[[], Site]) -> None:
    site = make_site()
    site.folder.mkdir(parents=True)
    (site.folder / "blank.raw").write_bytes(bytes(1 << 20))
    site.write(STACK.format(state="running"))
    site.apply()
    source = where(site)
    site.virsh(source, "destroy", f"{site.name}-firm")  # its firmware does not hear the power button
    site.write(STACK.format(state="stopped"))
    site.apply()
    made = variables(site, source)
    assert made is not None
    told = made[:-16] + b"what the guest l"
    write(site, source, told)
    report = empty(site, source)
    assert report.exit_status == 0, [(r.step, r.cause) for r in report.failed]
    host = where(site)
    assert host != source
    assert {h: variables(site, h) for h in HOSTS if variables(site, h) is not None} == {host: told}
    assert all(".nvram." not in site.virsh(h, "pool-list", "--all", "--name") for h in HOSTS)
    assert site.plan().steps == ()
    site.write(STACK.format(state="running"))
    site.apply()
    assert "running" in site.virsh(host, "domstate", f"{site.name}-firm")
