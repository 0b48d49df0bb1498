"""``stacksmith destroy``."""

from typing import TYPE_CHECKING

from stacksmith.cli.call import Call
from stacksmith.cli.carry_out import Manner, carry_out, conclude, confirmed, refused, unless_overtaken
from stacksmith.cli.option import Exclude, JsonInto, LockTimeout, Parallel, StackArgument, Target, Yes
from stacksmith.cli.screen import clear_file
from stacksmith.cli.status import Status

if TYPE_CHECKING:
    from stacksmith.engine.session import Options

_QUESTION = """
Do you really want to destroy all resources of the stack?
  stacksmith will destroy what is shown above, with the data of its local disks.
  There is no undo. Only 'yes' will be accepted to confirm.

  Enter a value: """


def command(
    call: Call,
    what: StackArgument = None,
    *,
    yes: Yes = False,
    targets: Target = None,
    excludes: Exclude = None,
    lock_timeout: LockTimeout = 0.0,
    parallel: Parallel = 64,
    json_into: JsonInto = None,
) -> int:
    """Remove all of the stack from the hosts; volumes are kept unless they say otherwise."""
    from stacksmith.model.change import Impact

    call = call.on(what)
    options = call.options(destroy=True, targets=tuple(targets or ()), excludes=tuple(excludes or ()))
    # The answer to the question allows what it is about.
    clear_file(json_into)
    manner = Manner("destroy", Impact.DATA_LOSS, True, lock_timeout, parallel, json_into)
    return unless_overtaken(call, lambda: _planned(call, options, manner, yes), asks=not yes)


def _planned(call: Call, options: "Options", manner: Manner, yes: bool) -> int:
    from stacksmith.engine import session
    from stacksmith.views.plan_text import plan_text

    with session.planning(options) as planned:
        call.warn(planned.diagnostics)
        call.screen.answer(plan_text(planned.plan, call.screen.paint))
        if refused(call, planned.plan, manner):
            return Status.REFUSED
        if not planned.plan.steps:
            return conclude(call, options, planned, manner)
        if not yes and not confirmed(call, _QUESTION, "destroy"):
            return Status.ERROR
        return carry_out(call, options, planned.plan, manner, planned)
