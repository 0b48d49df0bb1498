"""Nova's weighers against a second writing of their documentation that shares no code with the first."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from stacksmith.address import Address
from stacksmith.model.scheduler import SchedulerSpec
from stacksmith.placement import Group, HostState, Inventory, Placement, Request, place

GROUPS = {"near": Group("near", "soft-affinity"), "far": Group("far", "soft-anti-affinity")}
DEFAULTS = {"ram": 1.0, "cpu": 1.0, "disk": 1.0, "hypervisor_version": 1.0, "soft_affinity": 1.0, "num_instances": 0.0}
DEFAULTS |= {"soft_anti_affinity": 1.0, "io_ops": -1.0, "metrics": 1.0, "build_failure": 1e6}
FIXED = ("ram", "cpu", "disk")  # their least is 0, whatever the hosts have
CLASSES = {"ram": "MEMORY_MB", "cpu": "VCPU", "disk": "DISK_GB"}
MULTIPLIERS = st.sampled_from([-2.0, 0.0, 0.5, 1.0, 3.0])


@st.composite
def hosts(draw: st.DrawFn, name: str) -> HostState:
    metadata = {
        f"{what}_weight_multiplier": tuple(str(m) for m in draw(st.lists(MULTIPLIERS, min_size=1, max_size=2)))
        for what in draw(
            st.sets(st.sampled_from(["ram", "cpu", "num_instances", "io_ops", "metrics", "build_failure"]))
        )
    }
    return HostState(
        name,
        {
            "VCPU": Inventory(draw(st.integers(2, 8)), 0, draw(st.sampled_from([1.0, 1.5, 4.0]))),
            "MEMORY_MB": Inventory(draw(st.integers(8, 20)), draw(st.integers(0, 4))),
            "DISK_GB": Inventory(20),
            "INSTANCES": Inventory(-1),
            "IO_OPS": Inventory(-1),
        },
        {name: draw(st.integers(0, 6)) for name in ("VCPU", "MEMORY_MB", "DISK_GB", "INSTANCES", "IO_OPS")},
        groups={name: draw(st.integers(0, 2)) for name in GROUPS},
        metadata=metadata,
        metrics={n: draw(st.integers(-3, 3)) for n in sorted(draw(st.sets(st.sampled_from(["load", "heat"]))))},
        failed_builds=draw(st.sampled_from([0, 0, 1, 3])),
        capabilities={"hypervisor_version": draw(st.sampled_from([7_000_000, 8_000_000, 8_002_000]))},
    )


def wants(what: str, scheduler: SchedulerSpec, host: HostState) -> float:
    """The multiplier that counts on a host."""
    given_ = [float(value) for value in host.metadata.get(f"{what}_weight_multiplier", ())]
    own = getattr(scheduler, f"{what}_weight_multiplier")
    found = sorted(given_)[0] if given_ else DEFAULTS[what] if own is None else own
    return -found if what == "build_failure" else found


def raw(scheduler: SchedulerSpec, what: str, host: HostState, group: str | None) -> float:
    used = host.used
    if what in {"ram", "disk"}:
        inventory = host.inventories[CLASSES[what]]
        return inventory.total - inventory.reserved - used[CLASSES[what]]
    if what == "cpu":
        return host.inventories["VCPU"].total * host.inventories["VCPU"].allocation_ratio - used["VCPU"]
    if what == "build_failure":
        return host.failed_builds
    if what == "hypervisor_version":
        return float(host.capabilities["hypervisor_version"])
    if what in {"num_instances", "io_ops"}:
        return used["INSTANCES" if what == "num_instances" else "IO_OPS"]
    if what == "metrics":
        setting, metrics = scheduler.metrics_weight_setting, host.metrics
        unknown = scheduler.metrics_weight_of_unavailable
        return sum(metrics[n] * w for n, w in setting.items()) if all(n in metrics for n in setting) else unknown
    members = {"soft_affinity": "near", "soft_anti_affinity": "far"}[what]
    sign = 1 if what == "soft_affinity" else -1
    return sign * host.groups[members] if group == members else 0


def expected(scheduler: SchedulerSpec, takes: Sequence[HostState], group: str | None) -> list[float]:
    """Sum of multiplier × (raw - least) / (most - least), over the hosts that take it; alone it is 0."""
    sums = [0.0 for _ in takes]
    if len(takes) > 1:
        for what in DEFAULTS:
            values = [raw(scheduler, what, host, group) for host in takes]
            values = [max(v, 0) for v in values] if what in FIXED else values
            low, high = (0 if what in FIXED else min(values)), max(values)
            for place_, host in enumerate(takes):
                share = (values[place_] - low) / (high - low) if high != low else 0.0
                sums[place_] += wants(what, scheduler, host) * share
    return sums


@st.composite
def requests(draw: st.DrawFn) -> Request:
    return Request(
        Address("server", "a"),
        {"VCPU": draw(st.integers(1, 3)), "MEMORY_MB": draw(st.integers(1, 6)), "INSTANCES": 1, "IO_OPS": 1},
        group=draw(st.sampled_from([None, *GROUPS])),
    )


@st.composite
def worlds(draw: st.DrawFn) -> tuple[SchedulerSpec, list[HostState]]:
    made = [draw(hosts(f"hv{i}")) for i in range(draw(st.integers(1, 4)))]
    own = {f"{what}_weight_multiplier": draw(MULTIPLIERS) for what in ("ram", "cpu", "hypervisor_version")}
    setting = {n: draw(MULTIPLIERS) for n in sorted(draw(st.sets(st.sampled_from(["load", "heat"]))))}
    unknown = draw(st.sampled_from([-10000.0, 0.0, 5.0]))
    scheduler = SchedulerSpec(**own, metrics_weight_setting=setting, metrics_weight_of_unavailable=unknown)
    return scheduler, made


@settings(max_examples=170, deadline=None)
@given(worlds(), st.lists(requests(), min_size=3, max_size=3))
def test_scores_are_the_documentations_sums(
    world: tuple[SchedulerSpec, list[HostState]], several: Sequence[Request]
) -> None:
    scheduler, made = world
    for request in several:
        check(scheduler, made, request, place([request], made, GROUPS, strategy=scheduler)[0])


def check(scheduler: SchedulerSpec, made: Sequence[HostState], request: Request, answer: Placement) -> None:
    """The scores are the sums, of the hosts that have room, and the best of them is chosen."""
    scores = {v.host: v.score for v in answer.verdicts if v.score is not None}
    takes = [
        host
        for host in made
        if all(
            host.used.get(name, 0) + amount <= (i.total - i.reserved) * i.allocation_ratio
            for name, amount in request.amounts.items()
            for i in [host.inventories[name]]
            if i.total >= 0
        )
    ]
    wanted = expected(scheduler, takes, request.group)
    assert list(scores) == [host.name for host in takes]
    assert all(abs(scores[h.name] - w) < 1e-5 for h, w in zip(takes, wanted, strict=True))
    best = max(wanted, default=None)
    if best is None:
        assert answer.host is None
    else:
        assert answer.host is not None
        assert abs(wanted[[h.name for h in takes].index(answer.host)] - best) < 1e-5


@settings(max_examples=100, deadline=None)
@given(worlds(), requests())
def test_batch_by_weights_holds_what_the_hosts_have(
    world: tuple[SchedulerSpec, list[HostState]], request: Request
) -> None:
    scheduler, made = world
    batch = [Request(Address("server", "a", i), request.amounts, group=request.group) for i in range(6)]
    answers = place(batch, made, GROUPS, strategy=scheduler)
    for host in made:
        count = sum(answer.host == host.name for answer in answers)
        for name in ("VCPU", "MEMORY_MB"):
            total = host.used[name] + count * request.amounts[name]
            assert not count or total <= host.inventories[name].capacity
    for answer in answers:
        chosen = next((v for v in answer.verdicts if v.host == answer.host), None)
        if chosen is not None and "find room" not in chosen.reason:
            assert chosen.host == max(answer.verdicts, key=lambda v: (v.fits, v.score or 0.0)).host
    spread = place(batch, made, GROUPS)
    assert sum(a.host is None for a in answers) == sum(a.host is None for a in spread)
