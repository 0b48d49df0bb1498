"""What was learned of the parts of hosts while one batch is arranged, and how much was searched for it."""

from collections.abc import Sequence
from dataclasses import field
from math import inf
from typing import TYPE_CHECKING

from stacksmith.frozen import dataclass

if TYPE_CHECKING:
    from stacksmith.placement.make import Tree
    from stacksmith.placement.request import Request
    from stacksmith.placement.tree.candidate import Candidate
    from stacksmith.placement.tree.request import CandidateRequest

# The kind of a host (``make.Tree``), who asks at once for its parts, each by a number, and what others use of the parts
# that it shares.
State = tuple[object, tuple[int, ...], tuple[object, ...]]
MOST_KEPT = 50_000  # answers of each kind


@dataclass(slots=True)
class Memory:
    """Answers that hold for the same hosts before the batch, whatever came in between.

    ``refused`` are states that were proven not to be possible, ``cut`` those of which a search gave up; ``found`` are
    the parts for a number of requests beside what is in use, with the host they were found on. ``trees`` are by the
    names of hosts. ``work`` counts the questions and the steps of searches for them: never a time, so that equal
    batches have equal answers everywhere.
    """

    refused: set[State] = field(default_factory=set)
    cut: set[State] = field(default_factory=set)
    found: dict[object, "tuple[Tree, tuple[Candidate, ...]]"] = field(default_factory=dict)
    trees: dict[str, "Tree"] = field(default_factory=dict)
    work: int = 0
    _most: float = inf
    _classes: dict[int, frozenset[str]] = field(default_factory=dict)
    _numbers: dict[tuple[object, ...], int] = field(default_factory=dict)
    _seen: dict[int, tuple["CandidateRequest", int | None]] = field(default_factory=dict)

    def allow(self, work: int) -> None:
        """From now on so much more work may be done on what is tried again and again."""
        self._most = self.work + work

    @property
    def is_spent(self) -> bool:
        """True when no more is to be tried."""
        return self.work >= self._most

    def intern(self, key: tuple[object, ...]) -> int:
        """A number for a key, the same for equal ones."""
        return self._numbers.setdefault(key, len(self._numbers))

    def number(self, request: "Request", host: str) -> int:
        """The same for requests that ask the same of parts; of those that name a tree, or hold something, at one host
        alone, for it means another at each."""
        asked = request.parts
        assert asked is not None
        if request.held:
            held = tuple((uuid, *sorted(amounts.items())) for uuid, amounts in sorted(request.held.items()))
            return self._classed(self.intern((*asked.key, held, host)), asked)
        seen = self._seen.get(id(asked))
        if seen is None:
            names_tree = any(group.in_tree is not None for group in asked.groups.values())
            number = None if names_tree else self.intern(asked.key)
            seen = self._seen[id(asked)] = asked, number  # kept, so that no other object gets its id
        return self._classed(self.intern((*asked.key, host)) if seen[1] is None else seen[1], asked)

    def _classed(self, found: int, asked: "CandidateRequest") -> int:
        if found not in self._classes:
            self._classes[found] = frozenset(name for group in asked.groups.values() for name in group.resources)
        return found

    def classes(self, numbers: Sequence[int]) -> frozenset[str]:
        """The resource classes that requests of these numbers ask for."""
        if len(numbers) == 1:
            return self._classes[numbers[0]]
        return frozenset[str]().union(*(self._classes[number] for number in numbers))

    def is_refused(self, state: State) -> bool:
        """True when it was proven that not all of these, or not even all but one, find parts together."""
        if state not in self.refused:
            kind, asked, used = state
            fewer = {(kind, (*asked[:place], *asked[place + 1 :]), used) for place in range(len(asked))}
            if self.refused.isdisjoint(fewer):
                return False
            self.refuse(state, is_proven=True)
        return True

    def refuse(self, state: State, *, is_proven: bool) -> None:
        """Keeps that no parts were found, as long as there is not too much of it."""
        kept = self.refused if is_proven else self.cut
        if len(kept) < MOST_KEPT:
            kept.add(state)

    def keep(self, question: object, tree: "Tree", answer: "tuple[Candidate, ...]") -> None:
        """Keeps what was found on a host, in the same way."""
        if len(self.found) < MOST_KEPT:
            self.found[question] = tree, answer
