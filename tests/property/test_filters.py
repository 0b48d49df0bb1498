"""Nova's operators and filters against a second writing of their documentation that shares no code with the first."""

from collections.abc import Mapping
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from stacksmith.model.aggregate import metadata_of
from stacksmith.model.fleet import Aggregate, Fleet, Host
from stacksmith.model.operator import fault, matches
from stacksmith.model.scheduler import SchedulerSpec
from stacksmith.placement import HostState
from stacksmith.placement.filters import Asked, conditions, instances, operations

WORDS = ("1", "2", "10", "1.0", "-3", "a", "ab", "b", "ssd")
OPERATORS = ("=", "==", "!=", ">=", "<=", "s==", "s!=", "s<", "s<=", "s>", "s>=", "<in>", "<all-in>", "<or>")
VALUES = st.sampled_from(WORDS)
REQUIREMENTS = st.one_of(
    VALUES,
    st.builds(lambda o, ws: " ".join([o, *ws]), st.sampled_from(OPERATORS), st.lists(VALUES, max_size=3)),
    st.builds(lambda ws: " ".join(f"<or> {w}" for w in ws), st.lists(VALUES, min_size=1, max_size=3)),
)
KEYS = (
    "disk",
    "os_type",
    "instance_type",
    "trait:CUSTOM_A",
    "trait:CUSTOM_B",
    "max_instances_per_host",
    "max_io_ops_per_host",
    "filter_tenant_id",
    "filter_tenant_id_2",
)
ADDRESSES = ("192.0.2.1", "192.0.2.77", "192.0.3.1", "2001:db8::1", "2001:db8:0:1::1")
METRICS = ("load", "cpu.percent")
NAMES = ("hv1", "hv2", "hv3")


def expected(value: str, requirement: str) -> bool | None:
    """The answer by a table of cases; None where numbers are compared and one is none."""
    operator, _, rest = requirement.partition(" ")
    operands = rest.split()
    if operator not in OPERATORS:
        return value == requirement
    if not operands:
        return False
    if operator == "<or>":
        return value in [word for place, word in enumerate(operands) if place % 2 == 0]
    if operator == "<in>":
        return value.find(operands[0]) >= 0
    if operator == "<all-in>":
        return not [word for word in operands if value.count(word) == 0]
    if operator.startswith("s"):
        order = (value > operands[0]) - (value < operands[0])
    else:
        try:
            number, other = float(value), float(operands[0])
        except ValueError:
            return None
        order = (number > other) - (number < other)
    return (
        order
        in {"=": (0, 1), "==": (0,), "!=": (-1, 1), ">=": (0, 1), "<=": (-1, 0), "<": (-1,), ">": (1,)}[
            operator.removeprefix("s")
        ]
    )


@settings(max_examples=1000, deadline=None)
@given(VALUES, REQUIREMENTS)
def test_operator_agrees_with_its_table(value: str, requirement: str) -> None:
    try:
        answer: bool | None = matches(value, requirement)
    except ValueError:
        answer = None
    assert answer == expected(value, requirement)


@settings(max_examples=300, deadline=None)
@given(REQUIREMENTS)
def test_requirement_with_a_fault_is_met_by_nothing(requirement: str) -> None:
    if fault(requirement):
        assert not any(expected(value, requirement) for value in WORDS)


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    aggregates = {}
    for name in "xyz":
        keys = draw(st.sets(st.sampled_from(KEYS), max_size=3))
        metadata = {
            key: "required"
            if key.startswith("trait:")
            else str(draw(st.integers(0, 5)))
            if key.startswith("max_")
            else ", ".join(draw(st.lists(VALUES, min_size=1, max_size=2)))
            for key in sorted(keys)
        }
        aggregates[name] = Aggregate(metadata=metadata)
    hosts = {
        n: Host(
            libvirt=draw(
                st.sampled_from(["memory:x", "qemu+ssh://root@192.0.2.9/system", "qemu+tls://[2001:db8::9]/"])
            ),
            aggregates=sorted(draw(st.sets(st.sampled_from("xyz"), max_size=2))),
            host_ip=draw(st.sampled_from([None, *ADDRESSES])),
            metrics=dict.fromkeys(sorted(draw(st.sets(st.sampled_from(METRICS)))), 1.0),
        )
        for n in NAMES
    }
    scheduler = SchedulerSpec(
        enabled_filters=sorted(
            draw(
                st.sets(
                    st.sampled_from(
                        [
                            "AggregateInstanceExtraSpecsFilter",
                            "AggregateImagePropertiesIsolation",
                            "AggregateTypeAffinityFilter",
                            "IsolatedHostsFilter",
                            "NumInstancesFilter",
                            "AggregateNumInstancesFilter",
                            "AggregateMultiTenancyIsolation",
                            "AggregateIoOpsFilter",
                            "IoOpsFilter",
                            "MetricsFilter",
                            "SimpleCIDRAffinityFilter",
                        ]
                    )
                )
            )
        ),
        isolated_hosts=sorted(draw(st.sets(st.sampled_from(NAMES)))),
        isolated_images=sorted(draw(st.sets(st.sampled_from(["base", "other"])))),
        restrict_isolated_hosts_to_isolated_images=draw(st.booleans()),
        max_instances_per_host=draw(st.integers(1, 5)),
        max_io_ops_per_host=draw(st.integers(1, 5)),
        metrics_weight_setting=dict.fromkeys(sorted(draw(st.sets(st.sampled_from(METRICS)))), 2.0),
    )
    return Fleet(fleet="f", hosts=hosts, aggregates=aggregates, scheduler=scheduler)


ASKED = st.builds(
    Asked,
    st.sampled_from(WORDS),
    st.dictionaries(
        st.sampled_from(["disk", "aggregate_instance_extra_specs:os_type", "hw:cpu_policy"]), REQUIREMENTS, max_size=2
    ),
    st.sampled_from([None, "base"]),
    st.dictionaries(st.sampled_from(["os_type", "disk"]), VALUES, max_size=2),
    st.frozensets(st.sampled_from(["CUSTOM_A", "CUSTOM_B"])),
    tenant=st.sampled_from(WORDS),
    near=st.sampled_from(["", "192.0.2.0/24", "192.0.2.0/28", "192.0.2.0/23", "2001:db8::/64", "2001:db8::/32"]),
)


def is_near(host: Host, network: str) -> bool:
    """By the bits of the address; a name, or none, is near nothing."""
    given_ = host.host_ip or {"q": "192.0.2.9", "m": None}[host.libvirt[0]]
    if host.host_ip is None and "[" in host.libvirt:
        given_ = "2001:db8::9"
    address, _, length = network.partition("/")
    if given_ is None or (":" in given_) != (":" in address):
        return False
    return bits(given_)[: int(length)] == bits(address)[: int(length)]


def bits(address: str) -> str:
    if ":" not in address:
        return "".join(f"{int(part):08b}" for part in address.split("."))
    left, _, right = address.partition("::")
    parts = [left.split(":"), right.split(":") if right else []]
    zeros = ["0"] * (8 - len(parts[0]) - len(parts[1]))
    return "".join(f"{int(part, 16):016b}" for part in [*parts[0], *zeros, *parts[1]])


def passes(fleet: Fleet, name: str, asked: Asked) -> bool:
    """Nova's documentation, filter by filter."""
    on = fleet.scheduler.enabled_filters
    own = [fleet.aggregates[a].metadata for a in fleet.hosts[name].aggregates]
    said: dict[str, set[str]] = {}
    for metadata in own:
        for key, value in metadata.items():
            said.setdefault(key, set()).update(word.strip() for word in value.split(","))
    kept_for = {key[6:] for key in said if key.startswith("trait:")}
    isolated = asked.image in fleet.scheduler.isolated_images
    here = name in fleet.scheduler.isolated_hosts
    restrict = fleet.scheduler.restrict_isolated_hosts_to_isolated_images
    return (
        kept_for <= asked.traits
        and ("AggregateInstanceExtraSpecsFilter" not in on or _specs_met(asked.extra_specs, said))
        and (
            "AggregateImagePropertiesIsolation" not in on
            or all(v in said.get(k, {v}) for k, v in asked.properties.items())
        )
        and ("AggregateTypeAffinityFilter" not in on or asked.flavor in said.get("instance_type", {asked.flavor}))
        and ("IsolatedHostsFilter" not in on or (isolated == here if restrict else here or not isolated))
        and _special(fleet, name, asked, said)
    )


def _special(fleet: Fleet, name: str, asked: Asked, said: Mapping[str, set[str]]) -> bool:
    on, host = fleet.scheduler.enabled_filters, fleet.hosts[name]
    tenants = said.get("filter_tenant_id", set()) | said.get("filter_tenant_id_2", set())
    if "AggregateMultiTenancyIsolation" in on and tenants and asked.tenant not in tenants:
        return False
    if "SimpleCIDRAffinityFilter" in on and asked.near and not is_near(host, asked.near):
        return False
    return "MetricsFilter" not in on or set(fleet.scheduler.metrics_weight_setting) <= set(host.metrics)


def _specs_met(specs: Mapping[str, str], said: Mapping[str, set[str]]) -> bool:
    wanted = {k.removeprefix("aggregate_instance_extra_specs:"): v for k, v in specs.items() if not k.startswith("hw:")}
    return all(any(expected(have, v) for have in said.get(k, ())) for k, v in wanted.items())


@settings(max_examples=250, deadline=None)
@given(fleets(), st.lists(ASKED, min_size=4, max_size=4))
def test_hosts_that_pass_are_those_of_the_documentation(fleet: Fleet, several: list[Asked]) -> None:
    for asked, (name, host) in product(several, fleet.hosts.items()):
        state = HostState(name, metadata=metadata_of(fleet, host), host_ip=host.known_ip, metrics=host.metrics)
        made = conditions(fleet.scheduler, asked)
        refusals = [r for condition in made if (r := condition.refusal(state)) is not None]
        assert (not refusals) == passes(fleet, name, asked), (asked, name, refusals)
        assert all(r.reason and r.help for r in refusals)


@settings(max_examples=300, deadline=None)
@given(fleets())
def test_limit_is_the_smallest_that_counts(fleet: Fleet) -> None:
    for key, name, count in (
        ("max_instances_per_host", "NumInstancesFilter", instances),
        ("max_io_ops_per_host", "IoOpsFilter", operations),
    ):
        on, own = fleet.scheduler.enabled_filters, getattr(fleet.scheduler, key)
        for host in fleet.hosts.values():
            given_ = [fleet.aggregates[a].metadata.get(key) for a in host.aggregates]
            numbers = sorted(int(text) for text in given_ if text is not None)
            limits = [own] * (name in on)
            limits += [numbers[0] if numbers else own] * (f"Aggregate{name}" in on)
            wanted = sorted(limits)[0] if limits else None
            counted = count(fleet.scheduler, metadata_of(fleet, host))
            assert (counted.total if counted else None) == wanted
