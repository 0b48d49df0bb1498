"""The hint ``query``: what nova's JsonFilter asks of a host, read into a tree that is known to make sense."""

import json
from collections.abc import Sequence
from enum import StrEnum
from functools import cached_property
from typing import Final

from stacksmith.frozen import dataclass
from stacksmith.model.findings import did_you_mean
from stacksmith.model.types import JSON
from stacksmith.model.validate import found

NUMBER: Final = "a number"
TEXT: Final = "text"
TRUTH: Final = "true or false"
ORDER: Final = ("<", ">", "<=", ">=")
COMPARISONS: Final = ("=", *ORDER, "in")
LOGIC: Final = ("not", "and", "or")


class Trend(StrEnum):
    """How a value, or an answer (false is less than true), may change while more is put on a host."""

    STEADY = "steady"
    RISES = "rises"
    FALLS = "falls"
    ANY = "any"


# What may be asked of a host, with its kind and how it changes while a batch is placed.
VARIABLES: Final[dict[str, tuple[str, Trend]]] = {
    "free_ram_mb": (NUMBER, Trend.FALLS),
    "free_disk_mb": (NUMBER, Trend.FALLS),
    "disk_mb_used": (NUMBER, Trend.RISES),
    "vcpus_used": (NUMBER, Trend.RISES),
    "num_instances": (NUMBER, Trend.RISES),
    "num_io_ops": (NUMBER, Trend.RISES),
    "vcpus_total": (NUMBER, Trend.STEADY),
    "total_usable_ram_mb": (NUMBER, Trend.STEADY),
    "total_usable_disk_gb": (NUMBER, Trend.STEADY),
    "cpu_allocation_ratio": (NUMBER, Trend.STEADY),
    "ram_allocation_ratio": (NUMBER, Trend.STEADY),
    "disk_allocation_ratio": (NUMBER, Trend.STEADY),
    "hypervisor_version": (NUMBER, Trend.STEADY),
    "hypervisor_type": (TEXT, Trend.STEADY),
    "hypervisor_hostname": (TEXT, Trend.STEADY),
    "nodename": (TEXT, Trend.STEADY),
    "host": (TEXT, Trend.STEADY),
    "host_ip": (TEXT, Trend.STEADY),
    "cpu_info.arch": (TEXT, Trend.STEADY),
    "cpu_info.model": (TEXT, Trend.STEADY),
    "cpu_info.vendor": (TEXT, Trend.STEADY),
    "cpu_info.topology.cells": (NUMBER, Trend.STEADY),
    "cpu_info.topology.sockets": (NUMBER, Trend.STEADY),
    "cpu_info.topology.cores": (NUMBER, Trend.STEADY),
    "cpu_info.topology.threads": (NUMBER, Trend.STEADY),
    "failed_builds": (NUMBER, Trend.STEADY),
}
_OTHER_WORDS: Final = {
    "=>": "did you mean '>='?",
    "=<": "did you mean '<='?",
    "==": "did you mean '='?",
    "!=": 'write [not, ["=", …]]',
}
_LISTS: Final = {
    "$cpu_info.features": "it is a list, which no operator looks into; a flavor asks capabilities:cpu_info:features"
}
_TURNED: Final = {Trend.RISES: Trend.FALLS, Trend.FALLS: Trend.RISES}


class QueryFault(ValueError):
    """What is wrong with a query, the ``path`` to it in the list, and what to type."""

    def __init__(self, path: tuple[int, ...], cause: str, hint: str | None = None) -> None:
        super().__init__(cause)
        self.path, self.cause, self.hint = path, cause, hint


@dataclass(frozen=True)
class Variable:
    """``$name``: what a host has at the moment."""

    name: str


@dataclass(frozen=True)
class Query:
    """An operator with what it is applied to."""

    operator: str
    operands: tuple["Query | Variable | str | float | bool", ...]

    @cached_property
    def text(self) -> str:
        """The query as JSON."""
        return json.dumps(_plain(self), separators=(",", ":"))

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """The names of what it asks, each once and in order."""
        names: dict[str, None] = {}
        for each in self.operands:
            given = each.variables if isinstance(each, Query) else (each.name,) if isinstance(each, Variable) else ()
            names.update(dict.fromkeys(given))
        return tuple(names)

    @cached_property
    def trend(self) -> Trend:
        """How the answer may change: one that falls stays false where it is false."""
        trends = [_trend(each) for each in self.operands]
        if self.operator == "not":
            return _turned(_both(trends))
        if self.operator in LOGIC:
            return _both(trends)
        if self.operator not in ORDER:
            return Trend.STEADY if set(trends) == {Trend.STEADY} else Trend.ANY
        rest = _both(trends[1:])
        grows = _both([trends[0], _turned(rest)])  # as ``first > rest`` does
        return grows if self.operator in (">", ">=") else _turned(grows)


Operand = Query | Variable | str | float | bool


def read_query(given: JSON) -> Query | None:
    """The query of a hint, a list or such a list as JSON text; None for an empty one. Raises: QueryFault."""
    if isinstance(given, str):
        try:
            given = json.loads(given) if given.strip() else []
        except (ValueError, RecursionError) as error:
            told = error.msg if isinstance(error, json.JSONDecodeError) else "it is nested too deeply"
            at = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
            hint = """write '[">=", "$free_ram_mb", 1024]', or the list without the outer quotes"""
            raise QueryFault((), f"the query is no JSON: {told}{at}", hint) from error
    if not isinstance(given, list):
        raise QueryFault((), f"expected a query, found {found(given)}", 'write [">=", "$free_ram_mb", 1024]')
    return _query(given, ()) if given else None


def _query(given: Sequence[JSON], path: tuple[int, ...]) -> Query:
    operator = given[0] if given else None
    if not isinstance(operator, str) or operator not in (*COMPARISONS, *LOGIC):
        choices = (*COMPARISONS, *LOGIC)
        hint = _OTHER_WORDS.get(operator) if isinstance(operator, str) else None
        hint = hint or (did_you_mean(operator, choices, "operators") if isinstance(operator, str) else None)
        cause = f"there is no operator {found(operator)}" if given else "expected an operator, found an empty list"
        raise QueryFault((*path, 0) if given else path, cause, hint or f"operators: {', '.join(choices)}")
    operands = tuple(_operand(each, (*path, place)) for place, each in enumerate(given[1:], 1))
    least = 1 if operator in LOGIC else 2
    if len(operands) < least:
        wanted = "something to compare with" if operands else f"{least} or more operands"
        raise QueryFault(path, f"{operator!r} needs {wanted}", None)
    kinds = [_kind(each) for each in operands]
    for place, kind in enumerate(kinds, 1):
        _check_kind(operator, (kinds[0], kind), given[place], (*path, place))
    return Query(operator, operands)


def _operand(given: JSON, path: tuple[int, ...]) -> Operand:
    if isinstance(given, list):
        return _query(given, path)
    if isinstance(given, str) and given.startswith("$"):
        if given[1:] not in VARIABLES:
            hint = _LISTS.get(given) or did_you_mean(given, [f"${name}" for name in VARIABLES], "variables")
            raise QueryFault(path, f"there is no variable {found(given)}", hint)
        return Variable(given[1:])
    if isinstance(given, str | int | float):
        return given
    raise QueryFault(path, f"expected text, a number or a list, found {found(given)}")


def _check_kind(operator: str, kinds: tuple[str, str], given: JSON, path: tuple[int, ...]) -> None:
    """Raises: QueryFault for an operand that the operator cannot take beside its first."""
    first, kind = kinds
    if operator in LOGIC and kind != TRUTH:
        raise QueryFault(path, f"{operator!r} takes queries, found {found(given)}", "write a list with an operator")
    if operator in ORDER and kind == TRUTH:
        raise QueryFault(path, f"{operator!r} compares numbers or text, found {found(given)}")
    if kind != first:
        raise QueryFault(path, f"{operator!r} compares {first} with {kind}", "let both be numbers, or both text")


def _kind(operand: Operand) -> str:
    if isinstance(operand, Query | bool):
        return TRUTH
    if isinstance(operand, Variable):
        return VARIABLES[operand.name][0]
    return TEXT if isinstance(operand, str) else NUMBER


def _plain(operand: Operand) -> JSON:
    if isinstance(operand, Query):
        return [operand.operator, *map(_plain, operand.operands)]
    return f"${operand.name}" if isinstance(operand, Variable) else operand


def _trend(operand: Operand) -> Trend:
    if isinstance(operand, Query):
        return operand.trend
    return VARIABLES[operand.name][1] if isinstance(operand, Variable) else Trend.STEADY


def _both(trends: Sequence[Trend]) -> Trend:
    """How what depends on all of them changes, when it rises with each."""
    moving = set(trends) - {Trend.STEADY}
    return Trend.STEADY if not moving else moving.pop() if len(moving) == 1 else Trend.ANY


def _turned(trend: Trend) -> Trend:
    return _TURNED.get(trend, trend)
