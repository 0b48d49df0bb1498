"""What a BMC remembers over its own restart."""

import json
from dataclasses import asdict, field
from pathlib import Path

from stacksmith.frozen import dataclass
from stacksmith.lab import draft
from stacksmith.model.types import JSON


@dataclass(slots=True)
class Override:
    """Where to boot from, instead of the disk: "Disabled", "Once" or "Continuous"."""

    enabled: str = "Disabled"
    target: str = "None"


@dataclass(slots=True)
class State:
    """A BMC's own memory; `pending` are BIOS attributes for the next boot, `bios_reset` comes before them."""

    asset_tag: str = ""
    override: Override = field(default_factory=Override)
    pending: dict[str, JSON] = field(default_factory=dict)
    bios_reset: bool = False
    secure_boot: bool | None = None  # pending
    bios: dict[str, JSON] = field(default_factory=dict)  # attributes in force that are not at their defaults
    firmware: dict[str, str] = field(default_factory=dict)  # versions that were installed, by name
    staged: dict[str, str] = field(default_factory=dict)  # versions for the next boot
    volumes: list[dict[str, JSON]] = field(default_factory=list)
    volume_count: int = 0  # ever made


def load(path: Path) -> State:
    """The state in the file, or that of a new BMC."""
    try:
        entries = json.loads(path.read_text())
    except FileNotFoundError:
        return State()
    return State(**{**entries, "override": Override(**entries["override"])})


def save(state: State, path: Path) -> None:
    draft.write(path, json.dumps(asdict(state)))
