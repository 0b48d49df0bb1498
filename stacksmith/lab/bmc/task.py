"""Tasks: what a BMC does later. A young task cannot be found, and one that is done may look as if it still ran."""

import itertools

from stacksmith.lab.bmc.message import ROOT, Answer, collection, refusal

TASKS = f"{ROOT}/TaskService/Tasks"
STATES = ("", "Running", "Completed", "Running")  # what each further GET shows; "" is 404; then Completed for ever


class Tasks:
    """The tasks of one BMC, all of which succeed."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._seen: dict[str, int] = {}

    def start(self) -> Answer:
        """The answer of a write that has become a task."""
        key = str(next(self._numbers))
        self._seen[key] = 0
        return Answer(202, self._page(key, "New"), {"Location": f"{TASKS}/{key}"})

    def answer(self, path: str) -> Answer | None:
        """The answer about a task; None for other paths."""
        if path == f"{ROOT}/TaskService":
            return Answer(200, {"@odata.id": path, "Id": "TaskService", "Tasks": {"@odata.id": TASKS}})
        if path == TASKS:
            return collection(TASKS, "Task", [f"{TASKS}/{key}" for key in self._seen])
        key = path.removeprefix(f"{TASKS}/")
        if not path.startswith(f"{TASKS}/"):
            return None
        seen = self._seen.get(key, len(STATES))
        word = STATES[seen] if seen < len(STATES) else "Completed" if key in self._seen else ""
        if key in self._seen:
            self._seen[key] += 1
        if not word:
            return refusal(404, "Base.1.12.ResourceMissingAtURI", f"There is no {path}")
        return Answer(200, self._page(key, word))

    def _page(self, key: str, word: str) -> dict[str, object]:
        return {
            "@odata.id": f"{TASKS}/{key}",
            "@odata.type": "#Task.v1_4_3.Task",
            "Id": key,
            "Name": f"Task {key}",
            "TaskState": word,
            "TaskStatus": "OK",
            "PercentComplete": 100 if word == "Completed" else 0,
            "Messages": [],
        }
