"""What was found out of a BMC is kept, for a while."""

import os
from pathlib import Path

from stacksmith.providers.redfish.expansion import LASTS_SECONDS, Expansion

BMC = "https://10.0.0.7"


def test_what_was_found_out_is_known_to_later_runs_of_that_bmc_alone(tmp_path: Path) -> None:
    folder = tmp_path / "bmcs"
    for is_so in (True, False):
        found = Expansion(folder, BMC)
        found.note(is_so)
        assert found.known() is is_so
        assert Expansion(folder, BMC).known() is is_so
    assert Expansion(folder, "https://10.0.0.8").known() is None
    assert len(list(folder.iterdir())) == 1


def test_what_was_found_out_long_ago_is_not_known(tmp_path: Path) -> None:
    Expansion(tmp_path, BMC).note(True)
    (file,) = tmp_path.iterdir()
    noted = file.stat().st_mtime
    assert Expansion(tmp_path, BMC, lambda: noted + LASTS_SECONDS - 1).known() is True
    late = Expansion(tmp_path, BMC, lambda: noted + LASTS_SECONDS + 1)
    assert late.known() is None
    os.utime(file, (1, 1))
    late.note(True)  # found out anew
    assert Expansion(tmp_path, BMC).known() is True


def test_folder_that_cannot_be_used_keeps_nothing_and_a_file_that_says_nothing_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    nowhere = Expansion(tmp_path / "file", BMC)
    nowhere.note(True)
    assert nowhere.known() is True and Expansion(tmp_path / "file", BMC).known() is None
    Expansion(tmp_path / "bmcs", BMC).note(True)
    (file,) = (tmp_path / "bmcs").iterdir()
    file.write_bytes(b"\xff")
    assert Expansion(tmp_path / "bmcs", BMC).known() is None
