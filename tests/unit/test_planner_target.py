"""Plans for a part of a stack: room that servers give which the plan leaves out."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from stacksmith.engine import session
from stacksmith.engine.allow import NotAllowed
from stacksmith.model.change import Impact
from stacksmith.planner.plan import Plan
from stacksmith.providers.memory.provider import forget


class Site:
    """Servers a and b are on one host with room for ``fitting`` of them; a is taken out, and c comes."""

    def __init__(self, folder: Path, uri: str, fitting: int) -> None:
        self.folder = folder
        (folder / "i.img").write_bytes(b"x")
        host = {"libvirt": f"{uri}?vcpus={fitting}&memory_mib=65536&disk_gib=100"}
        fleet = {"fleet": "f", "state": "sqlite:///s.db", "hosts": {"hv1": host}}
        (folder / "fleet.yaml").write_text(json.dumps({**fleet, "defaults": {"allocation_ratios": {"VCPU": 1.0}}}))
        self.apply("a", "b")

    def options(self, *servers: str, **more: object) -> session.Options:
        stack = {
            "stack": "s",
            "fleet": "fleet.yaml",
            "flavors": {"f": {"vcpus": 1, "ram": 64, "disk": 1}},
            "images": {"i": {"source": "i.img", "format": "raw"}},
            "servers": {name: {"flavor": "f", "image": "i"} for name in servers},
        }
        (self.folder / "stack.yaml").write_text(json.dumps(stack))
        return session.Options(stack=self.folder / "stack.yaml", **more)  # type: ignore[arg-type]

    def apply(self, *servers: str, **more: object) -> Plan:
        options = self.options(*servers, **more)
        made = session.plan(options).plan
        what = session.ApplyOptions(allowed=Impact.DATA_LOSS)
        assert session.apply(options, made, lambda event: None, what).exit_status == 0
        return made


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    uri = f"memory:{request.node.name}"
    yield Site(tmp_path, uri, request.param)
    forget(uri)


@pytest.mark.parametrize("site", [4], indirect=True)
@pytest.mark.parametrize("asked", [{"targets": ("server.c",)}, {"excludes": ("server.a",)}])
def test_new_server_needs_no_delete_of_another_where_there_is_room(site: Site, asked: dict[str, object]) -> None:
    assert [step.id for step in site.apply("b", "c", **asked).steps] == ["create server.c"]
    assert [step.id for step in site.apply("b", "c").steps] == ["delete server.a"]


@pytest.mark.parametrize("site", [2], indirect=True)
def test_new_server_in_the_room_of_one_that_the_plan_leaves_out_is_refused(site: Site) -> None:
    with pytest.raises(NotAllowed) as refused:
        site.apply("b", "c", targets=("server.c",))
    short = "VCPU 1 short (used 2 of 2, 1 more wanted)"
    cause = f"hv1 has no room while the plan leaves out the deletion of server.a: {short}"
    assert [(each.step, each.cause) for each in refused.value.barred] == [("create server.c", cause)]
    site.apply("b", "c", targets=("server.c", "server.a"))


@pytest.mark.parametrize("site", [4], indirect=True)
def test_new_server_waits_for_one_that_leaves_its_host(site: Site) -> None:
    plan = site.apply("b", "c")
    assert [step.id for step in plan.steps] == ["delete server.a", "create server.c"]
    assert "delete server.a" in plan.steps[1].requires
