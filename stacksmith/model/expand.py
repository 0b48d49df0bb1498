"""Blocks to instances: expressions evaluated in place, ``count`` and ``for_each`` unrolled."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, Final

from stacksmith.address import Address, address_of
from stacksmith.frozen import dataclass
from stacksmith.model.document import DataPath, Document, Node, Places, locate, span
from stacksmith.model.findings import Findings
from stacksmith.model.sandbox import BROKEN, BrokenValue
from stacksmith.model.template import Expressions, TemplateFault
from stacksmith.model.types import JSON
from stacksmith.model.validate import found
from stacksmith.source import Span

MAX_INSTANCES: Final = 100_000
MAX_FAULTY: Final = 5  # instances of one block whose faults are looked for
KEY: Final = re.compile(r"[A-Za-z0-9_.-]{1,63}")


@dataclass(frozen=True, slots=True)
class Block:
    """Where a block is; answers for the places in it."""

    document: Document
    path: DataPath
    label: str  # for messages
    node: Node | None = None

    def __call__(self, path: DataPath = (), *, key: bool = False) -> Span:
        """The span of a value of the block, or of its key; an empty path with ``key`` is the block's own name."""
        if self.node is not None and path:
            return span(self.document.file, locate(self.node, path, key=key))
        return span(self.document.file, locate(self.document.places, self.path + path, key=key))


@dataclass(frozen=True, slots=True)
class Instance:
    """One resource that a block asks for, its expressions evaluated. ``context`` is what they saw."""

    address: Address
    data: JSON
    index: int
    context: Mapping[str, Any]


@dataclass(slots=True)
class Evaluator:
    """Evaluates the expressions of data; faults go to ``findings`` at the value's line."""

    findings: Findings
    expressions: Expressions = field(default_factory=Expressions)
    failed: int = 0  # expressions that had a fault

    def evaluate(self, data: JSON, node: Node, context: Mapping[str, Any], block: Block) -> Any:
        """The data with every expression replaced; BROKEN when one of them failed."""
        before = self.failed
        result = self._walk(data, node, context, block, ())
        return result if self.failed == before else BROKEN

    def _walk(self, data: Any, node: Node, context: Mapping[str, Any], block: Block, path: DataPath) -> Any:
        if isinstance(data, str):
            return self._scalar(data, node, context, block, path) if "{{" in data else data
        if not isinstance(node, Places) or not node.dynamic:
            return data
        values: Any = node.values
        if isinstance(data, dict):
            return {key: self._walk(value, values[key], context, block, (*path, key)) for key, value in data.items()}
        return [self._walk(value, values[i], context, block, (*path, i)) for i, value in enumerate(data)]

    def _scalar(self, text: str, node: Node, context: Mapping[str, Any], block: Block, path: DataPath) -> Any:
        try:
            return self.expressions.evaluate(text, context)
        except BrokenValue:
            pass
        except TemplateFault as fault:
            where = span(block.document.file, node, fault.line)
            dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
            self.findings.error(fault.code, f"cannot evaluate {block.label}{dotted}: {fault}", where, fault.hint)
        self.failed += 1
        return BROKEN


def expand(
    kind: str, name: str, data: JSON, context: Mapping[str, Any], block: Block, evaluator: Evaluator
) -> Iterator[Instance]:
    """The instances of a block: one, or those of its ``count`` or ``for_each``."""
    node = block.node if block.node is not None else 0
    if not isinstance(data, dict) or ("count" not in data and "for_each" not in data):
        value = evaluator.evaluate(data, node, {**context, "index": 0}, block)
        if value is not BROKEN:
            yield Instance(address_of(kind, name), value, 0, context)
        return
    keys = _keys(data, context, block, evaluator)
    body = {key: value for key, value in data.items() if key not in ("count", "for_each")}
    faulty = 0
    for index, (key, each) in enumerate(keys):
        inside = {**context, "index": index, "each": {"key": str(key), "value": each}}
        address = address_of(kind, name, key)
        value = evaluator.evaluate(body, node, inside, block)
        if value is not BROKEN:
            yield Instance(address, value, index, inside)
            continue
        faulty += 1
        if faulty >= MAX_FAULTY:
            return


def _keys(
    data: Mapping[str, JSON], context: Mapping[str, Any], block: Block, evaluator: Evaluator
) -> Sequence[tuple[int | str, JSON]]:
    """Keys with their values; empty with the fault reported."""
    if "count" in data and "for_each" in data:
        where = block(("for_each",), key=True)
        evaluator.findings.error("bad-count", f"cannot expand {block.label}: give count or for_each, not both", where)
        return ()
    which = "count" if "count" in data else "for_each"
    node = locate(block.node or 0, (which,))
    value = evaluator.evaluate(data[which], node, context, block)
    if value is BROKEN:
        return ()
    cause, hint = _count_fault(value) if which == "count" else _for_each_fault(value)
    if cause is not None:
        message = f"cannot expand {block.label}: {which} {cause}"
        evaluator.findings.error("bad-count", message, block((which,)), hint)
        return ()
    if which == "count":
        return [(number, number) for number in range(value)]
    if isinstance(value, dict):
        return list(value.items())
    return [(key, key) for key in value]


def _count_fault(value: JSON) -> tuple[str | None, str | None]:
    if isinstance(value, bool) or not isinstance(value, int):
        return f"must be a whole number, found {found(value)}", None
    if not 0 <= value <= MAX_INSTANCES:
        return f"must be 0 to {MAX_INSTANCES}, found {value}", None
    return None, None


def _for_each_fault(value: JSON) -> tuple[str | None, str | None]:
    hint = "as [eu, us], or {eu: 10.1.0.0/24, us: 10.2.0.0/24}"
    if not isinstance(value, list | dict):
        return f"must be a list of texts or a mapping, found {found(value)}", hint
    if len(value) > MAX_INSTANCES:
        return f"has {len(value)} entries, the limit is {MAX_INSTANCES}", None
    seen: set[str] = set()
    for key in value:
        if not isinstance(key, str):
            return f"must be a list of texts or a mapping, found {found(key)} in it", hint
        if not KEY.fullmatch(key):
            return f"has the key {found(key)}", "use up to 63 letters, digits, '_', '.' and '-'"
        if key in seen:
            return f"has the key {found(key)} twice", None
        seen.add(key)
    return None, None
