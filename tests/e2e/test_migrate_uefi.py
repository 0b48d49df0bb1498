"""A stopped server with UEFI firmware, brought to another host of a real lab with the variables it has."""

import subprocess
import threading
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import libvirt
import pytest

from stacksmith import lab
from stacksmith.providers.libvirt import nvram
from stacksmith.providers.libvirt.connection import Link
from stacksmith.providers.libvirt.host import LibvirtHost
from tests.e2e.kit import Site
from tests.e2e.libvirt_parts import declared
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
PAIR = "  other: {{flavor: tiny, image: blank, power_state: {state}}}\n"
NAMES = ("firm", "other")


def variables(site: Site, host: str, server: str = "firm") -> bytes | None:
    """The file of the server's firmware on a host."""
    path = f"{FOLDER}/{site.name}-{server}_VARS.fd"
    done = subprocess.run(lab.command_in(site.lab, host, ["cat", path]), capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def write(site: Site, host: str, content: bytes, server: str = "firm") -> None:
    path = f"{FOLDER}/{site.name}-{server}_VARS.fd"
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


@pytest.fixture
def pair(make_site: Callable[[], Site]) -> Site:
    """Two servers that are off on hv1, each with variables of its own; they may go to other hosts."""
    site = make_site()
    site.folder.mkdir(parents=True)
    (site.folder / "blank.raw").write_bytes(bytes(1 << 20))
    text = (STACK + PAIR).format(state="stopped")
    site.write(text.replace("stopped}", "stopped, host: hv1}"))
    site.apply()
    site.write(text)
    assert lab.exec_in(site.lab, "hv1", ["mkdir", "-p", FOLDER]) == 0
    for name in NAMES:
        write(site, "hv1", name.encode() * 1000, name)
    return site


def went(site: Site) -> None:
    """Empties hv1; each server has its variables on another host then."""
    report = empty(site, "hv1")
    assert report.exit_status == 0, [(r.step, r.cause) for r in report.failed]
    there = [(h, n, content) for h in HOSTS for n in NAMES if (content := variables(site, h, n)) is not None]
    assert sorted((name, content) for _, name, content in there) == [(name, name.encode() * 1000) for name in NAMES]
    assert "hv1" not in {host for host, _, _ in there}
    assert all(".nvram." not in site.virsh(h, "pool-list", "--all", "--name") for h in HOSTS)


def test_two_that_go_at_once_are_not_in_the_folder_at_once(pair: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    came, both, inside, crowds = set[int](), threading.Event(), list[str](), list[list[str]]()
    alone, read = LibvirtHost.alone, nvram.read

    def comes() -> None:
        came.add(threading.get_ident())
        if len(came) == len(NAMES):
            both.set()

    def told(host: LibvirtHost, name: str, *words: Any) -> Any:
        if name == "nvram":
            comes()
        return alone(host, name, *words)

    def watched(link: Link, path: PurePosixPath) -> bytes | None:
        comes()
        inside.append(path.name)
        crowds.append(list(inside))
        assert both.wait(120), "the other server goes too"
        content = read(link, path)
        inside.remove(path.name)
        return content

    monkeypatch.setattr(LibvirtHost, "alone", told)
    monkeypatch.setattr(nvram, "read", watched)
    went(pair)
    assert [len(crowd) for crowd in crowds] == [1, 1]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_another_run_that_makes_and_ends_the_pool_of_the_folder_fails_no_move(
    pair: Site, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Just before it is made here, and just after."""
    real, connection = libvirt.virConnect.storagePoolCreateXML, libvirt.open(declared(pair.lab).libvirt)
    others = [nvram._folder(Link(connection), PurePosixPath(f"{FOLDER}/another_VARS.fd"))]

    def made(connect: libvirt.virConnect, *words: Any) -> Any:
        if connect is connection or not others:
            return real(connect, *words)
        other = others.pop()
        if moment == "before":
            other.__enter__()
        pool = real(connect, *words)
        if moment == "after":
            with other:
                pass
        return pool

    monkeypatch.setattr(libvirt.virConnect, "storagePoolCreateXML", made)
    went(pair)
    connection.close()
