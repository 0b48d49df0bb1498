"""What a connection to a BMC takes from the environment, once, as every request did by itself."""

import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from stacksmith.model.node import Node
from stacksmith.providers.base import Deadline, Transient
from stacksmith.providers.redfish.connection import Connection

NODE = Node.model_validate({"redfish": "https://bmc.invalid", "username": "root", "password": {"env": "BMC_PASSWORD"}})
CONNECTION = partial(Connection, "bm1", NODE, "secret", None)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """The first lines that a proxy is sent, which hangs up then; the environment names it."""
    lines: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client:
                lines.append(client.recv(4096).partition(b"\r\n")[0])

    threading.Thread(target=serve, daemon=True).start()
    for name in ("NO_PROXY", "no_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.getsockname()[1]}")
    yield lines
    server.close()


def look() -> None:
    with pytest.raises(Transient):
        CONNECTION().look("/redfish/v1", Deadline(time.monotonic() + 120, time.monotonic))


def test_bmc_is_asked_by_the_proxy_of_the_environment(asked: list[bytes]) -> None:
    look()
    assert set(asked) == {b"CONNECT bmc.invalid:443 HTTP/1.0"}


def test_bmc_that_the_environment_leaves_out_is_asked_without(
    asked: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", ".invalid")
    look()
    assert asked == []


def test_certificates_are_those_of_the_environment_where_a_node_names_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(OSError, match=r"none\.pem"):
        CONNECTION().look("/redfish/v1", Deadline(time.monotonic() + 120, time.monotonic))
