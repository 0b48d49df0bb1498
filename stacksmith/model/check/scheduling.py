"""What a stack asks of scheduling, against what its fleet's scheduler does."""

from stacksmith.model.check.reporter import Reporter
from stacksmith.model.kinds.image import ImageSpec
from stacksmith.model.kinds.server_group import ServerGroupSpec
from stacksmith.model.scheduler import GROUP_FILTERS
from stacksmith.model.stack import Resource, Stack
from stacksmith.model.version import version_terms

VERSION = "img_hv_requested_version"


def check_scheduling(stack: Stack, reporter: Reporter) -> None:
    """Checks server groups, and the properties of images that filters read."""
    filters = stack.fleet.scheduler.enabled_filters
    for resource in stack.resources.values():
        spec = resource.spec
        if isinstance(spec, ServerGroupSpec):
            wanted = GROUP_FILTERS.get(spec.policy)
            if wanted is not None and wanted not in filters:
                cause = f"{spec.policy} needs {wanted}, which the fleet's scheduler does not enable"
                reporter.fault("bad-group", resource, ("policy",), cause, f"add {wanted} to enabled_filters")
        elif isinstance(spec, ImageSpec):
            _check_version(resource, spec, reporter)


def _check_version(resource: Resource, spec: ImageSpec, reporter: Reporter) -> None:
    try:
        version_terms(spec.properties.get(VERSION, ">=0"))
    except ValueError as error:
        reporter.fault("wrong-value", resource, ("properties", VERSION), str(error))
