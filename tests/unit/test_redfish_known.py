"""What was found out of a BMC is kept, for a while."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from stacksmith.model.node import Node
from stacksmith.providers.base import Deadline
from stacksmith.providers.redfish.connection import Connection
from stacksmith.providers.redfish.known import LASTS_SECONDS, Known
from stacksmith.providers.redfish.session import RedfishSession

BMC = "https://10.0.0.7"
SYSTEM, BIOS = "/redfish/v1/Systems/1", "/redfish/v1/Systems/1/Bios"
PAGES: dict[str, Any] = {
    SYSTEM: {"PowerState": "On", "Bios": {"@odata.id": BIOS}},
    BIOS: {"Attributes": {"Turbo": "On"}},
}


def soon() -> Deadline:
    return Deadline(20.0, lambda: 0.0)


def test_what_was_found_out_is_known_to_later_runs_of_that_bmc_alone(tmp_path: Path) -> None:
    folder = tmp_path / "bmcs"
    for is_so in (True, False):
        found = Known(folder, BMC)
        found.note_expands(is_so)
        found.note_bios(BIOS)
        for known in (found, Known(folder, BMC)):
            assert (known.expands, known.bios) == (is_so, BIOS)
    other = Known(folder, "https://10.0.0.8")
    assert (other.expands, other.bios) == (None, None)
    assert len(list(folder.iterdir())) == 1
    found.note_bios(None)
    assert (Known(folder, BMC).expands, Known(folder, BMC).bios) == (False, None)


def test_two_things_found_out_at_once_are_both_kept(tmp_path: Path) -> None:
    known = Known(tmp_path, BMC)
    known.note_expands(True)
    other = threading.Thread(target=known.note_bios, args=(BIOS,))
    with known._lock:
        other.start()
        other.join(0.2)  # it waits for the lock
        known._note(False, None)
    other.join()
    assert (known.expands, known.bios) == (False, BIOS)


def test_what_was_found_out_long_ago_is_not_known(tmp_path: Path) -> None:
    Known(tmp_path, BMC).note_expands(True)
    (file,) = tmp_path.iterdir()
    noted = file.stat().st_mtime
    assert Known(tmp_path, BMC, lambda: noted + LASTS_SECONDS - 1).expands is True
    late = Known(tmp_path, BMC, lambda: noted + LASTS_SECONDS + 1)
    assert late.expands is None
    os.utime(file, (1, 1))
    late.note_expands(True)  # found out anew
    assert Known(tmp_path, BMC).expands is True


@pytest.mark.parametrize("bios", ["https://elsewhere/redfish/", "//elsewhere/redfish/", "/etc", 7, None])
def test_bios_that_is_no_page_of_a_bmc_is_not_known(tmp_path: Path, bios: object) -> None:
    Known(tmp_path, BMC).note_expands(True)
    (file,) = tmp_path.iterdir()
    file.write_text(json.dumps({"expands": True, "bios": bios}))
    assert (Known(tmp_path, BMC).expands, Known(tmp_path, BMC).bios) == (True, None)


@pytest.mark.parametrize("content", [b"\xff", b"", b"yes", b"[]", b'{"expands": "yes"}'])
def test_folder_that_cannot_be_used_keeps_nothing_and_a_file_that_says_nothing_is_none(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "file").write_text("")
    nowhere = Known(tmp_path / "file", BMC)
    nowhere.note_expands(True)
    assert nowhere.expands is True and Known(tmp_path / "file", BMC).expands is None
    Known(tmp_path / "bmcs", BMC).note_expands(True)
    (file,) = (tmp_path / "bmcs").iterdir()
    file.write_bytes(content)
    assert Known(tmp_path / "bmcs", BMC).expands is None


def session(folder: Path, **more: Any) -> RedfishSession:
    node = Node(
        redfish=BMC, username="admin", password={"env": "BMC"}, resource_class="CUSTOM_X", system=SYSTEM, **more
    )
    return RedfishSession("bm1", node, "secret", None, folder / "sessions")


def test_bios_is_asked_beside_the_system_where_it_was_the_last_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, asked = threading.Barrier(2, timeout=60), list[str]()

    def get(self: Connection, path: str, deadline: Deadline) -> Any:
        asked.append(path)
        if len(runs) == 1:
            together.wait()  # the one is not answered before the other is asked
        return PAGES[path]

    monkeypatch.setattr(Connection, "get", get)
    runs: list[object] = []
    for _ in range(2):
        found = session(tmp_path).observe(soon())
        assert found.bios == {"Turbo": "On"}
        runs.append(found)
    assert asked[:2] == [SYSTEM, BIOS] and sorted(asked[2:]) == [SYSTEM, BIOS]
    assert runs[0] == runs[1]


def test_bios_that_moved_is_read_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages, moved = dict(PAGES), f"{BIOS}/2"
    monkeypatch.setattr(Connection, "get", lambda self, path, deadline: pages[path])
    assert session(tmp_path).observe(soon()).bios == {"Turbo": "On"}
    del pages[BIOS]  # asking there fails
    pages |= {SYSTEM: {"PowerState": "On", "Bios": {"@odata.id": moved}}, moved: {"Attributes": {"Turbo": "Off"}}}
    for _ in range(2):
        assert session(tmp_path).observe(soon()).bios == {"Turbo": "Off"}
    pages[SYSTEM] = {"PowerState": "On"}
    del pages[moved]
    for _ in range(2):
        assert session(tmp_path).observe(soon()).bios == {}
