"""Which steps may start now: those whose requirements ended well, within the limits."""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from graphlib import TopologicalSorter

from stacksmith.planner.plan import Operation, Step


class Agenda:
    """The steps of a plan that have not started. Each step costs the same however many there are."""

    def __init__(self, steps: Sequence[Step], parallel: int, parallel_per_host: int) -> None:
        """Raises: ValueError when a step requires one that is not there, or itself in the end."""
        self._left = {step.id: step for step in steps}
        self._dependents: dict[str, list[str]] = defaultdict(list)
        self._sorter: TopologicalSorter[str] = TopologicalSorter()
        for step in steps:
            self._sorter.add(step.id, *step.requires)
            for required in step.requires:
                if required not in self._left:
                    raise ValueError(f"step {step.id} requires {required}, which the plan does not have")
                self._dependents[required].append(step.id)
        self._sorter.prepare()
        self._free = parallel
        self._free_on: dict[str, int] = defaultdict(lambda: parallel_per_host)
        self._ready: deque[Step] = deque()  # each holds a place on its host
        self._parked: dict[str, deque[Step]] = defaultdict(deque)  # ready, but their host is full
        self._admit()

    def take(self) -> Step | None:
        """The next step to start now, None when there is none; it holds its places until ``ended``."""
        while self._free and self._ready:
            step = self._ready.popleft()
            if self._left.pop(step.id, None) is not None:
                self._free -= 1
                return step
            self._vacate(step.host)
        return None

    def ended(self, step: Step, well: bool) -> list[Step]:
        """Gives the places back; the steps dropped because this one did not end well."""
        self._free += 1
        self._vacate(step.host)
        if not well:
            return self._drop(self._dependents[step.id])
        self._sorter.done(step.id)
        self._admit()
        return []

    def drop_host(self, host: str) -> list[Step]:
        """Drops every step that needs ``host``, and what depends on them."""
        return self._drop(
            step.id for step in self._left.values() if step.host == host and step.operation is not Operation.FORGET
        )

    def drop_all(self) -> list[Step]:
        """Drops every step that is left."""
        return self._drop(self._left)

    def _drop(self, ids: Iterable[str]) -> list[Step]:
        """Takes them and all that depends on them out; in the order of the plan."""
        doomed, stack = set[str](), list(ids)
        while stack:
            name = stack.pop()
            if name in self._left and name not in doomed:
                doomed.add(name)
                stack.extend(self._dependents[name])
        dropped = [step for step in self._left.values() if step.id in doomed] if doomed else []
        for step in dropped:
            del self._left[step.id]
        return dropped

    def _admit(self) -> None:
        for name in self._sorter.get_ready():
            step = self._left.get(name)
            if step is None:
                continue
            if self._free_on[step.host]:
                self._free_on[step.host] -= 1
                self._ready.append(step)
            else:
                self._parked[step.host].append(step)

    def _vacate(self, host: str) -> None:
        """Gives a place on the host to the next parked step."""
        parked = self._parked[host]
        if parked:
            self._ready.append(parked.popleft())
        else:
            self._free_on[host] += 1
