"""Servers with UEFI firmware: they boot, secure boot is what was asked for, and nothing of them stays."""

import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stacksmith import lab
from tests.e2e import killed
from tests.e2e.efi_disk import make_efi_disk
from tests.e2e.kit import Site, settle, until
from tests.forked import Forked

pytestmark = [pytest.mark.e2e, pytest.mark.takes(80), pytest.mark.xdist_group("lab")]

HOST = "hv1"
STACK = """
  uefi: {vcpus: 1, ram: 256, disk: 1}
  secure: {vcpus: 1, ram: 512, disk: 1, extra_specs: {"os:secure_boot": required}}
images:
  signed: {source: signed.raw, format: raw, properties: {hw_firmware_type: uefi}}
  plain: {source: plain.raw, format: raw, properties: {hw_firmware_type: uefi}}
servers:
"""
PLAIN = "  plain: {flavor: uefi, image: plain, host: hv1, metadata: {role: firm}}\n"
SECURE = "  secure: {flavor: secure, image: signed, host: hv1}\n"
REFUSED = "  refused: {flavor: secure, image: plain, host: hv1}\n"
READY_SECONDS = 300


@pytest.fixture
def site(make_site: Callable[[], Site]) -> Iterator[Site]:
    """With a disk for each way to boot in its folder; its guests' firmware leaves no file behind."""
    made = make_site()
    made.folder.mkdir(parents=True)
    kernel, ramdisk = (made.lab / "images" / name for name in ("vmlinuz", "guest.gz"))
    for name in ("signed", "plain"):
        make_efi_disk(made.folder / f"{name}.raw", kernel, ramdisk, signed=name == "signed")
    yield made
    made.write("servers: {}")
    made.destroy()
    assert variables(made) == []


def variables(site: Site) -> list[str]:
    """Files that hold the firmware's variables of the site's servers."""
    found = subprocess.run(
        lab.command_in(site.lab, HOST, ["find", "/var/lib/libvirt/qemu/nvram", "-name", f"{site.name}-*"]),
        capture_output=True,
        text=True,
        check=False,
    )
    return sorted(Path(line).name for line in found.stdout.split())


def booted(site: Site, server: str, words: str) -> str:
    until(lambda: words in site.console(server), READY_SECONDS, f"{server} says {words}")
    return site.console(server).replace("\r", "")


def test_servers_boot_by_uefi_with_secure_boot_as_asked(site: Site) -> None:
    site.write(STACK + PLAIN + SECURE + REFUSED)
    site.apply()
    log = booted(site, "plain", "STACKSMITH-READY")
    assert re.search("^STACKSMITH-HOSTNAME plain$", log, re.MULTILINE)
    assert re.search("^STACKSMITH-META role=firm$", log, re.MULTILINE)
    assert "locked down" not in log
    assert "Kernel is locked down from EFI Secure Boot" in booted(site, "secure", "STACKSMITH-")
    assert "STACKSMITH" not in booted(site, "refused", "Access Denied")
    assert not site.plan().steps
    assert len(variables(site)) == 3


@pytest.mark.parametrize("at", [3, 4])
def test_kill_while_a_server_with_firmware_is_made_is_mended_by_the_next_run(site: Site, at: int) -> None:
    site.write(STACK + PLAIN)
    assert Forked(killed.main, at, site.folder, site.fleet).wait(120) == -signal.SIGKILL
    settle(site)
    site.apply()
    assert not site.plan().steps
    assert len(variables(site)) == 1
