"""The time of day, for what is written down."""

from datetime import UTC, datetime


def timestamp() -> str:
    """Now, as RFC 3339 in UTC: ``2026-01-02T03:04:05Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
