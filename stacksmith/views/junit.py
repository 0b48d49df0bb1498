"""Drift as a JUnit report: a test case per resource, or per node, a failure is drift."""

from collections.abc import Collection, Iterable, Sequence
from xml.etree import ElementTree

from stacksmith.address import Address
from stacksmith.planner.plan import Deviation, Plan
from stacksmith.views import outside
from stacksmith.views.action import resource_actions
from stacksmith.views.node_drift import NodeDrift
from stacksmith.views.words import clean


def junit_text(plan: Plan, timestamp: str, seconds: float, unplanned: Collection[Address] = ()) -> str:
    """One suite per run: deviating resources fail, unknown ones and unread hosts are errors, the rest pass.

    ``unplanned``: no plan can be made for these.
    """
    cases = {str(each.address): _case(str(each.address), each.host) for each in plan.unchanged}
    waiting = {each: ("", "it cannot be planned") for each in unplanned}
    waiting |= {each.address: (each.step.host, each.action.value) for each in resource_actions(plan)}
    for address, (host, word) in waiting.items():
        case = _case(str(address), host)
        ElementTree.SubElement(case, "system-out").text = f"change not applied yet: {word}"
        cases[str(address)] = case
    for deviation in plan.deviations:
        cases[str(deviation.address)] = _failure(deviation, str(deviation.address))
    for address in plan.unknown:
        cases[str(address)] = _error(str(address), "", "its host could not be read")
    for host, error in plan.unreachable:
        cases[f"host {host}"] = _error(f"host {host}", host, error)
    return _suite(
        f"drift of {plan.fleet}/{plan.stack}", (case for _, case in sorted(cases.items())), timestamp, seconds
    )


def node_junit_text(fleet: str, nodes: Sequence[NodeDrift], timestamp: str, seconds: float) -> str:
    """One suite per run: nodes that somebody should look at fail, unread ones are errors, those that were not compared
    are skipped, the rest pass."""
    return _suite(f"drift of the nodes of {fleet}", map(_node, nodes), timestamp, seconds)


def _suite(name: str, cases: Iterable[ElementTree.Element], timestamp: str, seconds: float) -> str:
    found = list(cases)
    suite = ElementTree.Element(
        "testsuite",
        name=name,
        tests=str(len(found)),
        failures=str(sum(case.find("failure") is not None for case in found)),
        errors=str(sum(case.find("error") is not None for case in found)),
        skipped=str(sum(case.find("skipped") is not None for case in found)),
        time=f"{seconds:.3f}",
        timestamp=timestamp,
    )
    suite.extend(found)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _node(each: NodeDrift) -> ElementTree.Element:
    """The drift that was seen outranks what could not be read."""
    name, whose = f"node {each.node}", f"of {clean(each.server)}\n" if each.server else ""
    if each.deviation:
        return _failure(each.deviation, name, whose)
    if each.error and not each.problem:
        return _error(name, each.node, each.error, each.error_hint)
    case = _case(name, each.node)
    if each.problem:
        failure = ElementTree.SubElement(case, "failure", type="problem", message=clean(each.problem))
        failure.text = f"{whose}hint: {clean(each.hint)}"
    elif each.kept:
        ElementTree.SubElement(case, "skipped", message=clean(each.kept))
    return case


def _case(name: str, host: str) -> ElementTree.Element:
    return ElementTree.Element("testcase", classname=f"stacksmith.{host}" if host else "stacksmith", name=name)


def _failure(deviation: Deviation, name: str, whose: str = "") -> ElementTree.Element:
    case = _case(name, deviation.host)
    kind = "missing" if deviation.missing else "unusable" if deviation.problem else "drift"
    message = deviation.problem or ", ".join(change.path for change in deviation.changes) or kind
    failure = ElementTree.SubElement(case, "failure", type=kind, message=clean(message))
    failure.text = whose + "\n".join(outside.difference_of(deviation))
    return case


def _error(name: str, host: str, cause: str, hint: str = "") -> ElementTree.Element:
    case = _case(name, host)
    error = ElementTree.SubElement(case, "error", type="unread", message=clean(cause))
    error.text = f"hint: {clean(hint)}" if hint else None
    return case
