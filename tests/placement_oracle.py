"""Allocation candidates by brute force over plain data: every definition taken word for word, nothing pruned.

It shares no code with the product. Worlds and requests have the shapes of ``load`` and ``load_request``; the uuid of a
provider is its name.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

Data = dict[str, Any]
# ((provider, ((class, amount), ...)), ...) and ((suffix, (provider, ...)), ...), all sorted.
Answer = tuple[tuple[Any, ...], tuple[Any, ...]]

SHARES = "MISC_SHARES_VIA_AGGREGATE"


class Oracle:
    def __init__(self, world: Data, request: Data) -> None:
        self.providers: Data = world["providers"]
        self.request = request
        self.used: dict[tuple[str, str], int] = {}
        for consumer in world.get("consumers", {}).values():
            for provider, amounts in consumer["allocations"].items():
                for name, amount in amounts.items():
                    self.used[provider, name] = self.used.get((provider, name), 0) + amount

    def answers(self) -> set[Answer]:
        roots = [name for name in self.providers if self.parent(name) is None]
        return {answer for root in roots if self.root_allowed(root) for answer in self.at(root)}

    def at(self, root: str) -> Iterator[Answer]:
        """Every choice of every group, kept when the whole holds. A choice: [(suffix, class or None, provider)]."""
        choices = []
        for suffix, group in self.request["groups"].items():
            choices.append(list(self.granular(root, suffix, group) if suffix else self.spread(root, group)))
        for parts in product(*choices):
            whole = [item for part in parts for item in part]
            if self.isolated(whole) and self.subtrees_hold(whole) and self.room_for(whole):
                yield self.answer(whole)

    # Trees, sharing, traits, aggregates.

    def parent(self, name: str) -> str | None:
        return self.providers[name].get("parent")

    def way_up(self, name: str) -> list[str]:
        above = self.parent(name)
        return [name] if above is None else [name, *self.way_up(above)]

    def root(self, name: str) -> str:
        return self.way_up(name)[-1]

    def traits(self, name: str) -> set[str]:
        return set(self.providers[name].get("traits", ()))

    def aggregates(self, name: str) -> set[str]:
        return set(self.providers[name].get("aggregates", ()))

    def shared_with(self, name: str, root: str) -> bool:
        """A sharing provider is usable where any provider of the tree has an aggregate of its."""
        return SHARES in self.traits(name) and any(
            self.root(other) == root and self.aggregates(other) & self.aggregates(name) for other in self.providers
        )

    def root_allowed(self, root: str) -> bool:
        for item in self.request.get("root_required", ()):
            if item.startswith("!") == (item.lstrip("!") in self.traits(root)):
                return False
        return True

    # Groups.

    def granular(self, root: str, suffix: str, group: Data) -> Iterator[list[tuple[str, str | None, str]]]:
        for name in self.providers:
            anchored = self.root(name) == root or self.shared_with(name, root)
            tree = group.get("in_tree")
            in_tree = tree is None or (tree in self.providers and self.root(name) == self.root(tree))
            if (
                anchored
                and in_tree
                and self.all_met(group.get("required", ()), self.traits(name))
                and self.none_met(group.get("required", ()), self.traits(name))
                and self.all_met(group.get("member_of", ()), self.aggregates(name))
                and self.none_met(group.get("member_of", ()), self.aggregates(name))
                and all(self.fits(name, c, n) for c, n in group.get("resources", {}).items())
            ):
                yield [(suffix, c, name) for c in group.get("resources", {})] or [(suffix, None, name)]

    def spread(self, root: str, group: Data) -> Iterator[list[tuple[str, str | None, str]]]:
        classes = list(group["resources"])
        usable = {c: [n for n in self.providers if self.spread_allowed(root, group, c, n)] for c in classes}
        for names in product(*(usable[c] for c in classes)):
            have = set().union(*(self.traits(name) for name in names))
            if self.all_met(group.get("required", ()), have) and self.none_met(group.get("required", ()), have):
                yield [("", c, name) for c, name in zip(classes, names, strict=True)]

    def spread_allowed(self, root: str, group: Data, resource_class: str, name: str) -> bool:
        own, tree, member_of = self.root(name) == root, group.get("in_tree"), group.get("member_of", ())
        if tree is not None and (tree not in self.providers or self.root(tree) != root or not own):
            return False
        if not own and not self.shared_with(name, root):
            return False
        member = self.all_met(member_of, self.aggregates(name))
        if own:
            member = member or self.all_met(member_of, self.aggregates(root))
        outside = self.none_met(member_of, self.aggregates(name) | self.aggregates(root))
        return member and outside and self.fits(name, resource_class, group["resources"][resource_class])

    @staticmethod
    def all_met(items: Any, have: set[str]) -> bool:
        for item in items:
            if isinstance(item, list):
                if not set(item) & have:
                    return False
            elif not item.startswith("!") and item not in have:
                return False
        return True

    @staticmethod
    def none_met(items: Any, have: set[str]) -> bool:
        return not any(isinstance(item, str) and item.startswith("!") and item[1:] in have for item in items)

    # Amounts.

    def capacity(self, name: str, resource_class: str) -> float:
        inventory = self.providers[name]["inventories"][resource_class]
        return float((inventory["total"] - inventory.get("reserved", 0)) * inventory.get("allocation_ratio", 1.0))

    def fits(self, name: str, resource_class: str, amount: int) -> bool:
        inventory = self.providers[name].get("inventories", {}).get(resource_class)
        return (
            inventory is not None
            and self.used.get((name, resource_class), 0) + amount <= self.capacity(name, resource_class)
            and inventory.get("min_unit", 1) <= amount <= inventory.get("max_unit", 2**31 - 1)
            and amount % inventory.get("step_size", 1) == 0
        )

    def room_for(self, whole: list[tuple[str, str | None, str]]) -> bool:
        for (name, resource_class), amount in self.sums(whole).items():
            most = self.providers[name]["inventories"][resource_class].get("max_unit", 2**31 - 1)
            left = int(self.capacity(name, resource_class)) - self.used.get((name, resource_class), 0)
            if amount > most or amount > left:
                return False
        return True

    def sums(self, whole: list[tuple[str, str | None, str]]) -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        for suffix, resource_class, name in whole:
            if resource_class is not None:
                amount = self.request["groups"][suffix]["resources"][resource_class]
                found[name, resource_class] = found.get((name, resource_class), 0) + amount
        return found

    # The whole.

    def isolated(self, whole: list[tuple[str, str | None, str]]) -> bool:
        if self.request.get("group_policy") != "isolate":
            return True
        places = {(suffix, name) for suffix, _, name in whole if suffix}
        return len({name for _, name in places}) == len(places)

    def subtrees_hold(self, whole: list[tuple[str, str | None, str]]) -> bool:
        for suffixes in self.request.get("same_subtree", ()):
            names = {name for suffix, _, name in whole if suffix in suffixes}
            if not any(all(top in self.way_up(name) for name in names) for top in names):
                return False
        return True

    def answer(self, whole: list[tuple[str, str | None, str]]) -> Answer:
        allocations: dict[str, list[tuple[str, int]]] = {}
        for (name, resource_class), amount in sorted(self.sums(whole).items()):
            allocations.setdefault(name, []).append((resource_class, amount))
        mappings: dict[str, set[str]] = {}
        for suffix, _, name in whole:
            mappings.setdefault(suffix, set()).add(name)
        return (
            tuple((name, tuple(amounts)) for name, amounts in sorted(allocations.items())),
            tuple((suffix, tuple(sorted(names))) for suffix, names in sorted(mappings.items())),
        )


def may_claim(world: Data, claims: list[Data]) -> bool:
    """Whether a transaction of claims, each with consumer, generation and allocations, is granted.

    Every amount by itself: 1 or more, in an inventory that is there, within its units. Every sum: the capacity after
    the old allocations of these consumers are gone, or no more than was used before.
    """
    providers, consumers = world["providers"], world["consumers"]
    for claim in claims:
        known = consumers.get(claim["consumer"], {}).get("generation")
        if claim["generation"] != known or [c["consumer"] for c in claims].count(claim["consumer"]) > 1:
            return False
        for name, amounts in claim["allocations"].items():
            for resource_class, amount in amounts.items():
                found = providers.get(name, {}).get("inventories", {}).get(resource_class)
                if found is None or amount < 1 or amount % found.get("step_size", 1):
                    return False
                if not found.get("min_unit", 1) <= amount <= found.get("max_unit", 2**31 - 1):
                    return False
    after = {uuid: held["allocations"] for uuid, held in consumers.items()}
    after |= {claim["consumer"]: claim["allocations"] for claim in claims}
    for claim in claims:
        for name, amounts in claim["allocations"].items():
            for resource_class in amounts:
                total = sum(held.get(name, {}).get(resource_class, 0) for held in after.values())
                before = sum(h["allocations"].get(name, {}).get(resource_class, 0) for h in consumers.values())
                inventory = providers[name]["inventories"][resource_class]
                free = (inventory["total"] - inventory.get("reserved", 0)) * inventory.get("allocation_ratio", 1.0)
                if total > free and total > before:
                    return False
    return True


def grant(world: Data, claims: list[Data]) -> None:
    """Writes granted claims into the world."""
    for claim in claims:
        generation = (claim["generation"] or 0) + 1
        world["consumers"].pop(claim["consumer"], None)
        if claim["allocations"]:
            world["consumers"][claim["consumer"]] = {"allocations": claim["allocations"], "generation": generation}
