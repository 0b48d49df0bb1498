"""How the program starts, and what it says when it is used badly."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stacksmith import __version__
from stacksmith.cli.app import run
from stacksmith.cli.fault import report
from stacksmith.diagnostics import Faults, error
from stacksmith.engine.allow import Barred, NotAllowed
from stacksmith.lab.layout import LabError
from stacksmith.state.store import Holder, Locked
from tests.cli.conftest import Cli

PROGRAM = str(Path(sys.executable).with_name("stacksmith"))
COMMANDS = (
    "validate plan apply destroy drift show graph hosts capacity output placement state schema lab version",
    "placement explain",
    "state list show rm rebuild",
    "lab up down status exec crash boot freeze thaw link",
)
# What a command line that only prints help has no use for.
HEAVY = {
    "yaml",
    "jinja2",
    "libvirt",
    "lxml",
    "networkx",
    "deepdiff",
    "requests",
    "pydantic",
    "rich",
    "sqlite3",
    "sushy",
    "os_traits",
    "os_resource_classes",
}


def test_help_names_every_command(cli: Cli) -> None:
    result = cli("--help")
    assert result.status == 0
    assert all(f"\n  {command} " in result.out for command in COMMANDS[0].split())


@pytest.mark.parametrize(
    "words",
    [[*([] if group is COMMANDS[0] else [group.split()[0]]), each] for group in COMMANDS for each in group.split()],
    ids=" ".join,
)
def test_every_command_has_help(words: list[str], cli: Cli) -> None:
    if words[0] == words[-1] and len(words) == 2:
        words = words[:1]
    result = cli(*words, "--help")
    assert result.status == 0
    assert f"Usage: stacksmith {' '.join(words)}" in result.out


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from stacksmith.cli.app import run; run(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.splitlines()[-1].split()
    assert "stacksmith.cli.app" in modules
    assert not {name.partition(".")[0] for name in modules} & HEAVY


def test_list_of_nodes_imports_no_planner(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text('{"fleet": "f", "hosts": {"hv1": {"libvirt": "memory:here"}}}')
    words = ["node", "list", "--fleet", "fleet.yaml"]
    code = f"import sys; from stacksmith.cli.app import run; run({words}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    modules = done.stdout.splitlines()[-1].split()
    assert "stacksmith.engine.tenancy" in modules
    assert [name for name in modules if name.startswith(("stacksmith.planner", "stacksmith.placement"))] == []


@pytest.mark.parametrize(
    ("trait", "is_asked"),
    [("HW_CPU_X86_AVX2", False), ("CUSTOM_SSD", False), ("STORAGE_DISK_SSD", True), ("HW_CPU_X86_AVX2X", True)],
)
def test_plan_imports_os_traits_for_a_trait_that_no_host_has_by_itself(
    trait: str, is_asked: bool, project: Path
) -> None:
    fleet = project / "fleet.yaml"
    fleet.write_text(fleet.read_text() + f"  hv3: {{libvirt: 'memory://world.json', traits: [{trait}]}}\n")
    code = "import sys; from stacksmith.cli.app import run; run(['plan']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True)
    modules = done.stdout.splitlines()[-1].split()
    assert "stacksmith.planner.make" in modules
    assert ("os_traits" in modules) is is_asked
    assert "os_resource_classes" not in modules


def test_version_is_said_in_two_ways(cli: Cli) -> None:
    assert cli("version").out == cli("--version").out == f"stacksmith {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nope"], "No such command 'nope'"),
        (["plan", "--nope"], "No such option: --nope"),
        (["plan", "--format", "xml"], "'xml' is not one of"),
        (["apply", "--allow", "live,nope"], "'nope' is none of none, live, restart"),
        (["plan", "--target", "nope"], "cannot read address 'nope'"),
        (["plan", "--var", "nope"], "'nope' is not NAME=VALUE"),
        (["plan", "stack.yaml", "--stack", "other.yaml"], "give one of them"),
        (["state", "rm", "nope"], "cannot read address 'nope'"),
        (["show", "nope"], "it is no saved plan"),
        (["apply", "--parallel", "0"], "Invalid value for '--parallel'"),
    ],
)
def test_bad_use_is_an_error_that_names_it_and_never_status_2(arguments: list[str], words: str, cli: Cli) -> None:
    result = cli(*arguments)
    assert result.status == 1
    assert words in result.err
    assert result.out == ""
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        (Faults([error("some-code", "cannot do it: no")]), 1, "error[some-code]: cannot do it: no"),
        (Locked("shop", Holder("r1", "apply", "ann", "ci", 7)), 6, "held by ann@ci (pid 7, apply, run r1)"),
        (
            NotAllowed((Barred("delete server.a", "its impact is data-loss", "--allow data-loss"),)),
            7,
            "--allow data-loss",
        ),
        (LabError("cannot start hv1: no"), 1, "cannot start hv1: no"),
        (PermissionError(13, "Permission denied", "x.json"), 1, "cannot use x.json: Permission denied"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (ZeroDivisionError("by zero"), 1, "unexpected ZeroDivisionError: by zero"),
    ],
)
def test_error_becomes_words_and_a_status(
    fault: BaseException, status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(fault) == status
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""
    assert "Traceback" not in captured.err


def test_debug_lets_the_traceback_through(project: Path) -> None:
    with pytest.raises(Faults):
        run(["--debug", "plan", "nowhere"])


def test_reader_that_goes_away_is_no_traceback(project: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([PROGRAM, "plan"], stdout=writer, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_commands(shell: str, project: Path) -> None:
    environment = {"_STACKSMITH_COMPLETE": f"complete_{shell}", "COMP_WORDS": "stacksmith pl", "COMP_CWORD": "1"}
    environment |= {"_TYPER_COMPLETE_ARGS": "stacksmith pl", "_TYPER_COMPLETE_FISH_ACTION": "get-args", "PATH": ""}
    done = subprocess.run([PROGRAM], capture_output=True, text=True, check=False, env=environment)
    assert {"plan", "placement"} <= set(done.stdout.replace('"', " ").replace(":", " ").split())


@pytest.mark.parametrize(("kind", "key"), [("stack", "servers"), ("fleet", "hosts")])
def test_schema_describes_the_file(kind: str, key: str, cli: Cli) -> None:
    schema = json.loads(cli("schema", kind).out)
    assert key in schema["properties"]


def test_provider_that_there_is_not_is_refused_before_and_after_the_command(cli: Cli) -> None:
    for words in (("--provider", "libvrt", "plan"), ("plan", "--provider", "libvrt")):
        result = cli(*words)
        assert result.status == 1 and "Invalid value for '--provider': 'libvrt' is not 'memory'" in result.err
    assert cli("plan", "--provider", "memory").status == 0
