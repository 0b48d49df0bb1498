"""Worlds and requests from plain data: what a YAML or JSON file holds, with every fault named by its path."""

from collections.abc import Iterator, Mapping
from typing import Any

from stacksmith.placement.host import Inventory
from stacksmith.placement.tree.provider import Consumer, Provider, World
from stacksmith.placement.tree.reason import BadData, Reason, Refused
from stacksmith.placement.tree.request import AnyOf, CandidateRequest, GroupPolicy, ResourceGroup

_INVENTORY = ("total", "reserved", "min_unit", "max_unit", "step_size", "allocation_ratio")
_PROVIDER = ("uuid", "parent", "inventories", "traits", "aggregates", "generation")
_REQUEST = ("groups", "group_policy", "root_required", "same_subtree", "limit")
_GROUP = ("resources", "required", "member_of", "in_tree")


def load(data: Mapping[str, Any]) -> World:
    """The world of ``{providers: {NAME: PROVIDER}, consumers: {UUID: CONSUMER}}``.

    PROVIDER: ``uuid`` (its name unless given), ``parent`` (a uuid), ``inventories: {CLASS: {total, reserved, …}}``,
    ``traits``, ``aggregates``, ``generation``. CONSUMER: ``allocations: {UUID: {CLASS: AMOUNT}}``, ``generation``.
    Raises: Refused with everything that is wrong with the data or the world.
    """
    read = _Reader()
    top = read.table(data, "data", ("providers", "consumers"))
    providers = [_provider(read, name, value) for name, value in read.items(top, "providers")]
    consumers = [_consumer(read, uuid, value) for uuid, value in read.items(top, "consumers")]
    read.refuse()
    return World(tuple(providers), tuple(consumers))


def load_request(data: Mapping[str, Any]) -> CandidateRequest:
    """The request of ``{groups: {SUFFIX: GROUP}, group_policy, root_required, same_subtree: [[SUFFIX]], limit}``.

    GROUP: ``resources: {CLASS: AMOUNT}``, ``required`` (a trait, ``[A, B]`` for any of them, ``"!C"`` for a forbidden
    one), ``member_of`` (aggregates, written in the same way), ``in_tree`` (a uuid). The unsuffixed group is ``""``.
    Raises: Refused with everything that is wrong with the data or the request.
    """
    read = _Reader()
    top = read.table(data, "data", _REQUEST)
    groups = {name: _group(read, f"groups.{name or repr(name)}", value) for name, value in read.items(top, "groups")}
    policy = top.get("group_policy")
    if policy is not None and policy not in tuple(GroupPolicy):
        read.fault("group_policy", f"{policy!r} is not none or isolate")
    required, forbidden = read.conditions(top, "root_required", "root_required")
    if any(len(names) > 1 for names in required):
        read.fault("root_required", "the root must have each trait: no lists of several")
    subtrees = [read.names(names, f"same_subtree.{i}") for i, names in enumerate(read.sequence(top, "same_subtree"))]
    limit = read.integer(top, "limit", None, "")
    read.refuse()
    root = frozenset[str]().union(*required)
    return CandidateRequest(groups, policy, root, forbidden, tuple(subtrees), limit)


class _Reader:
    """Takes plain data apart and remembers what was wrong with it; what is wrong reads as empty."""

    def __init__(self) -> None:
        self._reasons: list[Reason] = []

    def refuse(self) -> None:
        """Raises: Refused when something was wrong."""
        if self._reasons:
            raise Refused(self._reasons)

    def fault(self, where: str, problem: str) -> None:
        self._reasons.append(BadData(where, problem))

    def table(self, value: Any, where: str, keys: tuple[str, ...] | None) -> Mapping[str, Any]:
        """A mapping; with ``keys`` only of these. None reads as empty."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.fault(where, f"{value!r} is not a mapping")
            return {}
        for key in value:
            if not isinstance(key, str):
                self.fault(where, f"key {key!r} is not a text")
            elif keys is not None and key not in keys:
                self.fault(where, f"there is no key {key!r}, only {', '.join(keys)}")
        return {key: item for key, item in value.items() if isinstance(key, str)}

    def items(self, table: Mapping[str, Any], key: str, where: str | None = None) -> Iterator[tuple[str, Any]]:
        """The entries of a mapping inside another one."""
        yield from self.table(table.get(key), where or key, None).items()

    def sequence(self, table: Mapping[str, Any], key: str, where: str | None = None) -> list[Any]:
        value = table.get(key)
        if value is None or isinstance(value, list | tuple):
            return list(value or ())
        self.fault(where or key, f"{value!r} is not a list")
        return []

    def names(self, value: Any, where: str) -> frozenset[str]:
        """A list of texts; one text by itself is a list of it."""
        found = [value] if isinstance(value, str) else value
        if isinstance(found, list | tuple) and all(isinstance(name, str) for name in found):
            return frozenset(found)
        self.fault(where, f"{value!r} is not a list of names")
        return frozenset()

    def integer(self, table: Mapping[str, Any], key: str, default: int | None, where: str) -> int | None:
        value = table.get(key, default)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            self.fault(f"{where}{key}", f"{value!r} is not an integer")
            return default
        return value

    def text(self, table: Mapping[str, Any], key: str, where: str) -> str | None:
        value = table.get(key)
        if value is not None and not isinstance(value, str):
            self.fault(f"{where}.{key}", f"{value!r} is not a text")
            return None
        return value

    def amounts(self, table: Mapping[str, Any], key: str, where: str) -> dict[str, int]:
        """Units by class."""
        amounts = self.table(table.get(key), f"{where}.{key}", None)
        read = {name: self.integer(amounts, name, 1, f"{where}.{key}.") for name in amounts}
        return {name: amount for name, amount in read.items() if amount is not None}

    def conditions(self, table: Mapping[str, Any], key: str, where: str) -> tuple[AnyOf, frozenset[str]]:
        """Names that are required, each item any one of a list, and those behind a ``!``, which are forbidden."""
        required, forbidden = [], set()
        value = table.get(key)
        items = [value] if isinstance(value, str) else self.sequence(table, key, where)
        for item in items:
            names = self.names(item, where)
            if isinstance(item, str) and item.startswith("!"):
                forbidden.add(item[1:])
            elif any(name.startswith("!") for name in names):
                self.fault(where, f"{item!r}: a forbidden name stands by itself")
            elif names:
                required.append(names)
            else:
                self.fault(where, "an empty list is met by nothing")
        return tuple(required), frozenset(forbidden)


def _provider(read: _Reader, name: str, value: Any) -> Provider:
    where = f"providers.{name}"
    table = read.table(value, where, _PROVIDER)
    inventories = {key: _inventory(read, f"{where}.{key}", i) for key, i in read.items(table, "inventories", where)}
    uuid = read.text(table, "uuid", where)
    return Provider(
        name if uuid is None else uuid,
        name,
        read.text(table, "parent", where),
        {key: inventory for key, inventory in inventories.items() if inventory is not None},
        read.names(table.get("traits") or (), f"{where}.traits"),
        read.names(table.get("aggregates") or (), f"{where}.aggregates"),
        read.integer(table, "generation", 0, f"{where}.") or 0,
    )


def _inventory(read: _Reader, where: str, value: Any) -> Inventory | None:
    """An inventory, or None when its total is not there. Bounds are the world's to check."""
    table = read.table(value, where, _INVENTORY)
    if "total" not in table:
        read.fault(where, "total is missing")
        return None
    return Inventory(**{key: table[key] for key in _INVENTORY if key in table})


def _consumer(read: _Reader, uuid: str, value: Any) -> Consumer:
    where = f"consumers.{uuid}"
    table = read.table(value, where, ("allocations", "generation"))
    allocations = read.table(table.get("allocations"), f"{where}.allocations", None)
    amounts = {provider: read.amounts(allocations, provider, f"{where}.allocations") for provider in allocations}
    generation = read.integer(table, "generation", 1, f"{where}.")
    return Consumer(uuid, amounts, 1 if generation is None else generation)


def _group(read: _Reader, where: str, value: Any) -> ResourceGroup:
    table = read.table(value, where, _GROUP)
    required, forbidden = read.conditions(table, "required", f"{where}.required")
    member_of, forbidden_aggregates = read.conditions(table, "member_of", f"{where}.member_of")
    return ResourceGroup(
        read.amounts(table, "resources", where),
        required,
        forbidden,
        member_of,
        forbidden_aggregates,
        read.text(table, "in_tree", where),
    )
