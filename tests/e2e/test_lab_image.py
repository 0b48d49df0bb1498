"""How the lab's images are made: the parts that need no guest to run."""

import gzip
import hashlib
import json
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from stacksmith.lab import LabError, guest, image
from stacksmith.providers.archive import Archive

texts = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=12)
values = st.recursive(
    st.one_of(texts, st.integers(), st.booleans(), st.none()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)


def flat(text: str) -> list[str]:
    """What the guest's reader prints for this text."""
    argv = [str(guest.BUSYBOX), "awk", "-f", str(guest.SCRIPTS / "flat.awk")]
    done = subprocess.run(argv, input=text.encode(), capture_output=True, check=True)
    return done.stdout.decode().split("\n")[:-1]


def quoted(text: str) -> str:
    """As YAML reads it; a pair of escaped surrogates is one character in JSON but not in YAML."""
    return json.dumps(text, ensure_ascii=False)


def expected(data: object, path: str = "") -> list[str]:
    if isinstance(data, dict):
        return [line for key, value in data.items() for line in expected(value, f"{path}{key}\t")]
    if isinstance(data, list):
        return [line for index, value in enumerate(data) for line in expected(value, f"{path}{index}\t")]
    return [path + (data if isinstance(data, str) else json.dumps(data))]


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(texts, values, max_size=4), st.booleans(), st.sampled_from([None, 2]))
def test_guest_reads_any_json(data: dict[str, object], ascii_only: bool, indent: int | None) -> None:
    assert flat(json.dumps(data, ensure_ascii=ascii_only, indent=indent)) == expected(data)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(texts.filter(bool), texts, max_size=3), st.lists(texts, max_size=2))
def test_guest_reads_the_yaml_of_nocloud(meta: dict[str, str], keys: list[str]) -> None:
    lines = ["instance-id: u", "local-hostname: web-1", "meta:" if meta else "meta: {}"]
    lines += [f"  {quoted(key)}: {quoted(value)}" for key, value in meta.items()]
    lines += ["public-keys:", *(f"  - {quoted(key)}" for key in keys)] if keys else []
    text = "\n".join(lines) + "\n"
    assert flat(text) == expected(yaml.safe_load(text))


def test_guest_keeps_control_characters_escaped() -> None:
    assert flat('{"a": "one\\ntwo\\t\\u0001\\\\", "b": "\\ud83d\\ude00"}') == ["a\tone\\ntwo\\t\\u0001\\", "b\t😀"]


@pytest.mark.parametrize(
    ("mac", "address"), [("52:54:00:00:00:0A", "10.0.0.7 20 10.0.0.1\n"), ("52:54:00:00:00:0b", "")]
)
@pytest.mark.parametrize("form", ["network_data", "network-config"])
def test_guest_finds_the_fixed_address_of_a_nic(form: str, mac: str, address: str) -> None:
    route = {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.0.1"}
    fixed = {"type": "ipv4", "ip_address": "10.0.0.7", "netmask": "255.255.240.0", "routes": [route]}
    macs = ("52:54:00:00:00:0b", "52:54:00:00:00:0a")
    data: object = {
        "links": [{"id": f"nic{place}", "ethernet_mac_address": each} for place, each in enumerate(macs)],
        "networks": [{"id": "n0", "link": "nic0", "type": "ipv4_dhcp"}, {"id": "n1", "link": "nic1", **fixed}],
    }
    if form == "network-config":
        config = {"addresses": ["10.0.0.7/20"], "routes": [{"to": "0.0.0.0/0", "via": "10.0.0.1"}]}
        dynamic = {"match": {"macaddress": macs[0]}, "dhcp4": True}
        data = {"version": 2, "ethernets": {"nic0": dynamic, "nic1": {"match": {"macaddress": macs[1]}, **config}}}
    flattened = "\n".join(flat(json.dumps(data))) + "\n"
    argv = [guest.BUSYBOX, "awk", "-v", f"mac={mac}", "-f", guest.SCRIPTS / "static.awk"]
    done = subprocess.run(argv, input=flattened, capture_output=True, text=True, check=True)
    assert done.stdout == address


def test_archive_is_what_cpio_unpacks_and_always_the_same(tmp_path: Path) -> None:
    def packed() -> bytes:
        archive = Archive()
        archive.file("etc/deep/file", b"content", 0o600)
        archive.link("bin/sh", "busybox")
        archive.folder("proc")
        return archive.pack()

    data = gzip.decompress(packed())
    listing = subprocess.run([guest.BUSYBOX, "cpio", "-t"], input=data, capture_output=True, check=True).stdout
    assert listing.decode().split() == ["bin", "bin/sh", "etc", "etc/deep", "etc/deep/file", "proc"]
    subprocess.run([guest.BUSYBOX, "cpio", "-id"], input=data, capture_output=True, cwd=tmp_path, check=True)
    assert (tmp_path / "etc/deep/file").read_bytes() == b"content"
    assert (tmp_path / "bin/sh").readlink() == Path("busybox")
    assert packed() == packed()


def test_boot_sector_is_a_megabyte_with_a_signature() -> None:
    data = guest.boot_sector()
    assert (len(data), data[510:512]) == (1 << 20, b"\x55\xaa")


def test_offer_replaces_a_damaged_image(tmp_path: Path) -> None:
    source, target = tmp_path / "cache", tmp_path / "images"
    source.mkdir()
    (source / "a.img").write_bytes(b"whole")
    offered = [image.Image("a", "raw", (image.File("a.img", hashlib.sha256(b"whole").hexdigest()),))]
    image.offer(source, target, offered)
    (target / "a.img").unlink()
    (target / "a.img").write_bytes(b"wh")
    image.offer(source, target, offered)
    assert (target / "a.img").read_bytes() == b"whole"
    assert [path.name for path in target.iterdir()] == ["a.img"]


def test_building_without_its_tools_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest.shutil, "which", lambda name, path: None)
    with pytest.raises(LabError, match="not installed: kmod, mtools, qemu-utils, syslinux"):
        guest.needs()
