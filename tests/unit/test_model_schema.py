"""The examples load without a word, and agree with the JSON Schema that editors use."""

import re
from pathlib import Path
from typing import Any

import pytest

from stacksmith.model.document import read_document
from stacksmith.model.load import LoadOptions, load_fleet, load_stack
from stacksmith.model.schema import json_schema

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
FLEETS = sorted(path.name for path in EXAMPLES.glob("*fleet.yaml"))
STACKS = sorted(path.name for path in EXAMPLES.glob("*.yaml") if path.name not in FLEETS)
KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
# What the checker below knows; a schema with another word must not pass unnoticed.
WORDS = {
    *("type", "properties", "additionalProperties", "items", "anyOf", "$ref", "enum", "const", "pattern", "required"),
    *("minimum", "maximum", "exclusiveMinimum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties"),
    *("propertyNames", "title", "description", "default", "$defs", "$schema"),
}


def faults(value: Any, schema: Any, root: Any, path: str = "") -> list[str]:
    """Where a value breaks a schema; the words of WORDS only."""
    if isinstance(schema, bool):
        return [] if schema else [f"{path}: not allowed"]
    assert schema.keys() <= WORDS, schema.keys() - WORDS
    if "$ref" in schema:
        return faults(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root, path)
    found = _own(value, schema, path)
    if "anyOf" in schema:
        choices = [faults(value, choice, root, path) for choice in schema["anyOf"]]
        found += [] if any(not choice for choice in choices) else min(choices, key=len)
    if isinstance(value, dict):
        found += [f"{path}.{key}: missing" for key in schema.get("required", ()) if key not in value]
        others = schema.get("additionalProperties", True)
        for key, item in value.items():
            found += faults(item, schema.get("properties", {}).get(key, others), root, f"{path}.{key}")
            found += faults(key, schema.get("propertyNames", True), root, f"{path}.{key}")
    if isinstance(value, list):
        for number, item in enumerate(value):
            found += faults(item, schema.get("items", True), root, f"{path}[{number}]")
    return found


def _own(value: Any, schema: Any, path: str) -> list[str]:
    names = schema.get("type", ())
    kinds = [kind for name in ([names] if isinstance(names, str) else names) for kind in KINDS[name]]
    is_bool = isinstance(value, bool)
    if kinds and not (bool in kinds if is_bool else isinstance(value, tuple(kinds))):
        return [f"{path}: {value!r} is not {names}"]
    broken = [
        "enum" in schema and value not in schema["enum"],
        "const" in schema and value != schema["const"],
        isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value),
        isinstance(value, str) and not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10**9),
        isinstance(value, int | float) and not schema.get("minimum", value) <= value <= schema.get("maximum", value),
        isinstance(value, int | float) and "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"],
    ]
    return [f"{path}: {value!r} breaks {schema}"] if any(broken) else []


@pytest.mark.parametrize("name", STACKS)
def test_load_example_without_diagnostics(name: str) -> None:
    loaded = load_stack(EXAMPLES / name, LoadOptions())
    assert loaded.diagnostics == ()
    assert loaded.stack is not None
    assert any(address.kind == "server" for address in loaded.stack.resources)


@pytest.mark.parametrize("name", [*STACKS, "shared/flavors.yaml", "shared/network.yaml"])
def test_json_schema_accepts_example(name: str) -> None:
    schema = json_schema("stack")
    assert faults(read_document((EXAMPLES / name).read_bytes(), name).data, schema, schema) == []


@pytest.mark.parametrize("name", FLEETS)
def test_json_schema_accepts_fleet(name: str) -> None:
    schema = json_schema("fleet")
    assert faults(read_document((EXAMPLES / name).read_bytes(), "f").data, schema, schema) == []
    assert load_fleet(EXAMPLES / name, LoadOptions())[1] == ()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("servers: {a: {flavor: f, flavour: x}}", ".servers.a.flavour"),
        ("servers: {a: {flavor: 5}}", ".servers.a.flavor"),
        ("servers: {a: {flavor: x, count: two}}", ".servers.a.count"),
        ("flavors: {a: {vcpus: 1, ram: 8 gigs}}", ".flavors.a.ram"),
        ("flavors: {a: {ram: 8}}", ".flavors.a.vcpus"),
        ("networks: {a: {mode: open}}", ".networks.a.mode"),
        ("variables: {a: {type: int}}", ".variables.a.type"),
        ("variables: {1a: {}}", ".variables.1a"),
        ("stack: Shop", ".stack"),
        ("serverz: {}", ".serverz"),
    ],
)
def test_json_schema_refuses_mistake_at_its_place(text: str, place: str) -> None:
    schema = json_schema("stack")
    found = faults(read_document(text.encode(), "f").data, schema, schema)
    assert found and all(fault.startswith(place) for fault in found), found
