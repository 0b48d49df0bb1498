"""Progress on a terminal: finished lines scroll by, what is at work stays below them."""

from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from stacksmith.events import (
    Event,
    RunStarted,
    StepDone,
    StepFailed,
    StepProgress,
    StepSkipped,
    StepStarted,
)
from stacksmith.views.event_text import VERBS, event_line
from stacksmith.views.paint import PLAIN, Paint
from stacksmith.views.words import clean

SHOWN = 10  # steps at work that get a line of their own


class LiveProgress:
    """Shows events on a terminal. Not safe to call from two threads at once: the caller takes turns."""

    def __init__(self, stream: TextIO, paint: Paint) -> None:
        self._stream, self._paint = stream, paint
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(file=stream, force_terminal=True, no_color=paint is PLAIN, highlight=False),
            transient=True,
        )
        self._total: TaskID | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Shows one event."""
        match event:
            case RunStarted():
                self._total = self._progress.add_task("steps", total=event.steps)
            case StepStarted():
                self._start(event)
            case StepProgress():
                task = self._tasks.get(event.step)
                if task is not None:
                    detail = f" {clean(event.detail)}" if event.detail else ""
                    self._progress.update(task, description=f"{_head(event)}{detail}")
            case StepDone() | StepFailed() | StepSkipped():
                self._end(event.step)
        if not isinstance(event, StepStarted | StepProgress):
            line = event_line(event, self._paint)
            if line is not None:
                self._print(line)

    def _start(self, event: StepStarted) -> None:
        if len(self._tasks) < SHOWN:
            self._tasks[event.step] = self._progress.add_task(_head(event), total=None)

    def _end(self, step: str) -> None:
        task = self._tasks.pop(step, None)
        if task is not None:
            self._progress.remove_task(task)
        if self._total is not None:
            self._progress.advance(self._total)

    def _print(self, line: str) -> None:
        from rich.text import Text

        self._progress.console.print(Text.from_ansi(line), soft_wrap=True)


def _head(event: StepStarted | StepProgress) -> str:
    return f"{event.address}: {VERBS[event.operation][0]} [{event.host}]"
