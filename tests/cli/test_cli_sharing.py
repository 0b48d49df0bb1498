"""A storage that two hosts see: its room is counted once in plans, claims, verdicts and what is shown."""

import json
from pathlib import Path

import pytest

from stacksmith.model.found import Resources
from stacksmith.model.hardware import Hardware, Pool
from stacksmith.planner.layout import provider_name
from stacksmith.providers.memory.fault import Crash, Effect, Fault
from stacksmith.providers.memory.world import World
from stacksmith.state.store import open_store
from tests.cli.conftest import Cli

FLEET = """\
fleet: lab
defaults: {reserved: {MEMORY_MB: 0}}
hosts:
  hv1: {libvirt: "memory://world.json", volume_types: {local: {}, nfs: {pool: nfs, path: /nfs, shared: nfs1}}}
  hv2: {libvirt: "memory://world.json", volume_types: {local: {}, nfs: {pool: nfs, path: /nfs, shared: nfs1}}}
"""
STACK = """\
stack: NAME
fleet: ../fleet.yaml
variables: {size: {type: integer, default: 40}}
flavors: {small: {vcpus: 1, ram: 512}}
images: {tiny: {source: tiny.img, format: raw}}
networks: {NAME: {mode: isolated, subnets: [{cidr: 10.NET.0.0/24}]}}
volumes: {data: {size: "{{ var.size }}", volume_type: nfs, on_destroy: delete}}
servers:
  web:
    flavor: small
    image: tiny
    host: HOST
    networks: [{network: NAME}]
    block_device_mapping:
      - {boot_index: 0, source_type: image, image: tiny, destination_type: local}
      - {source_type: volume, volume: data, destination_type: volume}
"""
NFS = "shared:nfs1"


@pytest.fixture
def two(project: Path, live: World) -> Path:
    """Stack shop on hv1 and stack blog on hv2, each with a volume of the storage of 60 GiB that both hosts see."""
    for host in ("hv1", "hv2"):
        live.set_capacity(host, Resources(8, 4096, 100))
        live.set_hardware(host, Hardware(pools=(Pool("nfs", 60),)))
    (project / "fleet.yaml").write_text(FLEET)
    (project / "stack.yaml").unlink()
    (project / "stacksmith.root").touch()
    for name, host, net in (("shop", "hv1", "20"), ("blog", "hv2", "30")):
        folder = project / name
        folder.mkdir()
        (folder / "tiny.img").write_bytes(b"tiny" * 128)
        text = STACK.replace("NAME", name).replace("HOST", host).replace("NET", net)
        (folder / "stack.yaml").write_text(text)
    return project


def held(project: Path) -> dict[str, dict[str, dict[str, int]]]:
    store = open_store("sqlite:///.stacksmith/lab.db", project, read_only=True)
    try:
        return {
            f"{c.owner} {c.name}": {provider_name(p): dict(n) for p, n in c.allocations.items()} for c in store.claims()
        }
    finally:
        store.close()


def test_last_room_goes_to_one_of_two_stacks_on_two_hosts(cli: Cli, two: Path, live: World) -> None:
    assert cli("plan", "blog", "--out", "blog.plan").status == 0
    assert cli("apply", "shop", "--yes").status == 0
    assert held(two)["shop volume.data"] == {NFS: {"DISK_GB": 40}}
    writes, before = len(live.writes), held(two)
    lost = cli("apply", "blog.plan")
    assert lost.status == 5
    assert "shared:nfs1: DISK_GB 20 short (used 40 of 60, 40 asked)" in lost.err
    assert "shared:nfs1: stack shop holds DISK_GB 40" in lost.err
    assert (len(live.writes), held(two)) == (writes, before)
    refused = cli("plan", "blog")
    assert refused.status == 1
    assert "shared:nfs1: DISK_GB 20 short (used 40 of 60, 40 asked)" in refused.err
    assert cli("apply", "blog", "--yes", "--var", "size=20").status == 0
    grow = cli("plan", "blog", "--var", "size=21")
    assert "DISK_GB 1 short (used 60 of 60, 1 more wanted)" in grow.out + grow.err
    assert cli("destroy", "shop", "--yes").status == 0
    assert cli("apply", "blog", "--yes", "--var", "size=60").status == 0
    assert held(two)["blog volume.data"] == {NFS: {"DISK_GB": 60}}


def test_room_claimed_by_a_killed_run_on_one_host_counts_on_the_other(cli: Cli, two: Path, live: World) -> None:
    live.faults.append(Fault(Effect.CRASH, operation="create", kind="volume"))
    with pytest.raises(Crash):
        cli("apply", "shop", "--yes")
    refused = cli("plan", "blog")
    assert refused.status == 1
    assert "DISK_GB used on shared:nfs1, of it 40 claimed by stack shop, not running yet" in refused.err
    assert cli("apply", "shop", "--yes").status == 0
    assert held(two)["shop volume.data"] == {NFS: {"DISK_GB": 40}}


def test_batch_on_several_hosts_takes_no_more_than_there_is(cli: Cli, two: Path) -> None:
    text = (two / "shop/stack.yaml").read_text()
    volumes = "".join(f"  v{n}: {{size: 25, volume_type: nfs}}\n" for n in range(3))
    (two / "shop/stack.yaml").write_text(text[: text.index("volumes:")] + "volumes:\n" + volumes)
    refused = cli("plan", "shop")
    assert refused.status == 1
    assert "shared:nfs1: DISK_GB 15 short (used 50 of 60, 25 asked)" in refused.err
    (two / "shop/stack.yaml").write_text((two / "shop/stack.yaml").read_text().replace("size: 25", "size: 20"))
    assert cli("apply", "shop", "--yes").status == 0
    assert sum(n for each in held(two).values() for n in each.get(NFS, {}).values()) == 60


def test_it_is_shown_once(cli: Cli, two: Path) -> None:
    assert cli("apply", "shop", "--yes").status == 0
    assert "shared:nfs1 of hv1, hv2: 40 GiB/60 GiB of disk used.\n" in cli("hosts", "shop").out
    assert json.loads(cli("hosts", "shop", "--format", "json").out)["shared"] == [
        {"name": NFS, "hosts": ["hv1", "hv2"], "used": 40, "total": 60, "free": 20}
    ]
    tree = cli("hosts", "shop", "--tree").out
    assert [line.split() for line in tree.splitlines() if NFS in line] == [[NFS, "DISK_GB", "60", "0", "1", "40", "20"]]
    told = cli("placement", "explain", "server.web", "--stack", "blog", "--var", "size=20")
    assert "DISK_GB 20 on shared:nfs1" in told.out, told


def test_server_with_a_volume_there_is_not_moved_between_hosts_that_both_see_it(cli: Cli, two: Path) -> None:
    text = (two / "shop/stack.yaml").read_text().replace("    host: hv1\n", "")
    (two / "shop/stack.yaml").write_text(text)
    assert cli("apply", "shop", "--yes").status == 0
    drained = cli("rebalance", "shop", "--drain", "hv1" if "hv1" in held(two)["shop server.web"] else "hv2")
    assert "volume.data is in shared storage nfs1, which hv" in drained.out + drained.err
    assert held(two)["shop volume.data"] == {NFS: {"DISK_GB": 40}}
