"""How far a search goes: a number of steps, never a time, so that equal questions have equal answers everywhere."""

# Looks that a search may take before the first candidate, and again after each one it found.
MOST_STEPS = 50_000
# Those that every root has, also when the roots before it have used up the rest.
FEW_STEPS = 500


class OutOfSteps(Exception):
    """The search was cut short: whether there is one more way is not known."""


class Steps:
    """The steps that are left to a search over one root or several.

    ``taken`` counts those at the present root, ``spent`` all.
    """

    def __init__(self, most: int = MOST_STEPS) -> None:
        self._most = self._left = most
        self.taken = self.spent = 0

    def take(self) -> None:
        """Raises: OutOfSteps when none is left."""
        if self._left <= 0:
            raise OutOfSteps
        self._left -= 1
        self.taken += 1
        self.spent += 1

    def open_root(self) -> None:
        """Begins a root, which has a few steps of its own."""
        self._left, self.taken = max(self._left, min(FEW_STEPS, self._most)), 0

    def renew(self) -> None:
        """Gives all steps again: a way was found."""
        self._left, self.taken = self._most, 0
