"""Random forests and requests as plain data, from any ``Random``: a seeded one, or one that hypothesis steers."""

from random import Random

from tests.placement_oracle import SHARES, Data

CLASSES = ("VCPU", "MEMORY_MB", "DISK_GB")
TRAITS = ("CUSTOM_A", "CUSTOM_B", "CUSTOM_C")
AGGREGATES = ("x", "y", "z")


def make_world(random: Random, most: int = 7) -> Data:
    """Up to 7 providers in some trees; a quarter is shared; some is used, now and then more than there is."""
    names = [f"p{i}" for i in range(random.randint(1, most))]
    providers: Data = {}
    for i, name in enumerate(names):
        parent = random.choice([None, *names[:i], *names[max(0, i - 2) : i]])
        traits = subset(random, TRAITS, 2) + ([SHARES] if random.random() < 0.25 else [])
        inventories = {c: make_inventory(random) for c in CLASSES if random.random() < 0.75}
        providers[name] = {"traits": traits, "aggregates": subset(random, AGGREGATES, 2), "inventories": inventories}
        if parent is not None:
            providers[name]["parent"] = parent
    return {"providers": providers, "consumers": make_consumers(random, providers)}


def make_inventory(random: Random) -> Data:
    return {
        "total": random.randint(2, 10),
        "reserved": random.choice([0, 0, 0, 1]),
        "allocation_ratio": random.choice([1.0, 1.0, 1.1, 1.5, 4.0]),
        "min_unit": random.choice([1, 1, 1, 2]),
        "max_unit": random.choice([8, 8, 8, 4, 2]),
        "step_size": random.choice([1, 1, 1, 2]),
    }


def make_consumers(random: Random, providers: Data) -> Data:
    found: Data = {}
    for uuid in ("c0", "c1"):
        allocations = {}
        for name, provider in providers.items():
            amounts = {c: random.randint(0, 2) for c in provider["inventories"]}
            if any(amounts.values()) and random.random() < 0.7:
                allocations[name] = {c: amount for c, amount in amounts.items() if amount}
        if allocations:
            found[uuid] = {"allocations": allocations}
    return found


def make_request(random: Random) -> Data:
    """The unsuffixed group or not, up to 3 granular ones, and every condition there is."""
    suffixes = subset(random, ("_A", "_B", "_C"), 3)
    groups = {name: make_group(random, name) for name in suffixes}
    if not any(group["resources"] for group in groups.values()) or random.random() < 0.5:
        groups = {"": make_group(random, "")} | groups
    found: Data = {"groups": groups, "root_required": []}
    if random.random() < 0.3:
        found["root_required"] = conditions(random, TRAITS, any_of=False)
    if len(suffixes) > 1:
        found["group_policy"] = random.choice(["none", "isolate"])
    bare = [name for name in suffixes if not groups[name]["resources"]]
    if bare or (suffixes and random.random() < 0.4):
        found["same_subtree"] = [sorted({*bare, *subset(random, tuple(suffixes), 3)}) or [suffixes[0]]]
    return found


def make_group(random: Random, suffix: str) -> Data:
    classes = subset(random, CLASSES, 2) or ([] if suffix and random.random() < 0.6 else ["VCPU"])
    found: Data = {"resources": {c: random.randint(1, 3) for c in classes}}
    found["required"] = conditions(random, TRAITS) if random.random() < 0.4 else []
    found["member_of"] = conditions(random, AGGREGATES) if random.random() < 0.25 else []
    if random.random() < 0.1:
        found["in_tree"] = random.choice(["p0", "p1", "p2", "nowhere"])
    return found


def conditions(random: Random, names: tuple[str, ...], any_of: bool = True) -> list[object]:
    """None, one or two items, each a name, a forbidden name or a choice of two; never a name and its opposite."""
    found: list[object] = []
    for name in subset(random, names, 2):
        other = random.choice([each for each in names if each != name])
        wanted: object = [name, other] if any_of and random.random() < 0.3 and not found else name
        found.append(wanted if random.random() < 0.6 or isinstance(wanted, list) else f"!{name}")
    return found


def subset(random: Random, values: tuple[str, ...], most: int) -> list[str]:
    return sorted(random.sample(values, random.randint(0, min(most, len(values)))))


def make_tight(random: Random) -> tuple[Data, Data]:
    """A host with up to four parts of unequal room and few traits each, and a request for most of both."""
    names, traits = [f"c{i}" for i in range(random.randint(2, 4))], [f"CUSTOM_{letter}" for letter in "ABCDEF"]
    providers: Data = {"hv": {"inventories": {}}}
    for i, name in enumerate(names):
        offer = {c: {"total": random.randint(2, 6), "max_unit": random.choice([9, 9, 5])} for c in CLASSES}
        parent = random.choice(["hv", "hv", *names[:i]])
        providers[name] = {"parent": parent, "traits": subset(random, tuple(traits), 3), "inventories": offer}
    groups: Data = {"": {"resources": {c: random.randint(1, 3) for c in CLASSES}}} if random.random() < 0.7 else {}
    if groups:
        groups[""]["required"] = random.sample(traits, random.randint(1, 5))
    for suffix in ("_A", "_B", "_C", "_D")[: random.randint(1, 3 if groups else 4)]:
        amounts = {c: random.randint(1, 4) for c in random.sample(CLASSES, random.randint(1, 2))}
        groups[suffix] = {"resources": amounts, "required": subset(random, tuple(traits), 1)}
    request: Data = {"groups": groups, "group_policy": random.choice(["none", "none", "isolate"])}
    if random.random() < 0.3:
        request["same_subtree"] = [sorted(name for name in groups if name)[:2]]
    return {"providers": providers}, request


def make_claims(random: Random, world: Data) -> list[Data]:
    """A transaction of one to three claims, mostly with the right generations and amounts that may be had."""
    found = []
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        consumer = random.choice(["c0", "c1", "c2", "c3"])
        generation = world["consumers"].get(consumer, {}).get("generation")
        if random.random() < 0.1:
            generation = random.choice([None, 1, 2])
        allocations: Data = {}
        for name, provider in random.sample(sorted(world["providers"].items()), 1):
            classes = [c for c in provider["inventories"] if random.random() < 0.6]
            classes += ["IPV4_ADDRESS"] if random.random() < 0.03 else []
            amounts = {c: 0 if random.random() < 0.03 else random.randint(1, 4) for c in classes}
            allocations |= {name: amounts} if amounts else {}
        if random.random() < 0.02:
            allocations["nowhere"] = {"VCPU": 1}
        found.append({"consumer": consumer, "generation": generation, "allocations": allocations})
    return found


def to_query(request: Data) -> str:
    """The query string of a request."""
    parts = [f"{key}={','.join(request[key])}" for key in ("root_required",) if request.get(key)]
    parts += [f"{key}={request[key]}" for key in ("group_policy", "limit") if key in request]
    parts += [f"same_subtree={','.join(names)}" for names in request.get("same_subtree", ())]
    for suffix, group in request["groups"].items():
        if group["resources"]:
            parts.append(f"resources{suffix}=" + ",".join(f"{c}:{n}" for c, n in group["resources"].items()))
        for key in ("required", "member_of"):
            for item in group[key]:
                parts.append(f"{key}{suffix}={'in:' + ','.join(item) if isinstance(item, list) else item}")
        if "in_tree" in group:
            parts.append(f"in_tree{suffix}={group['in_tree']}")
    return "&".join(parts)
