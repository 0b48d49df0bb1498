"""Names of volumes are read back as what they were made of."""

from hypothesis import given
from hypothesis import strategies as st

from stacksmith.address import Address, identity
from stacksmith.model.naming import complete_name, config_drive_name, image_file_name, local_disk_name, volume_name
from stacksmith.providers.libvirt import native

WORDS = st.text("abc-019", min_size=1, max_size=8).filter(lambda w: w.strip("-") == w)
KEYS = st.one_of(st.none(), st.integers(0, 999), WORDS)


@given(WORDS, WORDS, KEYS, st.sampled_from(["qcow2", "raw"]), st.integers(0, 3))
def test_volume_name_tells_its_address_and_uuid(
    stack: str, name: str, key: int | str | None, extension: str, generation: int
) -> None:
    address = Address("volume", name, key)
    uuid = identity("lab", stack, address, generation)
    part = native.read_part(volume_name(stack, address, uuid, extension))
    assert part is not None
    assert (part.stack, part.is_volume, part.extension) == (stack, True, extension)
    assert native.resource("lab", stack, "volume", part.label, part.id8) == (address, str(uuid))


@given(WORDS, WORDS, KEYS)
def test_disk_and_config_drive_names_tell_their_server(stack: str, name: str, key: int | str | None) -> None:
    address = Address("server", name, key)
    uuid = identity("lab", stack, address)
    disk = native.read_part(local_disk_name(stack, address, uuid, "vdb"))
    drive = native.read_part(config_drive_name(stack, address, uuid, "ab" * 32))
    assert disk is not None and drive is not None
    assert (disk.part, disk.config_digest) == ("vdb", None)
    assert drive.config_digest == "ab" * 8
    assert native.resource("lab", stack, "server", disk.label, disk.id8) == (address, str(uuid))


def test_name_of_another_fleet_tells_no_address() -> None:
    address = Address("volume", "data")
    part = native.read_part(volume_name("shop", address, identity("other", "shop", address)))
    assert part is not None
    assert native.resource("lab", "shop", "volume", part.label, part.id8) is None


def test_image_file_name_tells_its_checksum() -> None:
    for checksum in ("sha256:" + "ab" * 32, "sha512:" + "cd" * 64):
        name = image_file_name(checksum, "kernel")
        assert native.read_image(name) == (checksum, "kernel")
        assert native.read_image(complete_name(name)) is None
        assert native.read_image(native.claim_name(name, "lab", "shop")) is None
        assert native.read_part(name) is None


def test_origin_name_tells_the_image_of_a_copy() -> None:
    name = native.origin_name("shop", "12345678", "sha256:" + "ab" * 32)
    assert native.read_origin(name) == ("shop", "12345678", "sha256:" + "ab" * 32)
    assert native.read_origin(native.begun_name("shop", "12345678")) is None


def test_names_that_are_not_ours_are_none() -> None:
    for name in ("disk.qcow2", "ss.shop.data.qcow2", "ss..image.zz.disk", "ss.shop..begun.12345678"):
        assert native.read_part(name) is None or name.startswith("ss.shop..")
        assert native.read_image(name) is None
