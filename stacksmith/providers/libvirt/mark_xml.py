"""The mark in a domain's or network's ``<metadata>``: owner, policy and applied spec, in a namespace of its own."""

import json
from dataclasses import field
from typing import cast

from lxml import etree

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.model.found import Mark
from stacksmith.model.realised import Policy

URI = "urn:stacksmith:1"
PREFIX = "stacksmith"
_TAG = f"{{{URI}}}"
_BEGUN = f"{_TAG}begun"


@dataclass(frozen=True, slots=True)
class Details:
    """What a server has that libvirt has no place for. Read from here, so that a hand edit is seen as drift.

    ``config_format`` and ``config_digest`` tell what the config drive's file was made of.
    """

    name: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    config_format: str = ""
    config_digest: str = ""


def element(mark: Mark, details: Details | None = None) -> etree._Element:
    """The mark's element. Values are attributes: libvirt may drop text that is only white space."""
    root = etree.Element(
        f"{_TAG}{PREFIX}",
        {"fleet": mark.fleet, "stack": mark.stack, "address": str(mark.address), "uuid": mark.uuid},
        nsmap={PREFIX: URI},
    )
    policy = {"protect": "yes" if mark.policy.protect else "no", "on_destroy": mark.policy.on_destroy}
    etree.SubElement(root, f"{_TAG}policy", policy)
    if mark.applied is not None:
        applied = etree.SubElement(root, f"{_TAG}applied")
        applied.text = json.dumps(mark.applied, sort_keys=True, separators=(",", ":"))
    if details is not None:
        _add_details(root, details)
    return root


def _add_details(root: etree._Element, details: Details) -> None:
    server = etree.SubElement(root, f"{_TAG}server", {"name": details.name})
    if details.config_digest:
        drive = {"format": details.config_format, "digest": details.config_digest}
        etree.SubElement(server, f"{_TAG}config_drive", drive)
    for key, value in sorted(details.metadata.items()):
        etree.SubElement(server, f"{_TAG}metadata", {"key": key, "value": value})
    for tag in details.tags:
        etree.SubElement(server, f"{_TAG}tag", {"name": tag})


def text(mark: Mark, details: Details | None = None) -> str:
    """The mark's element as virDomainSetMetadata takes it: without its namespace, which libvirt puts on every tag."""
    bare = element(mark, details)
    for found in bare.iter():
        found.tag = etree.QName(found).localname
    etree.cleanup_namespaces(bare)
    return etree.tostring(bare, encoding="unicode")


def put(root: etree._Element, mark: Mark, details: Details | None = None) -> None:
    """Sets the mark in the domain or network ``root``, leaving the metadata of others alone."""
    metadata = root.find("metadata")
    if metadata is None:
        metadata = etree.SubElement(root, "metadata")
    for old in metadata.findall(f"{_TAG}{PREFIX}"):
        metadata.remove(old)
    metadata.append(element(mark, details))


def begin(root: etree._Element, mark: Mark) -> None:
    """Sets the mark as of what is begun: it is not whole until the mark is put again."""
    put(root, mark)
    root.findall(f"metadata/{_TAG}{PREFIX}")[0].append(etree.Element(_BEGUN))


def is_begun(root: etree._Element) -> bool:
    """Whether what the mark tells was begun and did not end."""
    return root.find(f"metadata/{_TAG}{PREFIX}/{_BEGUN}") is not None


def read(root: etree._Element) -> tuple[Mark, Details] | None:
    """The mark and details on a domain or network, or None when it has no readable mark of its own.

    A copy (virt-clone) carries the mark of what it was made from, which has another UUID: to us it is unmarked.
    """
    found = root.find(f"metadata/{_TAG}{PREFIX}")
    if found is None or root.findtext("uuid") not in {None, found.get("uuid")}:
        return None
    try:
        address = Address.parse(found.get("address", ""))
        applied = found.findtext(f"{_TAG}applied")
        data = json.loads(applied) if applied else None
    except (ValueError, RecursionError):
        return None  # a mark that was tampered with is no mark
    if not isinstance(data, dict | None):
        return None
    policy = found.find(f"{_TAG}policy")
    mark = Mark(
        fleet=found.get("fleet", ""),
        stack=found.get("stack", ""),
        address=address,
        uuid=found.get("uuid", ""),
        applied=data,
        policy=_policy(policy) if policy is not None else Policy(),
    )
    return mark, _details(found)


def _policy(element: etree._Element) -> Policy:
    return Policy(element.get("protect") == "yes", element.get("on_destroy", "delete"))


def _details(root: etree._Element) -> Details:
    server = root.find(f"{_TAG}server")
    if server is None:
        return Details()
    drive = server.find(f"{_TAG}config_drive")
    metadata = cast("dict[str, str]", {m.get("key", ""): m.get("value", "") for m in server.findall(f"{_TAG}metadata")})
    return Details(
        name=server.get("name", ""),
        metadata=metadata,
        tags=tuple(t.get("name", "") for t in server.findall(f"{_TAG}tag")),
        config_format="" if drive is None else drive.get("format", ""),
        config_digest="" if drive is None else drive.get("digest", ""),
    )
