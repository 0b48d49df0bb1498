"""Storage that libvirt does not guard: half made files are never taken for whole, and nothing in use is removed."""

import time
from dataclasses import replace

import pytest

from stacksmith.address import Address
from stacksmith.model.change import Change, Impact, Status
from stacksmith.model.naming import complete_name, image_file_name
from stacksmith.model.realised import Disk, Image, Server, Volume
from stacksmith.providers.base import Refused, TimedOut
from stacksmith.providers.libvirt import image as image_module
from stacksmith.providers.libvirt import native
from tests.e2e.libvirt_parts import MIB, deadline, image, target
from tests.e2e.store import STACK, Store

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

QCOW2 = b"QFI\xfb" + (3).to_bytes(4, "big") + bytes(16) + (4 * MIB).to_bytes(8, "big") + bytes(72)


def test_killed_upload_is_not_believed_and_is_made_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_module, "STALLED_SECONDS", 60.0)
    file = store.files.make("disk", b"whole" * MIB)
    name = image_file_name(file.checksum, "disk")
    store.put(native.claim_name(name, "fleet", STACK))
    store.put(name, 5 * MIB)  # as libvirtd leaves it: full size, no content
    address = Address("image", "base")
    seen = [f for f in store.observe({address: (file,)}).found if f.address.kind == "image"]
    assert [(f.partial, f.spec) for f in seen] == [(True, Image(()))]
    began = time.monotonic()
    found = store.create("image.base@hv1", image(file))
    assert time.monotonic() - began < image_module.STALLED_SECONDS  # our own dead upload is not waited for
    assert (found.partial, found.spec) == (False, image(file))
    assert store.names() >= {name, complete_name(name)}
    assert native.claim_name(name, "fleet", STACK) not in store.names()
    store.delete("image.base@hv1", image(file))


def test_upload_of_another_stack_is_waited_for_and_taken_over_when_it_stands_still(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = store.files.make("disk", b"other" * MIB)
    name = image_file_name(file.checksum, "disk")
    store.put(native.claim_name(name, "fleet", "other"))
    store.put(name, 5 * MIB)
    with pytest.raises(TimedOut):
        store.create("image.base@hv1", image(file), seconds=2)
    assert name in store.names()
    monkeypatch.setattr(image_module, "STALLED_SECONDS", 1.0)
    assert store.create("image.base@hv1", image(file)).spec == image(file)
    assert native.claim_name(name, "fleet", "other") not in store.names()
    store.delete("image.base@hv1", image(file))


def test_upload_of_another_stack_is_not_removed_and_a_dead_one_of_our_own_is(store: Store) -> None:
    file = store.files.make("disk", b"half" * MIB)
    name, address = image_file_name(file.checksum, "disk"), Address("image", "base")
    own, other = (native.claim_name(name, "fleet", stack) for stack in (STACK, "other"))
    store.put(own)
    seen = [f for f in store.observe({address: (file,)}).found if f.address.kind == "image"]
    assert [(f.partial, f.begun) for f in seen] == [(True, (file,))], "it was killed before it made the file itself"
    store.put(other)
    store.put(name, 4 * MIB)
    store.delete("image.base@hv1", image(file))
    assert {each for each in store.names() if each.startswith(name)} == {name, other}
    seen = [f for f in store.observe({address: (file,)}).found if f.address.kind == "image"]
    assert [(f.partial, f.begun) for f in seen] == [(True, ())]
    store.pool.storageVolLookupByName(other).delete()
    store.put(own)
    store.delete("image.base@hv1", image(file))
    assert {each for each in store.names() if each.startswith(name)} == set()


def test_image_file_that_was_removed_behind_libvirt_is_made_again(store: Store) -> None:
    file = store.files.make("disk", b"gone" * MIB)
    store.create("image.base@hv1", image(file))
    store.pool.storageVolLookupByName(image_file_name(file.checksum, "disk")).delete()
    assert store.create("image.base@hv1", image(file)).spec == image(file)
    store.delete("image.base@hv1", image(file))


@pytest.mark.parametrize(
    ("content", "form", "words"),
    [
        (b"no header" * 100, "qcow2", "the file is not"),
        (QCOW2, "raw", "the file is qcow2"),
        (QCOW2[:8] + (104).to_bytes(8, "big") + QCOW2[16:], "qcow2", "needs another file"),
        (QCOW2[:72] + (4).to_bytes(8, "big") + QCOW2[80:], "qcow2", "needs another file"),
    ],
    ids=["raw said to be qcow2", "qcow2 said to be raw", "with a backing file", "with a data file"],
)
def test_image_that_is_not_what_it_is_said_to_be_is_refused(
    store: Store, content: bytes, form: str, words: str
) -> None:
    file = store.files.make("disk", content, form)
    with pytest.raises(Refused, match=words):
        store.create("image.base@hv1", image(file))


def test_image_file_that_changes_while_it_is_read_is_refused_and_not_kept(store: Store) -> None:
    file = store.files.make("disk", b"first" * MIB)
    store.files.paths[file.checksum].write_bytes(b"other" * MIB)
    with pytest.raises(Refused, match="changed while it was read"):
        store.create("image.base@hv1", image(file))
    assert image_file_name(file.checksum, "disk") not in store.names()
    store.files.paths[file.checksum].write_bytes(b"first" * MIB)
    store.create("image.base@hv1", image(file))
    store.delete("image.base@hv1", image(file))


def test_overlay_smaller_than_its_image_is_refused(store: Store) -> None:
    file = store.files.make("disk", b"large" * MIB)
    store.create("image.base@hv1", image(file))
    spec = Server("web", 1, 32, disks=(Disk("vda", "image", file.checksum, MIB),), power_state="stopped")
    with pytest.raises(Refused, match="smaller than its image") as refused:
        store.create("server.web", spec)
    assert refused.value.path == "disks[vda].size_bytes"
    store.delete("image.base@hv1", image(file))


def test_volume_whose_file_is_gone_is_a_problem_and_can_be_deleted(store: Store) -> None:
    made = store.create("volume.data", Volume(2 * MIB))
    path = str(made.facts["path"])
    assert [f.problem for f in store.observe().found] == [None]
    store.on_host(["rm", path])
    assert [f.problem for f in store.observe().found] == [f"file is missing: {path}"]
    store.delete("volume.data", Volume(2 * MIB))
    assert store.observe().found == ()


def test_server_whose_disk_is_gone_is_a_problem(store: Store) -> None:
    spec = Server("web", 1, 32, disks=(Disk("vda", "blank", None, MIB),), power_state="stopped")
    found = store.create("server.web", spec)
    name = next(n for n in store.names() if n.endswith(f"{found.uuid[:8]}.qcow2"))
    path = store.pool.storageVolLookupByName(name).path()
    store.on_host(["rm", path])
    assert [f.problem for f in store.observe().found] == [f"file is missing: {path}"]
    store.delete("server.web", spec)
    assert store.observe().found == ()


def test_remains_of_a_server_are_found_and_completed_with_their_data(store: Store) -> None:
    spec = Server("web", 1, 32, disks=(Disk("vda", "blank", None, MIB),), power_state="stopped")
    found = store.create("server.web", spec)
    store.connection.lookupByName(found.name).undefine()
    (remains,) = store.observe().found
    assert (remains.address, remains.uuid, remains.partial, remains.spec) == (found.address, found.uuid, True, None)
    assert store.create("server.web", spec).spec == spec
    store.delete("server.web", spec)


def test_copy_of_an_image_that_was_killed_is_made_again_and_unknown_data_is_not(store: Store) -> None:
    file = store.files.make("disk", b"image" * MIB)
    store.create("image.base@hv1", image(file))
    spec = Volume(8 * MIB, image=file.checksum)
    made = store.create("volume.data", spec)
    assert made.spec == spec
    origin = native.origin_name(STACK, made.uuid[:8], file.checksum)
    store.pool.storageVolLookupByName(origin).delete()
    with pytest.raises(Refused, match="no copy of the image"):
        store.create("volume.data", spec)
    store.put(native.begun_name(STACK, made.uuid[:8]))
    assert [f.partial for f in store.observe().found if f.address.kind == "volume"] == [True]
    assert store.create("volume.data", spec).spec == spec
    store.delete("volume.data", spec)
    store.delete("image.base@hv1", image(file))


def test_volume_of_another_stack_is_unmanaged_with_its_size(store: Store) -> None:
    store.create("volume.data", Volume(3 * MIB), stack="neighbour")
    (other,) = [u for u in store.observe().unmanaged if u.kind == "volume"]
    assert (other.owner, other.usage.disk_gib) == ("fleet/neighbour", 1)
    store.delete("volume.data", Volume(3 * MIB), stack="neighbour")


def test_volume_never_shrinks(store: Store) -> None:
    made = store.create("volume.data", Volume(4 * MIB))
    change = Change("size_bytes", 2 * MIB, 4 * MIB, 4 * MIB, Status.CHANGE)
    small = target(STACK, "volume.data", Volume(2 * MIB), found=made)
    small = replace(small, allowed=Impact.DATA_LOSS, changes=(change,))
    with pytest.raises(Refused, match="cannot shrink"):
        store.session.drivers["volume"].update(small, store.files, deadline())
    store.delete("volume.data", Volume(4 * MIB))
