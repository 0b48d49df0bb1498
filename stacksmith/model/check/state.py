"""Rules of a fleet's ``state``: no secret in the file."""

from typing import Final
from urllib.parse import unquote

from stacksmith.model.findings import Findings
from stacksmith.model.stack import Where
from stacksmith.model.state import password_in
from stacksmith.model.types import JSON

_HINT: Final = (
    "write state: {url: postgresql://user@host/database, password: {env: NAME}} or {file: PATH}, "
    "and change the password if this file was ever committed"
)


def hide_state_password(data: JSON, where: Where, findings: Findings) -> JSON:
    """The fleet's data without a password of the store that stands in it as such, which is reported."""
    state = data.get("state") if isinstance(data, dict) else None
    if isinstance(state, str) and (secret := password_in(state)) is not None:
        _report("state", ("state",), secret, where, findings)
        return {**data, "state": None}
    if not isinstance(state, dict):
        return data
    hidden = dict(state)
    if isinstance(url := state.get("url"), str) and (secret := password_in(url)) is not None:
        _report("state.url", ("state", "url"), secret, where, findings)
        hidden["url"] = "postgresql://"
    if isinstance(state.get("password"), str | int | float):
        _report("state.password", ("state", "password"), str(state["password"]), where, findings)
        hidden["password"] = {"env": "HIDDEN"}
    return {**data, "state": hidden}


def _report(key: str, path: tuple[str, ...], secret: str, where: Where, findings: Findings) -> None:
    findings.secret(secret)
    findings.secret(unquote(secret))
    message = f"cannot use fleet.{key}: a password must not stand in a file"
    findings.error("literal-secret", message, where(path, key=True), _HINT)
