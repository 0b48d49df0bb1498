"""rebalance: what it prints, saves and refuses."""

from pathlib import Path

import pytest

from tests.cli.conftest import Cli

FLEET = """\
fleet: lab
hosts:
  hv1: {libvirt: "memory://world.json?vcpus=10&memory_mib=16384"}
  hv2: {libvirt: "memory://world.json?vcpus=10&memory_mib=16384"}
"""
STACK = """\
stack: shop
fleet: fleet.yaml
flavors: {small: {vcpus: 2, ram: 512, disk: 1}}
images: {tiny: {source: tiny.img, format: raw}}
servers: {web: {count: 4, flavor: small, image: tiny, host: hv1}}
"""


@pytest.fixture
def uneven(cli: Cli, project: Path) -> None:
    """Four servers on one of two hosts."""
    (project / "fleet.yaml").write_text(FLEET)
    (project / "stack.yaml").write_text(STACK)
    assert cli("apply", "--yes").status == 0
    (project / "stack.yaml").write_text(STACK.replace(", host: hv1", ""))


@pytest.mark.usefixtures("uneven")
def test_even_says_the_measure_saves_the_plan_and_has_nothing_to_do_the_second_time(cli: Cli) -> None:
    result = cli("rebalance", "--even", "--out", "moves.plan")
    assert result.status == 0
    assert "Evenness: VCPU, the scarcest class: between 0 % (hv2) and 80 % (hv1), a spread of 80 %\n" in result.out
    assert "  after 2 migrations: between 40 % (hv2) and 40 % (hv1), a spread of 0 %\n" in result.out
    assert result.out.endswith("2 migrations; fewer do not do it.\n")
    assert cli("apply", "moves.plan", "--yes").status == 7
    assert cli("apply", "moves.plan", "--allow", "migrate", "--yes").status == 0
    result = cli("rebalance", "--even")
    assert "No changes." in result.out
    assert "migrations;" not in result.out


@pytest.mark.usefixtures("uneven")
def test_so_few_moves_tell_what_they_do_not_reach(cli: Cli) -> None:
    result = cli("rebalance", "--drain", "hv1", "--max-moves", "3")
    assert "Not reached: hv1 still has server.web[3]\n" in result.out
    assert result.out.endswith("3 migrations; each is needed.\n")


@pytest.mark.usefixtures("uneven")
@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["--even", "--drain", "hv1"], "--drain and --even are two rebalances"),
        (["--max-moves", "0"], "max-moves"),
        (["--even", "--tolerance", "2"], "tolerance"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], cause: str, cli: Cli) -> None:
    result = cli("rebalance", *words)
    assert result.status != 0
    assert cause in result.err


def test_plan_warns_of_servers_against_their_rules_without_another_status(cli: Cli, project: Path) -> None:
    (project / "fleet.yaml").write_text(FLEET)
    (project / "stack.yaml").write_text(STACK)
    assert cli("apply", "--yes").status == 0
    (project / "stack.yaml").write_text(STACK.replace("host: hv1", "host: hv2"))
    result = cli("plan", "--detailed-exitcode")
    assert (result.status, result.out) == (0, "No changes. Your infrastructure matches the configuration.\n")
    told = "server.web[0], server.web[1], server.web[2] and 1 more run on hv1 against their rules: not hv2, where it is"
    assert f"stack.yaml:5:16: warning[against-rules]: {told} pinned\n" in result.err
    assert "hint: `stacksmith rebalance` shows what ends this" in result.err
    row = (
        "hv1   stays         stays here against its rules: not hv2, where it is pinned; "
        "stacksmith rebalance shows what ends it\n"
    )
    assert row in cli("placement", "explain", "server.web[0]").out
    assert cli("rebalance").out.endswith("4 migrations; fewer do not do it.\n")
    assert cli("drift").status == 0
