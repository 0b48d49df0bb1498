"""What was learned of the parts of hosts while one batch is arranged, and how much was searched for it."""

from dataclasses import field
from math import inf
from typing import TYPE_CHECKING

from stacksmith.frozen import dataclass

if TYPE_CHECKING:
    from stacksmith.placement.tree.candidate import Candidate
    from stacksmith.placement.tree.request import CandidateRequest

# Who asks at once for parts of a host, each by a number, and what others use of the parts that the host shares.
State = tuple[str, tuple[int, ...], tuple[object, ...]]
MOST_KEPT = 50_000  # answers of each kind


@dataclass(slots=True)
class Memory:
    """Answers that hold for the same hosts before the batch, whatever came in between.

    ``refused`` are states that were proven not to be possible, ``cut`` those of which a search gave up; ``found`` are
    the parts for a number of requests beside what is in use. ``work`` counts the questions and the steps of searches
    for them: never a time, so that equal batches have equal answers everywhere.
    """

    refused: set[State] = field(default_factory=set)
    cut: set[State] = field(default_factory=set)
    found: dict[tuple[object, ...], "tuple[Candidate, ...]"] = field(default_factory=dict)
    work: int = 0
    _most: float = inf
    _numbers: dict[tuple[object, ...], int] = field(default_factory=dict)
    _seen: dict[int, tuple["CandidateRequest", int]] = field(default_factory=dict)

    def allow(self, work: int) -> None:
        """From now on so much more work may be done on what is tried again and again."""
        self._most = self.work + work

    @property
    def is_spent(self) -> bool:
        """True when no more is to be tried."""
        return self.work >= self._most

    def number(self, asked: "CandidateRequest") -> int:
        """The same for equal requests."""
        seen = self._seen.get(id(asked))
        if seen is None:
            number = self._numbers.setdefault(asked.key, len(self._numbers))
            seen = self._seen[id(asked)] = asked, number  # kept, so that no other object gets its id
        return seen[1]

    def is_refused(self, state: State) -> bool:
        """True when it was proven that not all of these, or not even all but one, find parts together."""
        if state not in self.refused:
            host, asked, used = state
            fewer = {(host, (*asked[:place], *asked[place + 1 :]), used) for place in range(len(asked))}
            if self.refused.isdisjoint(fewer):
                return False
            self.refuse(state, is_proven=True)
        return True

    def refuse(self, state: State, *, is_proven: bool) -> None:
        """Keeps that no parts were found, as long as there is not too much of it."""
        kept = self.refused if is_proven else self.cut
        if len(kept) < MOST_KEPT:
            kept.add(state)

    def keep(self, question: tuple[object, ...], answer: "tuple[Candidate, ...]") -> None:
        """Keeps what was found, in the same way."""
        if len(self.found) < MOST_KEPT:
            self.found[question] = answer
