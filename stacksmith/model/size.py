"""Sizes as people write them: ``8 GiB``."""

import re

UNITS = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
# What people write for the sizes of memory and disks: GB, Gi, gib, gigs.
_MEANT = re.compile(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*([kmgt])(?:i?b?|\w{2,7})\s*", re.IGNORECASE)
_PATTERN = re.compile(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*([KMGT]i?B|B)\s*")


class BadSize(ValueError):
    """A text that is no size, or not a whole number of units; ``hint`` is what may be meant."""

    def __init__(self, cause: str, hint: str | None) -> None:
        super().__init__(cause)
        self.hint = hint


def parse_size(text: str, unit: str) -> int:
    """The amount in whole ``unit``. Raises: BadSize when unreadable or not a whole number of units."""
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise BadSize(
            f"cannot read size {text!r}: expected a number of {unit} or text such as '8 GiB'", _meant(text, unit)
        )
    amount = float(match[1]) * UNITS[match[2]] / UNITS[unit]
    if amount != int(amount):
        raise BadSize(f"{text!r} is not a whole number of {unit}", _meant(text, unit))
    return int(amount)


def _meant(text: str, unit: str) -> str | None:
    """The same number with the unit that counts in 1024, where that is a whole number of units."""
    match = _MEANT.fullmatch(text)
    if match is None:
        return None
    meant = f"{match[2].upper()}iB"
    amount = float(match[1]) * UNITS[meant] / UNITS[unit]
    if amount != int(amount):
        return None
    number = f", or the number of {unit}: {int(amount)}" if meant != unit else f", or the number alone: {int(amount)}"
    return f"write {match[1]} {meant}{number}"
