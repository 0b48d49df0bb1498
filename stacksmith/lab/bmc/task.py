"""Tasks: what a BMC does later. A young task may not be found yet, and one that is done may look as if it still ran."""

import itertools
import threading
import time
from collections.abc import Callable

from stacksmith.frozen import dataclass
from stacksmith.lab.bmc.message import ROOT, Answer, collection, refusal

TASKS = f"{ROOT}/TaskService/Tasks"
STATES = ("", "Running", "Completed", "Running")  # what each further GET of an odd one shows, "" is 404; then Completed
Work = Callable[[], "Outcome"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended."""

    is_good: bool = True
    message_id: str = ""
    message: str = ""


@dataclass(slots=True)
class Task:
    """A task; `seen` is how often it was asked for since it could be seen to be done."""

    is_odd: bool
    outcome: Outcome | None = None
    seen: int = 0

    def show(self) -> str:
        """The state that the next GET shows; "" for none."""
        if self.outcome is None:
            word = "" if self.is_odd and self.seen == 0 else "Running"
            self.seen = 1
            return word
        if not self.outcome.is_good:
            return "Exception"
        self.seen += 1
        return STATES[self.seen - 1] if self.is_odd and self.seen <= len(STATES) else "Completed"


class Tasks:
    """The tasks of one BMC."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._tasks: dict[str, Task] = {}

    @property
    def is_busy(self) -> bool:
        return any(task.outcome is None for task in list(self._tasks.values()))

    def start(self, work: Work | None = None, seconds: float = 0.0, *, is_odd: bool) -> Answer:
        """The answer of a write that has become a task, which does `work` after so many seconds."""
        key = str(next(self._numbers))
        task = self._tasks[key] = Task(is_odd, Outcome() if work is None else None)

        def run() -> None:
            time.sleep(seconds)
            assert work is not None
            try:
                task.outcome = work()
            except Exception as fault:  # whatever it is, the task must end
                task.outcome = Outcome(False, "Base.1.12.InternalError", str(fault))

        if work is not None:
            threading.Thread(target=run, daemon=True).start()
        return Answer(202, self._page(key, "New"), {"Location": f"{TASKS}/{key}"})

    def answer(self, path: str) -> Answer | None:
        """The answer about a task; None for other paths."""
        if path == f"{ROOT}/TaskService":
            return Answer(200, {"@odata.id": path, "Id": "TaskService", "Tasks": {"@odata.id": TASKS}})
        if path == TASKS:
            return collection(TASKS, "Task", [f"{TASKS}/{key}" for key in list(self._tasks)])
        key = path.removeprefix(f"{TASKS}/")
        if not path.startswith(f"{TASKS}/"):
            return None
        word = self._tasks[key].show() if key in self._tasks else ""
        if not word:
            return refusal(404, "Base.1.12.ResourceMissingAtURI", f"There is no {path}")
        return Answer(200, self._page(key, word))

    def _page(self, key: str, word: str) -> dict[str, object]:
        outcome = self._tasks[key].outcome
        has_message = word in ("Completed", "Exception") and outcome is not None and outcome.message
        message = {"MessageId": outcome.message_id, "Message": outcome.message} if outcome and has_message else None
        return {
            "@odata.id": f"{TASKS}/{key}",
            "@odata.type": "#Task.v1_4_3.Task",
            "Id": key,
            "Name": f"Task {key}",
            "TaskState": word,
            "TaskStatus": "Critical" if word == "Exception" else "OK",
            "PercentComplete": 100 if word == "Completed" else 0,
            "Messages": [message] if message else [],
        }
