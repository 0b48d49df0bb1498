"""Realised objects and their JSON data."""

import json

from hypothesis import given, settings

from stacksmith.model.realised import Policy, Realised, from_data, to_data
from tests.strategies import Scene, scenes


def _objects(scene: Scene) -> list[tuple[str, Realised]]:
    return [
        ("server", scene.server),
        *(("image", image) for image in scene.images.values()),
        *(("network", network) for network in scene.networks.values()),
        *(("volume", volume) for volume in scene.volumes.values()),
    ]


@settings(deadline=None, max_examples=50)
@given(scenes())
def test_from_data_of_written_data_gives_the_object(scene: Scene) -> None:
    for kind, spec in _objects(scene):
        data = json.loads(json.dumps(to_data(spec)))
        assert data == to_data(spec)
        assert from_data(kind, data) == spec


@settings(deadline=None, max_examples=50)
@given(scenes())
def test_to_data_shares_nothing_that_can_change(scene: Scene) -> None:
    data = to_data(scene.server)
    data["metadata"]["added"] = "x"
    assert "added" not in scene.server.metadata


def test_from_data_ignores_unknown_and_defaults_missing_fields() -> None:
    volume = from_data("volume", {"size_bytes": 1, "of_a_later_release": True})
    assert to_data(volume) == {"size_bytes": 1, "volume_type": "local", "format": "qcow2", "image": None}


def test_to_data_of_a_policy() -> None:
    assert to_data(Policy(protect=True)) == {"protect": True, "on_destroy": "delete", "wipe": {}}
