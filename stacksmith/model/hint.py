"""Scheduler hints: the servers that same_host and different_host name, the network of build_near_host_ip."""

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Final

from stacksmith.address import Address, identity
from stacksmith.frozen import dataclass

HINTS: Final = ("same_host", "different_host")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Targets:
    """Servers by what they are called: those of the stack by address, others by UUID."""

    own: tuple[Address, ...] = ()
    others: tuple[str, ...] = ()


def near_network(address: str, cidr: str | None) -> str:
    """The network of an address that is as large as ``/24`` says, which is the default. Raises: ValueError."""
    length = (cidr or "/24").removeprefix("/")
    if not (length.isascii() and length.isdigit()):
        raise ValueError(f"{cidr!r} is no length of a network")
    return str(ip_network(f"{ip_address(address)}/{length}", strict=False))


def other_server(text: str, fleet: str) -> str | None:
    """The UUID of a server that is not the stack's own: given as it is, or as ``shop/server.db`` of the same fleet.

    None for any other text.
    """
    if _UUID.fullmatch(text.lower()):
        return text.lower()
    stack, slash, name = text.partition("/")
    try:
        address = Address.parse(name)
    except ValueError:
        return None
    is_server = address.kind == "server" and address.host is None
    return identity(fleet, stack, address) if slash and stack and is_server else None


def own_servers(text: str, instances: Mapping[Address, Sequence[Address]]) -> tuple[Address, ...] | None:
    """The servers of the stack that ``server.db``, all of its instances, or ``server.db[0]`` names; None for none.

    ``instances`` are the addresses of each block.
    """
    try:
        address = Address.parse(text)
    except ValueError:
        return None
    if address.kind != "server" or address.host is not None or address.block not in instances:
        return None
    if address.key is None:
        return tuple(instances[address])
    return (address,) if address in instances[address.block] else None


def targets(texts: Sequence[str], fleet: str, instances: Mapping[Address, Sequence[Address]]) -> Targets:
    """What texts that are known to name servers name, each once and in order."""
    own: dict[Address, None] = {}
    others: dict[str, None] = {}
    for text in texts:
        if (uuid := other_server(text, fleet)) is not None:
            others[uuid] = None
        else:
            own.update(dict.fromkeys(own_servers(text, instances) or ()))
    return Targets(tuple(own), tuple(others))
