"""Broken stack files on the command line: an error with its place, exit 1, and nothing is changed."""

import re
from pathlib import Path

from stacksmith.model.load import LoadOptions, load_stack
from tests.cli.conftest import FLEET, Cli
from tests.mutants import CASE, mutants

MUTANTS = 200
PLACE = re.compile(r"^[\w.]+:\d+:\d+: error\[[a-z0-9-]+\]: ", re.MULTILINE)


def files(project: Path) -> dict[Path, bytes]:
    """Every file in the project but the stack file: the hosts, the state store, what the stack reads."""
    there = [path for path in project.rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in there if path != project / "stack.yaml"}


def test_apply_200_mutants_of_the_applied_stack_each_is_an_error_with_a_place_and_changes_nothing(
    cli: Cli, project: Path
) -> None:
    for name in ("stack.yaml", "debian.img", "ops.pub", "web.yaml.j2"):
        (project / name).write_bytes((CASE / name).read_bytes())
    (project / "fleet.yaml").write_text(FLEET)
    assert cli("apply", "--yes").status == 0
    before = files(project)
    assert {"world.json", "lab.db"} <= {path.name for path in before}
    refused = 0
    for count, (kind, content) in enumerate(mutants()):
        (project / "stack.yaml").write_bytes(content)
        if load_stack(project / "stack.yaml", LoadOptions()).stack is None:
            result = cli("apply", "--yes", "--allow", "data-loss")
            told = f"mutant {count}, a {kind}: {result}"
            assert result.status == 1 and result.out == "", told
            assert PLACE.search(result.err) and "Traceback" not in result.err, told
            refused += 1
        if refused == MUTANTS:
            break
        assert count < 3 * MUTANTS, f"most mutants load: the last was a {kind}"
    assert files(project) == before
