"""Which machine a node is: BMCs keep no marks, and an address may come to lead to another one."""

from collections.abc import Mapping
from typing import Final

from stacksmith.model.types import JSON

# UUID and serial number of a machine, each empty when its BMC does not tell it.
Identity = tuple[str, str]
UNKNOWN: Final[Identity] = ("", "")
MACHINE: Final = "machine"  # of the facts of a node and of its server: its identity, as a list

# What boards say that nobody gave a name of their own (SMBIOS).
_NO_SERIALS: Final = frozenset(
    {"to be filled by o.e.m.", "default string", "system serial number", "not specified", "none", "n/a", "0123456789"}
)
_NO_UUID: Final = "03000200-0400-0500-0006-000700080009"
_LEAST_DIGITS: Final = 3  # different ones in a UUID: all zeros, and all ones, are none


def identity_of(uuid: str, serial: str) -> Identity:
    """The identity, without what many machines have alike."""
    is_own = len(set(uuid.replace("-", ""))) >= _LEAST_DIGITS and uuid.lower() != _NO_UUID
    is_told = serial.strip().lower() not in _NO_SERIALS
    return (uuid.lower() if is_own else "", serial.strip() if is_told else "")


def machine_of(facts: Mapping[str, JSON]) -> Identity:
    """What facts tell of it."""
    told = facts.get(MACHINE)
    return (str(told[0]), str(told[1])) if isinstance(told, list) else UNKNOWN


def is_other(known: Identity, seen: Identity) -> bool:
    """Whether it is another machine: nothing that both tell is alike. A new mainboard changes one of the two."""
    both = [(a, b) for a, b in zip(known, seen, strict=True) if a and b]
    return bool(both) and all(a != b for a, b in both)


def is_same(known: Identity, seen: Identity) -> bool:
    """Whether it is that machine: both tell both, and they are alike. One of the two alone many boards may share."""
    return all(known) and known == seen


def fault(node: str, server: str, known: Identity, seen: Identity) -> tuple[str, str] | None:
    """Cause and hint when a node's BMC leads to another machine than the server was made on."""
    if not is_other(known, seen):
        return None
    cause = f"{node} is another machine ({told(seen)}) than {server} was made on ({told(known)})"
    return (
        cause,
        f"give {node} the address of its BMC again; when its machine was replaced: stacksmith state rm {server}",
    )


def told(identity: Identity) -> str:
    """The machine in words."""
    uuid, serial = identity
    return f"serial {serial}" if serial else f"UUID {uuid}"
