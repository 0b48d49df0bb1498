"""A config drive's files as the bytes of an ISO image: equal files are equal bytes.

Source of the layout: Nova's ``virt/configdrive.py`` (label config-2) and cloud-init's NoCloud (label cidata); both
find the drive by its label, read the long names of Rock Ridge or Joliet, and mind no ISO 9660 names.
"""

import io
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

LABELS = {"configdrive": "config-2", "nocloud": "cidata"}

_TIME = 946_684_800.0  # 2000-01-01T00:00:00Z

_clock_lock = threading.Lock()


def iso(files: Mapping[str, bytes], format: str) -> bytes:
    """The image of ``files`` (by path, ``/`` between folders), labelled for ``format``: configdrive or nocloud."""
    from pycdlib import PyCdlib

    with _stopped_clock():
        image = PyCdlib()
        image.new(interchange_level=3, vol_ident=LABELS[format], joliet=3, rock_ridge="1.09")
        _add(image, files)
        out = io.BytesIO()
        image.write_fp(out)
        image.close()
    return out.getvalue()


def _add(image: Any, files: Mapping[str, bytes]) -> None:
    folders: dict[str, str] = {"": ""}
    for number, (path, content) in enumerate(sorted(files.items())):
        folder, _, name = path.strip("/").rpartition("/")
        parent = _folder(image, folder, folders)
        image.add_fp(
            io.BytesIO(content),
            len(content),
            f"{parent}/F{number:07d}.;1",
            rr_name=name,
            joliet_path=f"/{folder}/{name}" if folder else f"/{name}",
        )


def _folder(image: Any, path: str, folders: dict[str, str]) -> str:
    """The ISO 9660 path of a folder, made with its parents when it is new."""
    if path not in folders:
        above, _, name = path.rpartition("/")
        made = f"{_folder(image, above, folders)}/D{len(folders):07d}"
        image.add_directory(made, rr_name=name, joliet_path=f"/{path}")
        folders[path] = made
    return folders[path]


@contextmanager
def _stopped_clock() -> Iterator[None]:
    """Holds pycdlib's clock: it stamps every entry with the local time, and takes no time from outside."""
    fixed = SimpleNamespace(**vars(time) | {"time": lambda: _TIME, "localtime": time.gmtime})
    with _clock_lock:
        loaded = [m for name, m in sys.modules.items() if name.startswith("pycdlib.") and vars(m).get("time") is time]
        for module in loaded:
            vars(module)["time"] = fixed
        try:
            yield
        finally:
            for module in loaded:
                vars(module)["time"] = time
