"""What is said of an error, and the exit status it means."""

import errno
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

from stacksmith.cli.screen import open_screen
from stacksmith.cli.status import Status

if TYPE_CHECKING:
    from stacksmith.diagnostics import Faults

_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG}
# BadParameter < UsageError < ClickException: only the first is public in typer.
_BadUse = typer.BadParameter.__mro__[2]


def unknown(message: str, name: object, choices: Iterable[object], what: str) -> "Faults":
    """The error of a name on the command line that nothing has, with the one that may be meant."""
    from stacksmith.diagnostics import Faults, error
    from stacksmith.model.findings import did_you_mean

    known = {str(each) for each in choices}
    of_block = {each for each in known if each.startswith(f"{name}[")}
    hint = did_you_mean(str(name), of_block or known, what)
    return Faults([error("unknown-reference", message, hint=hint)])


def unreadable(message: str, hosts: Iterable[tuple[str, str]]) -> "Faults":
    """The error of what cannot be known while hosts cannot be read, with what each of them says."""
    from stacksmith.diagnostics import Faults, error

    return Faults([error("host-unread", message, hint="; ".join(f"{host}: {cause}" for host, cause in hosts))])


def report(fault: BaseException) -> Status:
    """Tells the user and returns the exit status. Bad use is 1, not click's 2: 2 says that there are changes."""
    if isinstance(fault, _BadUse):
        fault.show()  # type: ignore[attr-defined]
        return Status.ERROR
    if isinstance(fault, KeyboardInterrupt | typer.Abort):
        sys.stderr.write("\nInterrupted.\n")
        return Status.INTERRUPTED
    return _told(fault)


def _told(fault: BaseException) -> Status:
    from stacksmith.diagnostics import Diagnostic, Faults, Severity
    from stacksmith.engine.allow import NotAllowed
    from stacksmith.lab.layout import LabError
    from stacksmith.state.store import Locked
    from stacksmith.views import notice
    from stacksmith.views.diagnostic_text import diagnostics_text

    screen = open_screen(os.environ, "--no-color" in sys.argv)
    if isinstance(fault, NotAllowed):
        screen.say(notice.barred([(b.step, b.cause, b.hint) for b in fault.barred], screen.error_paint))
        return Status.REFUSED
    hint, status = None, Status.ERROR
    if isinstance(fault, Faults):
        diagnostics = fault.diagnostics
        status = Status.STALE if any(d.code in ("stale-plan", "claim-lost") for d in diagnostics) else status
    else:
        if isinstance(fault, Locked):
            code, message, status = "locked", str(fault), Status.LOCKED
            hint = "run again when it has ended; apply and destroy wait for it with --lock-timeout SECONDS"
        elif isinstance(fault, LabError):
            code, message = "lab", str(fault)
        elif isinstance(fault, OSError) and fault.filename is not None:
            code, message = "file", f"cannot use {fault.filename}: {fault.strerror}"
        elif isinstance(fault, OSError) and fault.errno in _UNWRITABLE:
            code, message = "file", f"cannot write the answer: {fault.strerror}"
        else:
            code, message = "internal", f"unexpected {type(fault).__name__}: {fault}"
            hint = "this is a fault of stacksmith; --debug shows where"
        diagnostics = (Diagnostic(Severity.ERROR, code, message, hint=hint),)
    screen.say(diagnostics_text(diagnostics, screen.error_paint))
    return status
