"""What the steps of a run need beside the plan: the bytes of images, and config drives rendered anew."""

from collections.abc import Callable, Mapping

from stacksmith.address import Address, identity
from stacksmith.diagnostics import Faults, error
from stacksmith.engine.contents import StackContents, cache_folder
from stacksmith.model.bare_metal import class_of
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.realised import Machine, Nic, Server
from stacksmith.model.stack import Resource, Stack
from stacksmith.planner.build import server_nics
from stacksmith.planner.drive import drive_digest, drive_files
from stacksmith.planner.machine import machine_nics
from stacksmith.planner.plan import Plan
from stacksmith.providers.base import Contents, Stale


def check_drives(stack: Stack, planned: Plan) -> None:
    """Before anything is done: the stack files still give what a saved plan needs of them."""
    render, faults = _render(stack), []
    for step in planned.steps:
        if isinstance(step.wanted, Server | Machine) and step.wanted.config_drive is not None:
            try:
                render(step.address, step.wanted.config_drive.digest)
            except Stale as stale:
                hint = "use the stack files and --var values that the plan was made with, or plan again"
                faults.append(error("stale-plan", f"cannot apply the plan: {stale}", hint=hint, address=step.address))
    if faults:
        raise Faults(faults)


def contents_of(stack: Stack, environment: Mapping[str, str]) -> Contents:
    files = {f.checksum: f for image in stack.image_files.values() for f in image.values()}
    return StackContents(files, _render(stack), cache_folder(environment))


def _render(stack: Stack) -> Callable[[Address, str], Mapping[str, bytes]]:
    """Renders config drives anew from the stack files: their bytes are in no plan and no store."""

    def render(server: Address, digest: str) -> Mapping[str, bytes]:
        resource = stack.resources.get(server)
        fleet = stack.fleet
        zones = {host.availability_zone for host in fleet.hosts.values()}
        zones |= {node.availability_zone for node in fleet.nodes.values()}
        hosts = [None, *sorted(zone for zone in zones if zone)]
        if resource is not None:
            made = identity(stack.fleet.fleet, stack.name, server)
            nics = _nics(stack, resource, made)
            for zone in hosts:
                files = drive_files(stack, resource, made, nics, zone)
                if drive_digest(files) == digest:
                    return files
        raise Stale(f"the stack files no longer give the config drive that was planned for {server}", "config_drive")

    return render


def _nics(stack: Stack, resource: Resource, made: str) -> tuple[Nic, ...]:
    spec = resource.spec
    if isinstance(spec, ServerSpec) and class_of(stack, resource) is not None:
        return machine_nics(spec)
    return server_nics(stack, resource, made)
