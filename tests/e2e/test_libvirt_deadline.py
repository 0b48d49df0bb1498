"""A daemon that hangs or dies costs its time limit, and is used again when it is back."""

import time
from pathlib import Path

import pytest

from stacksmith import lab
from stacksmith.model.realised import Server, Volume
from stacksmith.providers.base import Refused, Scope, TimedOut, Transient
from stacksmith.providers.libvirt import connection
from tests.e2e.libvirt_parts import MIB, deadline, declared, session, target

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

SCOPE = Scope("fleet", "hang", {})


def test_frozen_daemon_costs_at_most_the_deadline(lab_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "KEEPALIVE_SECONDS", 30)  # libvirt itself ends a call after four times these
    host = declared(lab_dir)
    opened = session(host, read_only=True)
    opened.observe(SCOPE, deadline())
    lab.freeze(lab_dir, "hv1")
    try:
        began = time.monotonic()
        with pytest.raises(TimedOut):
            opened.observe(SCOPE, deadline(2))
        assert time.monotonic() - began < 60
        with pytest.raises(TimedOut):
            session(host, seconds=1.5)
        opened.close()
    finally:
        lab.thaw(lab_dir, "hv1")
    again = session(host)
    assert again.observe(SCOPE, deadline()).error is None
    again.close()


def test_connection_lost_in_use_is_transient_and_opened_again(lab_dir: Path) -> None:
    host = declared(lab_dir)
    opened = session(host)
    read = opened.drivers["volume"].read
    mark = target("hang", "volume.data", Volume(MIB)).mark
    assert read(mark) is None
    lab.kill_daemon(lab_dir, "hv1")
    try:
        with pytest.raises(Transient):
            read(mark)
    finally:
        lab.start_daemon(lab_dir, "hv1")
    assert read(mark) is None
    opened.close()


def test_empty_uri_is_refused_not_the_local_hypervisor(lab_dir: Path) -> None:
    from stacksmith.providers.libvirt.provider import LibvirtProvider

    with pytest.raises(Refused, match="URI is empty"):
        LibvirtProvider().open("hv1", declared(lab_dir).model_copy(update={"libvirt": " "}), True, deadline(5))


def test_host_that_is_not_there_is_transient_in_libvirts_words(lab_dir: Path) -> None:
    gone = declared(lab_dir).model_copy(update={"libvirt": "qemu+unix:///system?socket=/nowhere/libvirt-sock"})
    with pytest.raises(Transient, match="Failed to connect socket"):
        session(gone)


def test_read_only_session_refuses_to_write(lab_dir: Path) -> None:
    opened = session(declared(lab_dir), read_only=True)
    try:
        with pytest.raises(Refused):
            opened.drivers["server"].create(
                target("hang", "server.web", Server("web", 1, 32, power_state="stopped")),
                None,
                deadline(10),  # type: ignore[arg-type]
            )
    finally:
        opened.close()
