"""observe(render(spec)) == spec on the memory provider, for any server and all it stands on (rule 3)."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from stacksmith.address import Address, identity
from stacksmith.model.change import Impact
from stacksmith.model.fleet import Host
from stacksmith.model.found import Mark
from stacksmith.model.naming import volume_name
from stacksmith.model.realised import ImageFile, Policy, Realised, to_data
from stacksmith.planner.diff import UNKNOWN, compare
from stacksmith.providers.base import Deadline, Scope, Session, Target
from stacksmith.providers.memory.fault import Call
from stacksmith.providers.memory.provider import forget, world
from stacksmith.providers.registry import provider
from tests.strategies import Scene, scenes, servers

SERVER = Address("server", "one")
DEADLINE = Deadline(time.monotonic() + 3600, time.monotonic)
_worlds = count()


class Contents:
    """Bytes that nobody looks at."""

    def config_drive(self, server: Address, digest: str) -> Mapping[str, bytes]:
        return {}

    def image_file(self, checksum: str) -> Path:
        return Path("/dev/null")


def target(address: Address, spec: Realised) -> Target:
    """A target of fleet f, stack s."""
    uuid = identity("f", "s", address)
    return Target(Mark("f", "s", address, uuid, to_data(spec)), "hv1", spec, Policy())


def objects(scene: Scene) -> dict[Address, Realised]:
    """What to create, in order."""
    return {
        **{Address("image", name, host="hv1"): image for name, image in scene.images.items()},
        **{Address("network", name, host="hv1"): network for name, network in scene.networks.items()},
        **{Address("volume", name): volume for name, volume in scene.volumes.items()},
        SERVER: scene.server,
    }


def open_world() -> tuple[str, Session]:
    """A fresh world's host."""
    uri = f"memory:property-{next(_worlds)}"
    return uri, provider(uri).open("hv1", Host(libvirt=uri), False, DEADLINE)


def scope(scene: Scene) -> Scope:
    """The names of the scene."""
    names = {
        volume_name("s", address, identity("f", "s", address), volume.format): address
        for address, volume in ((Address("volume", n), v) for n, v in scene.volumes.items())
    }
    images: dict[Address, tuple[ImageFile, ...]] = {Address("image", n): i.files for n, i in scene.images.items()}
    return Scope("f", "s", names, images)


@settings(deadline=None, max_examples=50)
@given(scenes())
def test_observe_of_what_was_made_is_what_was_wanted(scene: Scene) -> None:
    uri, session = open_world()
    wanted = objects(scene)
    for address, spec in wanted.items():
        session.drivers[address.kind].create(target(address, spec), Contents(), DEADLINE)
    snapshot = session.observe(scope(scene), DEADLINE)
    assert {f.address: f.spec for f in snapshot.found} == wanted
    assert snapshot.unmanaged == ()
    for address in reversed(wanted):
        session.drivers[address.kind].delete(target(address, wanted[address]), DEADLINE)
    assert session.observe(scope(scene), DEADLINE).found == ()
    forget(uri)


@settings(deadline=None, max_examples=50)
@given(scenes(), st.data())
def test_update_to_any_server_on_the_same_ground_is_as_wanted_or_a_replacement(
    scene: Scene, data: st.DataObject
) -> None:
    uri, session = open_world()
    kind = provider(uri)
    for address, spec in objects(scene).items():
        session.drivers[address.kind].create(target(address, spec), Contents(), DEADLINE)
    wanted = data.draw(servers(scene.images, scene.server.nics, scene.volumes))
    found = session.drivers["server"].read(target(SERVER, wanted).mark)
    assert found is not None
    differences = compare(to_data(wanted), to_data(scene.server), to_data(found.spec))
    changes = tuple(kind.impact("server", change, found) for change in differences)
    if all(change.impact is not Impact.REPLACE for change in changes):
        asked = replace(target(SERVER, wanted), found=found, changes=changes, allowed=Impact.DATA_LOSS)
        now = session.drivers["server"].update(asked, Contents(), DEADLINE)
        assert compare(to_data(wanted), UNKNOWN, to_data(now.spec)) == []
        assert now.saved is None
    forget(uri)


class Killed(BaseException):
    """The process dies."""


@settings(deadline=None, max_examples=50)
@given(scenes(), st.integers(1, 30), st.booleans())
def test_rerun_after_a_death_at_any_point_ends_as_if_there_was_none(scene: Scene, point: int, making: bool) -> None:
    uri, session = open_world()
    wanted, left = objects(scene), point

    def make() -> None:
        for address, spec in wanted.items():
            session.drivers[address.kind].create(target(address, spec), Contents(), DEADLINE)

    def unmake() -> None:
        for address in reversed(wanted):
            session.drivers[address.kind].delete(target(address, wanted[address]), DEADLINE)

    def die(call: Call, reached: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    if not making:
        make()
    world(uri).hooks.append(die)
    with suppress(Killed):
        (make if making else unmake)()
    world(uri).hooks.clear()
    (make if making else unmake)()
    snapshot = session.observe(scope(scene), DEADLINE)
    assert {f.address: f.spec for f in snapshot.found if not f.partial} == (wanted if making else {})
    assert [f for f in snapshot.found if f.partial] == []
    forget(uri)
