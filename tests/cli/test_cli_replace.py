"""Volumes that cannot change as they are while a server has them, and steps that wait for each other."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stacksmith.providers.memory.world import World
from tests.cli.conftest import Cli, edit

SERVER = """\
  db:
    flavor: small
    image: tiny
    tags: [old]
    block_device_mapping:
      - {boot_index: 0, source_type: image, image: tiny, destination_type: local}
      - {source_type: blank, destination_type: volume, volume_size: 1}
"""
MAPPED = "      - {source_type: volume, volume: data, destination_type: volume}\n"
DETACH = "detach it first: take it out of the block_device_mapping of server.db and apply"


@pytest.fixture
def stored(cli: Cli, project: Path) -> Cli:
    """The applied stack, with a server that has a volume of the stack and one of its own."""
    rewrite(project, "outputs:\n", f"{SERVER}{MAPPED}outputs:\n")
    assert cli("apply", "--yes").status == 0
    return cli


def rewrite(project: Path, old: str, new: str) -> None:
    text = (project / "stack.yaml").read_text()
    assert old in text
    (project / "stack.yaml").write_text(text.replace(old, new))


def test_replacing_a_volume_that_a_server_keeps_is_refused_with_the_way(stored: Cli, project: Path) -> None:
    rewrite(project, "data: {size: 1}", "data: {size: 1, format: raw}")
    cause = "the volume is made anew and its data is lost"
    assert f"cannot change volume.data in place: {cause}; {DETACH}\n" in stored("plan").out
    asked = ("apply", "--yes", "--allow", "data-loss", "--replace", "volume.data")
    result = stored(*asked)
    assert result.status == 7 and f"cannot replace volume.data: server.db has it; {DETACH}\n" in result.err
    rewrite(project, MAPPED, "")
    assert stored(*asked).status == 0
    rewrite(project, "outputs:\n", "outputs:\n".join((MAPPED, "")))
    assert stored("apply", "--yes").status == 0 and stored("plan", "--detailed-exitcode").status == 0


def test_volume_of_a_server_is_made_anew_with_the_server(stored: Cli, project: Path) -> None:
    asked = ("apply", "--yes", "--allow", "data-loss", "--replace", "volume.db-disk1")
    result = stored(*asked)
    assert "cannot replace volume.db-disk1: server.db has it; --replace server.db too\n" in result.err
    assert stored(*asked, "--replace", "server.db").status == 0


def test_replaced_volume_and_a_change_of_its_server_wait_not_for_each_other(stored: Cli, project: Path) -> None:
    rewrite(project, "data: {size: 1}", "data: {size: 1, format: raw}")
    rewrite(project, "tags: [old]", "tags: [new]")
    result = stored("plan", "--replace", "volume.data")
    assert result.status == 0 and DETACH in result.out
    assert stored("drift").status == 3


def test_drift_tells_a_volume_that_was_grown_by_hand_and_a_change_of_its_server(stored: Cli, live: World) -> None:
    edit(live, "volume.data", lambda spec: replace(spec, size_bytes=3 * 2**29))
    edit(live, "server.db", lambda spec: replace(spec, description="by hand"))
    told = stored("drift", "--json")
    assert told.status == 2
    assert [each["address"] for each in json.loads(told.out)["drift"]] == ["server.db", "volume.data"]
    assert f"write `size: 2` in the stack, or {DETACH}\n" in stored("plan").out


def test_drift_needs_no_order_of_the_steps(applied: Cli, project: Path, live: World) -> None:
    edit(live, "server.web[0]", lambda spec: replace(spec, power_state="paused"))
    rewrite(project, "lan:", "net2:")
    rewrite(project, "network: lan", "network: net2")
    assert "circular-steps" in applied("plan").err
    result = applied("drift", "--json")
    assert result.status == 2 and "warning[circular-steps]: cannot order the steps" in result.err
    assert [each["address"] for each in json.loads(result.out)["drift"]] == ["server.web[0]"]


def test_image_whose_file_is_gone_keeps_no_stack_from_its_drift_and_its_end(stored: Cli, project: Path) -> None:
    rewrite(project, "volumes:\n", "volumes:\n  copy: {size: 1, image: tiny, on_destroy: delete}\n")
    assert stored("apply", "--yes").status == 0
    (project / "tiny.img").unlink()
    assert "error[file-missing]" in stored("plan").err
    drift = stored("drift")
    assert drift.status == 0 and "warning[file-missing]" in drift.err
    assert stored("destroy", "--yes").status == 0
    assert stored("drift").status == 3 and '"image": {}' in (project / "world.json").read_text()
