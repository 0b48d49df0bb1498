"""What a command was asked, and the files it is about."""

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from stacksmith.frozen import dataclass
from stacksmith.model.load import LoadOptions, load_stack
from stacksmith.model.stack import Loaded


@dataclass(frozen=True, slots=True)
class Options:
    """What a command was asked. ``environment`` is where ``env:`` references and STACKSMITH_VAR_* are looked up.

    ``without_images``: it makes nothing, and image files may be missing.
    """

    stack: Path = Path(".")
    fleet: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    var_files: tuple[Path, ...] = ()
    provider: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    allow_commands: bool = False
    targets: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    destroy: bool = False
    without_images: bool = False


def load(options: Options) -> Loaded:
    """The stack, its fleet, and every fault and warning of all their files."""
    return load_stack(
        options.stack,
        LoadOptions(
            fleet=options.fleet,
            variables=options.variables,
            var_files=options.var_files,
            environment=options.environment,
            allow_commands=options.allow_commands,
            provider=options.provider,
            without_images=options.destroy or options.without_images,
        ),
    )
