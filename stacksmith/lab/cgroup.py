"""The cgroups of a lab: one directory per hierarchy and host, below the caller's own cgroup (v1) or the root (v2)."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

from stacksmith.lab.layout import LabError

REMOVE_SECONDS = 5.0


def parents() -> list[Path]:
    """The writable directories below which a lab may make cgroups; none for an ordinary user."""
    if os.getuid() != 0:
        return []
    mounts = _mounts()
    rows = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    found = []
    for _, controllers, path in rows:
        point = mounts.get(controllers)
        if point is None:
            continue
        directory = point if len(rows) == 1 else point / path.lstrip("/")
        if directory.is_dir() and os.access(directory, os.W_OK):
            found.append(directory)
    return found


def _mounts() -> dict[str, Path]:
    """Mount points by controllers as /proc/self/cgroup writes them; "" is cgroup v2."""
    points: dict[str, Path] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        point = Path(before.split(" ")[4])
        if kind == "cgroup2":
            points[""] = point
        elif kind == "cgroup":
            points[point.name] = points[f"name={point.name}"] = point
            points[",".join(sorted(options.split(",")))] = point
    return points


def make(parent: Iterable[Path], name: str) -> list[Path]:
    """Make the cgroup `name` below each parent that allows it; the directories made."""
    made = []
    for directory in parent:
        target = directory / name
        try:
            target.mkdir(exist_ok=True)
        except OSError:
            continue
        _hand_on_controllers(directory, target)
        made.append(target)
    return made


def _hand_on_controllers(parent: Path, child: Path) -> None:
    """Prepare the child for use: v1 cpusets start empty, v2 controllers are off until the parent hands them on."""
    if (child / "tasks").exists():
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (child / name).exists():
                (child / name).write_text((parent / name).read_text())
        return
    if not (parent / "cgroup.type").exists():  # the root of the hierarchy is the machine's own
        return
    control = parent / "cgroup.subtree_control"
    for controller in (parent / "cgroup.controllers").read_text().split():
        try:
            control.write_text(f"+{controller}")
        except OSError:  # the group has processes of its own: do without
            continue


def leaf(directory: Path) -> Path:
    """Where processes of the host belong: v2 keeps them one level down."""
    inner = directory / "init"
    return inner if inner.is_dir() else directory


def freeze(directories: Iterable[Path], frozen: bool) -> None:
    """Stop or continue every process of these cgroups.

    Raises:
        LabError: none of them has a freezer.
    """
    for directory in directories:
        if (directory / "freezer.state").exists():
            (directory / "freezer.state").write_text("FROZEN" if frozen else "THAWED")
            return
        if (directory / "cgroup.freeze").exists():
            (directory / "cgroup.freeze").write_text("1" if frozen else "0")
            return
    raise LabError("cannot freeze a whole host: there is no cgroup freezer (it needs root)")


def is_frozen(directories: Iterable[Path]) -> bool:
    """Whether the whole host is stopped."""
    for directory in directories:
        for name, word in (("freezer.state", "FROZEN"), ("cgroup.freeze", "1")):
            if (directory / name).exists():
                return (directory / name).read_text().strip() == word
    return False


def processes(directories: Iterable[Path]) -> set[int]:
    """Every process in these cgroups and below."""
    found: set[int] = set()
    for directory in directories:
        for listing in directory.rglob("cgroup.procs"):
            try:
                found.update(int(pid) for pid in listing.read_text().split())
            except OSError:  # a group that has just gone
                continue
    return found - {0}


def remove(directories: Iterable[Path]) -> None:
    """Remove the cgroups, deepest first; the kernel lets go of a killed process a moment later, so this waits.

    Raises:
        LabError: a cgroup still has processes after five seconds.
    """
    deadline = time.monotonic() + REMOVE_SECONDS
    for directory in directories:
        while directory.is_dir():
            for group in sorted(directory.rglob("*/"), reverse=True):
                _remove_one(group)
            if _remove_one(directory):
                break
            if time.monotonic() > deadline:
                raise LabError(f"cannot remove the cgroup {directory}: it still has processes")
            time.sleep(0.02)


def _remove_one(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
