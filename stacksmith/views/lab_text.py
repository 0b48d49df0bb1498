"""A lab that is up, and what to type next."""

from collections.abc import Sequence
from pathlib import Path

from stacksmith.views.table import table


def lab_text(fleet: Path, hosts: Sequence[tuple[str, str]]) -> str:
    """The hosts as (name, URI), and the command to plan against them."""
    lines = [*table(("HOST", "URI"), hosts), "", f"Next: stacksmith --fleet {fleet} plan STACK"]
    return "\n".join(lines) + "\n"
