"""A volume whose making fails half way, for real: a rerun makes it whole, and half of it is never taken for it."""

import contextlib
import hashlib
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest
import yaml

from stacksmith import lab
from stacksmith.engine import session
from stacksmith.model.naming import complete_name, image_file_name
from tests.e2e import killed
from tests.e2e.end_state import digest
from tests.e2e.kit import Site, operations, settle, through_proxies, until
from tests.forked import Forked

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("lab")]

MIB = 2**20
CONTENT = random.Random(8).randbytes(8 * MIB)
STACK = """
images: {base: {source: base.raw, format: raw}}
volumes: {data: {size: 1, volume_type: small, image: base, host: hv1, on_destroy: delete}}
servers:
  a:
    flavor: cheap
    host: hv1
    power_state: stopped
    block_device_mapping:
      - {boot_index: 0, source_type: volume, volume: data, destination_type: volume, device_name: vda}
"""


@pytest.fixture
def site(make_site: Callable[[], Site]) -> Iterator[Site]:
    """A server whose volume is a copy of an image, in a pool of hv1 that is a file system of its own."""
    made = make_site()
    made.write(STACK)
    (made.folder / "base.raw").write_bytes(CONTENT)
    fleet, path = yaml.safe_load(made.fleet.read_text()), f"/var/lib/libvirt/{made.name}"
    fleet["hosts"]["hv1"]["volume_types"]["small"] = {"pool": made.name, "path": path}
    made.fleet.write_text(yaml.safe_dump(fleet))
    on_host(made, "mkdir", path)
    on_host(made, "mount", "-t", "tmpfs", "-o", "size=4G", "tmpfs", path)
    made.virsh("hv1", "pool-create-as", made.name, "dir", "--target", path)
    yield made
    made.destroy()
    made.virsh("hv1", "pool-destroy", made.name)
    on_host(made, "umount", path)
    on_host(made, "rmdir", path)


def on_host(site: Site, *command: str) -> None:
    assert lab.exec_in(site.lab, "hv1", list(command)) == 0


@contextlib.contextmanager
def volumes(site: Site, pool: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A connection to hv1, and the volumes of a pool as its files are now, by name."""
    connection = libvirt.open(yaml.safe_load(site.fleet.read_text())["hosts"]["hv1"]["libvirt"])
    found = connection.storagePoolLookupByName(pool)
    found.refresh()
    yield connection, {each.name(): each for each in found.listAllVolumes()}
    connection.close()


def test_volume_that_finds_no_room_half_way_is_made_whole_by_a_rerun(site: Site, tmp_path: Path) -> None:
    plan = site.plan()
    on_host(site, "mount", "-o", "remount,size=5M", f"/var/lib/libvirt/{site.name}")  # since the plan
    report = session.apply(site.options(), plan, site.events.append, session.ApplyOptions())
    assert report.exit_status == 1
    (failed,) = report.failed
    assert str(failed.address) == "volume.data" and "No space left on device" in (failed.cause or "")
    assert [str(r.address) for r in report.skipped] == ["server.a"]
    on_host(site, "mount", "-o", "remount,size=4G", f"/var/lib/libvirt/{site.name}")
    assert operations(site.plan()) == ["create volume.data", "create server.a"]
    site.apply()
    assert not site.plan().steps
    copy = tmp_path / "copy.qcow2"
    with volumes(site, site.name) as (connection, found), copy.open("wb") as file:
        (volume,) = [each for name, each in found.items() if ".vol." in name]
        stream = connection.newStream()
        volume.download(stream, 0, 0)
        stream.recvAll(lambda _, data, to: to.write(data), file)
        stream.finish()
    # What an image of 8 MiB leaves of a volume of 1 GiB is zeros.
    compared = ["qemu-img", "compare", "-f", "qcow2", "-F", "raw", str(copy), str(site.folder / "base.raw")]
    assert subprocess.run(compared, check=False).returncode == 0


def test_image_whose_upload_broke_off_half_way_is_never_taken_for_whole(site: Site) -> None:
    whole, name = kill_upload(site)
    assert "create image.base@hv1" in operations(site.plan())
    site.apply()
    assert not site.plan().steps
    with volumes(site, "stacksmith") as (connection, found):
        assert digest(connection, found[name]) == whole
        assert complete_name(name) in found


def test_half_of_an_image_is_removed_where_it_is_not_needed_any_more(site: Site) -> None:
    _, name = kill_upload(site)
    with volumes(site, "stacksmith") as (_, found):
        assert len([each for each in found if each.startswith(name)]) == 2, "the file, and the claim of its upload"
    site.write(STACK.replace("host: hv1", "host: hv2").replace("volume_type: small, ", ""))
    assert "delete image.base@hv1" in operations(site.plan())
    site.apply()
    assert not site.plan().steps
    with volumes(site, "stacksmith") as (_, found):
        assert [each for each in found if each.startswith(name)] == []


def kill_upload(site: Site) -> tuple[str, str]:
    """Kills an apply while it uploads the image to hv1. Gives the SHA-256 of the whole, and the name of its file."""
    whole = hashlib.sha256(CONTENT).hexdigest()
    name = image_file_name(f"sha256:{whole}", "disk")
    with through_proxies(site) as wires:
        for wire in wires:
            wire.swallows_after = 4 * MIB
        applying = Forked(killed.main, 0, site.folder, site.fleet)
        until(lambda: sum(wire.counts().bytes_up for wire in wires) > 6 * MIB, 60, "the upload is under way")
        applying.kill()
        applying.wait(30)
    settle(site)
    with volumes(site, "stacksmith") as (connection, found):
        assert digest(connection, found[name]) != whole and found[name].info()[1] == len(CONTENT)
        assert complete_name(name) not in found
    return whole, name
