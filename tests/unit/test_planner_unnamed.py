"""Disks without device_name, known by their places in the mapping: a plan that takes some says which."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from stacksmith.diagnostics import Diagnostic, Severity
from stacksmith.engine import session
from stacksmith.model.change import Impact
from stacksmith.providers.memory.provider import forget

ROOT = {"boot_index": 0, "source_type": "image", "image": "base", "destination_type": "local"}


def blank(**more: object) -> dict[str, object]:
    return {"source_type": "blank", "destination_type": "volume", "volume_size": 1, **more}


class Site:
    """A server with a root disk and what ``mapping`` says, on one host."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.options = session.Options(stack=folder / "stack.yaml")
        (folder / "base.img").write_bytes(b"x" * 512)
        hosts = {"hv1": {"libvirt": f"{uri}?vcpus=4&memory_mib=4096&disk_gib=40"}}
        (folder / "fleet.yaml").write_text(json.dumps({"fleet": "f", "state": "sqlite:///s.db", "hosts": hosts}))

    def plan(self, *mapping: dict[str, object], volumes: object = None) -> session.Planned:
        ephemeral = sum(int(str(each["volume_size"])) for each in mapping if each["destination_type"] == "local")
        stack = {
            "stack": "shop",
            "fleet": "fleet.yaml",
            "flavors": {"small": {"vcpus": 1, "ram": 512, "disk": 1, "ephemeral": ephemeral}},
            "images": {"base": {"source": "base.img", "format": "raw"}},
            "volumes": volumes or {},
            "servers": {"db": {"flavor": "small", "image": "base", "block_device_mapping": [ROOT, *mapping]}},
        }
        self.options.stack.write_text(json.dumps(stack, indent=1))
        return session.plan(self.options)

    def apply(self, *mapping: dict[str, object]) -> None:
        plan = self.plan(*mapping).plan
        what = session.ApplyOptions(allowed=Impact.RESTART)
        report = session.apply(self.options, plan, lambda event: None, what)
        assert report.exit_status == 0, report.failed


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    uri = f"memory:{request.node.name}"
    yield Site(tmp_path, uri)
    forget(uri)


def warning(planned: session.Planned) -> Diagnostic:
    (found,) = planned.diagnostics
    assert (found.severity, found.code) == (Severity.WARNING, "unnamed-disk")
    return found


def test_first_of_two_unnamed_disks_taken_out_warns_that_the_last_goes(site: Site) -> None:
    site.apply(blank(volume_size=1), blank(volume_size=1))
    assert site.plan(blank(), blank()).diagnostics == ()
    planned = site.plan(blank())
    found = warning(planned)
    assert found.message.startswith("server.db: vdc (volume.db-disk2) goes: ")
    assert (
        found.span is not None
        and found.snippet is not None
        and found.snippet.strip().startswith('"block_device_mapping')
    )
    assert "device_name" in (found.hint or "")
    assert [step.id for step in planned.plan.steps] == ["update server.db", "forget volume.db-disk2"]


def test_all_that_go_are_named(site: Site) -> None:
    site.apply(blank(), blank(), blank())
    assert "vdc (volume.db-disk2), vdd (volume.db-disk3) go: " in warning(site.plan(blank())).message


def test_device_name_given_later_warns_that_the_disk_goes(site: Site) -> None:
    site.apply(blank())
    assert "vdb (volume.db-disk1) goes" in warning(site.plan(blank(device_name="vdb"))).message


def test_named_disk_taken_out_goes_alone_without_a_warning(site: Site) -> None:
    site.apply(blank(device_name="vdb"), blank(device_name="vdc"))
    planned = site.plan(blank(device_name="vdc"))
    assert planned.diagnostics == ()
    assert [step.id for step in planned.plan.steps] == ["update server.db", "forget volume.db-vdb"]


def test_volume_declared_by_its_name_stays_attached_and_the_other_goes(site: Site) -> None:
    site.apply(blank(), blank())
    kept = {"source_type": "volume", "volume": "db-disk2", "destination_type": "volume"}
    planned = site.plan(kept, volumes={"db-disk2": {"size": 1}})
    assert "vdb (volume.db-disk1) goes" in warning(planned).message
    (update,) = [step for step in planned.plan.steps if step.address.kind == "server"]
    assert [(change.path, change.wanted) for change in update.changes] == [("disks[vdb]", None)]
    assert [step.id for step in planned.plan.steps] == ["update server.db", "forget volume.db-disk1"]


def local(size: int, **more: object) -> dict[str, object]:
    return {"source_type": "blank", "destination_type": "local", "volume_size": size, **more}


def test_local_disk_taken_out_of_the_middle_warns_that_the_last_goes(site: Site) -> None:
    site.apply(local(1), local(2), local(3))
    found = warning(site.plan(local(1), local(3)))
    assert found.message.startswith("server.db: vdd (local) goes: ")
    assert "give those that stay the device_name they have" in (found.hint or "")
    # What the hint says ends it.
    planned = site.plan(local(1, device_name="vdb"), local(3, device_name="vdd"))
    assert planned.diagnostics == ()
    (update,) = planned.plan.steps
    assert [(change.path, change.wanted) for change in update.changes] == [("disks[vdc]", None)]


def test_all_local_disks_taken_out_go_without_a_warning(site: Site) -> None:
    site.apply(local(1), local(2))
    planned = site.plan()
    assert planned.diagnostics == ()
    assert [change.path for step in planned.plan.steps for change in step.changes] == ["disks[vdb]", "disks[vdc]"]


def test_local_disk_with_a_name_no_place_gives_goes_without_a_warning(site: Site) -> None:
    site.apply(local(1), local(2, device_name="vdz"))
    assert site.plan(local(1)).diagnostics == ()
