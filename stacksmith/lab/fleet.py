"""The lab's fleet file: the one file a user points stacksmith at."""

import json
from collections.abc import Sequence

from stacksmith.lab.guest import COMMAND_LINE
from stacksmith.lab.host import POOL
from stacksmith.lab.image import Image
from stacksmith.lab.layout import Layout, Node, number

ZONES = ("rack-a", "rack-b")


def fleet_text(layout: Layout, hosts: Sequence[str], images: Sequence[Image], nodes: Sequence[Node] = ()) -> str:
    """The YAML of the fleet; every outside value is written as a JSON string, which YAML reads the same."""
    lines = [
        "# Written by `stacksmith lab up`; `stacksmith lab down` removes it.",
        "fleet: lab",
        "state: sqlite:///state/lab.db",
        "defaults: {allocation_ratios: {VCPU: 16.0}, reserved: {MEMORY_MB: 512}}",
        "hosts:",
    ]
    for host in hosts:
        lines += [
            f"  {host}:",
            f"    libvirt: {json.dumps(layout.uri(host))}",
            "    virt_type: qemu",
            f"    availability_zone: {ZONES[(number(host) - 1) % 2]}",
            f"    volume_types: {{local: {{pool: stacksmith, path: {POOL}}}}}",
        ]
    lines += ["nodes:"] if nodes else []
    for node in nodes:
        lines += [f"  {node.name}:", *(f"    {field}" for field in node_fields(layout, node))]
    lines.append("images:" if images else "images: {}")
    lines += [f"  {image.name}: {{{', '.join(image_fields(image))}}}" for image in images]
    return "\n".join(lines) + "\n"


def node_fields(layout: Layout, node: Node) -> list[str]:
    """A node's lines; its files are named relative to the fleet file."""
    return [
        f"redfish: {node.redfish}",
        f"system: {node.system}",
        f"username: {node.username}",
        f"password: {{file: {node.password.relative_to(layout.directory)}}}",
        f"ca: {node.ca.relative_to(layout.directory)}",
        "resource_class: CUSTOM_BAREMETAL_LAB",
    ]


def image_fields(image: Image) -> list[str]:
    """An image's fields as parts of a YAML flow mapping."""
    files = [f"{{source: images/{file.name}, checksum: {json.dumps('sha256:' + file.sha256)}}}" for file in image.files]
    if image.kind == "kernel":
        return [
            f"kernel: {files[0]}",
            f"ramdisk: {files[1]}",
            f'properties: {{os_command_line: "{COMMAND_LINE}"}}',
        ]
    return [files[0].strip("{}"), f"format: {image.kind}"]
