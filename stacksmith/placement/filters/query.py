"""JsonFilter: a query over what a host has at the moment a server is placed."""

import operator
from collections.abc import Callable, Mapping
from math import isinf
from typing import Final

from stacksmith.frozen import dataclass
from stacksmith.model.query import LOGIC, Query, Trend, Variable
from stacksmith.model.types import JSON
from stacksmith.placement.host import INSTANCES, IO_OPS, HostState
from stacksmith.placement.refusal import Refusal, refused

NAME: Final = "JsonFilter"
SHOWN: Final = 80  # characters of a query in a reason


@dataclass(frozen=True, slots=True)
class Queried:
    """A query of a server. Unless it is steady its answer changes with what the batch puts on a host."""

    query: Query

    @property
    def filter(self) -> str:
        """Its name."""
        return NAME

    @property
    def is_steady(self) -> bool:
        """True when the batch does not change the answer."""
        return self.query.trend is Trend.STEADY

    @property
    def is_closing(self) -> bool:
        """True when a host that refuses before the batch refuses as long as it is placed."""
        return self.query.trend in (Trend.STEADY, Trend.FALLS)

    def passes(self, host: HostState, used: Mapping[str, int]) -> bool:
        """The answer of the host when this much of it is used."""
        return _answer(self.query, host, used)

    def refusal(self, host: HostState) -> Refusal | None:
        """Why the host does not pass before the batch."""
        return self.refusal_at(host, host.used)

    def refusal_at(self, host: HostState, used: Mapping[str, int]) -> Refusal | None:
        """Why the host does not pass when this much of it is used, with the values that the query asks for."""
        if self.passes(host, used):
            return None
        text = self.query.text if len(self.query.text) <= SHOWN else f"{self.query.text[:SHOWN]}…"
        values = ", ".join(f"${name} is {_told(value_of(name, host, used))}" for name in self.query.variables)
        reason = f"query {text} is not met{': ' if values else ''}{values}"
        return refused(NAME, reason, f"ask another query, or make {host.name} meet it")


def _told(value: JSON) -> str:
    if value is None:
        return "not known"
    if isinstance(value, str):
        return value
    return "not limited" if isinf(value) else f"{value:,g}" if isinstance(value, float) else f"{value:,}"


def _answer(query: Query, host: HostState, used: Mapping[str, int]) -> bool:
    """What is not known of a host meets no comparison."""
    values = [_value(each, host, used) for each in query.operands]
    if query.operator in LOGIC:
        return {"and": all, "or": any, "not": _some_false}[query.operator](values)
    first, rest = values[0], values[1:]
    if first is None or None in rest:
        return False
    if query.operator == "in":
        return first in rest
    return all(_COMPARED[query.operator](first, each) for each in rest)


def _some_false(values: list[JSON]) -> bool:
    return not all(values)


def _value(operand: object, host: HostState, used: Mapping[str, int]) -> JSON:
    if isinstance(operand, Query):
        return _answer(operand, host, used)
    return value_of(operand.name, host, used) if isinstance(operand, Variable) else operand


def value_of(name: str, host: HostState, used: Mapping[str, int]) -> JSON:
    """What nova's host state has under a name, None where it is not known."""
    if name in _COUNTED:
        return used.get(_COUNTED[name], 0) if _COUNTED[name] in host.inventories else None
    if name in _OF_INVENTORY:
        resource_class, read = _OF_INVENTORY[name]
        inventory = host.inventories.get(resource_class)
        if inventory is None:
            return None
        return read(host, used.get(resource_class, 0))
    if name in ("host_ip", "failed_builds"):
        return host.host_ip or None if name == "host_ip" else host.failed_builds
    value: JSON = dict(host.capabilities)
    for key in _ALSO.get(name, name).split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _free(resource_class: str, unit: int) -> Callable[[HostState, int], JSON]:
    """What is neither reserved nor used, without regard to the ratio."""

    def read(host: HostState, used: int) -> JSON:
        inventory = host.inventories[resource_class]
        return inventory.capacity if isinf(inventory.capacity) else (inventory.total - inventory.reserved - used) * unit

    return read


def _ratio(resource_class: str) -> Callable[[HostState, int], JSON]:
    return lambda host, _: host.inventories[resource_class].allocation_ratio


def _total(host: HostState, _: int) -> JSON:
    inventory = host.inventories["DISK_GB"]
    return inventory.capacity if isinf(inventory.capacity) else inventory.total


_COUNTED: Final = {"vcpus_used": "VCPU", "num_instances": INSTANCES, "num_io_ops": IO_OPS}
_OF_INVENTORY: Final[Mapping[str, tuple[str, Callable[[HostState, int], JSON]]]] = {
    "free_ram_mb": ("MEMORY_MB", _free("MEMORY_MB", 1)),
    "free_disk_mb": ("DISK_GB", _free("DISK_GB", 1024)),
    "disk_mb_used": ("DISK_GB", lambda _, used: used * 1024),
    "total_usable_disk_gb": ("DISK_GB", _total),
    "cpu_allocation_ratio": ("VCPU", _ratio("VCPU")),
    "ram_allocation_ratio": ("MEMORY_MB", _ratio("MEMORY_MB")),
    "disk_allocation_ratio": ("DISK_GB", _ratio("DISK_GB")),
}
_ALSO: Final = {"nodename": "hypervisor_hostname"}
_COMPARED: Final[Mapping[str, Callable[[JSON, JSON], bool]]] = {
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
