"""What every command that works on a stack is given: its options, by flag or before the command, and the screen."""

import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stacksmith.cli.screen import Screen, open_screen
from stacksmith.frozen import dataclass

if TYPE_CHECKING:
    from stacksmith.diagnostics import Diagnostic
    from stacksmith.engine.options import Options

_Stack = Annotated[
    Path | None,
    typer.Option("--stack", "-s", help="Stack file or folder; default: this folder", metavar="PATH"),
]
_Fleet = Annotated[Path | None, typer.Option("--fleet", help="Fleet file, instead of the stack's own", metavar="FILE")]
_Var = Annotated[
    list[str] | None, typer.Option("--var", help="Value of a variable; may be repeated", metavar="NAME=VALUE")
]
_VarFile = Annotated[
    list[Path] | None,
    typer.Option(
        "--var-file",
        help="YAML file with values, NAME.vars.yaml in the folder of a stack; may be repeated",
        metavar="FILE",
    ),
]


def _known_provider(name: str | None) -> str | None:
    if name not in (None, "memory"):
        raise typer.BadParameter(f"{name!r} is not 'memory'; without the option each host has the one of its URI")
    return name


_Provider = Annotated[
    str | None,
    typer.Option(
        "--provider",
        help="memory: every host is one of the memory provider",
        metavar="NAME",
        callback=_known_provider,
    ),
]
_AllowCommands = Annotated[bool, typer.Option("--allow-commands", help="Let user_data run the commands it names")]
_NoColor = Annotated[bool, typer.Option("--no-color", help="No colours; also NO_COLOR")]
_Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an unexpected error")]

# The options by the name of their field in Common.
OPTIONS: Mapping[str, Any] = {
    "stack": _Stack,
    "fleet": _Fleet,
    "var": _Var,
    "var_file": _VarFile,
    "provider": _Provider,
    "allow_commands": _AllowCommands,
    "no_color": _NoColor,
    "debug": _Debug,
}


@dataclass(frozen=True, slots=True)
class Common:
    """The options as typed."""

    stack: Path | None = None
    fleet: Path | None = None
    var: list[str] | None = None
    var_file: list[Path] | None = None
    provider: str | None = None
    allow_commands: bool = False
    no_color: bool = False
    debug: bool = False

    def over(self, under: "Common") -> "Common":
        """These options, and where one was not given, what was given before the command. Lists add up."""
        return Common(
            self.stack or under.stack,
            self.fleet or under.fleet,
            [*(under.var or ()), *(self.var or ())],
            [*(under.var_file or ()), *(self.var_file or ())],
            self.provider or under.provider,
            self.allow_commands or under.allow_commands,
            self.no_color or under.no_color,
            self.debug or under.debug,
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One command at work."""

    common: Common
    screen: Screen
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def on(self, stack: Path | None) -> "Call":
        """The call with the stack given as an argument."""
        if stack is not None and self.common.stack is not None and stack != self.common.stack:
            raise typer.BadParameter(f"{stack} and --stack {self.common.stack}: give one of them")
        return self if stack is None else replace(self, common=replace(self.common, stack=stack))

    def apart(self, name: str | None, stack: Path | None) -> tuple["Call", str | None]:
        """The call on its stack, and the name, of a command that may be given either, or both in any order."""
        if name is None or not _is_stack(name):
            return self.on(stack), name
        if stack is None:
            return self.on(Path(name)), None
        return (self.on(stack), name) if _is_stack(str(stack)) else (self.on(Path(name)), str(stack))

    def options(self, **more: Any) -> "Options":
        """The options of the engine; ``more`` are its fields that only some commands have."""
        from stacksmith.engine.options import Options

        return Options(
            stack=self.common.stack or Path(),
            fleet=self.common.fleet,
            variables=dict(_pair(text) for text in self.common.var or ()),
            var_files=tuple(self.common.var_file or ()),
            provider=self.common.provider,
            environment=self.environment,
            allow_commands=self.common.allow_commands,
            **more,
        )

    def warn(self, diagnostics: "tuple[Diagnostic, ...]") -> None:
        """Shows the warnings of a load."""
        from stacksmith.views.diagnostic_text import diagnostics_text

        if diagnostics:
            self.screen.say(diagnostics_text(diagnostics, self.screen.error_paint) + "\n")


def _is_stack(text: str) -> bool:
    """Whether an argument that could be a name means a stack: written as a path, or a folder with a stack.yaml."""
    # The key of an address may have anything in it.
    bare = text.partition("[")[0]
    is_path = "/" in bare or text in {".", ".."} or text.endswith((".yaml", ".yml"))
    return is_path or any(Path(text, name).is_file() for name in ("stack.yaml", "stack.yml"))


def takes_stack(command: Callable[..., int]) -> Callable[..., None]:
    """Gives a command the common options: its first parameter is the Call, its result the exit status."""

    @functools.wraps(command)
    def wrapper(context: typer.Context, **given: Any) -> None:
        common = _common(given).over(context.find_root().obj or Common())
        raise typer.Exit(command(Call(common, open_screen(os.environ, common.no_color)), **given))

    return _signed(wrapper, list(inspect.signature(command, eval_str=True).parameters.values())[1:])


def takes_options(before: Callable[..., None]) -> Callable[..., None]:
    """Gives the program itself the common options: ``stacksmith --fleet FILE plan``."""

    @functools.wraps(before)
    def wrapper(context: typer.Context, **given: Any) -> None:
        context.obj = _common(given)
        before(**given)

    return _signed(wrapper, list(inspect.signature(before, eval_str=True).parameters.values()))


def _common(given: dict[str, Any]) -> Common:
    return Common(**{name: given.pop(name) for name in OPTIONS})


def _signed(wrapper: Callable[..., None], own: Sequence[inspect.Parameter]) -> Callable[..., None]:
    # typer reads a command's options from its signature.
    kind, defaults = inspect.Parameter.KEYWORD_ONLY, Common()
    parameters = [
        inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        *(parameter.replace(kind=kind) for parameter in own),
        *(inspect.Parameter(n, kind, default=getattr(defaults, n), annotation=a) for n, a in OPTIONS.items()),
    ]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--var")
    return name, value
