"""Texts that reach hosts, plans and the state: no control characters, no value of a sensitive variable."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from stacksmith.model.check.reporter import Reporter
from stacksmith.model.document import DataPath
from stacksmith.model.kinds.flavor import FlavorSpec
from stacksmith.model.kinds.image import ImageSpec
from stacksmith.model.kinds.keypair import KeypairSpec
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.stack import Resource, Stack

# XML has no place for most of them, libvirt writes some into other programs' files, and terminals obey them.
_CONTROL: Final = "[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]"
_LINES: Final = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]"

# What is in no plan, no state and on no host but the guest's own drive: neither is checked for secrets.
_UNSHOWN: Final = {"user_data": True, "source": True, "kernel": {"source"}, "ramdisk": {"source"}}

Text = tuple[DataPath, str, bool]


def check_texts(stack: Stack, reporter: Reporter) -> None:
    """Checks every text that no other rule narrows."""
    for resource in stack.resources.values():
        for path, text, is_long in _texts(resource):
            control = None if text.isprintable() else re.search(_LINES if is_long else _CONTROL, text)
            if control is not None:
                cause = f"character U+{ord(control[0]):04X} is not allowed in it"
                reporter.fault("bad-text", resource, path, cause)
    if reporter.findings.has_secrets:
        for resource in stack.resources.values():
            _check_secrets(resource, reporter)


def _texts(resource: Resource) -> Iterator[Text]:
    """(path, text, whether it may have several lines) of each."""
    spec = resource.spec
    if isinstance(spec, ServerSpec):
        if spec.description:
            yield ("description",), spec.description, True
        yield from _mapping("metadata", spec.metadata, are_long=True)
        yield from ((("tags", number), tag, False) for number, tag in enumerate(spec.tags))
        entries = enumerate(spec.block_device_mapping)
        yield from ((("block_device_mapping", number, "tag"), entry.tag or "", False) for number, entry in entries)
    elif isinstance(spec, ImageSpec):
        yield from _mapping("properties", spec.properties)
    elif isinstance(spec, KeypairSpec):
        yield ("public_key",), spec.public_key, False
    elif isinstance(spec, FlavorSpec):
        yield from _mapping("extra_specs", spec.extra_specs)


def _mapping(name: str, data: Mapping[str, str], are_long: bool = False) -> Iterator[Text]:
    for key, value in data.items():
        yield (name,), key, False
        yield (name, key), value, are_long


def _check_secrets(resource: Resource, reporter: Reporter) -> None:
    findings = reporter.findings
    data = resource.spec.model_dump(exclude=_UNSHOWN)  # type: ignore[arg-type]
    for path, text in (((), str(resource.address)), *_strings(data, ())):
        if findings.is_secret(text):
            cause = "it holds the value of a sensitive variable, which plans and the state would show"
            reporter.fault("sensitive", resource, path[:1], cause, "only user_data keeps it between you and the guest")
            return


def _strings(data: object, path: DataPath) -> Iterator[tuple[DataPath, str]]:
    if isinstance(data, str):
        yield path, data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from _strings(str(key), (*path, key))
            yield from _strings(value, (*path, key))
    elif isinstance(data, list | tuple):
        for number, value in enumerate(data):
            yield from _strings(value, (*path, number))
