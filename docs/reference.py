"""Writes docs/reference.md from the code: every key, command, exit status and error. `--check` only compares."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from stacksmith.cli.app import program
from stacksmith.model.assemble import EXPANDED, KINDS
from stacksmith.model.codes import CODES
from stacksmith.model.deploy import DeploySpec, NodeDeploySpec
from stacksmith.model.fleet import Aggregate, Defaults, Fleet, Host, PciAlias, PciSpec, SharedStorage, VolumeType
from stacksmith.model.gather import IncludeSpec
from stacksmith.model.kinds.bare_metal import BareMetalSpec, FirmwareSpec, RaidSpec
from stacksmith.model.kinds.flavor import FlavorSpec
from stacksmith.model.kinds.image import FileSpec, ImageSpec
from stacksmith.model.kinds.keypair import KeypairSpec
from stacksmith.model.kinds.network import DnsSpec, NetworkSpec, RangeSpec, SubnetSpec
from stacksmith.model.kinds.server import BdmSpec, HintsSpec, NicSpec, ServerSpec, UserDataSpec, WaitForSpec
from stacksmith.model.kinds.server_group import ServerGroupSpec
from stacksmith.model.kinds.volume import VolumeSpec
from stacksmith.model.node import Node, RootDeviceHints, SecretRef
from stacksmith.model.scheduler import SchedulerSpec
from stacksmith.model.schema import EXPRESSION, json_schema
from stacksmith.model.state import StateSpec
from stacksmith.model.variable import VariableSpec

TARGET = Path(__file__).with_name("reference.md")
STACK_WORDS = """\
A stack is given as the last argument (`stacksmith plan stacks/shop`), by `--stack`, or it is the folder you are in.
A command that also takes a name, as `output`, `show` and `placement explain`, takes both, and what is written as a
path is the stack: `stacksmith output stacks/shop`, `stacksmith output db_host stacks/shop`.
"""
STACK: dict[str, type[BaseModel]] = {
    "variables": VariableSpec, "include": IncludeSpec,
    "flavors": FlavorSpec, "images": ImageSpec, "images: kernel, ramdisk": FileSpec, "keypairs": KeypairSpec,
    "networks": NetworkSpec, "networks: subnets": SubnetSpec, "networks: allocation_pools": RangeSpec,
    "networks: dns": DnsSpec, "server_groups": ServerGroupSpec, "volumes": VolumeSpec, "servers": ServerSpec,
    "servers: networks": NicSpec, "servers: block_device_mapping": BdmSpec, "servers: user_data": UserDataSpec,
    "servers: scheduler_hints": HintsSpec, "servers: wait_for": WaitForSpec, "servers: bare_metal": BareMetalSpec,
    "servers: bare_metal: firmware": FirmwareSpec, "servers: bare_metal: raid": RaidSpec,
}  # fmt: skip
FLEET: dict[str, type[BaseModel]] = {
    "top level": Fleet, "state": StateSpec, "defaults": Defaults, "aggregates": Aggregate, "scheduler": SchedulerSpec,
    "hosts": Host,
    "hosts: volume_types": VolumeType, "shared_storages": SharedStorage, "hosts: pci": PciSpec, "pci_aliases": PciAlias,
    "nodes": Node, "nodes: username, password": SecretRef, "nodes: root_device": RootDeviceHints,
    "nodes: deploy": NodeDeploySpec, "deploy": DeploySpec,
}  # fmt: skip
EXITS = {
    "plan": "0; with `--detailed-exitcode` 0 nothing to do, 1 error, 2 changes",
    "capacity": "0, 1 error, 4 some hosts could not be read",
    "drift": "0 in sync, 1 error, 2 drift, 3 changes not applied yet but no drift, 4 some hosts could not be read",
    "apply, destroy": "0, 1 something failed or a host with some of it could not be read, 5 the plan is stale, "
    "6 locked, 7 not allowed; 130 and 143 on a signal",
    "all others": "0, or 1 with an error",
}
HEAD = """# Reference

Made by `make docs` from the code.

Any scalar of a stack file may be a `{{ expression }}` over `var`, `index`, `each`, `stack`
and `file('path')`. Sizes are numbers in the unit named here, or text such as `8 GiB`.
"""


def type_words(annotation: Any) -> str:
    """A type as people say it: ``integer or size``, ``list of text``."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        is_size = any(isinstance(part, BeforeValidator) for part in inner[1:])
        return "size" if is_size else type_words(inner[0])
    if origin in (Union, UnionType):
        return " or ".join(type_words(part) for part in inner if part is not NoneType)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (list, dict):
        return f"{'list' if origin is list else 'mapping'} of {type_words(inner[-1])}"
    words = {str: "text", int: "integer", float: "number", bool: "boolean", object: "value"}
    if annotation in words:
        return words[annotation]
    if annotation not in {*STACK.values(), *FLEET.values()}:
        raise LookupError(f"{annotation.__name__} has no table: add it to STACK or FLEET")
    return f"{annotation.__name__.removesuffix('Spec')} (below)"


def rows(model: type[BaseModel]) -> Iterator[str]:
    yield "| key | type | default | |\n|---|---|---|---|"
    for name, info in model.model_fields.items():
        yield f"| `{name}` | {kind(info)} | {default(info)} | {info.description or ''} |"


def kind(info: FieldInfo) -> str:
    is_size = any(isinstance(part, BeforeValidator) for part in info.metadata)
    return "size" if is_size else type_words(info.annotation)


def default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        return "see there"
    return "" if value in (None, "", [], {}) else f"`{value}`".lower() if isinstance(value, bool) else f"`{value}`"


def sections(models: dict[str, type[BaseModel]]) -> Iterator[str]:
    for name, model in models.items():
        yield f"### {name}\n\n{' '.join((model.__doc__ or '').split())}\n"
        yield "\n".join(rows(model)) + "\n"


def stack_top() -> Iterator[str]:
    """The keys of a stack file, and those that make several of a block, from the schema that editors get."""
    schema = json_schema("stack")
    yield "\n## Stack file\n\n### top level\n\n`stack` and `fleet` say what it is; all else may be left out.\n"
    yield "\n".join(schema_rows(schema["properties"])) + "\n"
    expanded = {name: schema["$defs"]["ServerSpec"]["properties"][name] for name in ("count", "for_each")}
    blocks = " and ".join(f"`{name}`" for name, (kind, _) in KINDS.items() if kind in EXPANDED)
    yield f"### count, for_each\n\nIn blocks of {blocks}: one of them makes several of the block.\n"
    yield "\n".join(schema_rows(expanded)) + "\n"


def schema_rows(properties: dict[str, Any]) -> Iterator[str]:
    yield "| key | type | default | |\n|---|---|---|---|"
    for name, field in properties.items():
        initial = f"`{field['default']}`" if "default" in field else ""
        words = field.get("description", "").replace("|", "\\|")
        yield f"| `{name}` | {schema_type(field)} | {initial} | {words} |"


def schema_type(field: Any) -> str:
    """A type of a JSON Schema as ``type_words`` says it; that it may be an expression is said once, above."""
    if "anyOf" in field:
        return " or ".join(schema_type(choice) for choice in field["anyOf"] if choice != EXPRESSION)
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "$ref" in field:
        return f"{field['$ref'].rpartition('/')[2].removesuffix('Spec')} (below)"
    kind = field["type"] if isinstance(field["type"], str) else field["type"][0]
    if kind == "array":
        return f"list of {schema_type(field['items'])}"
    if kind == "object":
        return f"mapping of {schema_type(field.get('additionalProperties', {'type': 'value'}))}"
    words = {"string": "text", "integer": "integer", "value": "value"}[kind]
    limits = f", {field['minimum']} to {field['maximum']}" if "maximum" in field else ""
    return words + limits


def commands(command: Any, path: str) -> Iterator[str]:
    children = getattr(command, "commands", {})
    if not children:
        text = " ".join((command.help or "").split())
        yield f"### {path}\n\n{text}\n"
        options = [p for p in command.params if not getattr(p, "hidden", False)]
        for option in options:
            words = (
                ", ".join(f"`{o}`" for o in option.opts) if option.param_type_name == "option" else f"`{shown(option)}`"
            )
            yield f"- {words}: {getattr(option, 'help', '') or ''}"
        yield ""
    for name, child in sorted(children.items()):
        yield from commands(child, f"{path} {name}")


def shown(argument: Any) -> str:
    """An argument as the usage line has it."""
    name = argument.metavar or (argument.name or "").upper()
    words = name if argument.required else f"[{name}]"
    return f"{words}..." if argument.nargs == -1 else words


def reference() -> str:
    parts = [
        HEAD,
        *stack_top(),
        *sections(STACK),
        "\n## Fleet file\n",
        *sections(FLEET),
        f"## Commands\n\n{STACK_WORDS}",
    ]
    parts += commands(typer.main.get_command(program()), "stacksmith")
    parts += ["## Exit status\n", *(f"- **{name}**: {text}" for name, text in EXITS.items()), "", "## Errors\n"]
    parts += ["| code | what it says |\n|---|---|", *(f"| `{code}` | {text} |" for code, text in sorted(CODES.items()))]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(None if TARGET.read_text() == reference() else "docs/reference.md is not current: make docs")
    TARGET.write_text(reference())
