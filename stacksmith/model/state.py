"""Where the state store is, and who may ask it."""

import re
from typing import Final

from pydantic import Field

from stacksmith.model.node import SecretRef
from stacksmith.model.spec import Spec

POSTGRES: Final = ("postgresql", "postgres")
_IN_QUERY: Final = re.compile(r"[?&](?:ssl)?password=([^&]*)", re.IGNORECASE)
_IN_HOST: Final = re.compile(r"^[^:/?#]+://[^:@/?#]*:([^/?#]*)@")


class StateSpec(Spec):
    """The state store with a password."""

    url: str = Field(description="As postgresql://user@host/database?sslmode=verify-full")
    password: SecretRef | None = Field(
        None, description="Where the password is; without it libpq looks in PGPASSFILE and PGSERVICEFILE"
    )


def password_in(url: str) -> str | None:
    """The password that stands in a store's URL, as it stands there, None when there is none."""
    match = _IN_HOST.search(url) or _IN_QUERY.search(url)
    return match[1] if match and match[1] else None


def is_postgres(url: str) -> bool:
    """True for the URL of a PostgreSQL database."""
    return url.partition("://")[0] in POSTGRES
