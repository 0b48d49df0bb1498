"""What the fleet takes of each flavor, in words: a golden text of every limit there is."""

from collections.abc import Callable

from stacksmith.address import Address
from stacksmith.placement import UNLIMITED, HostState, Inventory, Request, load, load_request
from stacksmith.placement.capacity import capacity
from stacksmith.views.capacity import capacity_data, capacity_text

OFFER = {"VCPU": Inventory(8, 0, 4.0), "MEMORY_MB": Inventory(65536, 512), "DISK_GB": Inventory(400)}
CELLS = load({
    "providers": {
        "hv7": {},
        **{f"hv7_{n}": {"parent": "hv7", "inventories": {"NUMA_THREAD": {"total": 4}}} for n in range(2)},
    }
}).providers[1:]  # fmt: skip
HOSTS = (
    HostState("hv1", OFFER, {"MEMORY_MB": 61440, "VCPU": 9}, frozenset({"CUSTOM_SSD"}), "rack-a"),
    HostState("hv2", OFFER, {"DISK_GB": 100}, availability_zone="rack-b"),
    HostState("hv3", OFFER, {"VCPU": 31}, availability_zone="rack-a"),
    HostState("hv4", OFFER, state="drain", state_reason="new disks"),
    HostState("hv5", {n: i for n, i in OFFER.items() if n != "DISK_GB"}, reachable=False, problem="no route"),
    HostState("hv6", {name: Inventory(UNLIMITED) for name in OFFER}),
    HostState("hv7", OFFER, parts=CELLS),
)
FLAVORS = {
    "plain": Request(Address("server", "plain"), {"VCPU": 1, "MEMORY_MB": 1024, "DISK_GB": 10}),
    "ssd": Request(Address("server", "ssd"), {"VCPU": 2, "MEMORY_MB": 512}, required=frozenset({"CUSTOM_SSD"})),
    "numa": Request(
        Address("server", "numa"),
        {"MEMORY_MB": 1024},
        parts=load_request({"groups": {"_numa0": {"resources": {"NUMA_THREAD": 2}}}}),
    ),
}


def test_capacity_says_what_limits_each_host(golden: Callable[[str, str], None]) -> None:
    text = capacity_text({name: capacity(request, HOSTS) for name, request in FLAVORS.items()})
    limited = capacity_text({"plain": capacity(FLAVORS["plain"], HOSTS[:4])})
    golden(f"{text}\n{limited}", "views/capacity.txt")


def test_capacity_data_has_null_where_nothing_limits() -> None:
    data = capacity_data({"plain": capacity(FLAVORS["plain"], HOSTS)})
    flavor = data["flavors"][0]
    assert flavor["total"] is None
    assert list(flavor["limits"].items()) == [("VCPU", 2), ("DISK_GB", 1), ("MEMORY_MB", 1)]
    assert {h["host"]: h["count"] for h in flavor["hosts"]}["hv6"] is None
