"""Queries of JsonFilter against a second writing of their documentation that shares no code with the first."""

import json
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stacksmith.address import Address
from stacksmith.model.query import VARIABLES, Query, QueryFault, Trend, read_query
from stacksmith.placement import HostState, Inventory, Request, SchedulerSpec, place
from stacksmith.placement.filters import Asked, conditions, queries
from stacksmith.placement.filters.aggregate import Isolation
from stacksmith.placement.filters.query import Queried, value_of

NAMES = ("hv1", "hv2", "hv3")
NUMBERS = (
    "free_ram_mb",
    "vcpus_used",
    "num_instances",
    "vcpus_total",
    "cpu_allocation_ratio",
    "cpu_info.topology.sockets",
    "failed_builds",
)
TOPOLOGY = {"cells": 1, "sockets": 2, "cores": 4, "threads": 1}
TEXTS = ("host", "hypervisor_type", "host_ip")
_NUMBER = st.one_of(st.integers(0, 8), st.sampled_from([f"${name}" for name in NUMBERS]))
_TEXT = st.sampled_from([*NAMES, "QEMU", *(f"${name}" for name in TEXTS)])


def _comparison(operands: st.SearchStrategy[Any], operators: Sequence[str]) -> st.SearchStrategy[list[Any]]:
    return st.builds(lambda o, vs: [o, *vs], st.sampled_from(operators), st.lists(operands, min_size=2, max_size=3))


QUERIES = st.recursive(
    st.one_of(_comparison(_NUMBER, ("=", "<", ">", "<=", ">=", "in")), _comparison(_TEXT, ("=", "<", ">", "in"))),
    lambda inner: st.builds(
        lambda o, qs: [o, *qs], st.sampled_from(("and", "or", "not")), st.lists(inner, min_size=1, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def hosts(draw: st.DrawFn, name: str) -> HostState:
    return HostState(
        name,
        {
            "VCPU": Inventory(draw(st.integers(1, 8)), 0, draw(st.sampled_from([1.0, 2.0]))),
            "MEMORY_MB": Inventory(draw(st.integers(3, 8)), draw(st.integers(0, 2))),
            "INSTANCES": Inventory(-1),
        },
        {n: draw(st.integers(0, 3)) for n in ("VCPU", "MEMORY_MB", "INSTANCES")},
        capabilities={
            "host": name,
            "vcpus_total": draw(st.integers(1, 8)),
            "hypervisor_type": "QEMU",
            "cpu_info": draw(st.sampled_from([{}, {"arch": "x86_64"}, {"topology": TOPOLOGY}])),
        },
        failed_builds=draw(st.integers(0, 2)),
        host_ip=draw(st.sampled_from(["", "192.0.2.1"])),
    )


def known(host: HostState, used: Mapping[str, int]) -> dict[str, Any]:
    """What nova's host state would have."""
    memory = host.inventories["MEMORY_MB"]
    return {
        "free_ram_mb": memory.total - memory.reserved - used["MEMORY_MB"],
        "vcpus_used": used["VCPU"],
        "num_instances": used["INSTANCES"],
        "vcpus_total": host.capabilities["vcpus_total"],
        "cpu_allocation_ratio": host.inventories["VCPU"].allocation_ratio,
        "host": host.name,
        "hypervisor_type": "QEMU",
        "host_ip": host.host_ip or None,
        "cpu_info.topology.sockets": 2 if "topology" in host.capabilities["cpu_info"] else None,
        "failed_builds": host.failed_builds,
    }


def expected(query: Any, values: Mapping[str, Any]) -> Any:
    """The documentation, operator by operator, over plain lists."""
    if isinstance(query, str) and query.startswith("$"):
        return values[query[1:]]
    if not isinstance(query, list):
        return query
    name, *rest = query
    answers = [expected(each, values) for each in rest]
    if name == "not":
        return False in answers
    if name in {"and", "or"}:
        return answers.count(True) > (0 if name == "or" else len(answers) - 1)
    if any(answer is None for answer in answers):
        return False
    orders = [(answers[0] > other) - (answers[0] < other) for other in answers[1:]]
    if name == "in":
        return 0 in orders
    return set(orders) <= {"=": {0}, "<": {-1}, ">": {1}, "<=": {-1, 0}, ">=": {0, 1}}[name]


def read(query: list[Any]) -> Query:
    made = read_query(query)
    assert made is not None
    return made


@settings(max_examples=500, deadline=None)
@given(hosts("hv1"), QUERIES)
def test_answer_is_the_documentations(host: HostState, query: list[Any]) -> None:
    refusal = Queried(read(query)).refusal(host)
    assert (refusal is None) == expected(query, known(host, host.used))
    assert read_query(json.dumps(query)) == read(query)
    assert json.loads(read(query).text) == query
    if refusal is not None:
        assert all(f"${name} is " in refusal.reason for name in read(query).variables)


@settings(max_examples=500, deadline=None)
@given(hosts("hv1"), QUERIES, st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=4))
def test_answer_changes_only_as_the_trend_says(
    host: HostState, query: list[Any], more: Sequence[tuple[int, int]]
) -> None:
    used, answers = dict(host.used), [Queried(read(query)).passes(host, host.used)]
    for cpus, memory in more:
        used = {
            "VCPU": used["VCPU"] + cpus,
            "MEMORY_MB": used["MEMORY_MB"] + memory,
            "INSTANCES": used["INSTANCES"] + 1,
        }
        answers.append(Queried(read(query)).passes(host, used))
    trend = read(query).trend
    if trend in (Trend.STEADY, Trend.FALLS):
        assert answers == sorted(answers, reverse=True)
    if trend in (Trend.STEADY, Trend.RISES):
        assert answers == sorted(answers)


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[HostState], list[Request], dict[Address, list[Any]]]:
    made = [draw(hosts(name)) for name in NAMES]
    requests, asked = [], {}
    for number in range(draw(st.integers(1, 5))):
        address = Address("server", f"s{number}")
        query = draw(st.one_of(st.none(), QUERIES))
        queried = [Queried(read(query))] if query is not None else []
        if query is not None:
            asked[address] = query
        requests.append(
            Request(
                address,
                {"VCPU": 1, "MEMORY_MB": draw(st.integers(1, 2)), "INSTANCES": 1},
                conditions=tuple(each for each in queried if each.is_steady and draw(st.booleans())),
                queries=tuple(queried),
            )
        )
    return made, requests, asked


@settings(max_examples=300, deadline=None)
@given(batches(), st.sampled_from(["spread", "pack", "optimal", SchedulerSpec(weight_classes=["RAMWeigher"])]))
def test_batch_has_an_order_in_which_each_query_is_met(
    batch: tuple[list[HostState], list[Request], dict[Address, list[Any]]], strategy: str | SchedulerSpec
) -> None:
    """Some order of those on each host meets the queries of all of them; none that is left over is taken then, and no
    other choice has an order for all."""
    made, requests, asked = batch
    answers = {answer.address: answer for answer in place(requests, made, {}, strategy=strategy)}
    for host in made:
        here = [request for request in requests if answers[request.address].host == host.name]
        assert met(host, dict(host.used), here, asked)
        used = dict(host.used)
        for request in here:
            used = with_(used, request)
        for request in requests:
            if answers[request.address].host is None:
                assert not takes(host, used, request, asked), (host, request)
    if any(answer.host is None for answer in answers.values()):
        assert not any(
            all(
                met(
                    host,
                    dict(host.used),
                    [r for r, name in zip(requests, chosen, strict=True) if name == host.name],
                    asked,
                )
                for host in made
            )
            for chosen in product(NAMES, repeat=len(requests))
        )


def met(host: HostState, used: dict[str, int], left: list[Request], asked: Mapping[Address, list[Any]]) -> bool:
    return not left or any(
        takes(host, used, each, asked) and met(host, with_(used, each), [r for r in left if r is not each], asked)
        for each in left
    )


def takes(host: HostState, used: Mapping[str, int], request: Request, asked: Mapping[Address, list[Any]]) -> bool:
    query = asked.get(request.address)
    fits = all(
        used[n] + amount <= (i.total - i.reserved) * i.allocation_ratio
        for n, amount in request.amounts.items()
        for i in [host.inventories[n]]
        if i.total >= 0
    )
    return fits and (query is None or expected(query, known(host, used)))


def with_(used: Mapping[str, int], request: Request) -> dict[str, int]:
    return {name: amount + request.amounts[name] for name, amount in used.items()}


@settings(max_examples=500, deadline=None)
@given(st.recursive(
    st.one_of(st.sampled_from(["and", "in", "<", "$host", "$x", "a"]), st.integers(), st.none(), st.booleans()),
    lambda inner: st.lists(inner, max_size=4), max_leaves=8,
))  # fmt: skip
def test_anything_is_read_or_has_a_fault_with_its_place(given_: Any) -> None:
    try:
        query = read_query(given_)
    except QueryFault as fault:
        found = given_
        for part in fault.path:
            found = found[part]
        assert fault.cause
    else:
        assert query is None or json.loads(query.text) == given_


@given(
    hosts("hv1"),
    st.sampled_from(NUMBERS),
    st.sampled_from([(">=", ">="), ("<=", "<="), ("==", "=")]),
    st.integers(0, 8),
)
def test_a_flavor_that_asks_for_a_capability_is_answered_as_a_query(
    host: HostState, name: str, operators: tuple[str, str], number: int
) -> None:
    spec, operator = operators
    asked = Asked("f", {f"capabilities:{name.replace('.', ':')}": f"{spec} {number}"})
    scheduler = SchedulerSpec(enabled_filters=["ComputeCapabilitiesFilter"])
    (asks,) = [
        each for each in (*conditions(scheduler, asked), *queries(scheduler, asked)) if each != Isolation(frozenset())
    ]
    query = read_query([operator, f"${name}", number])
    assert query is not None
    assert (asks.refusal(host) is None) == Queried(query).passes(host, host.used)
    assert (asks in queries(scheduler, asked)) == (VARIABLES[name][1] is not Trend.STEADY)


def test_every_variable_is_known_of_a_host_that_was_read() -> None:
    host = HostState(
        "hv1",
        {name: Inventory(8) for name in ("VCPU", "MEMORY_MB", "DISK_GB", "INSTANCES", "IO_OPS")},
        capabilities={
            "host": "hv1",
            "vcpus_total": 8,
            "total_usable_ram_mb": 8,
            "hypervisor_type": "QEMU",
            "hypervisor_version": 8_000_000,
            "hypervisor_hostname": "hv1",
            "cpu_info": {"arch": "x86_64", "model": "EPYC", "vendor": "AMD", "topology": TOPOLOGY},
        },
        host_ip="192.0.2.1",
    )
    assert [name for name in VARIABLES if value_of(name, host, {}) is None] == []


def test_servers_that_must_come_before_and_after_others_are_placed_in_that_order() -> None:
    hosts = [HostState(name, {"MEMORY_MB": Inventory(4), "INSTANCES": Inventory(-1)}) for name in ("hv1", "hv2")]
    asked: list[tuple[int, list[Any] | None]] = [
        (2, [">=", "$free_ram_mb", 3]),
        (2, [">=", "$num_instances", 1]),
        (3, None),
        (1, [">=", "$free_ram_mb", 4]),
    ]
    requests = [
        Request(
            Address("server", "s", number),
            {"MEMORY_MB": memory, "INSTANCES": 1},
            queries=(Queried(read(query)),) if query is not None else (),
        )
        for number, (memory, query) in enumerate(asked)
    ]
    for strategy in ("spread", "pack", "optimal"):
        found = [placement.host for placement in place(requests, hosts, {}, strategy=strategy)]
        assert found[0] == found[1] != found[2] == found[3]
