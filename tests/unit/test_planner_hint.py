"""Hints that name servers which already run: the stack's own, another stack's, and any by UUID."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stacksmith.address import Address, identity
from stacksmith.diagnostics import Faults
from stacksmith.engine import session
from stacksmith.model.change import Impact
from stacksmith.planner.plan import Plan
from stacksmith.providers.memory.provider import forget

Servers = dict[str, dict[str, Any]]


class Fleet:
    """Two hosts, on which stacks are planned and applied."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.folder = folder
        (folder / "base.img").write_bytes(b"x" * 512)
        fleet = {"fleet": "f", "state": "sqlite:///s.db", "hosts": {f"hv{n}": {"libvirt": uri} for n in (1, 2)}}
        (folder / "fleet.yaml").write_text(json.dumps(fleet))

    def options(self, name: str, servers: Servers) -> session.Options:
        stack = {
            "stack": name,
            "fleet": "fleet.yaml",
            "flavors": {"small": {"vcpus": 1, "ram": 512, "disk": 1}},
            "images": {"base": {"source": "base.img", "format": "raw"}},
            "servers": {key: {"flavor": "small", "image": "base"} | given for key, given in servers.items()},
        }
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(stack))
        return session.Options(stack=path)

    def plan(self, name: str, servers: Servers) -> Plan:
        return session.plan(self.options(name, servers)).plan

    def apply(self, name: str, servers: Servers) -> None:
        options = self.options(name, servers)
        what = session.ApplyOptions(allowed=Impact.LIVE)
        assert session.apply(options, session.plan(options).plan, lambda event: None, what).exit_status == 0

    def host(self, name: str, servers: Servers, server: str) -> str | None:
        return next(p.host for p in self.plan(name, servers).placements if p.address == Address("server", server))


@pytest.fixture
def fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    uri = f"memory:{request.node.name}"
    yield Fleet(tmp_path, f"{uri}?vcpus=4&memory_mib=4096&disk_gib=40")
    forget(uri)


def hint(**names: list[str]) -> dict[str, Any]:
    return {"scheduler_hints": names}


@pytest.mark.parametrize("there", ["hv1", "hv2"])
def test_new_server_goes_to_and_away_from_one_that_runs(fleet: Fleet, there: str) -> None:
    db: Servers = {"db": {"host": there}}
    fleet.apply("shop", db)
    other = {"hv1": "hv2", "hv2": "hv1"}[there]
    assert fleet.host("shop", db | {"web": hint(same_host=["server.db"])}, "web") == there
    assert fleet.host("shop", db | {"web": hint(different_host=["server.db"])}, "web") == other


@pytest.mark.parametrize("there", ["hv1", "hv2"])
def test_server_that_runs_keeps_new_ones_away(fleet: Fleet, there: str) -> None:
    db: Servers = {"db": {"host": there}}
    fleet.apply("shop", db)
    alone: Servers = {"db": {"host": there} | hint(different_host=["server.web"]), "web": {}}
    assert fleet.host("shop", alone, "web") != there


def uuid(server: str) -> str:
    return identity("f", "billing", Address("server", server))


@pytest.mark.parametrize("name", [lambda: "billing/server.db", lambda: uuid("db"), lambda: uuid("db").upper()])
@pytest.mark.parametrize("there", ["hv1", "hv2"])
def test_server_of_another_stack_is_named_by_stack_or_uuid(fleet: Fleet, there: str, name: Callable[[], str]) -> None:
    fleet.apply("billing", {"db": {"host": there}})
    assert fleet.host("shop", {"web": hint(same_host=[name()])}, "web") == there
    assert fleet.host("shop", {"web": hint(different_host=[name()])}, "web") != there


def test_same_host_takes_the_host_of_any_that_runs_or_comes(fleet: Fleet) -> None:
    fleet.apply("billing", {"db": {"host": "hv1"}})
    fleet.apply("shop", {"a": {"host": "hv1"}})
    servers: Servers = {"a": {"host": "hv1"}, "b": {"host": "hv2"}, "c": hint(same_host=["server.a", "server.b"])}
    assert fleet.host("shop", servers, "c") == "hv2"  # which b makes possible, and which is emptier


def test_hint_that_no_host_meets_is_refused_with_every_host(fleet: Fleet) -> None:
    fleet.apply("billing", {"db": {"host": "hv1"}})
    with pytest.raises(Faults) as caught:
        fleet.plan("shop", {"web": hint(same_host=["billing/server.db"], different_host=[uuid("db")])})
    (fault,) = caught.value.diagnostics
    assert [note for note, _ in fault.notes] == [
        f"hv1: different_host: {uuid('db')} is here (1)",
        "hv2: same_host: billing/server.db is not here, on hv1",
    ]


def test_changed_hint_of_a_server_that_runs_changes_nothing(fleet: Fleet) -> None:
    fleet.apply("shop", {"a": {}, "b": {}})
    assert fleet.plan("shop", {"a": {}, "b": hint(same_host=["server.a"])}).steps == ()
