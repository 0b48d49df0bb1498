"""Every check between blocks, in an order in which one fault is said once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from stacksmith.address import Address
from stacksmith.model.check.bare_metal import check_bare_metal
from stacksmith.model.check.block_device import check_block_devices
from stacksmith.model.check.cycle import check_cycles
from stacksmith.model.check.demand import check_demands
from stacksmith.model.check.extra_spec import check_extra_specs
from stacksmith.model.check.image import check_images
from stacksmith.model.check.lease import check_leases
from stacksmith.model.check.network import check_networks
from stacksmith.model.check.reference import resolve_references
from stacksmith.model.check.reporter import Reporter
from stacksmith.model.check.scheduling import check_scheduling
from stacksmith.model.check.server import check_servers
from stacksmith.model.check.text import check_texts
from stacksmith.model.check.trait import check_traits
from stacksmith.model.findings import Findings
from stacksmith.model.fleet_file import FleetFile
from stacksmith.model.image_file import image_files
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.kinds.volume import VolumeSpec
from stacksmith.model.stack import ImageFileSource, Stack, Unread
from stacksmith.source import Span


def check_stack(
    stack: Stack, declared: Mapping[Address, Span], unread: Sequence[Unread], fleet: FleetFile, findings: Findings
) -> Stack:
    """The stack with its references resolved; faults go to ``findings``. ``declared`` has the faulty blocks too."""
    stack = resolve_references(stack, declared, unread, findings)
    reporter = Reporter(findings)
    _check_shadowed(stack, fleet, reporter)
    check_texts(stack, reporter)
    check_extra_specs(stack, reporter)
    check_demands(stack, reporter)
    check_images(stack, reporter)
    check_networks(stack, reporter)
    check_leases(stack, reporter)
    check_servers(stack, reporter)
    check_scheduling(stack, reporter)
    check_traits(stack, reporter)
    check_bare_metal(stack, reporter)
    check_block_devices(stack, reporter)
    check_cycles(stack, findings)
    return replace(stack, image_files={**_fleet_images(stack, fleet, findings), **stack.image_files})


def _check_shadowed(stack: Stack, fleet: FleetFile, reporter: Reporter) -> None:
    """A name must mean one thing: neither the stack's nor the fleet's wins."""
    for address, resource in stack.resources.items():
        section = {"flavor": "flavors", "image": "images"}.get(address.kind)
        if section is not None and address.name in getattr(fleet.fleet, section):
            place = fleet.block(section, address.name)(key=True)
            notes = ((f"the fleet's {address.kind} {address.name}", place),)
            cause = f"fleet {fleet.fleet.fleet} offers {section[:-1]} {address.name!r} too"
            reporter.fault("shadowed", resource, (), cause, "rename it, or take it out and use the fleet's", notes)


def _fleet_images(stack: Stack, fleet: FleetFile, findings: Findings) -> dict[str, dict[str, ImageFileSource]]:
    """The files of the fleet's images that the stack uses: those of the others are not even looked at."""
    used: set[str] = set()
    for resource in stack.resources.values():
        spec = resource.spec
        if isinstance(spec, ServerSpec):
            used.update(entry.image for entry in spec.block_device_mapping if entry.image)
        if isinstance(spec, ServerSpec | VolumeSpec) and spec.image:
            used.add(spec.image)
    files = {}
    for name in sorted(used & fleet.fleet.images.keys() - stack.image_files.keys()):
        where = fleet.block("images", name)
        files[name] = image_files(name, fleet.fleet.images[name], where, fleet.folder, findings) or {}
    return files
