"""Requests from the query string of ``GET /allocation_candidates`` (microversion 1.39)."""

import re
from typing import Any
from urllib.parse import parse_qsl

from stacksmith.placement.tree.plain import load_request
from stacksmith.placement.tree.reason import BadData, Reason, Refused
from stacksmith.placement.tree.request import CandidateRequest

_OF_GROUP = re.compile(r"(resources|required|member_of|in_tree)([a-zA-Z0-9_-]{0,64})")
_OF_REQUEST = ("group_policy", "root_required", "same_subtree", "limit")
_REPEATED = ("required", "member_of", "same_subtree")


def parse_query(query: str) -> CandidateRequest:
    """The request of ``resources=VCPU:1&required_A=in:X,Y&…``, without a question mark before it.

    Raises: Refused with everything that is wrong with the query, or else with the request.
    """
    reasons: list[Reason] = []
    data: dict[str, Any] = {"groups": {}}
    seen: set[str] = set()
    for key, text in parse_qsl(query, keep_blank_values=True):
        found = _OF_GROUP.fullmatch(key)
        name, suffix = (found[1], found[2]) if found else (key, "")
        if found is None and key not in _OF_REQUEST:
            reasons.append(BadData(key, "there is no such parameter"))
        elif key in seen and name not in _REPEATED:
            reasons.append(BadData(key, "it is there twice"))
        elif not text:
            reasons.append(BadData(key, "it is empty"))
        else:
            into = data["groups"].setdefault(suffix, {}) if found else data
            reasons += _read(into, name, key, text)
        seen.add(key)
    if reasons:
        raise Refused(reasons)
    return load_request(data)


def _read(into: dict[str, Any], name: str, key: str, text: str) -> list[Reason]:
    """Adds one parameter to plain data; returns what is wrong with it."""
    if name == "resources":
        return _read_resources(into.setdefault(name, {}), key, text)
    if name == "limit":
        if not re.fullmatch("[0-9]{1,18}", text):
            return [BadData(key, f"{text!r} is not an integer of at most 18 digits")]
        into[name] = int(text)
    elif name == "same_subtree":
        into.setdefault(name, []).append(text.split(","))
    elif name in ("required", "member_of"):
        into.setdefault(name, []).extend(_conditions(text))
    else:
        into[name] = text.split(",") if name == "root_required" else text
    return []


def _read_resources(into: dict[str, int], key: str, text: str) -> list[Reason]:
    for item in text.split(","):
        found = re.fullmatch("([A-Z0-9_]+):([0-9]{1,18})", item)
        if found is None:
            return [BadData(key, f"{item!r} is not a class and an amount, as VCPU:2")]
        if found[1] in into:
            return [BadData(key, f"{found[1]} is there twice")]
        into[found[1]] = int(found[2])
    return []


def _conditions(text: str) -> list[Any]:
    """``in:A,B`` is a choice, ``!in:A,B`` forbids both, ``A,!B`` is one after the other."""
    if text.startswith("!in:"):
        return [f"!{name}" for name in text[4:].split(",")]
    return [text[3:].split(",")] if text.startswith("in:") else text.split(",")
