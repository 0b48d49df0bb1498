"""URLs that hold secrets: a password before the host, a parameter that is a token or a signature."""

import re
from typing import Final
from urllib.parse import parse_qsl, urlsplit

_PASSWORD: Final = re.compile(r"(://[^/@:\s]*):[^/\s]*@")
_SECRET: Final = r"token|signature|sig|password|passwd|pass|pwd|secret|key|apikey|accesskey|credentials?|auth|jwt"
# As a word of the parameter's name: X-Amz-Signature, api_key, accessToken.
_NAME: Final = rf"(?:[\w.~-]*[\d_.~-])?(?i:{_SECRET})(?:[_.~-][\w.~-]*)?|[\w.~-]*[a-z](?:{_SECRET.title()})"
_PARAMETER: Final = re.compile(rf"(?<=[?&#;])({_NAME})=(?!\(sensitive value\))[^&#;\s\"'<>{{}}]+")


def secret_in(url: str) -> str | None:
    """What of the URL is a secret, in words, or None. Raises: ValueError when it is no URL."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        return "a user or a password"
    for name, _ in parse_qsl(parts.query) + parse_qsl(parts.fragment):
        if re.fullmatch(_NAME, name):
            return f"a secret ({name})"
    return None


def masked(text: str) -> str:
    """The text without the secrets of URLs that are in it."""
    return _PARAMETER.sub(r"\1=***", _PASSWORD.sub(r"\1:***@", text))
