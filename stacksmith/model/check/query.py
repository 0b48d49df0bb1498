"""Scheduler hints that ask what a host is: a query, and a network that its address is in."""

from collections.abc import Sequence

from stacksmith.model.check.reporter import Reporter
from stacksmith.model.fleet import Fleet
from stacksmith.model.hint import near_network
from stacksmith.model.kinds.server import HintsSpec, ServerSpec
from stacksmith.model.query import QueryFault, read_query
from stacksmith.model.scheduler import ASKING_FILTERS
from stacksmith.model.stack import Resource
from stacksmith.model.validate import found


def check_asking(resource: Resource, fleet: Fleet, reporter: Reporter) -> None:
    """Checks that the hints of a server make sense, and that a filter reads them."""
    hints = resource.spec.scheduler_hints if isinstance(resource.spec, ServerSpec) else None
    if hints is None:
        return
    for name, wanted in ASKING_FILTERS.items():
        if getattr(hints, name) is not None and wanted not in fleet.scheduler.enabled_filters:
            cause = f"it needs {wanted}, which the fleet's scheduler does not enable"
            reporter.fault("wrong-value", resource, _path(name), cause, f"add {wanted} to enabled_filters")
    _check_query(hints, resource, reporter)
    _check_near(hints, resource, reporter)


def _check_query(hints: HintsSpec, resource: Resource, reporter: Reporter) -> None:
    try:
        read_query(hints.query if hints.query is not None else [])
    except QueryFault as fault:
        inside: Sequence[int] = fault.path
        if isinstance(hints.query, str):  # one text, which has no places inside
            where = "".join(f"[{part}]" for part in inside)
            reporter.fault("wrong-value", resource, _path("query"), fault.cause + (f" (at {where})" if where else ""),
                           fault.hint)  # fmt: skip
        else:
            reporter.fault("wrong-value", resource, (*_path("query"), *inside), fault.cause, fault.hint)


def _check_near(hints: HintsSpec, resource: Resource, reporter: Reporter) -> None:
    if hints.build_near_host_ip is None:
        if hints.cidr is not None:
            hint = "add build_near_host_ip: an address in the network"
            reporter.fault(
                "wrong-value", resource, _path("cidr"), "it says how large the network is of no address", hint
            )
        return
    try:
        near_network(hints.build_near_host_ip, None)
    except ValueError:
        cause = f"{found(hints.build_near_host_ip)} is no IP address"
        reporter.fault("wrong-value", resource, _path("build_near_host_ip"), cause, "names are not resolved in a plan")
        return
    try:
        near_network(hints.build_near_host_ip, hints.cidr)
    except ValueError:
        cause = f"{found(hints.cidr)} is no length of a network of {hints.build_near_host_ip}"
        reporter.fault("wrong-value", resource, _path("cidr"), cause, "write it as /24")


def _path(name: str) -> tuple[str, ...]:
    return ("scheduler_hints", name)
