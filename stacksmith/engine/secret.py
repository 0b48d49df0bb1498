"""Secrets that a fleet file refers to: see model.secret, which reads user names while the file is loaded."""

from stacksmith.model.secret import NoSecret as NoSecret  # noqa: PLC0414 - engine.node names them from here
from stacksmith.model.secret import secret as secret  # noqa: PLC0414
