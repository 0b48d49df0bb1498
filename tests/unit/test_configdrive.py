"""Config drives: the files, readable by name, in bytes that depend on nothing else."""

import io
import time

import pytest
from pycdlib import PyCdlib

from stacksmith.providers.configdrive import iso

FILES = {
    "openstack/latest/meta_data.json": b'{"uuid": "x"}',
    "openstack/latest/user_data": b"#!/bin/sh\n",
    "openstack/content/0000": b"",
    "a name that is longer than ISO 9660 allows.txt": b"long",
}


def read(image: bytes) -> tuple[str, dict[str, bytes]]:
    """(label, files by Joliet path)."""
    opened = PyCdlib()
    opened.open_fp(io.BytesIO(image))
    files = {}
    for folder, _, names in opened.walk(joliet_path="/"):
        for name in names:
            path = f"{folder.rstrip('/')}/{name}"
            out = io.BytesIO()
            opened.get_file_from_iso_fp(out, joliet_path=path)
            files[path.lstrip("/")] = out.getvalue()
    label = opened.pvd.volume_identifier.decode().strip()
    opened.close()
    return label, files


@pytest.mark.parametrize(("form", "label"), [("configdrive", "config-2"), ("nocloud", "cidata")])
def test_drive_has_its_label_and_files(form: str, label: str) -> None:
    assert read(iso(FILES, form)) == (label, FILES)


def test_drive_of_equal_files_is_equal_bytes_whenever_and_wherever(monkeypatch: pytest.MonkeyPatch) -> None:
    first = iso(FILES, "configdrive")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 90000)
    try:
        assert iso(dict(reversed(FILES.items())), "configdrive") == first
    finally:
        monkeypatch.undo()
        time.tzset()
