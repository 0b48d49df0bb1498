"""Storage that several runs change in the same moment: the other acts between two calls of the one, on real libvirt."""

import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, cast

import libvirt
import pytest

from stacksmith.model.fleet import VolumeType
from stacksmith.model.naming import complete_name, image_file_name
from stacksmith.model.realised import Disk, ImageFile, Server, Volume
from stacksmith.providers.base import ProviderError, Stale, Transient
from stacksmith.providers.libvirt import image as image_module
from stacksmith.providers.libvirt import native
from stacksmith.providers.libvirt.connection import Link
from stacksmith.providers.libvirt.image import ImageDriver
from stacksmith.providers.libvirt.session import LibvirtSession
from stacksmith.providers.libvirt.storage import Storage, volume_xml
from tests.e2e.libvirt_parts import MIB, declared, image, session
from tests.e2e.light_parts import Killed
from tests.e2e.store import STACK, Store

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

RACE = "/var/lib/libvirt/race"
RACE_XML = f"<pool type='dir'><name>race</name><target><path>{RACE}</path></target></pool>"

Meanwhile = Callable[..., None]


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """Has another run act once: just before libvirt is called, for the object of that name if one is told, or just
    after it."""

    def plan(kind: type, method: str, act: Callable[[], object], name: str | None = None, after: bool = False) -> None:
        real, acts = getattr(kind, method), [act]

        def called(self: Any, *arguments: Any) -> Any:
            now = acts.pop() if acts and (name is None or name == self.name()) else None
            if now is not None and not after:
                now()
            answer = real(self, *arguments)
            if now is not None and after:
                now()
            return answer

        monkeypatch.setattr(kind, method, called)

    return plan


def test_image_that_another_stack_removes_while_it_is_looked_at_is_uploaded_again(
    store: Store, meanwhile: Meanwhile
) -> None:
    file = store.files.make("disk", b"short" * MIB)
    name = image_file_name(file.checksum, "disk")
    store.create("image.base@hv1", image(file))
    meanwhile(libvirt.virStorageVol, "XMLDesc", lambda: store.delete("image.base@hv1", image(file), "other"), name)
    assert store.create("image.base@hv1", image(file)).spec == image(file)
    store.delete("image.base@hv1", image(file))


def test_image_that_cannot_be_read_in_a_moment_is_kept(store: Store, meanwhile: Meanwhile) -> None:
    file = store.files.make("disk", b"shy" * MIB)
    name = image_file_name(file.checksum, "disk")
    store.create("image.base@hv1", image(file))

    def fail() -> None:
        raise libvirt.libvirtError("the disk is slow")

    meanwhile(libvirt.virStorageVol, "XMLDesc", fail, name)
    with pytest.raises(ProviderError, match="slow"):
        store.create("image.base@hv1", image(file))
    assert store.names() >= {name, complete_name(name)}
    store.delete("image.base@hv1", image(file))


def test_upload_of_another_stack_that_ends_while_it_is_looked_at_is_not_waited_for(
    store: Store, meanwhile: Meanwhile
) -> None:
    file = store.files.make("disk", b"ended" * MIB)
    name = image_file_name(file.checksum, "disk")
    claim = native.claim_name(name, "fleet", "other")
    others = [store.put(claim), store.put(name, 5 * MIB)]
    meanwhile(libvirt.virStorageVol, "XMLDesc", lambda: [each.delete() for each in others], name)
    assert store.create("image.base@hv1", image(file)).spec == image(file)
    store.delete("image.base@hv1", image(file))


def test_upload_that_another_run_removes_is_tried_again(store: Store, meanwhile: Meanwhile) -> None:
    file = store.files.make("disk", b"slept" * MIB)
    name = image_file_name(file.checksum, "disk")
    claim = native.claim_name(name, "fleet", STACK)

    def clear() -> None:
        for each in (claim, name):
            store.pool.storageVolLookupByName(each).delete()

    meanwhile(libvirt.virStorageVol, "XMLDesc", clear, name)
    with pytest.raises(Transient, match="was removed while it was uploaded"):
        store.create("image.base@hv1", image(file))
    store.create("image.base@hv1", image(file))
    store.delete("image.base@hv1", image(file))


@pytest.fixture
def other(store: Store) -> Iterator[Store]:
    """Another stack's run, on the same host."""
    opened = replace(store, session=session(declared(store.lab)))
    yield opened
    opened.session.close()


def overlay(file: ImageFile) -> Server:
    return Server("web", 1, 32, disks=(Disk("vda", "image", file.checksum, 8 * MIB),), power_state="stopped")


def cdrom(file: ImageFile) -> Server:
    disks = (Disk("sda", "image", file.checksum, bus="sata", device_type="cdrom"),)
    return Server("web", 1, 32, disks=disks, power_state="stopped")


def booted(file: ImageFile) -> Server:
    return Server("web", 1, 32, kernel=file.checksum, power_state="stopped")


USES = pytest.mark.parametrize(("role", "use"), [("disk", overlay), ("disk", cdrom), ("kernel", booted)])


@USES
def test_image_that_a_server_begins_to_use_while_it_is_removed_stays(
    store: Store, other: Store, meanwhile: Meanwhile, role: str, use: Callable[[ImageFile], Server]
) -> None:
    file = store.files.make(role, b"begun" * MIB, role=role)
    name, spec = image_file_name(file.checksum, role), use(file)
    store.create("image.base@hv1", image(file))
    # It was looked at, and nothing is removed yet.
    meanwhile(libvirt.virStorageVol, "delete", lambda: other.create("server.web", spec))
    store.delete("image.base@hv1", image(file))
    assert store.names() >= {name, complete_name(name)}
    other.delete("server.web", spec)
    store.delete("image.base@hv1", image(file))
    assert {each for each in store.names() if each.startswith(name)} == set()


@pytest.mark.parametrize("last", ["marker", "file"])
@USES
def test_server_that_begins_to_use_an_image_that_goes_is_stale_and_leaves_no_disk(
    store: Store, other: Store, meanwhile: Meanwhile, role: str, use: Callable[[ImageFile], Server], last: str
) -> None:
    file = store.files.make(role, b"goes" * MIB, role=role)
    name, spec = image_file_name(file.checksum, role), use(file)
    store.create("image.base@hv1", image(file))
    other.create("server.web", spec)  # its session knows the image from now on
    other.delete("server.web", spec)

    def begin() -> None:
        with pytest.raises(Stale, match="as a whole file"):
            other.create("server.web", spec)

    removed = name if last == "file" else complete_name(name)
    meanwhile(libvirt.virStorageVol, "delete", begin, removed, after=True)
    store.delete("image.base@hv1", image(file))
    left = store.names()
    assert not [each for each in left if ".web." in each], "a disk without its image"
    assert (name in left) == (complete_name(name) in left)
    other.delete("server.web", spec)
    store.delete("image.base@hv1", image(file))


def test_disk_that_was_there_before_its_image_went_is_kept(store: Store, other: Store, meanwhile: Meanwhile) -> None:
    file = store.files.make("disk", b"data" * MIB)
    spec, marker = overlay(file), complete_name(image_file_name(file.checksum, "disk"))
    store.create("image.base@hv1", image(file))
    domain = store.connection.lookupByName(other.create("server.web", spec).name)
    domain.undefine()
    disks = {each for each in store.names() if ".web." in each}
    store.pool.storageVolLookupByName(marker).delete()
    with pytest.raises(Stale, match="as a whole file"):
        other.create("server.web", spec)
    assert disks
    assert store.names() >= disks
    store.put(marker)
    other.delete("server.web", spec)
    store.delete("image.base@hv1", image(file))


@pytest.mark.parametrize("after", [False, True])
def test_volume_whose_image_goes_while_it_is_copied_is_stale(store: Store, meanwhile: Meanwhile, after: bool) -> None:
    file = store.files.make("disk", b"early" * MIB)
    store.create("image.base@hv1", image(file))
    goes = partial(store.delete, "image.base@hv1", image(file))
    meanwhile(libvirt.virStoragePool, "createXMLFrom", goes, after=after)
    spec = Volume(8 * MIB, image=file.checksum)
    with pytest.raises(Stale, match="as a whole file"):
        store.create("volume.data", spec)
    assert not [each for each in store.names() if ".data." in each and ".begun." not in each]
    store.delete("volume.data", spec)


def test_image_that_is_copied_while_it_is_removed_stays_whole(store: Store) -> None:
    """The copy may end before it is removed: then it goes, and its marker with it."""
    file = ImageFile("disk", f"sha256:{'c' * 64}", "raw")
    name = image_file_name(file.checksum, "disk")
    store.put(name, 2048 * MIB)
    store.put(complete_name(name))
    with ThreadPoolExecutor(1) as threads:
        copying = threads.submit(copy, store, name)
        while not copying.done() and "copy" not in store.pool.listVolumes():
            time.sleep(0.01)
        store.delete("image.base@hv1", image(file))
        copying.result()
    left = store.names()
    assert (name in left) == (complete_name(name) in left)
    for each in left & {"copy", name, complete_name(name)}:
        store.pool.storageVolLookupByName(each).delete()


def copy(store: Store, name: str) -> None:
    """On a connection of this thread's own."""
    connection = libvirt.open(declared(store.lab).libvirt)
    pool = connection.storagePoolLookupByName("stacksmith")
    pool.createXMLFrom(volume_xml("copy", 2048 * MIB, "raw"), pool.storageVolLookupByName(name))
    connection.close()


def test_image_whose_users_cannot_be_looked_for_again_stays_whole(store: Store, meanwhile: Meanwhile) -> None:
    file = store.files.make("disk", b"blind" * MIB)
    name = image_file_name(file.checksum, "disk")
    store.create("image.base@hv1", image(file))

    def fail() -> None:
        raise libvirt.libvirtError("the daemon is slow")

    def blind() -> None:
        meanwhile(libvirt.virConnect, "getAllDomainStats", fail)

    meanwhile(libvirt.virStorageVol, "delete", blind, complete_name(name), after=True)
    with pytest.raises(ProviderError, match="slow"):
        store.delete("image.base@hv1", image(file))
    assert store.names() >= {name, complete_name(name)}
    store.delete("image.base@hv1", image(file))


def beside(store: Store, name: str) -> set[str]:
    """What is there of an image file: itself, and the marks beside it."""
    return {each.removeprefix(name) for each in store.names() if each.startswith(name)}


def die(*of: object) -> None:
    raise Killed


def test_image_in_use_whose_remover_dies_is_whole_again_without_an_upload(
    store: Store, other: Store, meanwhile: Meanwhile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By who needs it, however many wait for it; who removes it leaves it so."""
    file = store.files.make("disk", b"dies" * MIB)
    name, spec = image_file_name(file.checksum, "disk"), overlay(file)
    store.create("image.base@hv1", image(file))
    meanwhile(libvirt.virStorageVol, "delete", lambda: other.create("server.web", spec))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(image_module, "_remove_unmarked", die)
        store.delete("image.base@hv1", image(file))
    store.delete("image.base@hv1", image(file))
    assert beside(store, name) == {"", ".going"}
    host = cast(LibvirtSession, store.session)._host
    for _ in range(2):  # have waited long enough
        image_module._clear(host, name, Link(store.connection))
    assert beside(store, name) == {"", ".complete"}
    other.delete("server.web", spec)
    store.delete("image.base@hv1", image(file))
    assert beside(store, name) == set()


def test_image_in_use_that_another_claims_while_its_remover_looks_again_is_not_uploaded(
    store: Store, other: Store, meanwhile: Meanwhile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim is one that is given up, for the name is taken."""
    file = store.files.make("disk", b"claimed" * MIB)
    name, spec = image_file_name(file.checksum, "disk"), overlay(file)
    store.create("image.base@hv1", image(file))
    claims: list[libvirt.virStorageVol] = []
    claim = partial(store.put, native.claim_name(name, "fleet", "other"))

    def begin() -> None:
        other.create("server.web", spec)
        meanwhile(libvirt.virConnect, "getAllDomainStats", lambda: claims.append(claim()))

    meanwhile(libvirt.virStorageVol, "delete", begin)
    store.delete("image.base@hv1", image(file))
    claims[0].delete()
    monkeypatch.setattr(image_module, "STALLED_SECONDS", 1.0)
    monkeypatch.setattr(ImageDriver, "_fill", pytest.fail)
    store.create("image.base@hv1", image(file))
    assert beside(store, name) == {"", ".complete"}
    other.delete("server.web", spec)
    store.delete("image.base@hv1", image(file))


def test_claim_of_a_whole_image_goes_before_its_marker(store: Store, meanwhile: Meanwhile) -> None:
    """A file with a claim and no marker is a part of one."""
    file = store.files.make("disk", b"sealed" * MIB)
    name = image_file_name(file.checksum, "disk")
    store.create("image.base@hv1", image(file))
    for stack in (STACK, "zz"):
        store.put(native.claim_name(name, "fleet", stack))
    meanwhile(libvirt.virStorageVol, "delete", die, complete_name(name), after=True)
    with pytest.raises(Killed):
        store.delete("image.base@hv1", image(file))
    assert beside(store, name) == {"", ".going"}
    store.delete("image.base@hv1", image(file))
    assert beside(store, name) == set()


def test_part_of_an_image_is_not_whole_for_what_a_killed_remover_left(store: Store, meanwhile: Meanwhile) -> None:
    file = store.files.make("disk", b"part" * MIB)
    name = image_file_name(file.checksum, "disk")
    for each in (name, f"{name}.going", native.claim_name(name, "fleet", STACK)):
        store.put(each)
    store.create("image.base@hv1", image(file))
    assert beside(store, name) == {"", ".complete"}
    store.delete("image.base@hv1", image(file))
    for each in (name, f"{name}.going", native.claim_name(name, "fleet", STACK)):
        store.put(each)
    store.delete("image.base@hv1", image(file))
    assert beside(store, name) == set()


def test_image_that_is_for_the_next_start_of_a_running_guest_stays(
    store: Store, other: Store, meanwhile: Meanwhile
) -> None:
    file = store.files.make("kernel", b"next" * MIB, role="kernel")
    name, spec = image_file_name(file.checksum, "kernel"), Server("web", 1, 32, power_state="paused", autostart=False)
    store.create("image.base@hv1", image(file))
    domain = store.connection.lookupByName(other.create("server.web", spec).name)
    saved = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    kernel = f"<kernel>{store.pool.storageVolLookupByName(name).path()}</kernel></os>"
    store.connection.defineXML(saved.replace("</os>", kernel))
    store.delete("image.base@hv1", image(file))
    assert store.names() >= {name, complete_name(name)}
    other.delete("server.web", spec)
    store.delete("image.base@hv1", image(file))


@pytest.fixture
def racing(store: Store) -> Iterator[tuple[Storage, Link]]:
    """A storage whose pool is not there, and a connection to its host."""
    connection = libvirt.open(declared(store.lab).libvirt)
    yield Storage({"race": VolumeType(pool="race", path=RACE)}, "race"), Link(connection)
    for pool in connection.listAllStoragePools():
        if pool.name() == "race":
            if pool.isActive():
                pool.destroy()
            pool.undefine()
    store.on_host(["rm", "-rf", RACE])
    connection.close()


@pytest.mark.parametrize("is_defined", [False, True])
def test_pool_that_another_run_starts_is_no_fault(
    store: Store, racing: tuple[Storage, Link], meanwhile: Meanwhile, is_defined: bool
) -> None:
    if is_defined:
        store.connection.storagePoolDefineXML(RACE_XML)

    def start() -> None:
        pool = store.connection.storagePoolLookupByName("race")
        pool.build()
        pool.create()

    meanwhile(libvirt.virStoragePool, "isActive", start, after=True)
    storage, link = racing
    assert storage.ensure(link, "race").isActive()


def test_pool_whose_folder_another_run_did_not_make_yet_is_started(store: Store, racing: tuple[Storage, Link]) -> None:
    store.connection.storagePoolDefineXML(RACE_XML)
    storage, link = racing
    pool = storage.ensure(link, "race")
    assert pool.isActive() and pool.autostart()


def test_pool_whose_folder_another_run_makes_in_this_moment_is_no_fault(
    store: Store, racing: tuple[Storage, Link], meanwhile: Meanwhile
) -> None:
    other, (storage, link) = store.connection.storagePoolDefineXML(RACE_XML), racing

    def make() -> None:
        other.build()
        other.create()
        other.setAutostart(1)

    meanwhile(libvirt.virStoragePool, "autostart", make)
    assert storage.ensure(link, "race").isActive()


def test_pool_of_another_folder_than_the_fleets_is_not_made(store: Store, racing: tuple[Storage, Link]) -> None:
    store.connection.storagePoolDefineXML(RACE_XML.replace(RACE, f"{RACE}/by/hand"))
    storage, link = racing
    with pytest.raises(libvirt.libvirtError, match="No such file or directory"):
        storage.ensure(link, "race")


def test_pool_that_was_whole_and_has_no_folder_is_not_made_anew(store: Store, racing: tuple[Storage, Link]) -> None:
    """The storage that is to be mounted there is not: what is on it would be made again, empty."""
    storage, link = racing
    storage.ensure(link, "race").destroy()
    store.on_host(["rm", "-r", RACE])
    with pytest.raises(libvirt.libvirtError, match="No such file or directory"):
        Storage(storage.types, "race").ensure(link, "race")
    with pytest.raises(subprocess.CalledProcessError):
        store.on_host(["test", "-e", RACE])


def test_volume_that_another_run_makes_while_the_pool_is_refreshed_is_taken(
    store: Store, racing: tuple[Storage, Link], meanwhile: Meanwhile
) -> None:
    (storage, link), xml = racing, volume_xml("one", 0, "raw")
    assert storage.create(link, "race", xml) is not None
    store.on_host(["rm", f"{RACE}/one"])
    other = store.connection.storagePoolLookupByName("race")
    meanwhile(libvirt.virStoragePool, "refresh", lambda: other.createXML(xml), after=True)
    assert storage.create(link, "race", xml) is None
    assert storage.lookup(link, "race", "one") is not None
