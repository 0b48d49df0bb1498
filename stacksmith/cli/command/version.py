"""``stacksmith version``."""

import os

from stacksmith import __version__
from stacksmith.cli.screen import open_screen


def command() -> None:
    """Print the version."""
    open_screen(os.environ, no_color=True).answer(f"stacksmith {__version__}\n")
