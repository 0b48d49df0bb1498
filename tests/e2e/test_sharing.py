"""Two real hosts whose pools are one directory: each libvirt lists all files, each volume counts once."""

from collections.abc import Callable, Iterator

import pytest
import yaml

from stacksmith.diagnostics import Faults
from stacksmith.engine import session
from stacksmith.placement import Inventory
from stacksmith.planner.capacity import states_of
from tests.e2e.kit import Site

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("lab")]

SERVER = """
  db:
    flavor: cheap
    image: lab-acpi
    host: hv2
    block_device_mapping:
      - {source_type: volume, volume: b, destination_type: volume}
"""
VOLUMES = """
volumes:
  a: {size: SIZE, volume_type: nfs, host: hv1, on_destroy: delete}
  b: {size: 2, volume_type: nfs, host: hv2, on_destroy: delete}
"""


@pytest.fixture
def sites(make_site: Callable[[], Site]) -> Iterator[tuple[Site, Site]]:
    """Two stacks on hv1 and hv2, which see one directory as the pool of volume type nfs, and one state store."""
    one, other = make_site(), make_site()
    fleet = yaml.safe_load(one.fleet.read_text())
    path = one.lab / f"{one.name}-nfs"
    kind = {"pool": f"{one.name}-nfs", "path": str(path), "shared": "filer"}
    fleet["hosts"] = {name: fleet["hosts"][name] for name in ("hv1", "hv2")}
    for host in fleet["hosts"].values():
        host["volume_types"]["nfs"] = kind
    for site in (one, other):
        site.fleet.write_text(yaml.safe_dump(fleet))
    other.fleet = one.fleet
    yield one, other
    for site in (other, one):
        if (site.folder / "stack.yaml").exists():
            site.destroy()
    for host in ("hv1", "hv2"):
        if f"{one.name}-nfs" in one.virsh(host, "pool-list", "--name").split():
            one.virsh(host, "pool-destroy", f"{one.name}-nfs")
            one.virsh(host, "pool-undefine", f"{one.name}-nfs")
    assert not path.exists() or not list(path.iterdir()), "a destroy leaves no file in it"


def used(site: Site) -> list[tuple[Inventory, dict[str, int]]]:
    """What there is and what is used of the storage, as each host sees it."""
    stack, snapshot = session.survey(site.options())
    states = states_of(stack, snapshot, session.claims(site.options()))
    parts = [(part, state.parts_used[part.uuid]) for state in states for part in state.parts if part.parent is None]
    return [(part.inventories["DISK_GB"], dict(amounts)) for part, amounts in parts]


def test_volumes_in_one_directory_of_two_hosts_count_once_and_stay_where_they_are(sites: tuple[Site, Site]) -> None:
    one, _ = sites
    one.write(VOLUMES.replace("SIZE", "1") + f"servers:{SERVER}")
    one.apply()
    assert not one.plan().steps
    path = one.lab / f"{one.name}-nfs"
    for host in ("hv1", "hv2"):
        one.virsh(host, "pool-refresh", f"{one.name}-nfs")
        listed = one.virsh(host, "vol-list", f"{one.name}-nfs").split()
        assert {each.name for each in path.iterdir()} <= set(listed), "both hosts list the files of both"
    assert not one.plan().steps, "what the other host lists too is no second volume"
    found = {str(f.address): f.host for h in session.survey(one.options())[1].hosts for f in h.found}
    assert (found["volume.a"], found["volume.b"], found["server.db"]) == ("hv1", "hv2", "hv2")
    (first, second) = used(one)
    assert first == second
    assert first[1] == {"DISK_GB": 3}
    assert first[0].total > 3
    assert one.virsh("hv2", "domstate", f"{one.name}-db").strip() == "running"


def test_other_stack_counts_what_the_first_has_there_and_is_refused_what_is_left_of_it(
    sites: tuple[Site, Site],
) -> None:
    one, other = sites
    one.write(VOLUMES.replace("SIZE", "1") + "servers: {}\n")
    one.apply()
    (inventory, _), _ = used(one)
    left = inventory.total - 3
    alone = "volumes: {a: {size: SIZE, volume_type: nfs, on_destroy: delete}}\nservers: {}\n"
    other.write(alone.replace("SIZE", str(left + 1)))
    with pytest.raises(Faults) as faults:
        other.plan()
    notes = str(faults.value.diagnostics[0].notes)
    assert f"shared:filer: DISK_GB 1 short (used 3 of {inventory.total}, {left + 1} asked)" in notes
    other.write(alone.replace("SIZE", str(left)))
    other.apply()
    assert [amounts for _, amounts in used(one)] == [{"DISK_GB": inventory.total}] * 2
    held = {f"{c.owner} {c.name}": c.allocations for c in session.claims(one.options())}
    assert held[f"{other.name} volume.a"] == {"shared:filer": {"DISK_GB": left}}
    one.write(VOLUMES.replace("SIZE", "2") + "servers: {}\n")
    assert "DISK_GB 1 short" in str(one.plan().refusals)
