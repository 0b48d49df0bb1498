"""Variables of a stack: declared with a type, given on the command line, in files or in the environment."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from pydantic import Field

from stacksmith.frozen import dataclass
from stacksmith.model.document import Document, locate, read_document, span
from stacksmith.model.findings import Findings, did_you_mean
from stacksmith.model.sandbox import BROKEN
from stacksmith.model.spec import Spec
from stacksmith.model.types import JSON
from stacksmith.model.validate import found, validate
from stacksmith.source import Span

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_INTEGER: Final = re.compile(r"\s*[-+]?[0-9]{1,18}\s*")
_NUMBER: Final = re.compile(r"\s*[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?\s*")


class VariableSpec(Spec):
    """A variable of a stack."""

    type: Literal["string", "integer", "number", "boolean", "list", "map"] = "string"
    default: object = Field(None, description="Value when none is given; without it one must be given")
    description: str = ""
    minimum: int | float | None = Field(None, description="Of numbers; of texts and lists, their length")
    maximum: int | float | None = Field(None, description="Of numbers; of texts and lists, their length")
    enum: list[object] | None = Field(None, min_length=1, description="The only values allowed")
    pattern: str | None = Field(None, max_length=500, description="Regular expression that a text must match in full")
    sensitive: bool = Field(False, description="Never shown in messages")


@dataclass(frozen=True, slots=True)
class Given:
    """A value from outside the declaration. ``text`` values are typed by the declaration."""

    value: JSON
    source: str  # as people know it: ``--var``, a file's name, an environment variable
    span: Span | None = None
    text: bool = False


@dataclass(frozen=True, slots=True)
class Declared:
    """A variable with the place of its declaration."""

    name: str
    spec: VariableSpec
    document: Document

    def at(self, *path: str) -> Span:
        """The place of a part of the declaration."""
        return self.document.span(locate(self.document.places, ("variables", self.name, *path)))


def declared(documents: list[Document], findings: Findings) -> dict[str, Declared | None]:
    """The declarations of one folder's files, None for those that have faults."""
    variables: dict[str, Declared | None] = {}
    for document in documents:
        for name, data in _blocks(document, findings):
            key = document.span(locate(document.places, ("variables", name), key=True))
            if not NAME.fullmatch(name):
                hint = "use letters, digits and _, as web_count"
                findings.error("bad-name", f"cannot read variable {name[:60]!r}: not a name", key, hint)
            elif (first := variables.get(name)) is not None:
                notes = (("first declared here", first.at()),)
                findings.error("duplicate-name", f"cannot read variable.{name}: declared twice", key, notes=notes)
            else:
                spec = _declaration(document, name, data, findings)
                variables[name] = Declared(name, spec, document) if spec is not None else None
    return variables


def _blocks(document: Document, findings: Findings) -> Iterator[tuple[str, JSON]]:
    section = document.data.get("variables") or {}
    where = document.span(locate(document.places, ("variables",)))
    if not isinstance(section, dict):
        findings.error("wrong-type", f"cannot read variables: expected a mapping, found {found(section)}", where)
        return
    yield from section.items()


def _declaration(document: Document, name: str, data: JSON, findings: Findings) -> VariableSpec | None:
    base = ("variables", name)

    def where(path: tuple[str | int, ...] = (), *, key: bool = False) -> Span:
        return document.span(locate(document.places, base + path, key=key))

    spec = validate(VariableSpec, data, f"variable.{name}", where, findings)
    if spec is not None and spec.pattern is not None:
        try:
            _matcher(spec.pattern)
        except ValueError as fault:
            findings.error("bad-variable", f"cannot read variable.{name}: pattern {fault}", where(("pattern",)))
            return None
    return spec


def resolve_variables(
    declarations: Mapping[str, Declared | None], given: Mapping[str, Given], findings: Findings
) -> dict[str, Any]:
    """Values by name; BROKEN where there is a fault, so that what uses it is not reported again."""
    for name in sorted(given.keys() - declarations.keys()):
        hint = did_you_mean(name, declarations, "variables")
        cause = f"cannot set variable {name[:60]!r} by {given[name].source}: no file declares it"
        findings.error("unknown-variable", cause, given[name].span, hint)
    return {
        name: BROKEN if declaration is None else _value(declaration, given.get(name), findings)
        for name, declaration in declarations.items()
    }


def _value(declaration: Declared, given: Given | None, findings: Findings) -> Any:
    name, spec = declaration.name, declaration.spec
    if given is None and "default" not in spec.model_fields_set:
        hint = f"give one with --var {name}=…, in a --var-file or as STACKSMITH_VAR_{name}"
        findings.error("missing-variable", f"cannot use variable.{name}: it has no value", declaration.at(), hint)
        return BROKEN
    source = f"by {given.source}" if given else "by its default"
    place = given.span if given else declaration.at("default")
    raw: Any = given.value if given else spec.default
    _keep_secret(spec, raw, findings)
    try:
        value = _typed(spec, raw) if given is not None and given.text else raw
        _keep_secret(spec, value, findings)
        check_value(spec, value)
    except ValueError as fault:
        findings.error("bad-variable", f"cannot set variable.{name} {source}: {fault}", place or declaration.at())
        return BROKEN
    return value


def _keep_secret(spec: VariableSpec, value: Any, findings: Findings) -> None:
    """Keeps a sensitive value, or what is in it, out of messages."""
    if not spec.sensitive or value is None or isinstance(value, bool):
        return
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _keep_secret(spec, item, findings)
    else:
        findings.secret(str(value))


def _typed(spec: VariableSpec, text: str) -> JSON:
    """Text from a command line as the declared type. Raises: ValueError."""
    if spec.type == "string":
        return text
    if spec.type == "integer" and _INTEGER.fullmatch(text):
        return int(text)
    if spec.type == "number" and _NUMBER.fullmatch(text):
        return int(text) if _INTEGER.fullmatch(text) else float(text)
    if spec.type == "boolean" and text.strip().lower() in ("true", "false"):
        return text.strip().lower() == "true"
    if spec.type in ("list", "map"):
        document = read_document(text.encode(errors="surrogateescape"), "value")
        if document.data is not None:
            return document.data
    raise ValueError(f"expected {_TYPES[spec.type][0]}, found {found(text)}")


_TYPES: Final[Mapping[str, tuple[str, tuple[type, ...]]]] = {
    "string": ("text", (str,)),
    "integer": ("a whole number", (int,)),
    "number": ("a number", (int, float)),
    "boolean": ("true or false", (bool,)),
    "list": ("a list", (list,)),
    "map": ("a mapping", (dict,)),
}


def check_value(spec: VariableSpec, value: Any) -> None:
    """Raises: ValueError with the cause when the value breaks the declaration."""
    words, kinds = _TYPES[spec.type]
    is_kind = isinstance(value, kinds) and (spec.type == "boolean" or not isinstance(value, bool))
    if not is_kind:
        raise ValueError(f"expected {words}, found {found(value)}")
    is_number = spec.type in ("integer", "number", "boolean")
    measure: Any = value if is_number else len(value)
    what = found(value) if is_number else f"length {measure}"
    if spec.minimum is not None and measure < spec.minimum:
        raise ValueError(f"{what} is under the minimum {spec.minimum}")
    if spec.maximum is not None and measure > spec.maximum:
        raise ValueError(f"{what} is over the maximum {spec.maximum}")
    if spec.enum is not None and value not in spec.enum:
        raise ValueError(f"{found(value)} is not one of {', '.join(map(found, spec.enum))}")
    if spec.pattern is not None and isinstance(value, str) and not _matches(spec.pattern, value):
        raise ValueError(f"{found(value)} does not match {spec.pattern}")


def _matches(pattern: str, value: str) -> bool:
    try:
        _matcher(pattern).validate_python(value)
    except ValueError:
        return False
    return True


def _matcher(pattern: str) -> Any:
    """A matcher in linear time: Rust's expressions, as Python's can be made to run for ever. Raises: ValueError."""
    from pydantic_core import SchemaError, SchemaValidator, core_schema

    try:
        return SchemaValidator(core_schema.str_schema(pattern=f"^(?:{pattern})$", regex_engine="rust-regex"))
    except SchemaError as fault:
        raise ValueError(f"is not a regular expression: {str(fault).splitlines()[-1].strip()[:200]}") from None


def read_given(document: Document, source: str) -> dict[str, Given]:
    """The values of a --var-file."""
    return {
        name: Given(value, source, span(document.file, locate(document.places, (name,), key=True)))
        for name, value in document.data.items()
    }
