"""Drift, hosts and nodes in Prometheus' text format, for node_exporter's textfile collector."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from stacksmith.address import Address
from stacksmith.planner.plan import Plan
from stacksmith.views.drift_text import pending
from stacksmith.views.host import HostRow
from stacksmith.views.node_drift import NodeDrift

_HELP = {
    "drift_resources": "Resources that are not as they were applied.",
    "pending_changes": "Resources whose change in the stack is not applied yet.",
    "unmanaged_resources": "Objects on the hosts that no stack owns.",
    "last_run_timestamp_seconds": "When this was written.",
    "last_success_timestamp_seconds": "When everything was last read.",
    "run_duration_seconds": "How long the run took.",
    "node_drift": "1 when somebody should look at the node, 0 when it is in sync.",
    "node_up": "1 when the node could be read.",
    "host_up": "1 when the host could be read.",
    "host_vcpu_used": "vCPUs of all servers on the host.",
    "host_vcpu_total": "vCPUs of the host, without its allocation ratio.",
    "host_memory_used": "Bytes of memory of all servers on the host.",
    "host_memory_total": "Bytes of memory of the host.",
    "host_disk_used": "Bytes of disk of all servers on the host.",
    "host_disk_total": "Bytes of disk of the host.",
}
_MIB, _GIB = 2**20, 2**30
Sample = tuple[dict[str, str], float | int]


def drift_metrics(
    plan: Plan,
    hosts: Sequence[HostRow],
    now: float,
    seconds: float,
    last_success: float | None,
    unplanned: Collection[Address] = (),
) -> str:
    """The whole textfile. Times are seconds since 1970; ``last_success`` is of the run before, kept when this one
    could not read every host. ``unplanned``: no plan can be made for these."""
    own = {"fleet": plan.fleet, "stack": plan.stack}
    drift = Counter(each.address.kind for each in plan.deviations)
    kinds = {each.address.kind for each in plan.unchanged} | set(drift)
    succeeded = last_success if plan.unreachable or plan.unknown else now
    lines = [
        *_metric("drift_resources", [({**own, "kind": kind}, drift[kind]) for kind in sorted(kinds)]),
        *_metric("pending_changes", [(own, len(pending(plan, unplanned)))]),
        *_metric("unmanaged_resources", [(own, sum(each.owner is None for each in plan.unmanaged))]),
        *_run(own, now, seconds, succeeded),
        *_hosts(plan, hosts),
    ]
    return "".join(lines)


def node_drift_metrics(
    fleet: str, nodes: Sequence[NodeDrift], now: float, seconds: float, last_success: float | None
) -> str:
    """The whole textfile, as ``drift_metrics``. A node that is not compared has no ``node_drift``, one whose BMC was
    not asked no ``node_up``."""
    own = {"fleet": fleet, "stack": ""}  # as none, but the same labels as in the textfiles of stacks
    told = [({"fleet": fleet, "node": each.node, "server": each.server}, each) for each in nodes]
    compared = [(label, int(each.is_drift)) for label, each in told if each.is_drift or not (each.kept or each.error)]
    asked = [
        ({"fleet": fleet, "node": each.node}, int(not each.error)) for each in nodes if each.error or not each.kept
    ]
    succeeded = last_success if any(each.error for each in nodes) else now
    lines = [
        *_metric("node_drift", compared),
        *_metric("node_up", asked),
        *_run(own, now, seconds, succeeded),
    ]
    return "".join(lines)


def last_success(metrics: str) -> float | None:
    """The time of the last success in a textfile that was written before, None when it holds none."""
    for line in metrics.splitlines():
        if line.startswith("stacksmith_last_success_timestamp_seconds{"):
            try:
                return float(line.rpartition(" ")[2])
            except ValueError:
                return None
    return None


def _run(own: dict[str, str], now: float, seconds: float, succeeded: float | None) -> Iterator[str]:
    yield from _metric("last_run_timestamp_seconds", [(own, now)])
    yield from _metric("last_success_timestamp_seconds", [] if succeeded is None else [(own, succeeded)])
    yield from _metric("run_duration_seconds", [(own, round(seconds, 3))])


def _hosts(plan: Plan, hosts: Sequence[HostRow]) -> Iterator[str]:
    labels = [{"fleet": plan.fleet, "stack": plan.stack, "host": row.name} for row in hosts]
    yield from _metric("host_up", zip(labels, (int(row.error is None) for row in hosts), strict=True))
    read = [(label, row) for label, row in zip(labels, hosts, strict=True) if row.error is None]
    yield from _metric("host_vcpu_used", [(label, row.used.vcpus) for label, row in read])
    yield from _metric("host_vcpu_total", [(label, row.capacity.vcpus) for label, row in read])
    yield from _metric("host_memory_used", [(label, row.used.memory_mib * _MIB) for label, row in read])
    yield from _metric("host_memory_total", [(label, row.capacity.memory_mib * _MIB) for label, row in read])
    yield from _metric("host_disk_used", [(label, row.used.disk_gib * _GIB) for label, row in read])
    known = [(label, row) for label, row in read if row.capacity.disk_gib >= 0]
    yield from _metric("host_disk_total", [(label, row.capacity.disk_gib * _GIB) for label, row in known])


def _metric(name: str, samples: Iterable[Sample]) -> Iterator[str]:
    written = [f"stacksmith_{name}{{{_labels(labels)}}} {number}\n" for labels, number in samples]
    if written:
        yield f"# HELP stacksmith_{name} {_HELP[name]}\n# TYPE stacksmith_{name} gauge\n"
        yield from written


def _labels(labels: dict[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(item)}"' for name, item in labels.items())


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
