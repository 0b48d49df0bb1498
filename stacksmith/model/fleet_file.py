"""The fleet file: read, checked, with the places of its images."""

import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from stacksmith.frozen import dataclass
from stacksmith.model.aggregate import check_aggregates, zone_of
from stacksmith.model.check.node import check_nodes, hide_passwords
from stacksmith.model.check.scheduler import check_scheduler
from stacksmith.model.check.state import hide_state_password
from stacksmith.model.check.trait import check_fleet_names
from stacksmith.model.document import DataPath, Document, Node, Places, locate
from stacksmith.model.expand import Block
from stacksmith.model.fileaccess import Folder
from stacksmith.model.findings import Findings, did_you_mean
from stacksmith.model.fleet import Defaults, Fleet, Host
from stacksmith.model.types import JSON
from stacksmith.model.validate import check_shape, found, validate

SCHEMES: Final = (
    "qemu",
    "qemu+unix",
    "qemu+ssh",
    "qemu+tls",
    "qemu+tcp",
    "qemu+libssh",
    "qemu+libssh2",
    "test",
    "memory",
)
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True, slots=True)
class FleetFile:
    """A fleet with where it came from."""

    fleet: Fleet
    path: Path
    folder: Folder
    document: Document | None = None

    def block(self, *path: str) -> Block:
        """The place of a block of the fleet file."""
        document = self.document or Document(str(self.path), {}, 0, "")
        return Block(document, path, ".".join(path))


def check_fleet(document: Document, path: Path, provider: str | None, findings: Findings) -> FleetFile | None:
    """The fleet of a document, None with its faults reported. Raises nothing."""
    where = Block(document, (), "fleet")
    before = findings.error_count
    data = hide_state_password(hide_passwords(document.data, where, findings), where, findings)
    if _has_expressions(data, document.places, where, findings):
        check_shape(Fleet, data, "fleet", where, findings)
        return None
    fleet = validate(Fleet, data, "fleet", where, findings)
    if fleet is None:
        return None
    folder = Folder.of_fleet(path)
    hosts = {}
    for name, host in fleet.hosts.items():
        uri = _uri(host.libvirt, path, fleet.fleet, provider)
        cause, hint = _uri_fault(uri)
        if cause is not None:
            message = f"cannot use fleet.hosts.{name}: {cause}"
            findings.error("bad-host", message, where(("hosts", name, "libvirt")), hint)
        said = {"libvirt": uri, "availability_zone": zone_of(fleet, host)}
        hosts[name] = host.model_copy(update=said) if uri != host.libvirt or host.aggregates else host
    _check_same(fleet, where, findings)
    _check_names(fleet, document, findings)
    check_aggregates(fleet, where, findings)
    _check_storages(fleet, document, findings)
    check_scheduler(fleet, where, findings)
    check_fleet_names(fleet, where, findings)
    check_nodes(fleet.nodes, where, findings)
    if findings.error_count > before:
        return None
    return FleetFile(fleet.model_copy(update={"hosts": hosts}), path, folder, document)


def _has_expressions(data: JSON, places: Node, where: Block, findings: Findings, path: DataPath = ()) -> bool:
    """Whether a value has an expression, each reported: these are a stack's, and would be taken here as they stand."""
    if isinstance(data, str) and "{{" in data:
        message = f"cannot use fleet: {found(data)} is an expression, and a fleet file has no variables"
        hint = "write the value; users and passwords may be references: {env: NAME} or {file: PATH}"
        findings.error("no-expressions", message, where(path), hint)
        return True
    if not isinstance(data, dict | list) or not isinstance(places, Places) or not places.dynamic:
        return False
    parts = data.items() if isinstance(data, dict) else enumerate(data)
    values: Any = places.values
    return any([_has_expressions(value, values[part], where, findings, (*path, part)) for part, value in parts])


def _check_same(fleet: Fleet, where: Block, findings: Findings) -> None:
    """A machine with two names would have all its room, and all that is on it, twice."""
    first: dict[str, str] = {}
    for name, host in fleet.hosts.items():
        if host.libvirt.startswith("memory:") or first.setdefault(host.libvirt, name) == name:
            continue
        place = where(("hosts", first[host.libvirt], "libvirt"))
        message = f"cannot use fleet.hosts.{name}: {first[host.libvirt]} has the same URI"
        notes = ((f"host {first[host.libvirt]}", place),)
        hint = "take one of the two names out"
        findings.error("bad-host", message, where(("hosts", name, "libvirt")), hint, notes=notes)


def _check_names(fleet: Fleet, document: Document, findings: Findings) -> None:
    for section in ("aggregates", "hosts", "nodes", "flavors", "images"):
        for name in getattr(fleet, section):
            if not NAME.fullmatch(name):
                where = document.span(locate(document.places, (section, name), key=True))
                hint = "use up to 63 letters, digits, '_', '.' and '-'"
                findings.error("bad-name", f"cannot use fleet.{section}: {found(name)} is not a name", where, hint)
    for name in sorted(fleet.hosts.keys() & fleet.nodes.keys()):
        where = document.span(locate(document.places, ("nodes", name), key=True))
        findings.error("duplicate-name", f"cannot use fleet.nodes.{name}: a host has this name", where, "rename one")
    if not fleet.hosts and not fleet.nodes:
        where = document.span(document.places)
        hint = "add hosts: {hv1: {libvirt: qemu+ssh://root@hv1/system}}"
        findings.error("missing-key", "cannot use fleet: it has no hosts", where, hint)


def _check_storages(fleet: Fleet, document: Document, findings: Findings) -> None:
    """A storage that no host sees is a misspelt one."""
    known = {each.shared for host in fleet.hosts.values() for each in host.volume_types.values() if each.shared}
    for name in fleet.shared_storages:
        if name not in known:
            where = document.span(locate(document.places, ("shared_storages", name), key=True))
            message = f"cannot use fleet.shared_storages: no host has a volume type with shared: {found(name)}"
            findings.error("unknown-reference", message, where, did_you_mean(name, known, "shared storages"))


def builtin_fleet(path: Path) -> FleetFile:
    """Three hosts of the memory provider, so that a stack can be tried before there is a fleet."""
    uri = _uri("memory://", path, "memory", "memory")
    hosts = {f"hv{number}": Host(libvirt=uri) for number in (1, 2, 3)}
    fleet = Fleet(fleet="memory", state=None, defaults=Defaults(), hosts=hosts)
    return FleetFile(fleet, path, Folder.of_fleet(path))


def _uri(uri: str, path: Path, fleet: str, provider: str | None) -> str:
    """The URI with a memory world's file made absolute; every host's is one with provider ``memory``."""
    world = path.parent.absolute() / ".stacksmith" / f"{fleet}.world.json"
    if provider == "memory" and not uri.startswith("memory:"):
        return f"memory://{quote(str(world))}"
    if not uri.startswith("memory://"):
        return uri
    try:
        parts = urlsplit(uri)
    except ValueError:
        return uri  # refused in words by the check that follows
    name = unquote(parts.netloc + parts.path)
    query = f"?{parts.query}" if parts.query else ""
    return f"memory://{quote(str(path.parent.absolute() / name if name else world))}{query}"


def _uri_fault(uri: str) -> tuple[str | None, str | None]:
    """Why a URI is refused, and a hint; a URI may name a program to run, or mean this very machine."""
    hint = "as qemu+ssh://root@hv1.example/system, or qemu:///system for this machine"
    try:
        parts = urlsplit(uri)
        # libvirt takes names in any case, and ; between them as well as &
        names = {name.lower() for name, _ in parse_qsl(parts.query.replace(";", "&"), keep_blank_values=True)}
        host = parts.hostname or ""
    except ValueError as fault:
        return f"{found(uri)} is not a URI: {fault}", hint
    if not uri.strip():
        return "the URI is empty, which would mean this machine", hint
    if parts.scheme not in SCHEMES:
        return f"scheme {found(parts.scheme)} is not one of {', '.join(SCHEMES)}", hint
    if parts.scheme == "test" and (parts.netloc or parts.path != "/default"):
        return (
            "libvirt's test driver would read a file of this machine, and show it in its errors",
            "use test:///default",
        )
    if "command" in names:
        return "a URI with command= runs a program of its choice", "take command= out"
    if host.startswith("-") or (parts.username or "").startswith("-"):
        return f"{found(uri)} has a host or user that starts with '-'", hint
    if any(character.isspace() or ord(character) < 32 for character in uri):
        return f"{found(uri)} has blanks", hint
    return None, None
