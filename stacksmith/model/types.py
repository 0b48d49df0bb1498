"""Types that many modules name."""

from typing import Any

# Plain data as ``json`` reads and writes it: dict, list, str, int, float, bool or None.
JSON = Any
