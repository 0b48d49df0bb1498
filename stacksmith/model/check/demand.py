"""What flavors ask of the parts of hosts: extra specs that contradict each other, the flavor, or the fleet."""

from collections.abc import Iterator

from stacksmith.model.bare_metal import node_class
from stacksmith.model.check.extra_spec import is_sound
from stacksmith.model.check.reporter import Reporter
from stacksmith.model.demand import Fault, demand
from stacksmith.model.kinds.flavor import FlavorSpec
from stacksmith.model.kinds.image import ImageSpec
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.stack import Resource, Stack

PARTS = ("hw_numa_", "hw_mem_page_size", "hw_cpu_policy", "hw_cpu_thread_policy", "hw_pci_numa_affinity_policy")


def check_demands(stack: Stack, reporter: Reporter) -> None:
    """Faults of the stack's flavors at their extra specs, of the fleet's at the first server that uses them."""
    told: set[str] = set()
    for resource in stack.resources.values():
        spec = resource.spec
        if isinstance(spec, ImageSpec):
            _check_image(resource, spec, reporter)
        elif isinstance(spec, FlavorSpec):
            if all(is_sound(key, value) for key, value in spec.extra_specs.items()):
                for fault in _faults(stack, spec):
                    reporter.fault("bad-extra-spec", resource, ("extra_specs", fault.key), fault.cause, fault.hint)
        elif isinstance(spec, ServerSpec) and spec.flavor in stack.fleet.flavors and spec.flavor not in told:
            told.add(spec.flavor)
            for fault in _fleet_faults(stack, stack.fleet.flavors[spec.flavor]):
                cause = f"{fault.key} of the fleet's {spec.flavor}: {fault.cause}"
                reporter.fault("bad-extra-spec", resource, ("flavor",), cause, fault.hint)


def _check_image(resource: Resource, image: ImageSpec, reporter: Reporter) -> None:
    """Nova lets images ask for parts too; here it is the flavor's to say."""
    for name in image.properties:
        if name.startswith(PARTS):
            key = name.replace("_", ":", 1)
            cause, hint = "it is not carried out", f"say {key} in the extra_specs of a flavor"
            reporter.fault("unsupported-extra-spec", resource, ("properties", name), cause, hint)


def _faults(stack: Stack, flavor: FlavorSpec) -> tuple[Fault, ...]:
    return () if node_class(flavor, stack.fleet) else demand(flavor, stack.fleet.pci_aliases)[1]


def _fleet_faults(stack: Stack, flavor: FlavorSpec) -> Iterator[Fault]:
    wrong = [key for key, value in flavor.extra_specs.items() if not is_sound(key, value)]
    yield from (Fault(key, f"{flavor.extra_specs[key]!r} is no value that is carried out") for key in wrong)
    yield from () if wrong else _faults(stack, flavor)
