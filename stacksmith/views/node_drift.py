"""Drift of a fleet's nodes, as text and as JSON."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from stacksmith.model.types import JSON
from stacksmith.planner.plan import Deviation
from stacksmith.views import block
from stacksmith.views.hint import hints
from stacksmith.views.paint import PLAIN, Paint
from stacksmith.views.plan_json import change_data
from stacksmith.views.words import counted, line


class NodeDrift(Protocol):
    """What a node is, beside what it should be; see ``engine.node_drift``."""

    @property
    def node(self) -> str: ...

    @property
    def server(self) -> str: ...

    @property
    def deviation(self) -> Deviation | None: ...

    @property
    def problem(self) -> str: ...

    @property
    def hint(self) -> str: ...

    @property
    def kept(self) -> str: ...

    @property
    def error(self) -> str: ...

    @property
    def error_hint(self) -> str: ...

    @property
    def is_drift(self) -> bool: ...


def node_drift_text(nodes: Sequence[NodeDrift], paint: Paint = PLAIN) -> str:
    """What somebody should look at, node by node, what could not be read, what was not compared, and a verdict."""
    lines = [text for each in nodes for text in _node(each, paint)]
    lines += hints(((each.node, each.error_hint) for each in nodes), paint)
    return "".join(f"{text}\n" for text in lines) + _verdict(nodes, paint)


def node_drift_data(fleet: str, nodes: Sequence[NodeDrift], timestamp: str) -> JSON:
    """The same as JSON data; lists are empty, never absent."""
    return {
        "format_version": "1.0",
        "timestamp": timestamp,
        "fleet": fleet,
        "complete": not any(each.error for each in nodes),
        "drift": [_data(each) for each in nodes if each.is_drift],
        "unreachable": [
            {"node": each.node, "error": each.error, "hint": each.error_hint or None} for each in nodes if each.error
        ],
        "not_compared": [{"node": each.node, "reason": each.kept} for each in nodes if each.kept],
        "in_sync": [each.node for each in nodes if _is_in_sync(each)],
    }


def _data(each: NodeDrift) -> JSON:
    changes = each.deviation.changes if each.deviation else ()
    return {
        "node": each.node,
        "server": each.server or None,
        "problem": each.problem or None,
        "hint": each.hint or None,
        "changes": [change_data(change) for change in changes],
    }


def _node(each: NodeDrift, paint: Paint) -> Iterator[str]:
    head = f"{paint.bold}{each.node}{paint.reset}" + (f" ({line(each.server)})" if each.server else "")
    if each.kept:
        yield f"{head}: not compared: {line(each.kept)}"
    if each.problem:
        yield f"{head}: {line(each.problem)}"
        yield f"  hint: {line(each.hint)}"
    if each.deviation:
        yield f"{head} has changed outside of stacksmith:"
        yield from block.deviating(each.deviation.changes, paint)
    if each.error:
        yield f"{head}: not read: {line(each.error)}"


def _is_in_sync(each: NodeDrift) -> bool:
    return not (each.is_drift or each.kept or each.error)


def _verdict(nodes: Sequence[NodeDrift], paint: Paint) -> str:
    drifting, unread = sum(each.is_drift for each in nodes), sum(bool(each.error) for each in nodes)
    kept, fine = sum(bool(each.kept) for each in nodes), sum(_is_in_sync(each) for each in nodes)
    parts = [f"{counted(drifting, 'node')} to look at"] if drifting else []
    parts += [f"{counted(unread, 'node')} not read"] if unread else []
    parts += [f"{counted(kept, 'node')} not compared"] if kept else []
    parts.append(f"{fine} in sync")
    if drifting:
        head, colour = "Drift:", paint.red
    elif unread:
        head, colour = "Not known:", paint.yellow
    else:
        head, colour = "No drift:", paint.green
    return f"{paint.bold}{colour}{head}{paint.reset} {', '.join(parts)}.\n"
