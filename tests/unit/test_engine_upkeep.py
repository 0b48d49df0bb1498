"""Nodes that are not to be cleaned, or not so; no BMC is asked."""

from pathlib import Path

import pytest

from stacksmith.diagnostics import Faults
from stacksmith.engine.claim import hold
from stacksmith.engine.node import Nodes, nodes
from stacksmith.engine.session import Options
from stacksmith.engine.store import opened
from stacksmith.engine.upkeep import clean, maintain

FLEET = """\
fleet: rack
nodes:
  bm1: {redfish: "https://192.0.2.1", username: admin, password: {env: NONE}}
"""


@pytest.fixture
def rack(tmp_path: Path) -> Nodes:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    return nodes(Options(fleet=tmp_path / "fleet.yaml", environment={}))


@pytest.mark.parametrize("disk", ["", " ", "*", "sda sdb", "/dev/", "sd?"])
def test_clean_of_what_is_no_disk_is_refused_and_not_taken_for_every_disk(rack: Nodes, disk: str) -> None:
    with pytest.raises(Faults, match="is no name of a disk"):
        clean(rack, "bm1", ("sda", disk), False, lambda words: None)
    assert not list(rack.folder.glob(".stacksmith/*.db"))


def test_clean_of_a_node_that_a_stack_has_claimed_is_refused(rack: Nodes) -> None:
    with opened(rack, rack.environment, read_only=False) as store:
        hold("shop", "server.db", "5d2c0a6e-0000-5000-8000-000000000001", {"bm1": {"CUSTOM_BAREMETAL": 1}}, store)
    with pytest.raises(Faults, match="cannot take bm1: stack shop has claimed it"):
        clean(rack, "bm1", (), False, lambda words: None)
    with opened(rack, rack.environment, read_only=True) as store:
        assert store.nodes() == ()


def test_clean_that_cannot_sign_in_leaves_the_node_failed_with_the_cause(rack: Nodes) -> None:
    maintain(rack, "bm1", True, "new fan")
    with pytest.raises(Faults, match="NONE"):
        clean(rack, "bm1", (), False, lambda words: None)
    with opened(rack, rack.environment, read_only=True) as store:
        (note,) = store.nodes()
    assert (note.state, note.stage) == ("failed", "cleaning") and "cannot sign in to bm1" in note.reason
