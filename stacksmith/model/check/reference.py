"""Names that blocks use must be names of blocks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Final

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.model.check.hint import check_hints
from stacksmith.model.check.reporter import Reporter
from stacksmith.model.document import DataPath
from stacksmith.model.findings import Findings, did_you_mean
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.kinds.volume import VolumeSpec
from stacksmith.model.stack import Resource, Stack, Unread
from stacksmith.model.types import JSON
from stacksmith.model.validate import found
from stacksmith.source import Span

_EACH: Final = "*"
# What the values at a path name, for blocks that have no spec.
_NAMING: Final[Mapping[str, Mapping[tuple[str, ...], str]]] = {
    "server": {
        ("flavor",): "flavor",
        ("image",): "image",
        ("keypair",): "keypair",
        ("group",): "server_group",
        ("host",): "host",
        ("networks", _EACH, "network"): "network",
        ("block_device_mapping", _EACH, "image"): "image",
    },
    "volume": {("image",): "image", ("host",): "host"},
}
_VOLUME: Final = ("block_device_mapping", _EACH, "volume")

Owner = Resource | Unread


@dataclass(slots=True)
class _Names:
    """What can be referred to."""

    stack: Stack
    findings: Findings
    by_kind: dict[str, set[str]]
    instances: dict[Address, tuple[Address, ...]]  # of each block
    depends: dict[str, tuple[Address, ...] | None] = field(default_factory=dict)

    def check(self, kind: str, name: str | None, resource: Owner, path: tuple[str | int, ...]) -> None:
        """Reports a name that no block has."""
        known = self.by_kind.get(kind, set())
        if name is None or name in known:
            return
        what = kind.replace("_", " ")
        message = f"cannot use {resource.address}: there is no {what} {found(name)}"
        hint = None if self.findings.is_full else did_you_mean(name, known, f"{what}s")
        self.findings.error("unknown-reference", message, resource.where(path), hint, resource.address)


def resolve_references(
    stack: Stack, declared: Mapping[Address, Span], unread: Sequence[Unread], findings: Findings
) -> Stack:
    """The stack with ``depends_on`` resolved; names that lead nowhere are reported, those of ``unread`` too."""
    names = _names(stack, declared, findings)
    check_hints(stack, names.instances, Reporter(findings))
    resolved = {}
    for address, resource in stack.resources.items():
        spec = resource.spec
        if isinstance(spec, ServerSpec):
            _server(spec, resource, names)
        elif isinstance(spec, VolumeSpec):
            names.check("image", spec.image, resource, ("image",))
            names.check("host", spec.host, resource, ("host",))
        if isinstance(spec, ServerSpec | VolumeSpec) and spec.depends_on:
            resource = replace(resource, depends_on=_depends_on(dict(enumerate(spec.depends_on)), resource, names))  # noqa: PLW2901
        resolved[address] = resource
    for each in unread:
        _check_unread(each, names)
    return replace(stack, resources=resolved)


def _names(stack: Stack, declared: Mapping[Address, Span], findings: Findings) -> _Names:
    by_kind: dict[str, set[str]] = {"flavor": set(stack.flavors), "image": set(stack.images)}
    by_kind["host"] = {*stack.fleet.hosts, *stack.fleet.nodes}
    for address in declared:
        by_kind.setdefault(address.kind, set()).add(address.name)
    grouped: dict[Address, list[Address]] = {address: [] for address in declared}
    for address in stack.resources:
        grouped[address.block].append(address)
    return _Names(stack, findings, by_kind, {block: tuple(found) for block, found in grouped.items()})


def _server(spec: ServerSpec, resource: Resource, names: _Names) -> None:
    names.check("flavor", spec.flavor, resource, ("flavor",))
    names.check("image", spec.image, resource, ("image",))
    names.check("keypair", spec.keypair, resource, ("keypair",))
    names.check("server_group", spec.group, resource, _hinted(spec, "group"))
    names.check("host", spec.host, resource, _hinted(spec, "host"))
    for number, nic in enumerate(spec.networks):
        names.check("network", nic.network, resource, ("networks", number, "network"))
    for number, entry in enumerate(spec.block_device_mapping):
        path = ("block_device_mapping", number)
        names.check("image", entry.image, resource, (*path, "image"))
        if entry.volume is not None:
            _volume(entry.volume, resource, (*path, "volume"), names)


def _check_unread(each: Unread, names: _Names) -> None:
    """A block with other faults: what it names where it names something."""
    for path, kind in _NAMING.get(each.address.kind, {}).items():
        for place, text in _texts(each.data, path):
            names.check(kind, text, each, place)
    if each.address.kind in ("server", "volume"):
        for place, text in _texts(each.data, ("depends_on", _EACH)):
            _depends_on({int(place[-1]): text}, each, names)
    if each.address.kind == "server":
        for place, text in _texts(each.data, _VOLUME):
            _volume(text, each, place, names)


def _texts(data: JSON, path: Sequence[str], place: DataPath = ()) -> Iterator[tuple[DataPath, str]]:
    """The texts at a path, each with its own; those with expressions are left out."""
    if not path:
        if isinstance(data, str) and "{{" not in data:
            yield place, data
    elif path[0] == _EACH and isinstance(data, list):
        for number, entry in enumerate(data):
            yield from _texts(entry, path[1:], (*place, number))
    elif isinstance(data, dict) and path[0] in data:
        yield from _texts(data[path[0]], path[1:], (*place, path[0]))


def _hinted(spec: ServerSpec, name: str) -> tuple[str, ...]:
    """Where the name stands: a hint may say it."""
    return ("scheduler_hints", name) if getattr(spec.scheduler_hints, name, None) else (name,)


def _volume(text: str, resource: Owner, path: tuple[str | int, ...], names: _Names) -> None:
    """``data``, ``data[0]`` or ``data["eu"]``: one volume, not a block of several."""
    try:
        address = Address.parse(f"volume.{text}")
    except ValueError:
        address = Address("volume", text)
    if address in names.stack.resources:
        return
    several = [str(a).removeprefix("volume.") for a in names.instances.get(address.block, ())]
    if address.block in names.instances and not several:
        return  # the volume's block has its own fault, or none of it is made: count 0 is said below
    choices = several or [a for known in names.instances if known.kind == "volume" for a in [known.name]]
    message = f"cannot use {resource.address}: there is no volume {found(text)}"
    hint = did_you_mean(text, choices, "volumes")
    names.findings.error("unknown-reference", message, resource.where(path), hint, resource.address)


def _depends_on(texts: Mapping[int, str], resource: Owner, names: _Names) -> tuple[Address, ...]:
    addresses: dict[Address, None] = {}
    for number, text in texts.items():
        if text not in names.depends:
            names.depends[text] = _instances(text, names)
        known = names.depends[text]
        if known is None:
            message = f"cannot use {resource.address}: there is no {found(text)}"
            hint = did_you_mean(text, [str(a) for a in names.instances], "addresses")
            where = resource.where(("depends_on", number))
            names.findings.error("unknown-reference", message, where, hint, resource.address)
            continue
        addresses.update(dict.fromkeys(known))
    return tuple(addresses)


def _instances(text: str, names: _Names) -> tuple[Address, ...] | None:
    try:
        address = Address.parse(text)
    except ValueError:
        return None
    if address in names.stack.resources:
        return (address,)
    return names.instances.get(address)
