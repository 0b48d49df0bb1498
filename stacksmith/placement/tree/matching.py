"""Whether every one of some things can get one of its options, when each option can be had only so often."""

from collections.abc import Mapping, Sequence


def all_served(options: Sequence[Sequence[str]], times: Mapping[str, int]) -> bool:
    """True when each sequence can have one of its own options, none more often than its ``times`` (default 0).

    Augmenting paths (Kuhn), with a stack in place of recursion.
    """
    holders: dict[str, list[int]] = {}
    return all(_serve(i, options, times, holders) for i in range(len(options)))


def _serve(
    first: int, options: Sequence[Sequence[str]], times: Mapping[str, int], holders: dict[str, list[int]]
) -> bool:
    """Gives one its option; those who hold it already are moved on to others, as far as that takes."""
    came_from: dict[str, tuple[int, str | None]] = {}
    waiting: list[tuple[int, str | None]] = [(first, None)]
    while waiting:
        seeker, left = waiting.pop()
        for option in options[seeker]:
            if option in came_from:
                continue
            came_from[option] = (seeker, left)
            held = holders.setdefault(option, [])
            if len(held) < times.get(option, 0):
                _move(option, came_from, holders)
                return True
            waiting += [(holder, option) for holder in held]
    return False


def _move(free: str, came_from: Mapping[str, tuple[int, str | None]], holders: dict[str, list[int]]) -> None:
    """Each seeker on the path takes the option it found and leaves the one it held."""
    option: str | None = free
    while option is not None:
        seeker, left = came_from[option]
        holders[option].append(seeker)
        if left is not None:
            holders[left].remove(seeker)
        option = left
