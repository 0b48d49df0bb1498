"""BIOS attributes that nobody can declare: passwords."""

import re
from typing import Final

from stacksmith.model.types import JSON

PASSWORD_CAUSE: Final = "it is a password: no BMC shows those, and plans and the state would"
_PASSWORD: Final = re.compile("passw(or)?d$|pwd$|secret$|passphrase$", re.IGNORECASE)
_SWITCHES: Final = frozenset({"enabled", "disabled", "enable", "disable", "yes", "no", "on", "off", "true", "false"})


def is_password(name: str, value: JSON) -> bool:
    """True for an attribute that is one, as far as its name tells, and not a switch such as RequireSetupPassword."""
    is_word = isinstance(value, str) and value.lower() not in _SWITCHES
    return is_word and _PASSWORD.search(name) is not None
