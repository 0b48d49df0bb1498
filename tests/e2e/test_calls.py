"""Numbers of remote calls, counted at the libvirt socket: what holds on any machine, however busy."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from stacksmith.model.change import Impact
from stacksmith.model.kinds.flavor import FlavorSpec
from stacksmith.model.kinds.image import ImageSpec
from stacksmith.model.kinds.keypair import KeypairSpec
from stacksmith.model.kinds.network import NetworkSpec, SubnetSpec
from stacksmith.model.kinds.server import BdmSpec, NicSpec, ServerSpec, UserDataSpec, WaitForSpec
from stacksmith.model.kinds.server_group import ServerGroupSpec
from stacksmith.model.kinds.volume import VolumeSpec
from stacksmith.providers.libvirt import absence, host
from stacksmith.views.paint import PLAIN
from stacksmith.views.plan_text import plan_text
from tests.e2e.kit import Site, through_proxies
from tests.tools.rpcproxy import RpcProxy

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("lab")]

MIB = 2**20


@pytest.fixture
def site(make_site: Callable[[], Site]) -> Site:
    """With a small image in its folder."""
    made = make_site()
    made.folder.mkdir(parents=True)
    (made.folder / "tiny.raw").write_bytes(b"stacksmith calls" * (MIB // 16))
    return made


@pytest.fixture
def proxies(site: Site) -> Iterator[Sequence[RpcProxy]]:
    """One on the way to each host."""
    with through_proxies(site) as wires:
        yield wires


def taken(proxies: Sequence[RpcProxy]) -> tuple[dict[str, int], dict[str, int]]:
    """All calls and the writes among them since the last time, by name, of all hosts.

    The end of a connection is none: nobody waits for it.
    """
    counts = [proxy.take() for proxy in proxies]
    calls = _sum([c.calls for c in counts])
    calls.pop("connect_close", None)
    return calls, _sum([c.writes for c in counts])


def _sum(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {name: sum(c.get(name, 0) for c in counts) for name in sorted({n for c in counts for n in c})}


TWENTY = """
images: {tiny: {source: tiny.raw, format: raw}}
networks: {lan: {subnets: [{cidr: 10.41.0.0/24}]}}
servers:
  web: {count: 20, flavor: cheap, image: tiny, networks: [{network: lan}], host: hv1, SWITCHES}
"""
DEFINED = "power_state: stopped, autostart: false, config_drive: false"


def test_plan_of_twenty_servers_in_sync_makes_at_most_sixty_calls_and_writes_nothing(
    site: Site, proxies: Sequence[RpcProxy]
) -> None:
    site.write(TWENTY.replace("SWITCHES", "power_state: stopped"))
    site.apply()
    taken(proxies)
    plan = site.plan()
    assert not plan.steps
    calls, writes = taken(proxies[:1])
    assert writes == {}
    assert calls["domain_get_xml_desc"] == 20
    assert sum(calls.values()) <= 60, calls


def test_create_of_twenty_servers_makes_three_calls_a_server_and_few_besides(
    site: Site, proxies: Sequence[RpcProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (absence, host):  # else what was listed is listed again every two seconds
        monkeypatch.setattr(module, "FRESH_SECONDS", 600)
    site.write(TWENTY.replace("SWITCHES", DEFINED))
    taken(proxies)
    site.apply()
    calls, _ = taken(proxies[:1])
    # The overlay volume, that nobody removes its image meanwhile, and the definition; that nobody else has made the
    # server is one list for all.
    each = {"domain_define_xml_flags", "storage_vol_create_xml", "storage_vol_lookup_by_name"}
    assert {name for name, count in calls.items() if count >= 20} - {"connect_supports_feature"} == each, calls
    assert sum(calls.values()) <= 145, calls  # with the image's upload


EVERYTHING = """
flavors:
  full:
    {vcpus: 2, ram: 64, disk: 1, ephemeral: 1, swap: 16, max_vcpus: 4, max_ram: 96, description: all of it,
     extra_specs: {"hw:cpu_sockets": "1", "hw:cpu_cores": "4", "hw:cpu_threads": "1"}}
  cheap: {vcpus: 1, ram: 32}
  acpi: {vcpus: 1, ram: 32, disk: 1}
  boots: {vcpus: 1, ram: 128, extra_specs: {"hw:numa_nodes": "1"}}
  secure: {vcpus: 1, ram: 64, extra_specs: {"os:secure_boot": required}}
images:
  tiny:
    {source: tiny.raw, format: raw, checksum: "sha256:CHECKSUM", min_disk: 1, min_ram: 32,
     properties: {hw_disk_bus: scsi, hw_vif_model: e1000e, hw_cpu_mode: host-model}}
  pc: {source: tiny.raw, format: raw, properties: {hw_machine_type: pc}}
  uefi: {source: tiny.raw, format: raw, properties: {hw_firmware_type: uefi, hw_machine_type: q35}}
  disc: {source: tiny.iso, format: iso}
  kernel:
    kernel: {source: tiny.raw}
    ramdisk: {source: tiny.raw}
    properties: {os_command_line: "console=ttyS0 odd=<&>"}
keypairs: {ops: {public_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINI ops@example"}}
server_groups: {apart: {policy: anti-affinity, max_server_per_host: 2}}
networks:
  nat: {mode: nat, subnets: [{cidr: 10.42.0.0/24, gateway_ip: 10.42.0.254,
                              allocation_pools: [{start: 10.42.0.50, end: 10.42.0.99}]}],
        dns_domain: calls.test, dns: [{ip: 10.42.0.7, names: [one, two]}], mtu: 1400}
  route: {mode: route, subnets: [{cidr: 10.43.0.0/24, enable_dhcp: false}]}
  alone: {mode: isolated, protect: false}
  out: {mode: bridge, bridge: virbr0}
volumes:
  raw: {size: 1, format: raw, volume_type: local, host: hv1, on_destroy: delete, protect: false}
  copy: {size: 1, image: tiny, availability_zone: rack-a, host: hv1, on_destroy: delete, depends_on: [volume.raw]}
  loose: {size: 1, availability_zone: rack-b, on_destroy: delete}
servers:
  full:
    name: the-full-one
    description: "ümläut <&> \\"quotes\\""
    flavor: full
    image: tiny
    keypair: ops
    networks:
      - {network: nat, fixed_ip: 10.42.0.20, mac: "52:54:00:AB:CD:EF", model: virtio}
      - {network: route, fixed_ip: 10.43.0.20}
      - {network: alone, model: rtl8139}
    block_device_mapping:
      - {boot_index: 0, source_type: image, image: tiny, destination_type: local, volume_size: 2}
      - {source_type: volume, volume: raw, destination_type: volume, device_name: vdb, disk_bus: virtio, tag: data}
      - {source_type: volume, volume: copy, destination_type: volume, boot_index: 1}
      - {source_type: image, image: disc, destination_type: volume, device_type: cdrom, disk_bus: sata,
         volume_size: 1, volume_type: local, delete_on_termination: true}
      - {source_type: blank, destination_type: local, volume_size: 16, guest_format: swap}
      - {source_type: blank, destination_type: local, volume_size: 1}
    user_data: {template: hello.j2, vars: {word: hello}}
    metadata: {role: "quote \\" and <angle>", empty: ""}
    tags: [b, a]
    config_drive: configdrive
    power_state: stopped
    autostart: true
    host: hv1
    protect: false
    depends_on: [volume.raw]
  running:
    {flavor: acpi, image: lab-acpi, group: apart, availability_zone: rack-a, networks: [{network: nat}],
     config_drive: nocloud, user_data: "#!/bin/sh", autostart: false,
     scheduler_hints: {different_host: [server.paused]}}
  ready: {flavor: boots, image: lab-acpi, wait_for: {source: console, text: BOOTOK, timeout: 300}}
  paused: {flavor: acpi, image: lab-acpi, power_state: paused, user_data: {file: hello.j2}, group: apart}
  kernel:
    {flavor: cheap, image: kernel, power_state: stopped, user_data: {env: STACKSMITH_USER_DATA}, config_drive: true}
  pc: {flavor: cheap, image: pc, power_state: stopped, config_drive: false, networks: [{network: out}]}
  uefi: {flavor: secure, image: uefi, power_state: stopped}
"""

# ``command`` needs a flag of its own; ``bare_metal`` is of servers on nodes, which are in test_machine.py.
APART = {"UserDataSpec.command", "ServerSpec.bare_metal"}
MODELS: dict[str, type[BaseModel]] = {
    "flavors": FlavorSpec,
    "images": ImageSpec,
    "keypairs": KeypairSpec,
    "networks": NetworkSpec,
    "server_groups": ServerGroupSpec,
    "volumes": VolumeSpec,
    "servers": ServerSpec,
}


def test_everything_is_used_by_the_stack_of_everything() -> None:
    data = yaml.safe_load(EVERYTHING)
    unused = set()
    for section, model in MODELS.items():
        unused |= _unused(model, list(data[section].values()))
    servers = data["servers"].values()
    unused |= _unused(BdmSpec, [b for s in servers for b in s.get("block_device_mapping", [])])
    unused |= _unused(NicSpec, [n for s in servers for n in s.get("networks", [])])
    unused |= _unused(UserDataSpec, [s["user_data"] for s in servers if isinstance(s.get("user_data"), dict)])
    unused |= _unused(SubnetSpec, [n for s in data["networks"].values() for n in s.get("subnets", [])])
    unused |= _unused(WaitForSpec, [s["wait_for"] for s in servers if "wait_for" in s])
    assert unused == APART


def _unused(model: type[BaseModel], used: Sequence[Mapping[str, Any]]) -> set[str]:
    return {f"{model.__name__}.{name}" for name in model.model_fields if not any(name in one for one in used)}


def test_second_apply_of_a_stack_that_uses_every_attribute_writes_nothing(
    site: Site, proxies: Sequence[RpcProxy]
) -> None:
    checksum = hashlib.sha256((site.folder / "tiny.raw").read_bytes()).hexdigest()
    (site.folder / "tiny.iso").write_bytes((site.folder / "tiny.raw").read_bytes())
    (site.folder / "hello.j2").write_text("#!/bin/sh\necho {{ word }}\n")
    head = f"stack: {site.name}\n"
    (site.folder / "stack.yaml").write_text(head + EVERYTHING.replace("CHECKSUM", checksum))
    environment = {"environment": {"STACKSMITH_USER_DATA": "#!/bin/sh"}}
    site.apply(**environment)
    taken(proxies)
    text = plan_text(site.plan(**environment), PLAIN)
    assert "No changes. Your infrastructure matches the configuration." in text, text
    site.apply(Impact.DATA_LOSS, **environment)
    calls, writes = taken(proxies)
    assert writes == {}
    assert calls["domain_get_xml_desc"] >= len(yaml.safe_load(EVERYTHING)["servers"])
