"""validate, plan, show and graph."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from stacksmith.providers.memory.world import World
from tests.cli.conftest import Cli, edit, host_of

BROKEN = """\
stack: shop
fleet: fleet.yaml
servers:
  web: {flavour: small, flavor: tiny}
"""


def test_validate_of_a_good_stack_says_so(cli: Cli) -> None:
    result = cli("validate")
    assert (result.status, result.out, result.err) == (0, "Success! The configuration is valid.\n", "")


def test_validate_shows_every_fault_with_its_place(cli: Cli, project: Path) -> None:
    (project / "stack.yaml").write_text(BROKEN)
    result = cli("validate")
    assert result.status == 1
    assert result.out == ""
    assert "stack.yaml:4:9: error[" in result.err
    assert "flavour" in result.err
    assert "^^^^^^^" in result.err


@pytest.mark.parametrize("format", ["json", "sarif", "github"])
def test_validate_for_programs_answers_on_stdout(format: str, cli: Cli, project: Path) -> None:
    (project / "stack.yaml").write_text(BROKEN)
    result = cli("validate", "--format", format)
    assert result.status == 1
    assert result.err == ""
    if format == "github":
        assert "::error file=stack.yaml,line=4,col=9," in result.out
    elif format == "json":
        assert json.loads(result.out)["valid"] is False
    else:
        assert json.loads(result.out)["runs"][0]["results"]


def test_plan_answers_0_and_detailed_2_then_0_once_applied(cli: Cli) -> None:
    first = cli("plan")
    assert first.status == 0
    assert "Plan: " in first.out
    assert " to add, 0 to change, 0 to destroy." in first.out
    assert first.err == ""
    assert cli("plan", "--detailed-exitcode").status == 2
    assert cli("apply", "--yes").status == 0
    again = cli("plan", "--detailed-exitcode")
    assert (again.status, again.out) == (0, "No changes. Your infrastructure matches the configuration.\n")


def test_plan_of_a_host_that_is_not_read_is_never_detailed_0(applied: Cli, project: Path) -> None:
    fleet = project / "fleet.yaml"
    fleet.write_text(fleet.read_text().replace("availability_zone: rack-a", "state: failed"))
    assert applied("plan", "--detailed-exitcode").status == 1


def test_plan_with_an_error_is_detailed_1(cli: Cli, project: Path) -> None:
    (project / "stack.yaml").write_text(BROKEN)
    result = cli("plan", "--detailed-exitcode")
    assert result.status == 1
    assert result.out == ""


def test_plan_as_json_is_json_alone_and_the_same_beside_text(cli: Cli, project: Path) -> None:
    data = json.loads(cli("plan", "--json").out)
    beside = cli("plan", "--json-into", "plan.json")
    assert "Plan: " in beside.out
    written = json.loads((project / "plan.json").read_text())
    assert {**written, "timestamp": ""} == {**data, "timestamp": ""}
    assert {"create"} == {each["change"]["actions"][0] for each in data["resource_changes"]}


def test_plan_for_gitlab_and_for_a_summary(cli: Cli) -> None:
    counts = json.loads(cli("plan", "--format", "gitlab").out)
    assert counts["create"] > 0
    assert (counts["update"], counts["delete"]) == (0, 0)
    assert cli("plan", "--format", "markdown").out.startswith("### stacksmith: stack `shop` on fleet `lab`")


def test_colour_is_for_those_who_ask_for_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[" not in cli("plan").out
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[32m+" in cli("plan").out
    assert "\x1b[" not in cli("plan", "--no-color").out
    assert "\x1b[" not in cli("--no-color", "plan").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in cli("plan").out


def test_common_options_may_stand_before_the_command(cli: Cli, project: Path) -> None:
    (project / "elsewhere").mkdir()
    (project / "fleet.yaml").rename(project / "elsewhere" / "other.yaml")
    assert cli("plan").status == 1
    assert cli("--fleet", "elsewhere/other.yaml", "plan", "--detailed-exitcode").status == 2
    assert cli("plan", "--fleet", "elsewhere/other.yaml", "--detailed-exitcode").status == 2


def test_variables_before_and_after_the_command_add_up(cli: Cli) -> None:
    data = json.loads(cli("--var", "count=1", "plan", "--json", "--var", "ram=256").out)
    servers = [each["change"]["after"] for each in data["resource_changes"] if each["type"] == "server"]
    assert [server["ram_mib"] for server in servers] == [256]


def test_target_limits_the_plan(cli: Cli) -> None:
    data = json.loads(cli("plan", "--json", "--target", "volume.data").out)
    assert [each["address"] for each in data["resource_changes"]] == ["volume.data"]


def test_saved_plan_is_shown_drawn_and_applied(cli: Cli, project: Path) -> None:
    planned = cli("plan", "--out", "shop.plan")
    assert "stacksmith apply shop.plan" in planned.err
    assert stat.S_IMODE((project / "shop.plan").stat().st_mode) == 0o600
    assert cli("show", "shop.plan").out == planned.out
    assert json.loads(cli("show", "shop.plan", "--json").out)["resource_changes"]
    assert '"create server.web[0]" -> ' in cli("graph", "shop.plan").out
    applied = cli("apply", "shop.plan")
    assert applied.status == 0, applied.err
    assert "Apply complete! Resources: " in applied.out
    assert cli("plan", "--detailed-exitcode").status == 0


def test_saved_plan_that_went_stale_is_status_5_and_changes_nothing(applied: Cli, live: World) -> None:
    assert applied("plan", "--out", "shop.plan", "--var", "ram=1024").status == 0
    edit(live, "server.web[0]", lambda spec: replace(spec, vcpus=3))
    edit(live, "server.web[1]", lambda spec: replace(spec, vcpus=3))
    result = applied("apply", "shop.plan", "--var", "ram=1024", "--allow", "restart")
    assert result.status == 5
    assert "it changed since the plan: vcpus was 1, is 3" in result.out


def test_damaged_plan_file_is_refused(cli: Cli, project: Path) -> None:
    cli("plan", "--out", "shop.plan")
    path = project / "shop.plan"
    path.write_text(path.read_text().replace("10.20.0.10", "10.20.0.99"))
    result = cli("apply", "shop.plan")
    assert result.status == 1
    assert "cannot read the plan shop.plan: it is damaged" in result.err


def test_saved_plan_takes_no_targets(cli: Cli) -> None:
    cli("plan", "--out", "shop.plan")
    result = cli("apply", "shop.plan", "--target", "volume.data")
    assert result.status == 1
    assert "is a saved plan" in result.err


def test_graph_of_a_stack_asks_no_host(cli: Cli) -> None:
    assert '"server.web[0]" -> "network.lan"' in cli("graph").out
    assert cli("graph", "--format", "mermaid").out.startswith("flowchart LR\n")


def test_graph_leaves_out_what_follows_from_the_rest(cli: Cli, project: Path) -> None:
    stack = project / "stack.yaml"
    extra = "  front: {flavor: small, image: tiny, networks: [{network: lan}], depends_on: [server.web]}\n"
    stack.write_text(stack.read_text().replace("servers:\n", f"servers:\n{extra}"))
    drawn = [line.strip() for line in cli("graph").out.splitlines() if line.startswith('  "server.front" ->')]
    assert drawn == ['"server.front" -> "server.web[0]"', '"server.front" -> "server.web[1]"']


def test_show_lists_everything_and_one_thing_in_full(applied: Cli) -> None:
    lines = applied("show").out.splitlines()
    assert any(line.startswith("server.web[0]") and "in sync" in line for line in lines)
    assert "vcpus: 1" in applied("show", "server.web[0]").out
    data = json.loads(applied("show", "server.web[0]", "--json").out)
    assert data["found"]["spec"]["ram_mib"] == data["applied"]["ram_mib"] == data["wanted"]["ram_mib"] == 512
    missing = applied("show", "server.nope")
    assert (missing.status, missing.out) == (1, "")


@pytest.mark.parametrize("word", ["target", "exclude", "replace"])
def test_address_that_nothing_has_is_an_error_with_a_hint(word: str, cli: Cli, project: Path) -> None:
    result = cli("plan", f"--{word}", "server.wbe")
    assert result.status == 1
    assert f"cannot {word} server.wbe: it is not in the stack, the state, or on a host" in result.err
    assert "did you mean 'server.web'?" in result.err
    stack = project / "stack.yaml"
    stack.write_text(stack.read_text().partition("outputs:")[0])
    assert cli("plan", f"--{word}", "server.web", "--var", "count=0").status == 0  # none at the moment


def test_replace_of_a_block_is_of_every_server_in_it(applied: Cli) -> None:
    assert "Plan: 2 to add, 0 to change, 2 to destroy." in applied("plan", "--replace", "server.web").out
    assert "Plan: 1 to add, 0 to change, 1 to destroy." in applied("plan", "--replace", "server.web[1]").out


def test_usage_shows_what_may_be_left_out_in_one_pair_of_brackets(cli: Cli) -> None:
    assert "stacksmith plan [OPTIONS] [STACK]\n" in cli("plan", "--var", "nope").err


@pytest.mark.parametrize("command", ["plan", "drift"])
def test_host_whose_uri_leads_to_another_machine_is_told(applied: Cli, project: Path, command: str) -> None:
    text = (project / "fleet.yaml").read_text()
    (project / "fleet.yaml").write_text(text.replace("world.json", "elsewhere.json", 1))
    result = applied(command)
    assert "Warning: nothing of what was applied on hv1 is there\n" in result.out
    assert "applied on hv2" not in result.out


def test_host_whose_uri_moved_with_it_is_in_sync(applied: Cli, project: Path, live: World) -> None:
    (project / "fleet.yaml").write_text((project / "fleet.yaml").read_text().replace("world.json", "moved.json"))
    (project / "world.json").rename(project / "moved.json")
    assert "No changes." in applied("plan").out


def test_host_that_lost_a_part_of_what_was_applied_has_no_such_warning(applied: Cli, live: World) -> None:
    for address in ("server.web[0]", "volume.data"):
        live.remove(host_of(live, address), address)
    assert "nothing of what was applied" not in applied("plan").out


def test_volume_that_shrinks_is_refused_with_what_asks_for_a_new_one(applied: Cli, project: Path) -> None:
    text = (project / "stack.yaml").read_text()
    (project / "stack.yaml").write_text(text.replace("data: {size: 1}", "data: {size: 2}"))
    assert applied("apply", "--yes").status == 0
    (project / "stack.yaml").write_text(text)
    ways = "write `size: 2` in the stack, or --replace volume.data asks for that, and loses its data\n"
    assert "a volume cannot shrink" in (out := applied("plan").out) and ways in out
    assert applied("apply", "--yes", "--allow", "data-loss").status == 7
    assert applied("apply", "--yes", "--allow", "data-loss", "--replace", "volume.data").status == 0


def test_volume_on_another_host_than_its_server_is_refused_with_the_way_there(cli: Cli, project: Path) -> None:
    apart = """\
stack: shop
fleet: fleet.yaml
flavors: {small: {vcpus: 1, ram: 64}}
volumes: {data: {size: 1, host: hv1}, root: {size: 1, host: hv2}}
servers:
  db:
    flavor: small
    block_device_mapping:
      - {boot_index: 0, source_type: volume, volume: root, destination_type: volume}
"""
    (project / "stack.yaml").write_text(apart)
    assert cli("apply", "--yes").status == 0
    data = "      - {boot_index: -1, source_type: volume, volume: data, destination_type: volume}\n"
    (project / "stack.yaml").write_text(apart + data)
    result = cli("apply", "--yes", "--target", "server.db")
    assert result.status == 7
    cause = "volume.data is on hv1, the server on hv2; before it is mapped, `host: hv1` and `stacksmith rebalance` move"
    assert f"not allowed: update server.db: {cause}" in result.err


def test_addresses_are_compared_as_libvirt_writes_them(applied: Cli, project: Path) -> None:
    subnet = '{cidr: "fd00:0::/64", gateway_ip: "FD00::00AA"}'
    text = (project / "stack.yaml").read_text().replace("10.20.0.0/24}]", f"10.20.0.0/24}}, {subnet}]")
    names = 'mode: isolated, dns: [{ip: "FD00:0::5", names: [db]}]'
    (project / "stack.yaml").write_text(text.replace("mode: isolated", names))
    out = applied("plan").out
    assert 'gateway = "fd00::aa"' in out and "dns[fd00::5]" in out


def renamed(project: Path, names: dict[str, str]) -> None:
    """Gives machines other names in the fleet file: what is on each is found under its new one."""
    world = json.loads((project / "world.json").read_text())
    world["hosts"] = {names.get(name, name): state for name, state in world["hosts"].items()}
    (project / "world.json").write_text(json.dumps(world))
    lines = (project / "fleet.yaml").read_text().splitlines()
    for number, line in enumerate(lines):
        name = line.strip().partition(":")[0]
        lines[number] = line.replace(name, names.get(name, name), 1)
    (project / "fleet.yaml").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("names", [{"hv1": "hv9"}, {"hv1": "hv2", "hv2": "hv1"}])
def test_host_that_was_renamed_or_exchanged_is_told_and_can_be_left(
    applied: Cli, project: Path, names: dict[str, str]
) -> None:
    renamed(project, names)
    for command in ("plan", "drift", "apply"):
        result = applied(command)
        assert result.status == 1 and "renamed-host" in result.err
        now = names["hv1"]
        assert f"cannot use host {now}: what is on its machine was applied there under the name hv1" in result.err
    assert applied("destroy", "--yes").status == 0
    hosts = json.loads((project / "world.json").read_text())["hosts"]
    assert not any(state[kind] for state in hosts.values() for kind in ("server", "network"))


def test_plan_is_as_the_readme_shows_it(cli: Cli, project: Path, live: World) -> None:
    text = (project / "stack.yaml").read_text()
    (project / "stack.yaml").write_text(
        text.replace("    image: tiny\n", "    image: tiny\n    metadata: {role: web}\n")
    )
    assert cli("apply", "--yes").status == 0
    edit(live, "server.web[1]", lambda spec: replace(spec, metadata={"role": "hand"}))
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    shown = readme[readme.index("  # server.web[1]") :].partition("```")[0]
    assert shown in cli("plan", "--var", "ram=1024", "--target", "server.web[1]").out
