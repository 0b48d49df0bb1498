"""The command line: one module a command, no logic."""

import os
import sys


def main() -> None:
    """Runs the command line of this process and exits with its status."""
    # pydantic would look for plugins in every installed package: time, and code that is not ours.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from stacksmith.cli.app import run

    sys.exit(run(sys.argv[1:]))
