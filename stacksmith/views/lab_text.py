"""A lab that is up, and what to type next."""

from collections.abc import Sequence
from pathlib import Path

from stacksmith.views.table import table


def lab_text(fleet: Path, machines: Sequence[tuple[str, str]]) -> str:
    """The hosts and nodes as (name, URI), and the command to plan against them."""
    lines = [*table(("HOST", "URI"), machines), "", f"Next: stacksmith --fleet {fleet} plan STACK"]
    return "\n".join(lines) + "\n"
