"""Rules of servers, volumes, flavors and groups that span fields or blocks."""

import re
from typing import Final

from stacksmith.model.check.reporter import Reporter
from stacksmith.model.kinds.flavor import FlavorSpec
from stacksmith.model.kinds.server import LABEL, ServerSpec
from stacksmith.model.kinds.server_group import ServerGroupSpec
from stacksmith.model.kinds.volume import VolumeSpec
from stacksmith.model.scalar import shorten
from stacksmith.model.stack import Resource, Stack
from stacksmith.model.validate import found

_LABEL: Final = re.compile(LABEL)
MAX_METADATA: Final = 255
MAX_TAG: Final = 60


def check_servers(stack: Stack, reporter: Reporter) -> None:
    """Checks what one server, volume or group says against the rest of the stack."""
    names: dict[str, Resource] = {}
    labels: dict[str, Resource] = {}
    zones = {host.availability_zone for host in stack.fleet.hosts.values()} - {None}
    zones |= {node.availability_zone for node in stack.fleet.nodes.values()} - {None}
    for resource in stack.resources.values():
        spec = resource.spec
        if isinstance(spec, ServerSpec):
            _check_name(resource, spec, names, reporter)
            _check_label(resource, labels, reporter)
            _check_metadata(resource, spec, reporter)
            _check_wait(resource, spec, reporter)
        if isinstance(spec, ServerSpec | VolumeSpec):
            _check_place(resource, spec, stack, zones, reporter)
        if isinstance(spec, VolumeSpec):
            _check_volume(resource, spec, stack, reporter)
        if isinstance(spec, FlavorSpec):
            _check_flavor(resource, spec, reporter)
    _check_groups(stack, reporter)


def _check_name(resource: Resource, spec: ServerSpec, names: dict[str, Resource], reporter: Reporter) -> None:
    name = spec.name or resource.address.label
    if not _LABEL.fullmatch(name):
        cause = f"{found(name)} is not a host name: lower case letters, digits and '-', up to 63"
        where = resource.where((), key=True)
        message = f"cannot use {resource.address}: {cause}"
        reporter.findings.error("bad-name", message, where, "set name: to a valid one", resource.address)
    other = names.setdefault(name, resource)
    if other is not resource:
        hint = "set name: to differ, as web-{{ index }}" if spec.name else "set name: on one of them"
        notes = ((f"{other.address} has it", other.where(("name",) if other.spec.name else (), key=True)),)  # type: ignore[union-attr]
        path = ("name",) if spec.name else ()
        cause = f"its host name {name!r} is also that of {other.address}"
        reporter.fault("duplicate-name", resource, path, cause, hint, notes)


def _check_label(resource: Resource, labels: dict[str, Resource], reporter: Reporter) -> None:
    """``server.web[0]`` and ``server.web-0`` would be one domain; that they share a host name is said already."""
    other = labels.setdefault(resource.address.label, resource)
    if other is not resource and (other.spec.name or resource.spec.name):  # type: ignore[union-attr]
        cause = f"on its host it is called as {other.address}"
        message = f"cannot use {resource.address}: {cause}"
        notes = ((f"{other.address} is here", other.where((), key=True)),)
        where = resource.where((), key=True)
        reporter.findings.error("duplicate-name", message, where, "rename one", resource.address, notes)


def _check_metadata(resource: Resource, spec: ServerSpec, reporter: Reporter) -> None:
    for key, value in spec.metadata.items():
        if not 1 <= len(key) <= MAX_METADATA:
            cause = f"the key {shorten(key)!r} has {len(key)} characters, 1 to {MAX_METADATA} are allowed"
            reporter.fault("bad-metadata", resource, ("metadata", key), cause)
        if len(value) > MAX_METADATA:
            cause = f"the value has {len(value)} characters, {MAX_METADATA} are allowed"
            reporter.fault("bad-metadata", resource, ("metadata", key), cause, "longer texts belong in user_data")
    seen: set[str] = set()
    for number, tag in enumerate(spec.tags):
        if not 1 <= len(tag) <= MAX_TAG or "," in tag or "/" in tag:
            cause = f"{found(tag)} is not a tag: 1 to {MAX_TAG} characters without ',' and '/'"
            reporter.fault("bad-metadata", resource, ("tags", number), cause)
        if tag in seen:
            reporter.fault("bad-metadata", resource, ("tags", number), f"tag {found(tag)} is given twice")
        seen.add(tag)


def _check_wait(resource: Resource, spec: ServerSpec, reporter: Reporter) -> None:
    wait = spec.wait_for
    if wait is None:
        return
    if wait.source == "console" and not wait.text:
        hint = "add text: the words the guest prints when it is ready"
        reporter.fault("wrong-value", resource, ("wait_for",), "console needs a text to wait for", hint)
    if wait.source != "console" and wait.text is not None:
        reporter.fault("wrong-value", resource, ("wait_for", "text"), f"{wait.source} takes no text")
    if wait.source == "lease" and not spec.networks:
        reporter.fault("wrong-value", resource, ("wait_for",), "a server without networks gets no lease")
    if spec.power_state != "running":
        cause = f"a server that is {spec.power_state} cannot be waited for"
        reporter.fault("wrong-value", resource, ("wait_for",), cause)


def _check_place(
    resource: Resource, spec: ServerSpec | VolumeSpec, stack: Stack, zones: set[str | None], reporter: Reporter
) -> None:
    zone = spec.availability_zone
    if zone is not None and zone not in zones:
        known = ", ".join(sorted(z for z in zones if z)) or "none"
        cause = f"no host of the fleet is in zone {found(zone)}"
        reporter.fault("unknown-reference", resource, ("availability_zone",), cause, f"zones: {known}")
    host = stack.fleet.hosts.get(spec.host or "") or stack.fleet.nodes.get(spec.host or "")
    if host is not None and zone is not None and host.availability_zone != zone:
        cause = f"{spec.host} is in zone {host.availability_zone}, not in {zone}"
        reporter.fault("wrong-value", resource, ("host",), cause)


def _check_volume(resource: Resource, spec: VolumeSpec, stack: Stack, reporter: Reporter) -> None:
    types = {name for host in stack.fleet.hosts.values() for name in host.volume_types}
    if spec.volume_type not in types:
        cause = f"no host of the fleet has volume type {found(spec.volume_type)}"
        hint = f"volume types: {', '.join(sorted(types)) or 'none'}"
        reporter.fault("unknown-reference", resource, ("volume_type",), cause, hint)
    image = stack.images.get(spec.image or "")
    if image is not None and image.source is None:
        cause = f"image {spec.image} has a kernel but no disk to copy"
        reporter.fault("wrong-value", resource, ("image",), cause, "name an image with a source")
    if image is not None and spec.size < image.min_disk:
        cause = f"{spec.size} GiB is less than min_disk {image.min_disk} GiB of image {spec.image}"
        reporter.fault("bad-size", resource, ("size",), cause)


def _check_flavor(resource: Resource, spec: FlavorSpec, reporter: Reporter) -> None:
    for key, value, least in (("max_vcpus", spec.max_vcpus, spec.vcpus), ("max_ram", spec.max_ram, spec.ram)):
        if value is not None and value < least:
            reporter.fault("bad-size", resource, (key,), f"{value} is less than {least}, what it starts with")


def _check_groups(stack: Stack, reporter: Reporter) -> None:
    for resource in stack.resources.values():
        spec = resource.spec
        if not isinstance(spec, ServerGroupSpec):
            continue
        if spec.policy != "anti-affinity" and spec.max_server_per_host != 1:
            cause = f"max_server_per_host goes with anti-affinity only, the policy is {spec.policy}"
            reporter.fault("bad-group", resource, ("max_server_per_host",), cause)
