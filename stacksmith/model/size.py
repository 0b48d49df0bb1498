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
_PATTERN = re.compile(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*([KMGT]i?B|B)\s*")


def parse_size(text: str, unit: str) -> int:
    """The amount in whole ``unit``. Raises: ValueError when unreadable or not a whole number of units."""
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise ValueError(f"cannot read size {text!r}: expected a number of {unit} or text such as '8 GiB'")
    amount = float(match[1]) * UNITS[match[2]] / UNITS[unit]
    if amount != int(amount):
        raise ValueError(f"{text!r} is not a whole number of {unit}")
    return int(amount)
