"""What a server's flavor, image and words ask of a host: the part of its request that filters look at."""

from dataclasses import dataclass, field

from stacksmith.model.found import HostSnapshot
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.stack import Stack
from stacksmith.model.types import JSON
from stacksmith.placement.filters import Asked, conditions
from stacksmith.placement.normalised import image_marks
from stacksmith.placement.refusal import Condition


@dataclass(frozen=True, slots=True)
class Question:
    """What servers of one flavor and image ask: traits, conditions, and the marks they leave on their host."""

    required: frozenset[str]
    forbidden: frozenset[str]
    conditions: tuple[Condition, ...]
    marks: tuple[str, ...]


@dataclass(slots=True)
class Asking:
    """The stack's questions, each made once."""

    stack: Stack
    _known: dict[tuple[str, str | None], Question] = field(default_factory=dict)

    def of(self, spec: ServerSpec) -> Question:
        """The question of a server."""
        return self._of(spec.flavor, _image(spec))

    def of_flavor(self, flavor: str) -> Question:
        """The question of a flavor alone, without an image."""
        return self._of(flavor, None)

    def _of(self, flavor: str, image: str | None) -> Question:
        key = (flavor, image)
        if key not in self._known:
            self._known[key] = self._make(*key)
        return self._known[key]

    def _make(self, flavor: str, image: str | None) -> Question:
        scheduler = self.stack.fleet.scheduler
        extra = self.stack.flavors[flavor].extra_specs
        properties = self.stack.images[image].properties if image else {}
        of_flavor = {k.partition(":")[2]: v for k, v in extra.items() if k.startswith("trait:")}
        of_image = {k.partition(":")[2] for k, v in properties.items() if k.startswith("trait:") and v == "required"}
        required = frozenset(k for k, v in of_flavor.items() if v == "required") | of_image
        forbidden = frozenset(k for k, v in of_flavor.items() if v == "forbidden")
        asked = Asked(flavor, extra, image, properties, required)
        return Question(required, forbidden, conditions(scheduler, asked), image_marks(scheduler, properties))


def _image(spec: ServerSpec) -> str | None:
    """The image a server starts from, on a volume too."""
    roots = (entry.image for entry in spec.block_device_mapping if entry.boot_index == 0)
    return spec.image or next(filter(None, roots), None)


def capabilities(snap: HostSnapshot) -> dict[str, JSON]:
    """Nova's host state of a host, as far as it was read."""
    known: dict[str, JSON] = {
        "host": snap.host,
        "vcpus_total": snap.capacity.vcpus,
        "total_usable_ram_mb": snap.capacity.memory_mib,
    }
    hypervisor = snap.hypervisor
    if hypervisor is not None:
        known |= {
            "hypervisor_type": hypervisor.type,
            "hypervisor_version": hypervisor.version,
            "hypervisor_hostname": hypervisor.hostname or snap.host,
            "cpu_info": hypervisor.cpu,
            "supported_instances": hypervisor.supported,
        }
    return known
