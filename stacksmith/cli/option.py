"""Options that several commands have."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stacksmith.model.change import Impact

StackArgument = Annotated[
    Path | None, typer.Argument(help="Stack file or folder, as --stack", metavar="STACK", show_default=False)
]
Yes = Annotated[bool, typer.Option("--yes", "--auto-approve", "-y", help="Do it without asking")]
LockTimeout = Annotated[
    float, typer.Option("--lock-timeout", help="Seconds to wait for another run of the stack", min=0, metavar="SECONDS")
]
Parallel = Annotated[int, typer.Option("--parallel", help="Steps at work at the same time", min=1, max=512)]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON")]
JsonInto = Annotated[
    Path | None, typer.Option("--json-into", help="Also write the run's events here, as JSON Lines", metavar="FILE")
]


def _addresses(values: list[str] | None) -> list[str] | None:
    from stacksmith.address import Address

    for text in values or ():
        try:
            Address.parse(text)
        except ValueError as fault:
            raise typer.BadParameter(str(fault)) from fault
    return values


Target = Annotated[
    list[str] | None,
    typer.Option("--target", help="Only this resource and what it needs", callback=_addresses, metavar="ADDRESS"),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", help="Not this resource nor what needs it", callback=_addresses, metavar="ADDRESS"),
]
Replace = Annotated[
    list[str] | None,
    typer.Option("--replace", help="Make this resource anew", callback=_addresses, metavar="ADDRESS"),
]


def _impacts(values: list[str] | None) -> list[str] | None:
    worst_allowed(values)
    return values


Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        help="What steps may do to guests: live (default), restart, migrate, rebuild, replace or data-loss; "
        "each allows the milder ones too",
        callback=_impacts,
        metavar="IMPACT",
    ),
]


def worst_allowed(values: list[str] | None) -> "Impact":
    """The worst impact among words separated by commas; live when there are none. Raises: BadParameter."""
    from stacksmith.model.change import Impact

    by_word = {impact.word: impact for impact in Impact}
    words = [word for text in values or ["live"] for word in text.split(",")]
    unknown = [word for word in words if word not in by_word]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(by_word)}")
    return max(by_word[word] for word in words)
