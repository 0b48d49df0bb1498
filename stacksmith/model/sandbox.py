"""Jinja2 as a calculator for hostile text: no attribute of Python, no operation that can take long or grow large.

The stock sandbox keeps a template from Python's internals but not from ``'a' * 10**9`` or ``center(2e9)``; here every
operation that makes text or lists spends from a budget, attributes are an allow-list, and loops and calls are timed.
"""

import ipaddress
import json
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial, wraps
from typing import Any, Final, cast

from jinja2 import StrictUndefined, UndefinedError, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.filters import FILTERS
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS
from jinja2.utils import Namespace, missing

from stacksmith.model.budget import (
    MAX_ARGUMENT,
    MAX_BITS,
    MAX_SPENT,
    Budget,
    LimitReached,
    Notes,
    bounded_range,
    check_power,
    weigh,
    whole,
)
from stacksmith.model.types import JSON

SLOW_METHODS: Final = frozenset({"rsplit", "strip", "lstrip", "rstrip"})

TEXT_METHODS: Final = frozenset(
    {"upper", "lower", "title", "capitalize", "strip", "lstrip", "rstrip", "split", "rsplit", "splitlines", "find"}
    | {"startswith", "endswith", "count", "isdigit", "isalpha", "isalnum", "removeprefix", "removesuffix"}
)
MAPPING_METHODS: Final = frozenset({"keys", "values", "items", "get"})
# A line that holds only a statement leaves no blank line behind.
_SPACES: Final[dict[str, Any]] = {"trim_blocks": True, "lstrip_blocks": True}
_TAKEN_FILTERS: Final = (
    "abs",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "first",
    "float",
    "groupby",
    "int",
    "items",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "reverse",
    "select",
    "selectattr",
    "sort",
    "string",
    "title",
    "unique",
    "upper",
)


# Filters of our own: bounded, or Jinja has none.
_OWN_FILTERS: Final = (
    "b64decode",
    "b64encode",
    "bool",
    "indent",
    "join",
    "replace",
    "sum",
    "to_json",
    "tojson",
    "trim",
)
FILTER_NAMES: Final = (*_TAKEN_FILTERS, *_OWN_FILTERS)


class BrokenValue(Exception):
    """The expression uses a variable that has its own fault: there is nothing new to say."""


class UndefinedName(UndefinedError):
    """A name or attribute that does not exist, with the names that do."""

    def __init__(self, message: str | None, name: object = None, owner: object = missing) -> None:
        super().__init__(message)
        self.name = name
        self.choices: list[str] | None = None  # None: the names of the context
        if owner is not missing:
            self.choices = [str(key) for key in owner] if isinstance(owner, Mapping) else []


BROKEN: Final = object()


class Missing(StrictUndefined):
    """An undefined value: any use of it is an error that names it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        owner = self._undefined_obj
        self._undefined_exception = partial(UndefinedName, name=self._undefined_name, owner=owner)  # type: ignore[assignment]

    __slots__ = ()


class _Generator(CodeGenerator):
    """Jinja's compiler, with loops counted, lists weighed, and ``~`` measured before it joins."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.concat((")
        for part in node.nodes:
            self.write("str(")
            self.visit(part, frame)
            self.write("), ")
        self.write("))")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        self._weighed(super().visit_List, node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        self._weighed(super().visit_Dict, node, frame)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        if node.ctx == "load":
            self._weighed(super().visit_Tuple, node, frame)
        else:
            super().visit_Tuple(node, frame)

    def _weighed(self, visit: Callable[[Any, Frame], None], node: nodes.Expr, frame: Frame) -> None:
        """Lists in lists share what is in them: a few lines make one that takes for ever to compare or to print."""
        self.write("environment.weighed(")
        visit(node, frame)
        self.write(")")

    def visit_For(self, node: nodes.For, frame: Frame) -> None:
        if node.recursive:
            self.fail("recursive loops are not offered", node.lineno)
        counted = nodes.EnvironmentAttribute("steps")
        node.iter = nodes.Call(counted, [node.iter], [], None, None, lineno=node.lineno)
        super().visit_For(node, frame)


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of every expression and template."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    code_generator_class = _Generator

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        super().__init__(undefined=Missing, keep_trailing_newline=True, finalize=printable, cache_size=0, **_SPACES)
        self.budget = Budget(clock)
        self.concat = self._join  # type: ignore[method-assign]
        filters = {name: FILTERS[name] for name in _TAKEN_FILTERS} | self._own_filters()
        self.filters = {name: self._measured(function) for name, function in filters.items()}
        self.tests = {name: self._measured(cast("Callable[..., Any]", test)) for name, test in TESTS.items()}
        self.globals = {}

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """``+ * ** %`` with their results bounded. Raises: LimitReached."""
        if operator == "+":
            self.budget.spend(_size(left) + _size(right))
        elif operator == "%" and isinstance(left, str | bytes):
            raise LimitReached("text % values is not offered; write {{ … }} in the text")
        elif operator == "*":
            self._check_product(left, right)
        elif operator == "**":
            check_power(left, right)
        return self.weighed(super().call_binop(context, operator, left, right))

    def weighed(self, value: Any) -> Any:
        """The value of a list, a mapping or a sum, when it is not too large."""
        if isinstance(value, list | tuple | Mapping):
            self.budget.spend()
            weigh(value)
        return value

    def _check_product(self, left: Any, right: Any) -> None:
        sizes = [value for value in (left, right) if isinstance(value, str | list | tuple)]
        counts = [value for value in (left, right) if isinstance(value, int)]
        if sizes and counts:
            self.budget.spend(max(0, len(sizes[0]) * counts[0]))
        elif len(counts) == 2 and counts[0].bit_length() + counts[1].bit_length() > MAX_BITS:
            raise LimitReached("the product is too large")

    def steps(self, items: Iterable[Any]) -> Iterable[Any]:
        """The items of a ``for`` loop, each counted."""
        for item in items:
            self.budget.spend()
            yield item

    def wrap_str_format(self, value: Any) -> None:
        """``'…'.format`` is not offered: a width in it makes text of any size."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Only the listed methods of text, and loops' and namespaces' own attributes."""
        if isinstance(obj, str):
            return attr in TEXT_METHODS
        return isinstance(obj, LoopContext | Namespace) and not attr.startswith("_")

    def getattr(self, obj: Any, attribute: str) -> Any:
        """``a.b``: of a mapping its key first, so that a key named ``items`` can be had."""
        if not isinstance(obj, Mapping):
            return super().getattr(obj, attribute)
        if attribute in obj:
            return _sound(obj[attribute])
        if attribute in MAPPING_METHODS:
            return getattr(obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """``a["b"]``."""
        return _sound(super().getitem(obj, argument))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls what a template calls, counted."""
        given = (*args, *kwargs.values())
        __self.weighed(given)
        if getattr(__obj, "__name__", "") in SLOW_METHODS and any(_size(each) > MAX_ARGUMENT for each in given):
            raise LimitReached(f"{__obj.__name__} takes at most {MAX_ARGUMENT} characters")
        return super().call(__context, __obj, *args, **kwargs)

    def _join(self, parts: Iterable[str]) -> str:
        texts = list(parts)
        self.budget.spend(sum(map(len, texts)))
        return "".join(texts)

    def _measured(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            self.budget.spend()
            result = function(*args, **kwargs)
            if isinstance(result, str | list | tuple):
                self.budget.spend(len(result))
            return self.weighed(result)

        return call

    def _own_filters(self) -> dict[str, Callable[..., Any]]:
        spend = self.budget.spend

        def join(items: Iterable[Any], separator: str = "") -> str:
            texts: list[str] = []
            for item in items:
                texts.append(str(printable(item)))
                spend(len(texts[-1]) + len(separator))
            return separator.join(texts)

        def replace(text: str, old: str, new: str, count: int = -1) -> str:
            found = str(text).count(old)
            spend(len(str(text)) + found * len(new))
            return str(text).replace(old, new, count)

        def indent(text: str, width: int = 4, first: bool = False, blank: bool = False) -> str:
            if not 0 <= width <= 80:
                raise LimitReached(f"cannot indent by {width}: the width is 0 to 80")
            lines = str(text).splitlines(keepends=True)
            spend(len(lines) * width)
            pad = " " * width
            padded = [pad + line if (line.strip() or blank) and (first or i) else line for i, line in enumerate(lines)]
            return "".join(padded)

        def trim(text: str, characters: str | None = None) -> str:
            if _size(characters) > MAX_ARGUMENT:
                raise LimitReached(f"trim takes at most {MAX_ARGUMENT} characters")
            return str(text).strip(characters)

        return {
            "join": join,
            "replace": replace,
            "indent": indent,
            "sum": _total,
            "b64encode": lambda text: b64encode(str(text).encode()).decode(),
            "b64decode": lambda text: b64decode(str(text), validate=True).decode(),
            "to_json": lambda value: json.dumps(plain(value), ensure_ascii=False),
            "tojson": lambda value: json.dumps(plain(value), ensure_ascii=False),
            "bool": _boolean,
            "trim": trim,
        }


def _sound(value: Any) -> Any:
    if value is BROKEN:
        raise BrokenValue
    return value


def _total(items: Iterable[Any]) -> int | float:
    total: int | float = 0
    for item in items:
        if not isinstance(item, int | float):
            raise TypeError(f"sum takes numbers, not {item!r}")
        total += item
    return total


def _boolean(value: Any) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    word = str(value).lower()
    if word not in words:
        raise ValueError(f"cannot read {value!r} as true or false")
    return words[word]


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str | list | tuple) else 0


_network = lru_cache(256)(ipaddress.ip_network)


def cidrhost(cidr: str, number: int) -> str:
    """The address with ``number`` in a subnet: ``cidrhost('10.0.0.0/24', 5)`` is 10.0.0.5; negative: from the end."""
    network = _network(cidr, False)
    if not -network.num_addresses <= number < network.num_addresses:
        raise ValueError(f"{cidr} has no address number {number}")
    return str(network[number])


# What every expression can call. Contexts are taken as they are, not copied, so these go into each.
FUNCTIONS: Final[dict[str, Any]] = {"range": bounded_range, "namespace": Notes, "cidrhost": cidrhost}


def printable(value: Any) -> Any:
    """What ``{{ … }}`` inside text becomes: words and numbers as YAML has them. Raises: TypeError for the rest."""
    if value is True or value is False:
        return "true" if value else "false"
    if value is None:
        raise TypeError("the value is null, which cannot stand in text; use default('…', true)")
    if isinstance(value, str | int | float | Missing):
        return value
    if value is BROKEN:
        raise BrokenValue
    raise TypeError(f"a {_word(value)} cannot stand in text; use join or to_json")


def plain(value: Any) -> JSON:
    """The value as data: tuples and sequences become lists. Raises: TypeError, LimitReached, UndefinedName."""
    return _Plain().of(value)


class _Plain:
    """One value on its way to data. What is made is counted: sequences may repeat a large text without bound."""

    def __init__(self) -> None:
        self._left = MAX_SPENT

    def of(self, value: Any, depth: int = 0) -> JSON:
        """The data of a value ``depth`` levels inside."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Missing):
            str(value)
        if isinstance(value, str):
            self._count(len(value))
            return whole(str(value))
        if value is BROKEN:
            raise BrokenValue
        if depth > 32:
            raise LimitReached("the value is nested too deeply")
        if isinstance(value, Mapping):
            return {str(key): self._item(item, depth) for key, item in value.items()}
        if isinstance(value, Iterable) and not isinstance(value, bytes | LoopContext | Namespace):
            return [self._item(item, depth) for item in value]
        raise TypeError(f"a {_word(value)} is not a value")

    def _item(self, item: Any, depth: int) -> JSON:
        self._count(1)
        return self.of(item, depth + 1)

    def _count(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise LimitReached(f"the value has more than {MAX_SPENT} characters and items")


def _word(value: Any) -> str:
    if isinstance(value, Mapping):
        return "map"
    return "list" if isinstance(value, Iterable) else "function" if callable(value) else type(value).__name__
