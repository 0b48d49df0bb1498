"""YAML text to data with a place for every key and value.

PyYAML's loaders are not used: they read YAML 1.1, let the last of two equal keys win, expand aliases without bound
and crash the process on 40 kB of ``[``. Its C parser's events are, with a builder of our own on top.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any, Final

from stacksmith.diagnostics import Diagnostic, Severity, error
from stacksmith.frozen import dataclass
from stacksmith.model.scalar import old_meaning, resolve, shorten
from stacksmith.model.types import JSON
from stacksmith.source import Span

MAX_BYTES: Final = 16 * 2**20
MAX_DEPTH: Final = 64
MAX_ALIASED: Final = 100_000
MAX_FAULTS: Final = 100  # of one file; the rest would say the same
# Compiled when they are used: sets of characters beyond Latin-1 take milliseconds.
_LINE_BREAK: Final = "\r\n|[\r\n\x85\u2028\u2029]"
_FORBIDDEN: Final = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]"
_FORBIDDEN_ASCII: Final = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
_COLUMN_LIMIT: Final = 2**20 - 1

# A place is one integer, as 150,000 lines have 300,000 of them: line, column and width, 20 bits each but the first,
# and in the lowest bit whether the value is a literal block, whose own lines follow it.
Place = int
DataPath = tuple[str | int, ...]


@dataclass(slots=True)
class Places:
    """Where a mapping or list and all in it are: ``values`` has the same shape as the data."""

    at: Place
    values: "dict[str, Place | Places] | list[Place | Places]"
    keys: dict[str, Place] = field(default_factory=dict)
    dynamic: bool = False  # some text in it has ``{{``


Node = Place | Places


@dataclass(frozen=True, slots=True)
class Document:
    """A file as read. ``data`` is None, and ``diagnostics`` say why, when it cannot be read at all."""

    file: str
    data: JSON = field(repr=False)
    places: Node = field(repr=False)
    text: str = field(repr=False)
    diagnostics: tuple[Diagnostic, ...] = ()

    def span(self, node: Node) -> Span:
        """The span of a place in this file."""
        return span(self.file, node)


def split_lines(text: str) -> list[str]:
    """The lines of a YAML text, as the parser counts them."""
    return re.split(_LINE_BREAK, text)


def span(file: str, node: Node, line: int = 0) -> Span:
    """The span of a place; ``line`` counts from 1 inside a literal block, 0 is the value as a whole."""
    place = node if isinstance(node, int) else node.at
    row, column, width = place >> 41, place >> 21 & _COLUMN_LIMIT, place >> 1 & _COLUMN_LIMIT
    if line and place & 1:
        return Span(file, row + 1 + line, 1)
    return Span(file, row + 1, column + 1, column + 1 + width if width else 0)


def locate(node: Node, path: Sequence[str | int], *, key: bool = False) -> Node:
    """The place of the value at ``path`` (of the nearest parent that exists), or with ``key`` that of its key."""
    for depth, part in enumerate(path):
        if isinstance(node, int):
            return node
        if key and depth == len(path) - 1 and part in node.keys:
            return node.keys[str(part)]
        if isinstance(node.values, dict):
            if part not in node.values:
                return node
            node = node.values[str(part)]
        elif isinstance(part, int) and 0 <= part < len(node.values):
            node = node.values[part]
        else:
            return node
    return node


def read_document(content: bytes, file: str) -> Document:
    """The document of a file's bytes; never raises for what is in them."""
    text, fault = _decode(content, file)
    if fault is not None:
        return Document(file, None, 0, text, (fault,))
    builder = _Builder(file)
    try:
        builder.build(text)
    except _Unreadable as stop:
        faults = (*builder.faults, stop.diagnostic)
        return Document(file, None, 0, text, faults)
    return Document(file, builder.data, builder.places, text, tuple(builder.faults))


def _decode(content: bytes, file: str) -> tuple[str, Diagnostic | None]:
    if len(content) > MAX_BYTES:
        limit = f"{len(content)} bytes, the limit is {MAX_BYTES}"
        return "", error("too-large", f"cannot read {file}: {limit}", Span(file, 1, 1))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        text = content[: fault.start].decode("utf-8-sig", "replace")
        cause = f"byte 0x{content[fault.start]:02x} is not UTF-8"
        where = _at_end(text, file)
        return content.decode("utf-8-sig", "replace"), error("not-utf8", f"cannot read {file}: {cause}", where)
    forbidden = re.search(_FORBIDDEN_ASCII if text.isascii() else _FORBIDDEN, text)
    if forbidden is None:
        return text, None
    cause = f"character U+{ord(forbidden[0]):04X} is not allowed in YAML"
    where = _at_end(text[: forbidden.start()], file)
    return text, error("yaml-syntax", f"cannot read {file}: {cause}", where)


def _at_end(text: str, file: str) -> Span:
    lines = split_lines(text)
    return Span(file, len(lines), len(lines[-1]) + 1)


class _Unreadable(Exception):
    def __init__(self, diagnostic: Diagnostic) -> None:
        self.diagnostic = diagnostic


class _Builder:
    """Builds data and places from events, one file at a time. Recursive, as deep as MAX_DEPTH and no deeper."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.faults: list[Diagnostic] = []
        self.data: JSON = None
        self.places: Node = 0
        self._anchors: dict[str, tuple[JSON, Node, int] | None] = {}  # None while the anchor's value is being read
        self._depth = 0
        self._seen = 0
        self._aliased = 0
        self._known: dict[str, Any] = {}

    def build(self, text: str) -> None:
        """Fills ``data`` and ``places``. Raises: _Unreadable."""
        import yaml
        from yaml.cyaml import CParser  # type: ignore[attr-defined]

        self._next: Callable[[], Any] = CParser(text).get_event
        self._read: dict[type, Callable[[Any], tuple[Any, Node]]] = {
            yaml.ScalarEvent: self._scalar,
            yaml.MappingStartEvent: self._mapping,
            yaml.SequenceStartEvent: self._sequence,
            yaml.AliasEvent: self._alias,
        }
        self._text = yaml.ScalarEvent
        self._end = (yaml.MappingEndEvent, yaml.SequenceEndEvent)
        try:
            self._stream(yaml.DocumentStartEvent)
        except yaml.MarkedYAMLError as fault:
            raise self._syntax(fault.problem, fault.context, fault.problem_mark or fault.context_mark) from None
        except yaml.YAMLError as fault:
            raise self._syntax(str(fault), None, None) from None

    def _stream(self, start: type) -> None:
        documents = 0
        while (event := self._next()) is not None:
            if event.__class__ is start:
                documents += 1
                if documents > 1:
                    raise self._stop("yaml-feature", "a second document starts here; a file holds one", event)
            elif event.__class__ in self._read:
                self.data, self.places = self._read[event.__class__](event)

    def _syntax(self, problem: str | None, context: str | None, mark: Any) -> _Unreadable:
        where = Span(self.file, mark.line + 1, mark.column + 1) if mark else Span(self.file, 1, 1)
        cause = " ".join(part for part in (problem, context) if part) or "not well-formed"
        hint = "indent with spaces, never with tabs; quote values that start with @ or `"
        return _Unreadable(
            error("yaml-syntax", f"cannot read {self.file}: {cause}", where, hint if "any token" in cause else None)
        )

    def _stop(self, code: str, cause: str, event: Any) -> _Unreadable:
        return _Unreadable(error(code, f"cannot read {self.file}: {cause}", span(self.file, _place(event))))

    def _fault(self, code: str, cause: str, event: Any, notes: tuple[tuple[str, Span | None], ...] = ()) -> None:
        if len(self.faults) < MAX_FAULTS:
            where, message = span(self.file, _place(event)), f"cannot read {self.file}: {cause}"
            self.faults.append(Diagnostic(Severity.ERROR, code, message, where, notes=notes))

    def _scalar(self, event: Any) -> tuple[Any, Place]:
        text: str = event.value
        if event.tag is not None:
            self._fault("yaml-feature", f"tag {shorten(event.tag)} is not allowed", event)
        if event.style:
            value: Any = text
        else:
            value = self._known[text] if text in self._known else self._plain(text, event)
        place = _place(event)
        self._seen += 1
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, place, 1)
        return value, place

    def _plain(self, text: str, event: Any) -> Any:
        try:
            value = resolve(text)
        except ValueError as fault:
            self._fault("bad-number", str(fault), event)
            return 0
        meaning = old_meaning(text)
        if meaning is None:
            self._known[text] = value
        elif len(self.faults) < MAX_FAULTS:
            hint = f'write "{text}" in quotes, or true or false' if text[0].isalpha() else "drop the zero"
            where = span(self.file, _place(event))
            message = f"{meaning}, as YAML 1.2 says"
            self.faults.append(Diagnostic(Severity.WARNING, "yaml-word", message, where, hint=hint))
        return value

    def _mapping(self, start: Any) -> tuple[dict[str, Any], Places]:
        seen = self._enter(start)
        data: dict[str, Any] = {}
        keys: dict[str, Place] = {}
        values: dict[str, Node] = {}
        dynamic = False
        next_event, read, scalar = self._next, self._read, self._text
        while (event := next_event()).__class__ not in self._end:
            key: str = event.value if event.__class__ is scalar else self._no_key(event)
            following = next_event()
            value, node = read[following.__class__](following)
            if key in keys:
                notes = (("first given here", span(self.file, keys[key])),)
                self._fault("duplicate-key", f"key {shorten(key)!r} is given twice", event, notes)
                continue
            keys[key], data[key], values[key] = _place(event), value, node
            if node.__class__ is int:
                dynamic = dynamic or (value.__class__ is str and "{{" in value)
            else:
                dynamic = dynamic or node.dynamic  # type: ignore[union-attr]
        places = Places(_place(start), values, keys, dynamic)
        self._leave(start, data, places, seen)
        return data, places

    def _sequence(self, start: Any) -> tuple[list[Any], Places]:
        seen = self._enter(start)
        data: list[Any] = []
        values: list[Node] = []
        dynamic = False
        next_event, read = self._next, self._read
        while (event := next_event()).__class__ not in self._end:
            value, node = read[event.__class__](event)
            data.append(value)
            values.append(node)
            if node.__class__ is int:
                dynamic = dynamic or (value.__class__ is str and "{{" in value)
            else:
                dynamic = dynamic or node.dynamic  # type: ignore[union-attr]
        places = Places(_place(start), values, dynamic=dynamic)
        self._leave(start, data, places, seen)
        return data, places

    def _no_key(self, event: Any) -> str:
        raise self._stop("yaml-feature", "a key must be text, not a mapping, list or alias", event)

    def _enter(self, event: Any) -> int:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._stop("too-deep", f"nested more than {MAX_DEPTH} levels deep", event)
        if event.tag is not None:
            self._fault("yaml-feature", f"tag {shorten(event.tag)} is not allowed", event)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        return self._seen

    def _leave(self, event: Any, data: JSON, places: Places, seen: int) -> None:
        self._depth -= 1
        self._seen += 1
        if event.anchor is not None:
            self._anchors[event.anchor] = (data, places, self._seen - seen)

    def _alias(self, event: Any) -> tuple[Any, Node]:
        known = self._anchors.get(event.anchor)
        if known is None:
            cause = "stands inside its own anchor" if event.anchor in self._anchors else "has no anchor before it"
            raise self._stop("yaml-syntax", f"alias *{shorten(event.anchor)} {cause}", event)
        value, node, size = known
        self._aliased += size
        self._seen += size
        if self._aliased > MAX_ALIASED:
            raise self._stop("too-large", f"aliases repeat more than {MAX_ALIASED} values", event)
        return value, node


def _place(event: Any) -> Place:
    start, end = event.start_mark, event.end_mark
    line: int = start.line
    column: int = start.column
    last: int = end.column
    if end.line == line and last <= _COLUMN_LIMIT:
        return line << 41 | column << 21 | (last - column) << 1
    literal = 1 if getattr(event, "style", None) == "|" else 0
    return line << 41 | min(column, _COLUMN_LIMIT) << 21 | literal
