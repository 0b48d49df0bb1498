"""Faults on the way to a BMC, in our words."""

import socket
import time

import pytest

from stacksmith.model.node import Node, SecretRef
from stacksmith.providers.base import Deadline
from stacksmith.providers.bmc import Unreachable
from stacksmith.providers.registry import open_bmc


def test_name_that_nobody_knows_is_no_way_to_the_bmc(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*asked: object, **more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    node = Node(redfish="https://bmc1.example", username="admin", password=SecretRef(env="UNUSED"))
    session = open_bmc("bm1", node, "secret", None)
    with pytest.raises(Unreachable) as caught:
        session.observe(Deadline(time.monotonic() + 10, time.monotonic))
    session.close()
    assert str(caught.value) == "cannot reach the BMC of bm1: Name or service not known"
    assert "at https://bmc1.example, from redfish:" in str(caught.value.hint)
