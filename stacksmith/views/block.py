"""One resource of a plan as a block of lines, in Terraform's form."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields

from stacksmith.address import Address
from stacksmith.model.change import Change, Impact, Status
from stacksmith.model.realised import LIST_KEYS, SHAPES, Machine, Realised, to_data
from stacksmith.model.types import JSON
from stacksmith.views import difference
from stacksmith.views.paint import Paint
from stacksmith.views.words import SENSITIVE, label, line, value

_NAMES = {shape: tuple(field.name for field in fields(shape)) for shape in (*SHAPES.values(), Machine)}


def block(symbol: str, address: Address, content: Iterable[str], paint: Paint) -> Iterator[str]:
    """The content between the braces of its resource: ``  + server "web" {``."""
    yield f'{" " * (3 - len(symbol))}{painted(symbol, paint)} {address.kind} "{address.name}" {{'
    yield from content
    yield "    }"


def painted(symbol: str, paint: Paint) -> str:
    """The symbol in its colour."""
    colour = {"+": paint.green, "-": paint.red, "~": paint.yellow, "-/+": paint.red}.get(symbol, "")
    return f"{colour}{symbol}{paint.reset}" if colour else symbol


def whole(symbol: str, data: JSON, paint: Paint) -> Iterator[str]:
    """Every field that has a value: of an object that is made or removed."""
    entries = [entry for name, item in (data or {}).items() for entry in _entries(name, item)]
    width = max((len(name) for name, _ in entries), default=0)
    mark = painted(symbol, paint)
    for name, text in entries:
        yield f"      {mark} {name.ljust(width)} = {text}"


def _entries(name: str, data: JSON) -> Iterator[tuple[str, str]]:
    if data is None or data in ("", [], {}):
        return
    key = LIST_KEYS.get(name)
    if key is not None and isinstance(data, list) and all(isinstance(item, dict) for item in data):
        for item in data:
            rest = {field: each for field, each in item.items() if field != key and each not in (None, [], {})}
            yield f"{name}[{line(str(item.get(key)))}]", value("", rest)
    else:
        yield label(name), value(name, data)


def changed(changes: Sequence[Change], paint: Paint, *, replaces: bool = False) -> Iterator[str]:
    """A line per field, found to wanted, with what it does to the guest and where the difference came from."""
    yield from _changes([(c, c.found, c.wanted, _remark(c, replaces)) for c in changes], paint)


def deviating(changes: Sequence[Change], paint: Paint) -> Iterator[str]:
    """A line per field, applied to found: what was changed behind stacksmith's back."""
    yield from _changes([(c, c.applied, c.found, _origin(c)) for c in changes], paint)


def hidden(wanted: Realised | None, data: JSON, changes: Sequence[Change]) -> Iterator[str]:
    """``# (8 unchanged attributes hidden)``: top-level fields with a value that no change is about."""
    if wanted is not None:
        names = {name for name in _NAMES[type(wanted)] if getattr(wanted, name) is not None}
    else:
        names = {name for name, item in (data or {}).items() if item is not None}
    number = len(names - {top(change.path) for change in changes})
    if number:
        yield f"        # ({number} unchanged attribute{'s' if number != 1 else ''} hidden)"


def top(path: str) -> str:
    """The top-level field of a change's path: ``disks`` of ``disks[vdb].size_bytes``."""
    return path.split(".", 1)[0].split("[", 1)[0]


def data_of(wanted: Realised | None) -> JSON:
    """The data of a wanted object, None when there is none."""
    return None if wanted is None else to_data(wanted)


def _changes(entries: Sequence[tuple[Change, JSON, JSON, str]], paint: Paint) -> Iterator[str]:
    width = max((len(label(change.path)) for change, *_ in entries), default=0)
    for change, old, new, remark in entries:
        symbol = "+" if old is None else "-" if new is None else "~"
        head = f"      {painted(symbol, paint)} {line(label(change.path)).ljust(width)} = "
        tail = f"  {paint.dim}# {line(remark)}{paint.reset}" if remark else ""
        detail = [] if change.sensitive else difference.lines(old, new)
        if not detail:
            yield head + _values(change, old, new) + tail
            continue
        yield f"{head}({'text' if isinstance(new, str) else 'elements'}){tail}"
        for mark, text in detail:
            # The bar keeps a line of the text from being the first thing on its line: CI runners read "::" there.
            yield f"          {painted(mark, paint)} | {text}"


def _values(change: Change, old: JSON, new: JSON) -> str:
    if change.sensitive:
        return SENSITIVE
    if old is None:
        return value(change.path, new)
    if new is None:
        return value(change.path, old)
    return f"{value(change.path, old)} -> {value(change.path, new)}"


def _remark(change: Change, replaces: bool) -> str:
    parts = []
    if replaces and change.impact >= Impact.REPLACE:
        parts.append("forces replacement")
    elif change.impact > Impact.NONE:
        parts.append(change.impact.word)
    text = ": ".join([*parts, change.note] if change.note else parts)
    if change.status is Status.DRIFT:
        text = f"{text}; undoes drift" if text else "undoes drift"
    elif change.status is Status.CONFLICT:
        text = f"{text}; " if text else ""
        text += "conflict" if change.sensitive else f"conflict: {value(change.path, change.applied)} was applied"
    return f"{text}; the old value is not in effect yet" if change.saved_only else text


def _origin(change: Change) -> str:
    if change.status is Status.CONFLICT:
        wanted = "" if change.sensitive else f": the stack now says {value(change.path, change.wanted)}"
        return f"conflict{wanted}"
    if change.status is Status.CHANGE:
        return "change not applied yet"
    return "drift; takes effect at the next restart" if change.saved_only else "drift"
