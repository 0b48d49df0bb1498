"""Rules of a fleet's nodes: no secret in the file, and addresses that can be one BMC each."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from stacksmith.model.findings import Findings
from stacksmith.model.node import Node
from stacksmith.model.scalar import shorten
from stacksmith.model.stack import Where
from stacksmith.model.types import JSON

_BMC: Final = "as https://bmc1.example, or https://[2001:db8::1]:8443"


def hide_passwords(data: JSON, where: Where, findings: Findings) -> JSON:
    """The fleet's data without passwords that stand in it as such, each reported and kept out of every message."""
    nodes = data.get("nodes") if isinstance(data, dict) else None
    if not isinstance(nodes, dict):
        return data
    return {**data, "nodes": {name: _hide(node, where, findings, str(name)) for name, node in nodes.items()}}


def _hide(node: JSON, where: Where, findings: Findings, name: str) -> JSON:
    if not isinstance(node, dict) or not isinstance(node.get("password"), str | int | float):
        return node
    findings.secret(str(node["password"]))
    message = f"cannot use fleet.nodes.{shorten(name)}.password: a password must not stand in a file"
    hint = "write {env: NAME} or {file: PATH}, and change the password if this file was ever committed"
    findings.error("literal-secret", message, where(("nodes", name, "password"), key=True), hint)
    return {**node, "password": {"env": "HIDDEN"}}


def check_nodes(nodes: Mapping[str, Node], where: Where, findings: Findings) -> None:
    """Report what is wrong with nodes beyond their shape."""
    seen: dict[tuple[str, str | None], str] = {}
    for name, node in nodes.items():
        place, key = where(("nodes", name, "redfish")), (node.redfish.rstrip("/").lower(), node.system)
        cause = _fault(node.redfish)
        if cause:
            findings.error("bad-node", f"cannot use fleet.nodes.{name}: {cause}", place, _BMC)
        if key in seen:
            message = f"cannot use fleet.nodes.{name}: it is the same system of the same BMC as {seen[key]}"
            findings.error("bad-node", message, place, "take one of the two out, or say system:")
        seen.setdefault(key, name)
        if node.ca and not node.verify:
            message = f"cannot use fleet.nodes.{name}: ca is given, and verify: false ignores it"
            findings.error("bad-node", message, where(("nodes", name, "ca")), "take one of the two out")


def _fault(url: str) -> str | None:
    """Why a BMC's address is refused. The address is not repeated where it may hold a password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as fault:
        return f"the address is not a URL: {fault}"
    if parts.username is not None or parts.password is not None:
        return "the address has a user name in it, which has a key of its own"
    if parts.scheme != "https":
        return f"scheme {parts.scheme!r} is not https, and the password would be sent in the clear"
    if not host or port == 0 or not re.fullmatch(r"[A-Za-z0-9.:_%-]+", host) or host.startswith("-"):
        return f"{url!r} names no host"
    if parts.path.rstrip("/") or parts.query or parts.fragment:
        return f"{url!r} has more than a host and a port: the path goes to system"
    return None
