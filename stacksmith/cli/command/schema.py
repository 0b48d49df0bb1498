"""``stacksmith schema``."""

import os
from enum import StrEnum
from typing import Annotated

import typer

from stacksmith.cli.screen import open_screen


class File(StrEnum):
    """A kind of file that users write."""

    STACK = "stack"
    FLEET = "fleet"


def command(kind: Annotated[File, typer.Argument(help="Kind of file", metavar="stack|fleet")]) -> None:
    """Print the JSON Schema of a file, for completion in editors."""
    from stacksmith.model.schema import json_schema
    from stacksmith.views.json_text import json_text

    open_screen(os.environ, no_color=True).answer(json_text(json_schema(kind.value)))
