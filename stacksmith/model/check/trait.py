"""Names of traits and resource classes in a fleet file and in what stacks ask: standard ones, or somebody's own."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from stacksmith.model.check.reporter import Reporter
from stacksmith.model.document import DataPath
from stacksmith.model.findings import Findings
from stacksmith.model.fleet import Fleet
from stacksmith.model.kinds.flavor import FlavorSpec
from stacksmith.model.kinds.image import ImageSpec
from stacksmith.model.stack import Stack, Where
from stacksmith.model.standard import is_class, is_trait, nearest, standard_classes, standard_traits
from stacksmith.model.validate import found

_TRAIT: Final = re.compile("trait(?:_[A-Za-z0-9_-]+|[0-9]*):([A-Z0-9_]+)")


def check_fleet_names(fleet: Fleet, where: Where, findings: Findings) -> None:
    """Warns of traits that are neither standard nor somebody's own, and reports such classes: nothing reads them."""
    for path, trait in _fleet_traits(fleet):
        if not is_trait(trait):
            at = where(path, key=path[-1] == f"trait:{trait}")
            findings.warning("unknown-trait", f"fleet.{_dotted(path)}: {_said(trait)}", at, _hint(trait))
    for path, name in _fleet_classes(fleet):
        if not is_class(name):
            message = f"cannot use fleet.{_dotted(path[:-1])}: there is no resource class {found(name)}"
            findings.error("unknown-class", message, where(path, key=True), nearest(name, standard_classes(), "class"))


def check_traits(stack: Stack, reporter: Reporter) -> None:
    """Warns of traits that flavors and images ask for and no host can have."""
    for resource in stack.resources.values():
        spec = resource.spec
        if isinstance(spec, FlavorSpec):
            asked: tuple[str, Mapping[str, str]] = ("extra_specs", spec.extra_specs)
        elif isinstance(spec, ImageSpec):
            asked = ("properties", spec.properties)
        else:
            continue
        for key in asked[1]:
            match = _TRAIT.fullmatch(key)
            if match is not None and not is_trait(match[1]):
                reporter.warning("unknown-trait", resource, (asked[0], key), _said(match[1]), _hint(match[1]))


def _said(trait: str) -> str:
    return f"{found(trait)} is no standard trait"


def _hint(trait: str) -> str:
    return nearest(trait, standard_traits(), "trait")


def _fleet_traits(fleet: Fleet) -> Iterator[tuple[DataPath, str]]:
    for name, host in fleet.hosts.items():
        yield from _listed(("hosts", name, "traits"), host.traits)
        for number, spec in enumerate(host.pci):
            yield from _listed(("hosts", name, "pci", number, "traits"), spec.traits)
    for name, alias in fleet.pci_aliases.items():
        yield from _listed(("pci_aliases", name, "traits"), alias.traits)
    for name, node in fleet.nodes.items():
        yield from _listed(("nodes", name, "traits"), node.traits)
    for name, aggregate in fleet.aggregates.items():
        for key in aggregate.metadata:
            if key.startswith("trait:"):
                yield ("aggregates", name, "metadata", key), key.removeprefix("trait:")


def _listed(path: DataPath, traits: Iterable[str]) -> Iterator[tuple[DataPath, str]]:
    for number, trait in enumerate(traits):
        yield (*path, number), trait


def _fleet_classes(fleet: Fleet) -> Iterator[tuple[DataPath, str]]:
    for option in ("allocation_ratios", "reserved"):
        for name in getattr(fleet.defaults, option):
            yield ("defaults", option, name), name
        for host_name, host in fleet.hosts.items():
            for name in getattr(host, option):
                yield ("hosts", host_name, option, name), name


def _dotted(path: DataPath) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
