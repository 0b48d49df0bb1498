"""The registry of BIOS attributes: what each takes (DSP8010, AttributeRegistry)."""

from collections.abc import Mapping
from typing import Final

from stacksmith.model.bios import PASSWORD_CAUSE
from stacksmith.model.near import meant
from stacksmith.model.types import JSON
from stacksmith.providers.base import Deadline, Gone
from stacksmith.providers.redfish import reading
from stacksmith.providers.redfish.reading import Page
from stacksmith.providers.redfish.tree import Tree

REGISTRIES: Final = "/redfish/v1/Registries"
TYPES: Final = {"Enumeration": (str,), "String": (str,), "Integer": (int,), "Boolean": (bool,)}
SHOWN: Final = 12  # values of an enumeration


def entries(tree: Tree, bios: Page, deadline: Deadline) -> Mapping[str, Page]:
    """The entries of a BIOS's registry by attribute; empty when the BMC has no such registry."""
    name = reading.told(bios, "AttributeRegistry")
    if name is None:
        return {}
    if name not in tree.registries:
        path = _file(tree, name, deadline)
        tree.registries[name] = tree.get(path, deadline) if path else {}
    listed = reading.inside(tree.registries[name], "RegistryEntries").get("Attributes")
    known = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return {str(entry.get("AttributeName")): entry for entry in known}


def _file(tree: Tree, name: str, deadline: Deadline) -> str | None:
    """Where the registry itself is: the English one, else the first. BMCs spell its name with and without a version."""
    try:
        paths = reading.links(tree.get(REGISTRIES, deadline))
        alike = [path for path in paths if path.rpartition("/")[2] in (name, name.partition(".")[0])]
        page = tree.get(alike[0], deadline) if alike else {}
    except Gone:
        return None
    locations = page.get("Location")
    files = {
        str(entry.get("Language") or "en"): str(entry["Uri"])
        for entry in (locations if isinstance(locations, list) else ())
        if isinstance(entry, dict) and entry.get("Uri")
    }
    return files.get("en") or next(iter(files.values()), None)


def fault(known: Mapping[str, Page], name: str, value: JSON) -> str | None:
    """Why the registry does not take a value for an attribute."""
    if name not in known:
        return ": ".join(filter(None, ("there is no such attribute", meant(name, known))))
    entry = known[name]
    if entry.get("ReadOnly") or entry.get("Immutable"):
        return "it is read-only"
    kind = str(entry.get("Type"))
    if kind == "Password":
        return PASSWORD_CAUSE
    types = TYPES.get(kind)
    if types is not None and type(value) not in types:
        return f"{value!r} is no {kind.lower()}"
    if kind == "Enumeration":
        return _unlisted(entry, value)
    return _out_of_bounds(entry, value)


def _unlisted(entry: Page, value: JSON) -> str | None:
    listed = entry.get("Value")
    values = (
        [str(each.get("ValueName")) for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    )
    if not values or value in values:
        return None
    more = ", …" if len(values) > SHOWN else ""
    return f"{value!r} is none of its values: {', '.join(values[:SHOWN])}{more}"


def _out_of_bounds(entry: Page, value: JSON) -> str | None:
    """Bounds of a number, or of the length of a text."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    size, names = (
        (len(value), ("MinLength", "MaxLength")) if isinstance(value, str) else (value, ("LowerBound", "UpperBound"))
    )
    least, most = (entry.get(name) for name in names)
    subject = f"{value!r} has {size} characters" if isinstance(value, str) else f"{value} is not possible"
    if isinstance(least, int) and size < least:
        return f"{subject}: {least} is the least"
    if isinstance(most, int) and size > most:
        return f"{subject}: {most} is the most"
    return None
