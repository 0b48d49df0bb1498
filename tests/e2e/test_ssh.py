"""Hosts reached by ssh, as the user's own configuration says: ssh must let us in without a word, or say why not."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from stacksmith import lab
from tests.e2e.kit import Site, until

pytestmark = [pytest.mark.e2e, pytest.mark.takes(20), pytest.mark.xdist_group("lab")]

SSH = shutil.which("ssh")
STACK = """
servers:
  web: {flavor: acpi, image: lab-acpi, host: hv1}
"""


@dataclass
class Way:
    """A site whose first host is reached by ssh, under a name that only the ssh configuration knows."""

    site: Site
    keys: Path
    monkeypatch: pytest.MonkeyPatch

    def by(self, *lines: str, **parameters: str) -> None:
        """Leads there with these lines in the ssh configuration and these parameters in the address."""
        home = self.site.fleet.parent / f"{self.site.name}-ssh"
        home.mkdir(exist_ok=True)
        address = lab.boot(self.site.lab, "hv1").address
        rows = ("Host lab-hv1", f"HostName {address}", "User root", "IdentitiesOnly yes", "ConnectTimeout 20", *lines)
        (home / "config").write_text("\n  ".join(rows) + "\n")
        # In the place of ~/.ssh/config, which is of whoever runs the tests: libvirt takes ssh from PATH.
        command = home / "ssh"
        command.write_text(f'#!/bin/sh\nexec {SSH} -F {shlex.quote(str(home / "config"))} "$@"\n')
        command.chmod(0o700)
        self.monkeypatch.setenv("PATH", f"{home}:{os.environ['PATH']}")
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        uri = f"qemu+ssh://lab-hv1/system?{query}".rstrip("?")
        text = self.site.fleet.read_text()
        self.site.fleet.write_text(re.sub(r"(hv1:\n(?:.*\n)*?\s+libvirt: ).*", rf"\1'{uri}'", text, count=1))

    def known(self) -> str:
        return f"UserKnownHostsFile {self.keys / 'known_hosts'}"

    def on_a_terminal(self, *words: str) -> tuple[int, str]:
        """A command with a terminal to ask on: exit status, and all that it showed."""
        argv = [Path(sys.executable).with_name("stacksmith"), *words, "--fleet", self.site.fleet, self.site.folder]
        done = subprocess.run(
            ["script", "-qec", shlex.join(map(str, argv)), "/dev/null"],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "NO_COLOR": "1"},
        )
        return done.returncode, done.stdout


@pytest.fixture
def way(make_site: Callable[[], Site], monkeypatch: pytest.MonkeyPatch) -> Way:
    site = make_site()
    site.write(STACK)
    assert lab.boot(site.lab, "hv1").ssh_uri, "openssh-server is installed by make dev"
    (keys,) = {p.parent for p in site.lab.rglob("known_hosts") if (p.parent / "id.pub").exists()}
    return Way(site, keys, monkeypatch)


def test_stack_lives_on_a_host_that_the_ssh_configuration_names(way: Way) -> None:
    way.by(way.known(), f"IdentityFile {way.keys / 'id'}")
    site = way.site
    assert len([step for step in site.plan().steps if step.host == "hv1"]) == 2
    site.apply()
    assert not site.plan().steps
    until(lambda: "BOOTOK" in site.console("web"), 60, "web boots")
    site.virsh("hv1", "destroy", f"{site.name}-web")
    status, said = way.on_a_terminal("drift")
    assert status == 2
    assert "power_state" in said
    site.apply(overwrite_drift=True)
    site.destroy()
    assert f"{site.name}-web" not in site.virsh("hv1", "list", "--all")


def test_key_may_be_named_in_the_address(way: Way) -> None:
    way.by(way.known(), "IdentityFile none", keyfile=str(way.keys / "id"))
    assert not way.site.plan().unknown
    assert [step.host for step in way.site.plan().steps] == ["hv1", "hv1"]


def test_refused_key_is_an_error_that_says_so_and_nothing_is_asked(way: Way, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "stranger"], check=True)
    way.by(way.known(), f"IdentityFile {tmp_path / 'stranger'}")
    status, said = way.on_a_terminal("drift")
    assert status == 4
    assert "Permission denied (publickey" in said
    assert "ssh-agent" in said
    assert "password:" not in said


def test_unknown_host_key_is_an_error_that_says_so_and_nothing_is_asked(way: Way, tmp_path: Path) -> None:
    way.by(f"UserKnownHostsFile {tmp_path / 'none'}", f"IdentityFile {way.keys / 'id'}")
    status, said = way.on_a_terminal("drift")
    assert status == 4
    assert "Host key verification failed" in said
    assert "compare the host's key" in said
    assert "(yes/no" not in said
