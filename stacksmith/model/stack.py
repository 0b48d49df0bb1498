"""The stack as loaded: what is wanted, before placement."""

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Protocol

from stacksmith.address import Address
from stacksmith.diagnostics import Diagnostic
from stacksmith.frozen import dataclass
from stacksmith.model.fleet import Fleet
from stacksmith.model.kinds.flavor import FlavorSpec
from stacksmith.model.kinds.image import ImageSpec
from stacksmith.model.kinds.keypair import KeypairSpec
from stacksmith.model.kinds.network import NetworkSpec
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.kinds.server_group import ServerGroupSpec
from stacksmith.model.kinds.volume import VolumeSpec
from stacksmith.model.types import JSON
from stacksmith.source import Span

AnySpec = FlavorSpec | ImageSpec | KeypairSpec | NetworkSpec | ServerGroupSpec | ServerSpec | VolumeSpec


class Where(Protocol):
    """Answers where in the source a value of one block is."""

    def __call__(self, path: tuple[str | int, ...] = (), *, key: bool = False) -> Span | None:
        """The span of the value at ``path`` inside the block (of the nearest parent that exists), or of its key."""


@dataclass(frozen=True, slots=True)
class ImageFileSource:
    """Bytes of an image: a verified checksum (``sha256:…``) and where to get them."""

    checksum: str
    source: str  # absolute path, or http(s) URL
    format: str = "raw"


@dataclass(frozen=True, slots=True)
class Resource:
    """One block of the stack, after count and for_each. ``spec`` has every expression evaluated.

    index is the place in ``count`` (0 otherwise). ``user_data`` is loaded text, a secret: never stored or shown.
    """

    address: Address
    spec: AnySpec
    where: Where
    index: int = 0
    depends_on: tuple[Address, ...] = ()
    user_data: str | None = None


@dataclass(frozen=True, slots=True)
class Unread:
    """A block, or an instance of it, that has no spec for its own faults; its ``data`` may hold expressions."""

    address: Address
    data: JSON
    where: Where


@dataclass(frozen=True, slots=True)
class Stack:
    """A loaded stack with its fleet. Every reference is known to resolve; blocks are in order of address.

    ``image_files`` holds the files of every image, by image name and role (disk, kernel, ramdisk).
    ``outputs`` are evaluated by ``model.load.evaluate_outputs`` once servers are known.
    """

    name: str
    path: Path
    fleet: Fleet
    fleet_path: Path
    resources: Mapping[Address, Resource]
    flavors: Mapping[str, FlavorSpec]
    images: Mapping[str, ImageSpec]
    image_files: Mapping[str, Mapping[str, ImageFileSource]]
    keypairs: Mapping[str, KeypairSpec] = field(default_factory=dict)
    server_groups: Mapping[str, ServerGroupSpec] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, object] = field(default_factory=dict)
    strategy: str = "spread"
    strategy_place: Span | None = None
    placement_time_limit_seconds: int = 60
    output_places: Mapping[str, Span] = field(default_factory=dict)
    unrolled: Mapping[str, JSON] = field(default_factory=dict)  # servers with count or for_each by name: [] or {}
    secrets: frozenset[str] = field(default=frozenset(), repr=False)  # values of sensitive variables
    state_place: Span | None = None  # of the fleet's state
    host_places: Mapping[str, Span] = field(default_factory=dict)  # of their URIs, by name


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load gives: a stack unless there are errors, and every fault and warning of all files."""

    stack: Stack | None
    diagnostics: tuple[Diagnostic, ...] = ()
