"""What processes do that claim at the same moment: each returns how often it was granted what it asked for."""

from functools import partial
from pathlib import Path

from stacksmith.placement import Claim, Inventory, Provider, Refused, claim_faults
from stacksmith.state.store import open_store


def claim_rooms(url: str, folder: Path, me: int) -> int:
    """Claims ten times one of 30 on either of two hosts; how often that was granted."""
    hosts = {name: Provider(name, name, None, {"VCPU": Inventory(30)}) for name in ("hv1", "hv2")}
    store = open_store(url, folder)
    granted = 0
    for i in range(10):
        for name in sorted(hosts, reverse=me % 2 == 0):
            try:
                store.claim(f"stack-{me}", [Claim(f"{me}-{i}", {name: {"VCPU": 1}})], partial(claim_faults, hosts))
            except Refused:
                continue
            granted += 1
            break
    store.close()
    return granted


def claim_parts(url: str, folder: Path, me: int) -> int:
    """Claims sixteen times some of a pool and either a card or a whole CPU; how often that was granted."""
    cells = [
        Provider(f"hv1/numa{n}", f"hv1_numa{n}", "hv1", {"PCPU": Inventory(5), "NUMA_MEMORY_MB": Inventory(999)})
        for n in range(2)
    ]
    cards = [
        Provider(f"hv1/card{n}", f"hv1_card{n}", cells[n % 2].uuid, {"CUSTOM_GPU": Inventory(1)}) for n in range(7)
    ]
    pool = Provider("hv1/pool_fast", "hv1_pool_fast", "hv1", {"DISK_GB": Inventory(60)})
    host = Provider("hv1", "hv1", None, {"VCPU": Inventory(1000)})
    known = {each.uuid: each for each in (host, pool, *cells, *cards)}
    store = open_store(url, folder)
    granted = 0
    for i in range(16):
        cell, card = cells[(me + i) % 2], cards[(me * 3 + i) % 7]
        asked = {"hv1": {"VCPU": 1}, pool.uuid: {"DISK_GB": 4}}
        asked |= {card.uuid: {"CUSTOM_GPU": 1}} if i % 2 else {cell.uuid: {"PCPU": 1, "NUMA_MEMORY_MB": 10}}
        try:
            store.claim(f"stack-{me}", [Claim(f"{me}-{i}", asked)], partial(claim_faults, known))
        except Refused:
            continue
        granted += 1
    store.close()
    return granted
