"""Secrets go to the guest and nowhere else: commands run with canaries, and all they wrote and said is searched."""

import base64
import json
import os
import sqlite3
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stacksmith.cli.app import run
from stacksmith.providers.memory.provider import forget

FLEET = """\
fleet: lab
hosts:
  hv1: {libvirt: "memory://world.json"}
"""
UNREAD = """\
  hv2: {libvirt: "qemu+tcp://root:canary-uri@ss@127.0.0.1:1/system", timeout_seconds: 5}
"""
STACK = """\
stack: shop
fleet: fleet.yaml
variables:
  password: {sensitive: true}
  token: {sensitive: true}
  keys: {type: map, sensitive: true}
  size: {type: integer, default: 512}
flavors:
  small: {vcpus: 1, ram: "{{ var.size }}", disk: 1}
images:
  tiny: {source: tiny.img, format: raw}
  remote:
    source: "http://user:{{ var.token }}@127.0.0.1:1/x.img?signature={{ var.token }}"
    checksum: "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
volumes:
  data: {size: 1, on_destroy: delete}
servers:
  inline:
    {flavor: small, image: tiny, host: hv1, user_data: "#!/bin/sh\\necho {{ var.password }} {{ var.keys.a }}"}
  file: {flavor: small, image: tiny, host: hv1, user_data: {file: secret.sh}}
  template: {flavor: small, image: tiny, host: hv1, user_data: {template: secret.j2}}
  env: {flavor: small, image: tiny, host: hv1, config_drive: nocloud, user_data: {env: STACKSMITH_BOOT}}
  command: {flavor: small, image: tiny, host: hv1, user_data: {command: [cat, secret.sh]}}
outputs:
  names: "{{ server.inline.name }}"
"""
REMOTE = """\
  remote: {flavor: small, image: remote, host: hv1, user_data: {env: STACKSMITH_BOOT}}
"""
CANARIES = ("canary-var", "canary-token", "canary-file", "canary-template", "canary-env", "canary-uri", "canary-ci")
VARIABLES = ("--var", "password=canary-var", "--var-file", "secret.vars.yaml", "--allow-commands")
COMMANDS = (
    ("validate",),
    ("plan",),
    ("plan", "--json", "--json-into", "plan.json"),
    ("plan", "--format", "markdown"),
    ("plan", "--format", "gitlab"),
    ("plan", "--out", "saved.json"),
    ("show", "saved.json"),
    ("show", "saved.json", "--json"),
    ("apply", "--yes", "--json-into", "events.jsonl"),
    ("apply", "--yes", "--allow", "restart", "--var", "size=768"),
    ("plan",),
    ("drift",),
    ("drift", "--format", "json"),
    ("show",),
    ("show", "--json"),
    ("show", "server.inline"),
    ("state", "list", "--json"),
    ("state", "show", "server.file", "--json"),
    ("state", "rebuild"),
    ("output",),
    ("output", "--json"),
    ("hosts",),
    ("graph",),
    ("placement", "explain"),
    ("--debug", "plan"),
    ("destroy", "--yes"),
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A stack with a secret from every source there is."""
    project = tmp_path / "project"
    project.mkdir()
    files = {
        "fleet.yaml": FLEET,
        "stack.yaml": STACK,
        "tiny.img": "tiny",
        "secret.sh": "#!/bin/sh\necho canary-file\n",
        "secret.j2": "#!/bin/sh\necho canary-template {{ var.password }}\n",
        "secret.vars.yaml": "token: canary-token\nkeys: {a: canary-var-a, b: [canary-var-b]}\n",
    }
    for name, text in files.items():
        (project / name).write_text(text)
    monkeypatch.chdir(project)
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / "cache"))
    monkeypatch.setenv("STACKSMITH_BOOT", "#!/bin/sh\necho canary-env\n")
    monkeypatch.setenv("CI_JOB_TOKEN", "canary-ci")
    yield project
    forget(f"memory://{project}/world.json")


def written(project: Path) -> Iterator[tuple[str, bytes]]:
    """What the project's folder has now and did not have before, the state store's rows among it."""
    given = {"fleet.yaml", "stack.yaml", "tiny.img", "secret.sh", "secret.j2", "secret.vars.yaml"}
    for path in sorted(p for p in project.rglob("*") if p.is_file() and p.name not in given):
        yield path.name, path.read_bytes()
        if path.suffix == ".db":
            yield path.name, "\n".join(sqlite3.connect(path).iterdump()).encode()


def assert_none(where: str, content: bytes) -> None:
    for canary in CANARIES:
        for form in (canary.encode(), base64.b64encode(canary.encode())[:8], canary.encode().hex().encode()):
            assert form not in content, f"{canary} is in {where}: {content[max(0, content.find(form) - 200) :][:300]!r}"


def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        status = run(arguments)
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def arguments_of(command: tuple[str, ...]) -> tuple[str, ...]:
    """Options of the stack after the command's own words; a saved plan is shown without them."""
    return command if "saved.json" in command and command[0] == "show" else (*command, *VARIABLES)


def test_no_command_shows_or_writes_a_secret(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in COMMANDS:
        status, said = call(capsys, monkeypatch, *arguments_of(command))
        assert status in (0, 2, 3, 4), (command, status, said)
        assert_none(f"what {' '.join(command)} said", said.encode())
        for name, content in written(project):
            assert_none(f"{name} after {' '.join(command)}", content)
        if "apply" in command:
            hosts = json.loads((project / "world.json").read_text())["hosts"]
            assert len(hosts["hv1"]["server"]) == 5


@pytest.mark.parametrize("command", ["plan", "hosts"])
def test_host_that_cannot_be_read_is_told_without_its_password(
    command: str, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "fleet.yaml").write_text(FLEET + UNREAD)
    _, said = call(capsys, monkeypatch, command, *VARIABLES)
    assert "hv2" in said
    assert_none(f"what {command} said", said.encode())


def test_no_failure_shows_or_writes_a_secret(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Nothing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        text = STACK.replace("outputs:", f"{REMOTE}outputs:").replace(
            "127.0.0.1:1/", f"127.0.0.1:{server.server_address[1]}/"
        )
        (project / "stack.yaml").write_text(text)
        _fail(project, capsys, monkeypatch)
        server.shutdown()


class _Nothing(BaseHTTPRequestHandler):
    """Has no page, and logs nothing."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def _fail(project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    planted = [{"effect": "refused", "operation": "create", "address": "server.file"}]
    (project / "world.json").write_text(json.dumps({"format": 1, "faults": planted, "hosts": {}}))
    status, said = call(capsys, monkeypatch, "apply", "--yes", *VARIABLES, "--json-into", "events.jsonl")
    assert status == 1 and "HTTP 404" in said
    assert_none("what a failed apply said", said.encode())
    for name, content in written(project):
        assert_none(f"{name} after a failed apply", content)


@pytest.mark.parametrize(
    "line",
    [
        "  x: {flavor: small, image: tiny, metadata: {a: '{{ var.password }}'}}",
        "  x: {flavor: '{{ var.token }}', image: tiny}",
        "  x: {flavor: small, image: tiny, fixed: '{{ var.password | bool }}'}",
        "  x: {flavor: small, image: tiny, count: '{{ var.keys.b[0] }}'}",
        "  x: {flavor: small, image: tiny, user_data: {env: CI_JOB_TOKEN}}",
        "  x: {flavor: small, image: tiny, user_data: {command: [sh, -c, 'cat secret.sh; exit 1']}}",
        "outputs: {a: '{{ var.password }}'}",
        "outputs: {a: '{{ var.keys }}'}",
        "outputs: {a: '{{ var.password | bool }}'}",
    ],
)
def test_no_fault_of_a_stack_shows_a_secret(
    line: str, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = STACK.partition("outputs:")[0]
    (project / "stack.yaml").write_text(f"{text}{line}\n")
    for command in (("validate", "--format", "json"), ("plan",)):
        status, said = call(capsys, monkeypatch, *command, *VARIABLES)
        assert_none(f"what {' '.join(command)} said", said.encode())
    assert status == 1
    for name, content in written(project):
        assert_none(name, content)
