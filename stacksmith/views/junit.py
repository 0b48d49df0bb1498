"""Drift as a JUnit report: a test case per resource, a failure is drift."""

from xml.etree import ElementTree

from stacksmith.planner.plan import Deviation, Plan
from stacksmith.views import outside
from stacksmith.views.action import resource_actions
from stacksmith.views.words import clean


def junit_text(plan: Plan, timestamp: str, seconds: float) -> str:
    """One suite per run: deviating resources fail, unknown ones and unread hosts are errors, the rest pass."""
    cases = {str(each.address): _case(str(each.address), each.host) for each in plan.unchanged}
    for action in resource_actions(plan):
        case = _case(str(action.address), action.step.host)
        ElementTree.SubElement(case, "system-out").text = f"change not applied yet: {action.action.value}"
        cases[str(action.address)] = case
    for deviation in plan.deviations:
        cases[str(deviation.address)] = _failure(deviation)
    for address in plan.unknown:
        cases[str(address)] = _error(str(address), "", "its host could not be read")
    for host, error in plan.unreachable:
        cases[f"host {host}"] = _error(f"host {host}", host, error)
    suite = ElementTree.Element(
        "testsuite",
        name=f"drift of {plan.fleet}/{plan.stack}",
        tests=str(len(cases)),
        failures=str(len(plan.deviations)),
        errors=str(len(plan.unknown) + len(plan.unreachable)),
        skipped="0",
        time=f"{seconds:.3f}",
        timestamp=timestamp,
    )
    suite.extend(case for _, case in sorted(cases.items()))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(name: str, host: str) -> ElementTree.Element:
    return ElementTree.Element("testcase", classname=f"stacksmith.{host}" if host else "stacksmith", name=name)


def _failure(deviation: Deviation) -> ElementTree.Element:
    case = _case(str(deviation.address), deviation.host)
    kind = "missing" if deviation.missing else "unusable" if deviation.problem else "drift"
    message = deviation.problem or ", ".join(change.path for change in deviation.changes) or kind
    failure = ElementTree.SubElement(case, "failure", type=kind, message=clean(message))
    failure.text = "\n".join(outside.difference_of(deviation))
    return case


def _error(name: str, host: str, cause: str) -> ElementTree.Element:
    case = _case(name, host)
    ElementTree.SubElement(case, "error", type="unread", message=clean(cause))
    return case
