"""A small stack on hosts of the memory provider, and the command line in this process."""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stacksmith.cli.app import run
from stacksmith.model.realised import Realised
from stacksmith.providers.memory.provider import forget, world
from stacksmith.providers.memory.world import World

FLEET = """\
fleet: lab
hosts:
  hv1: {libvirt: "memory://world.json", availability_zone: rack-a}
  hv2: {libvirt: "memory://world.json"}
"""
STACK = """\
stack: shop
fleet: fleet.yaml
variables:
  count: {type: integer, default: 2}
  ram: {type: integer, default: 512}
flavors:
  small: {vcpus: 1, ram: "{{ var.ram }}", disk: 1}
images:
  tiny: {source: tiny.img, format: raw}
networks:
  lan: {mode: isolated, subnets: [{cidr: 10.20.0.0/24}]}
volumes:
  data: {size: 1}
servers:
  web:
    count: "{{ var.count }}"
    flavor: small
    image: tiny
    networks: [{network: lan, fixed_ip: "10.20.0.{{ 10 + index }}"}]
outputs:
  ips: "{{ server.web | map(attribute='fixed_ip') | list }}"
  first: "{{ server.web[0].name }}"
"""


@dataclass(frozen=True)
class Result:
    """What a command line gave."""

    status: int
    out: str
    err: str


Cli = Callable[..., Result]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a stack, its fleet and its image, which is the working directory."""
    (tmp_path / "fleet.yaml").write_text(FLEET)
    (tmp_path / "stack.yaml").write_text(STACK)
    (tmp_path / "tiny.img").write_bytes(b"tiny" * 128)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def cli(project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command line in the project, with nothing to read on stdin."""

    def call(*arguments: str) -> Result:
        capsys.readouterr()
        with open(os.devnull) as nothing:
            monkeypatch.setattr(sys, "stdin", nothing)
            status = run(arguments)
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return call


@pytest.fixture
def applied(cli: Cli) -> Cli:
    """The command line, once the stack is applied."""
    result = cli("apply", "--yes")
    assert result.status == 0, result.err
    return cli


@pytest.fixture
def live(project: Path) -> Iterator[World]:
    """The live objects, to change behind stacksmith's back."""
    uri = f"memory://{project}/world.json"
    yield world(uri)
    forget(uri)


def edit(live: World, address: str, change: Callable[[Any], Realised]) -> None:
    """Changes a live object, wherever it is."""
    live.edit(host_of(live, address), address, change)


def host_of(live: World, address: str) -> str:
    """The host that has the object."""
    for host in ("hv1", "hv2"):
        try:
            live.object(host, address)
            return host
        except KeyError:
            continue
    raise AssertionError(f"{address} is on no host")
