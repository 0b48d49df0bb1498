"""Bare-metal servers: what a node cannot have, and what of them a virtual machine cannot."""

from collections.abc import Iterator
from typing import Final

from stacksmith.address import Address
from stacksmith.model.bare_metal import class_of, node_class
from stacksmith.model.bios import PASSWORD_CAUSE, is_password
from stacksmith.model.check.reporter import Reporter
from stacksmith.model.document import DataPath
from stacksmith.model.kinds.flavor import FlavorSpec
from stacksmith.model.kinds.network import NetworkSpec
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.stack import Resource, Stack
from stacksmith.model.url import secret_in

_Fault = tuple[DataPath, str, str | None]
LEAST_DRIVES: Final = {"RAID0": 1, "RAID1": 2, "RAID5": 3, "RAID6": 4, "RAID10": 4}
WAITS: Final = "a node is waited for until its image is written and it boots"


def check_bare_metal(stack: Stack, reporter: Reporter) -> None:
    """Checks what bare-metal servers say, and that others say nothing that is about nodes."""
    for resource in stack.resources.values():
        spec = resource.spec
        if isinstance(spec, FlavorSpec):
            _check_flavor(stack, resource, spec, reporter)
        elif isinstance(spec, ServerSpec):
            is_bare = class_of(stack, resource) is not None
            faults = _bare(stack, spec) if is_bare else _virtual(stack, spec)
            for path, cause, hint in faults:
                reporter.fault("bad-bare-metal", resource, path, cause, hint)
            _check_passwords(resource, spec, reporter)
            if is_bare and spec.user_data is not None and _is_iso(stack, spec):
                cause = f"image {spec.image} is an ISO, which is given no config drive: user_data does not reach it"
                reporter.warning("no-effect", resource, ("user_data",), cause, "put it into the ISO")
            if is_bare and spec.user_data is not None and not spec.image:
                cause = "without an image nothing is written to the node: user_data does not reach it"
                reporter.warning("no-effect", resource, ("user_data",), cause, "name an image")


def _is_iso(stack: Stack, spec: ServerSpec) -> bool:
    image = stack.images.get(spec.image or "")
    return image is not None and image.format == "iso"


def _check_flavor(stack: Stack, resource: Resource, spec: FlavorSpec, reporter: Reporter) -> None:
    name = node_class(spec, stack.fleet)
    if name is None:
        return
    key = f"resources:{name}"
    if spec.extra_specs[key] != "1":
        cause = f"a server gets one whole node, not {spec.extra_specs[key]}"
        reporter.fault("bad-bare-metal", resource, ("extra_specs", key), cause, f'write {key}: "1"')
    for field in ("ephemeral", "swap", "max_vcpus", "max_ram"):
        if getattr(spec, field):
            cause = f"{field} is of virtual machines: a node has what it has"
            reporter.fault("bad-bare-metal", resource, (field,), cause, "take it out")


def _check_passwords(resource: Resource, spec: ServerSpec, reporter: Reporter) -> None:
    for name, value in (spec.bare_metal.bios if spec.bare_metal else {}).items():
        if is_password(name, value):
            reporter.findings.secret(str(value))
            hint = "take it out, and set it by the BMC's own tool"
            reporter.fault("bad-bare-metal", resource, ("bare_metal", "bios", name), PASSWORD_CAUSE, hint)


def _virtual(stack: Stack, spec: ServerSpec) -> Iterator[_Fault]:
    if spec.bare_metal is not None:
        hint = "give the flavor extra_specs with the node's class, as resources:CUSTOM_BAREMETAL: '1'"
        yield ("bare_metal",), f"flavor {spec.flavor} is of virtual machines", hint
    if spec.power_state == "unmanaged":
        yield ("power_state",), "only a bare-metal server can be unmanaged", "write running or stopped"
    if spec.host is not None and spec.host in stack.fleet.nodes:
        yield ("host",), f"{spec.host} is a bare-metal node and flavor {spec.flavor} of virtual machines", None


def _bare(stack: Stack, spec: ServerSpec) -> Iterator[_Fault]:
    if spec.power_state == "paused":
        yield ("power_state",), "a node cannot be paused", "write running, stopped or unmanaged"
    if spec.block_device_mapping:
        yield ("block_device_mapping",), "a node boots from its own disk", "take it out, and name an image"
    if spec.wait_for is not None:
        yield ("wait_for",), f"it is of virtual machines: {WAITS}", "take it out"
    if spec.host is not None and spec.host in stack.fleet.hosts:
        yield ("host",), f"{spec.host} is a libvirt host and flavor {spec.flavor} of bare metal", None
    image = stack.images.get(spec.image or "")
    if image is not None and image.source is None:
        yield ("image",), f"image {spec.image} has a kernel but no disk to write", "name one with a source"
    if spec.config_drive == "nocloud":
        yield ("config_drive",), "a node gets a partition with a config drive", "write true, or false"
    yield from _secure_boot(stack, spec)
    yield from _raid(spec)
    yield from _firmware(spec)
    yield from _networks(stack, spec)


def _secure_boot(stack: Stack, spec: ServerSpec) -> Iterator[_Fault]:
    """Secure boot is of UEFI, whoever asks for either."""
    said, image = spec.bare_metal, stack.images.get(spec.image or "")
    properties = image.properties if image is not None else {}
    asked = stack.flavors[spec.flavor].extra_specs.get("os:secure_boot") or properties.get("os_secure_boot")
    mode = (said.boot_mode if said else None) or properties.get("hw_firmware_type")
    wants = said.secure_boot if said and said.secure_boot is not None else asked == "required"
    if wants and mode == "bios":
        field = "secure_boot" if said and said.secure_boot else "boot_mode" if said and said.boot_mode else ""
        path: DataPath = ("bare_metal", field) if field else ("image",)
        yield path, "a node that boots in mode bios has no secure boot", "write boot_mode: uefi, or secure_boot: false"


def _raid(spec: ServerSpec) -> Iterator[_Fault]:
    """Drives that a RAID type needs; a BMC is asked for volumes when the old ones are gone already."""
    given: dict[str, str] = {}
    for number, volume in enumerate(spec.bare_metal.raid if spec.bare_metal else ()):
        path = ("bare_metal", "raid", number, "drives")
        least = LEAST_DRIVES[volume.raid_type]
        for drive in volume.drives:
            if drive in given:
                whose = f"volume {given[drive]}" if given[drive] != volume.name else "this volume"
                yield path, f"drive {drive} is one of {whose} already", "name each drive once"
            given.setdefault(drive, volume.name)
        if len(volume.drives) < least:  # a drive that is named twice is told already
            yield path, f"{volume.raid_type} needs {least} drives at least, here are {len(volume.drives)}", None
        elif volume.raid_type == "RAID10" and len(set(volume.drives)) % 2:
            yield path, "RAID10 needs an even number of drives", None


def _firmware(spec: ServerSpec) -> Iterator[_Fault]:
    """Where updates are is in plans, in the state, and at the BMC."""
    for name, each in (spec.bare_metal.firmware if spec.bare_metal else {}).items():
        path = ("bare_metal", "firmware", name, "image")
        try:
            secret = secret_in(each.image or "")
        except ValueError as fault:
            yield path, f"the address is not a URL: {fault}", None
            continue
        if secret is not None:
            cause = f"its address has {secret} in it, which plans and the state would show"
            yield path, cause, "serve the image to the BMC without one"


def _networks(stack: Stack, spec: ServerSpec) -> Iterator[_Fault]:
    """A node is on the networks that its cables lead to: what is said of them is for its config drive."""
    for number, nic in enumerate(spec.networks):
        resource = stack.resources.get(Address("network", nic.network))
        if resource is not None and isinstance(resource.spec, NetworkSpec) and resource.spec.mode != "bridge":
            cause = f"network {nic.network} is one inside of libvirt hosts, which no node is on"
            yield ("networks", number, "network"), cause, "name one with mode: bridge"
        if nic.mac is None:
            hint = "add mac:, as node inspect shows it; without networks the node asks for addresses by DHCP"
            yield ("networks", number), "the card of a node is named by its MAC", hint
        if nic.model is not None:
            yield ("networks", number, "model"), "a node has the cards that it has", "take it out"
