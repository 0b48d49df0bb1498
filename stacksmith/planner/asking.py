"""What a server's flavor, image and words ask of a host: the part of its request that filters look at."""

from dataclasses import field
from typing import NamedTuple

from stacksmith.frozen import dataclass
from stacksmith.model.found import HostSnapshot
from stacksmith.model.hint import near_network
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.query import Query, read_query
from stacksmith.model.stack import Stack
from stacksmith.model.types import JSON
from stacksmith.placement.filters import Asked, conditions, queries
from stacksmith.placement.normalised import image_marks
from stacksmith.placement.refusal import Condition, Momentary


@dataclass(frozen=True, slots=True)
class Question:
    """What servers of one flavor, image and hints ask: traits, conditions, and the marks they leave on their host.

    ``queries`` are asked at the moment of placing, and never of what runs: what they ask for has changed since.
    """

    required: frozenset[str]
    forbidden: frozenset[str]
    conditions: tuple[Condition, ...]
    marks: tuple[str, ...]
    queries: tuple[Momentary, ...] = ()


class _Key(NamedTuple):
    """What a question is made from."""

    flavor: str
    image: str | None = None
    query: Query | None = None
    near: str = ""


@dataclass(slots=True)
class Asking:
    """The stack's questions, each made once."""

    stack: Stack
    _known: dict[_Key, Question] = field(default_factory=dict)

    def of(self, spec: ServerSpec) -> Question:
        """The question of a server."""
        hints = spec.scheduler_hints
        if hints is None:
            return self._of(_Key(spec.flavor, _image(spec)))
        query = read_query(hints.query) if hints.query is not None else None
        near = near_network(hints.build_near_host_ip, hints.cidr) if hints.build_near_host_ip is not None else ""
        return self._of(_Key(spec.flavor, _image(spec), query, near))

    def of_flavor(self, flavor: str) -> Question:
        """The question of a flavor alone, without an image."""
        return self._of(_Key(flavor))

    def _of(self, key: _Key) -> Question:
        if key not in self._known:
            self._known[key] = self._make(key)
        return self._known[key]

    def _make(self, key: _Key) -> Question:
        flavor, image = key.flavor, key.image
        scheduler = self.stack.fleet.scheduler
        extra = self.stack.flavors[flavor].extra_specs
        properties = self.stack.images[image].properties if image else {}
        of_flavor = {k.partition(":")[2]: v for k, v in extra.items() if k.startswith("trait:")}
        of_image = {k.partition(":")[2] for k, v in properties.items() if k.startswith("trait:") and v == "required"}
        required = frozenset(k for k, v in of_flavor.items() if v == "required") | of_image
        forbidden = frozenset(k for k, v in of_flavor.items() if v == "forbidden")
        asked = Asked(flavor, extra, image, properties, required, self.stack.name, key.query, key.near)
        marks = image_marks(scheduler, properties)
        return Question(required, forbidden, conditions(scheduler, asked), marks, queries(scheduler, asked))


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
