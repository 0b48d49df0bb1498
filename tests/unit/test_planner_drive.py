"""What a config drive tells of tagged disks."""

import json
from pathlib import Path

from stacksmith.address import Address
from stacksmith.model.load import LoadOptions, load_stack
from stacksmith.model.realised import Server
from stacksmith.planner.build import build, draft
from stacksmith.planner.drive import drive_digest, drive_files

FLEET = 'fleet: lab\nhosts: {hv1: {libvirt: "memory://"}}\n'
STACK = """
stack: shop
fleet: fleet.yaml
flavors: {small: {vcpus: 1, ram: 128, disk: 1, ephemeral: 1}}
images: {debian: {source: debian.img}}
volumes: {data: {size: 1}}
servers:
  db:
    flavor: small
    image: debian
    block_device_mapping:
      - {source_type: volume, volume: data, destination_type: volume, tag: database}
      - {source_type: blank, destination_type: volume, volume_size: 1, disk_bus: scsi, tag: log}
      - {source_type: blank, destination_type: volume, volume_size: 1, disk_bus: sata, tag: dump}
      - {source_type: blank, destination_type: local, volume_size: 1, tag: scratch}
      - {source_type: blank, destination_type: volume, volume_size: 1}
"""
DB = Address("server", "db")


def devices_and_server(folder: Path, text: str) -> tuple[object, Server]:
    """``devices`` of the server's drive, and the server that the plan wants."""
    (folder / "fleet.yaml").write_text(FLEET)
    (folder / "debian.img").write_bytes(b"image")
    (folder / "stack.yaml").write_text(text)
    stack = load_stack(folder / "stack.yaml", LoadOptions()).stack
    assert stack is not None
    wanted = build(stack, draft(stack, {}), {DB: "hv1"})[DB]
    assert isinstance(wanted.spec, Server) and wanted.spec.config_drive is not None
    files = drive_files(stack, stack.resources[DB], wanted.uuid, wanted.spec.nics, None)
    assert wanted.spec.config_drive.digest == drive_digest(files)
    return json.loads(files["openstack/latest/meta_data.json"])["devices"], wanted.spec


def test_tagged_disks_are_told_with_the_bus_and_serial_that_the_guest_sees(tmp_path: Path) -> None:
    devices, server = devices_and_server(tmp_path, STACK)
    serials = {disk.ref: disk.serial for disk in server.disks}
    assert serials["volume.data"]
    assert devices == [
        {"type": "disk", "bus": "pci", "address": "none", "serial": serials["volume.data"], "tags": ["database"]},
        {"type": "disk", "bus": "scsi", "address": "none", "serial": serials["volume.db-disk1"], "tags": ["log"]},
        {"type": "disk", "bus": "none", "address": "none", "serial": serials["volume.db-disk2"], "tags": ["dump"]},
        {"type": "disk", "bus": "pci", "address": "none", "tags": ["scratch"]},
    ]


def test_disks_without_tags_are_not_told(tmp_path: Path) -> None:
    untagged = "\n".join(line.partition(", tag:")[0] + "}" * (", tag:" in line) for line in STACK.splitlines())
    assert devices_and_server(tmp_path, untagged)[0] == []
