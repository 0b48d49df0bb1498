"""Properties of images: those in Nova's namespaces that nothing here reads would have no effect."""

from typing import Final

from stacksmith.model.check.demand import PARTS
from stacksmith.model.check.reporter import Reporter
from stacksmith.model.fleet import Fleet
from stacksmith.model.kinds.image import ImageSpec
from stacksmith.model.near import meant
from stacksmith.model.stack import Resource, Stack
from stacksmith.model.validate import found

READ: Final = (
    "hw_architecture",
    "hw_cpu_cores",
    "hw_cpu_mode",
    "hw_cpu_sockets",
    "hw_cpu_threads",
    "hw_disk_bus",
    "hw_firmware_type",
    "hw_machine_type",
    "hw_vif_model",
    "hw_vm_mode",
    "img_hv_requested_version",
    "img_hv_type",
    "os_command_line",
    "os_secure_boot",
)
_TOLD: Final = ("os_admin_user", "os_distro", "os_type", "os_version")  # they say what the image is, and ask nothing
_NAMESPACES: Final = ("hw_", "os_")


def check_images(stack: Stack, reporter: Reporter) -> None:
    """Warns of properties without effect; names outside of Nova's namespaces are the user's own."""
    for resource in stack.resources.values():
        if isinstance(resource.spec, ImageSpec):
            for name in resource.spec.properties:
                if name.startswith(_NAMESPACES) and not _is_read(name, stack.fleet):
                    _warn(resource, name, reporter)


def _warn(resource: Resource, name: str, reporter: Reporter) -> None:
    hint = meant(name, READ, 0.9) or f"these are read: {', '.join(READ)}"
    cause = f"image property {found(name)} has no effect: nothing reads it"
    reporter.warning("no-effect", resource, ("properties", name), cause, hint)


def _is_read(name: str, fleet: Fleet) -> bool:
    """By the guest's definition, by a filter or weigher of the fleet, or refused elsewhere."""
    if name in READ or name in _TOLD or name.startswith(PARTS):
        return True
    scheduler = fleet.scheduler
    isolates = "AggregateImagePropertiesIsolation" in scheduler.enabled_filters
    if isolates and any(name in aggregate.metadata for aggregate in fleet.aggregates.values()):
        return True
    setting = scheduler.image_props_weight_setting
    return "ImagePropertiesWeigher" in scheduler.weighers and (not setting or name in setting)
