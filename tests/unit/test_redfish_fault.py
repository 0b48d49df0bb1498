"""Faults on the way to a BMC, in our words."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from stacksmith.model.node import LostRef, Node, SecretRef
from stacksmith.providers.base import Deadline, Refused, Transient
from stacksmith.providers.bmc import Unreachable
from stacksmith.providers.redfish.fault import messages
from stacksmith.providers.registry import open_bmc


@pytest.fixture
def hangs_up() -> Iterator[int]:
    """The port of a server that takes connections and ends them, as a BMC that starts its web server anew does."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    taken, _ = server.accept()
                    taken.recv(4096)
                    taken.close()

        with ThreadPoolExecutor(1) as pool:
            pool.submit(serve)
            yield server.getsockname()[1]
            server.shutdown(socket.SHUT_RDWR)


def test_connection_that_ends_in_the_handshake_says_nothing_of_trust(hangs_up: int) -> None:
    node = Node(redfish=f"https://127.0.0.1:{hangs_up}", username="admin", password=SecretRef(env="UNUSED"))
    session = open_bmc("bm1", node, "secret", None)
    with pytest.raises(Transient, match=r"^cannot ask bm1 for /redfish/v1/Systems: ") as caught:
        session.observe(Deadline(time.monotonic() + 120, time.monotonic))
    session.close()
    assert caught.value.hint is None


def test_name_that_nobody_knows_is_no_way_to_the_bmc(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*asked: object, **more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    node = Node(redfish="https://bmc1.example", username="admin", password=SecretRef(env="UNUSED"))
    session = open_bmc("bm1", node, "secret", None)
    with pytest.raises(Unreachable) as caught:
        session.observe(Deadline(time.monotonic() + 120, time.monotonic))
    session.close()
    assert str(caught.value) == "cannot reach the BMC of bm1: Name or service not known"
    assert "at https://bmc1.example, from redfish:" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"Message": "Lacking.", "MessageArgs": ["Insert", "Method"]}, "Lacking. (Insert, Method)"),
        ({"Message": "Lacking.", "RelatedProperties": ["#/Method", "/Method"]}, "Lacking. (Method)"),
        ({"Message": "Insert lacks Method.", "MessageArgs": ["Insert", "Method"]}, "Insert lacks Method."),
        ({"MessageArgs": ["Method"], "RelatedProperties": None}, "ActionParameterMissing (Method)"),
        ({}, "ActionParameterMissing"),
    ],
)
def test_parameter_that_is_named_beside_the_text_is_told(entry: dict[str, Any], words: str) -> None:
    identifier = {"MessageId": "Base.1.18.1.ActionParameterMissing"}
    assert messages([entry | identifier]) == (["ActionParameterMissing"], words)


def test_arguments_that_may_be_values_are_not_told() -> None:
    entry = {"MessageId": "Base.1.18.1.PropertyValueError", "Message": "Wrong.", "MessageArgs": ["hunter2"]}
    assert messages(entry) == (["PropertyValueError"], "Wrong.")


def test_user_name_that_is_nowhere_is_told_before_the_bmc_is_asked() -> None:
    lost = LostRef(env="BMC_USER", cause="BMC_USER is not set in the environment", hint="export BMC_USER=…")
    node = Node(redfish="https://127.0.0.1:9", username=lost, password=SecretRef(env="UNUSED"))
    with pytest.raises(Refused, match=r"^cannot sign in to bm1: BMC_USER is not set in the environment$") as caught:
        open_bmc("bm1", node, "secret", None)
    assert (caught.value.path, caught.value.hint) == ("username", "export BMC_USER=…")
