"""JSON Schema of stack and fleet files, for completion and checks in editors."""

from typing import Any, Final, Literal

from pydantic.json_schema import models_json_schema

from stacksmith.model.assemble import EXPANDED, KINDS, STRATEGIES, TIME_LIMIT_SECONDS
from stacksmith.model.fleet import Fleet
from stacksmith.model.gather import STACK_NAME, TIME_LIMIT, IncludeSpec
from stacksmith.model.spec import Spec
from stacksmith.model.types import JSON
from stacksmith.model.variable import NAME as VARIABLE_NAME
from stacksmith.model.variable import VariableSpec

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
EXPRESSION: Final = {"$ref": "#/$defs/Expression"}
_EXPRESSION: Final = {"type": "string", "pattern": r"\{\{", "description": "An expression, as {{ var.name }}"}
SIZES: Final = {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*([KMGT]i?B|B)\s*$", "description": "As 8 GiB"}
_SIZE_FIELDS: Final = frozenset(
    {"ram", "disk", "ephemeral", "swap", "max_ram", "size", "min_disk", "min_ram", "min_size"}
)
_DESCRIPTIONS: Final = {
    "variables": "Values that the command line, files or the environment may give",
    "include": "Files to bring in, each with variables of its own",
    "outputs": "Values to print after an apply, as {{ server.web | map(attribute='fixed_ip') | list }}",
    "flavors": "Sizes of servers",
    "images": "What servers start from",
    "keypairs": "Public keys that guests let in",
    "networks": "Networks, made on every host that has a server on them",
    "server_groups": "Which servers must, or must not, share a host",
    "volumes": "Disks with a life of their own",
    "servers": "Servers",
}


def json_schema(kind: Literal["stack", "fleet"]) -> dict[str, JSON]:
    """The schema (draft 2020-12) of a stack or fleet file. In a stack every value may be an expression instead."""
    if kind == "fleet":
        schema = Fleet.model_json_schema(mode="validation")
        _allow_sizes(schema)
        return {"$schema": DIALECT, "title": "stacksmith fleet", **{k: v for k, v in schema.items() if k != "title"}}
    models: list[type[Spec]] = [VariableSpec, IncludeSpec, *(model for _, model in KINDS.values())]
    names, definitions = models_json_schema([(model, "validation") for model in models])
    defs = definitions["$defs"]
    _allow_sizes(defs)
    for name, definition in defs.items():
        if name != VariableSpec.__name__:
            _allow_expressions(definition)
    references = {model: names[model, "validation"] for model in models}
    for kind_name, model in KINDS.values():
        if kind_name in EXPANDED:
            defs[references[model]["$ref"].rpartition("/")[2]]["properties"] |= _expansion()
    return {
        "$schema": DIALECT,
        "title": "stacksmith stack",
        "type": "object",
        "properties": _top(references),
        "additionalProperties": False,
        "$defs": defs | {"Expression": _EXPRESSION},
    }


def _top(references: dict[type[Spec], JSON]) -> dict[str, JSON]:
    """The keys of a stack file."""
    include = {"anyOf": [{"type": "string"}, references[IncludeSpec]]}
    sections = {section: _named(references[model], section) for section, (_, model) in KINDS.items()}
    variables = _named(references[VariableSpec], "variables")
    variables["propertyNames"] = {"pattern": f"^{VARIABLE_NAME.pattern}$"}
    return {
        "stack": {"description": "The stack's name", "anyOf": [_text(STACK_NAME.pattern), EXPRESSION]},
        "fleet": {"type": "string", "description": "Path of the fleet file; --fleet overrides it"},
        "strategy": {
            "enum": list(STRATEGIES),
            "description": "Which hosts are filled first: emptiest or fullest; optimal opens the fewest empty ones",
            "default": "spread",
        },
        TIME_LIMIT: {
            "description": "How long the solver of the strategy optimal may take",
            "anyOf": [{"type": "integer", "minimum": 1, "maximum": 3600}, EXPRESSION],
            "default": TIME_LIMIT_SECONDS,
        },
        "description": {"type": "string"},
        "variables": variables,
        "include": {"type": "array", "items": include, "description": _DESCRIPTIONS["include"]},
        **sections,
        "outputs": {
            "type": ["object", "null"],
            "additionalProperties": {"type": "string"},
            "description": _DESCRIPTIONS["outputs"],
        },
    }


def _text(pattern: str) -> dict[str, JSON]:
    return {"type": "string", "pattern": f"^{pattern}$"}


def _named(reference: JSON, section: str) -> dict[str, JSON]:
    return {"type": ["object", "null"], "additionalProperties": reference, "description": _DESCRIPTIONS[section]}


def _expansion() -> dict[str, JSON]:
    """The keys that make several of a block."""
    texts = {"type": "array", "items": {"type": "string"}}
    return {
        "count": {
            "description": "How many; addresses are NAME[0], NAME[1], …, and index is the number",
            "anyOf": [{"type": "integer", "minimum": 0}, EXPRESSION],
        },
        "for_each": {
            "description": 'One for each text or key; addresses are NAME["key"], with each.key and each.value',
            "anyOf": [texts, {"type": "object"}, EXPRESSION],
        },
    }


def _allow_sizes(schema: Any) -> None:
    """Lets fields of sizes be text with a unit, everywhere below."""
    if isinstance(schema, list):
        for item in schema:
            _allow_sizes(item)
    if not isinstance(schema, dict):
        return
    for limit, word in (("ge", "minimum"), ("le", "maximum")):  # pydantic leaves these in optional fields
        if isinstance(schema.get(limit), int):
            schema[word] = schema.pop(limit)
    for name, field in (schema.get("properties") or {}).items():
        if name in _SIZE_FIELDS:
            _add_choice(field, SIZES)
    for item in schema.values():
        _allow_sizes(item)


def _allow_expressions(schema: JSON) -> None:
    """Lets every value below be an expression."""
    for name, field in schema.get("properties", {}).items():
        schema["properties"][name] = _with_expression(field)


def _with_expression(field: JSON) -> JSON:
    for inner in ("items", "additionalProperties"):
        if isinstance(field.get(inner), dict):
            field[inner] = _with_expression(field[inner])
    for choice in field.get("anyOf", ()):
        for inner in ("items", "additionalProperties"):
            if isinstance(choice.get(inner), dict):
                choice[inner] = _with_expression(choice[inner])
    _add_choice(field, EXPRESSION)
    return field


def _add_choice(field: dict[str, JSON], choice: JSON) -> None:
    """Makes ``field`` an anyOf of what it was and ``choice``; what describes it stays outside."""
    if "anyOf" in field:
        field["anyOf"].append(choice)
        return
    outside = {"title", "description", "default"}
    inside = {key: field.pop(key) for key in list(field) if key not in outside}
    if inside:
        field["anyOf"] = [inside, choice]
