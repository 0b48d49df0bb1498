"""Names of storage volumes read back: which stack, resource and part a file belongs to."""

from collections.abc import Iterator
from functools import lru_cache

from stacksmith.address import Address, identity
from stacksmith.frozen import dataclass
from stacksmith.model.naming import PREFIX

GENERATIONS = 10  # how often a resource is looked for as replaced

_IMAGE = f"{PREFIX}.image."
_ALGORITHMS = {64: "sha256", 128: "sha512"}
_CONFIG = "config-"


@dataclass(frozen=True, slots=True)
class Part:
    """A file ``ss.<stack>.<label>.<part>.<id8>.<extension>``. part: ``vol``, a device, or ``config-<sha16>``."""

    stack: str
    label: str
    part: str
    id8: str
    extension: str

    @property
    def is_volume(self) -> bool:
        return self.part == "vol"

    @property
    def config_digest(self) -> str | None:
        """The first 16 digits of a config drive's digest."""
        return self.part.removeprefix(_CONFIG) if self.part.startswith(_CONFIG) else None


def read_part(name: str) -> Part | None:
    """The part that ``name`` names, or None when it is no name of ours."""
    if not name.startswith(PREFIX) or name.startswith(_IMAGE):
        return None
    stack, _, rest = name.removeprefix(PREFIX).partition(".")
    fields = rest.rsplit(".", 3)
    if not stack or len(fields) != 4 or len(fields[2]) != 8:
        return None
    return Part(stack, *fields)


def read_image(name: str) -> tuple[str, str] | None:
    """(checksum, role) of an image file's name, or None; markers beside it are no image files."""
    digest, dot, role = name.removeprefix(_IMAGE).partition(".")
    if not name.startswith(_IMAGE) or not dot or "." in role or len(digest) not in _ALGORITHMS:
        return None
    return f"{_ALGORITHMS[len(digest)]}:{digest}", role


def claim_name(file: str, fleet: str, stack: str) -> str:
    """The tiny volume that says: this stack is uploading ``file``. Only a run of that stack removes it in peace."""
    return f"{file}.by.{fleet}.{stack}"


def going_name(file: str) -> str:
    """The tiny volume that says: the file is whole, and is being removed: its marker goes first."""
    return f"{file}.going"


def origin_name(stack: str, id8: str, checksum: str) -> str:
    """The tiny volume that says: the volume is a whole copy of the image: ``ss.shop..from.<id8>.<digest>``."""
    return f"{PREFIX}{stack}..from.{id8}.{checksum.partition(':')[2]}"


def begun_name(stack: str, id8: str) -> str:
    """The tiny volume that says: a copy of an image into the volume was begun: ``ss.shop..begun.<id8>``."""
    return f"{PREFIX}{stack}..begun.{id8}"


def moving_name(stack: str, id8: str) -> str:
    """The tiny volume that says: a server brings the volume here, or has: ``ss.shop..moving.<id8>``."""
    return f"{PREFIX}{stack}..moving.{id8}"


def read_origin(name: str) -> tuple[str, str, str] | None:
    """(stack, id8, checksum) of an origin's name, or None."""
    stack, mark, rest = name.removeprefix(PREFIX).partition("..from.")
    id8, _, digest = rest.partition(".")
    if not name.startswith(PREFIX) or not mark or len(digest) not in _ALGORITHMS:
        return None
    return stack, id8, f"{_ALGORITHMS[len(digest)]}:{digest}"


@lru_cache(maxsize=16384)
def resource(fleet: str, stack: str, kind: str, label: str, id8: str) -> tuple[Address, str] | None:
    """The address and uuid whose label and first eight digits of identity these are, or None.

    A label does not say where the name ends and the key begins (``db-0``); the identity does.
    """
    for generation in range(GENERATIONS):
        for address in _candidates(kind, label):
            uuid = identity(fleet, stack, address, generation)
            if uuid.startswith(id8):
                return address, uuid
    return None


def _candidates(kind: str, label: str) -> Iterator[Address]:
    yield Address(kind, label)
    for place, letter in enumerate(label):
        if letter == "-" and 0 < place < len(label) - 1:
            name, key = label[:place], label[place + 1 :]
            if key.isdigit() and str(int(key)) == key:
                yield Address(kind, name, int(key))
            yield Address(kind, name, key)
