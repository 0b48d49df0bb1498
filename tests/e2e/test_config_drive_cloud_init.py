"""Config drives as cloud-init's own code (Debian's package) reads them."""

import base64
import io
import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pycdlib
import pytest
import yaml

from stacksmith.address import Address, identity
from stacksmith.lab.image import cache_home
from stacksmith.model.load import LoadOptions, load_stack
from stacksmith.model.realised import Server
from stacksmith.model.types import JSON
from stacksmith.planner.build import build, draft
from stacksmith.planner.drive import drive_digest, drive_files
from stacksmith.providers.configdrive import iso

pytestmark = pytest.mark.xdist_group("cloud-init")

ROOT = Path(__file__).parents[2]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKmAm9fFk0cSAUVz9o1LPm2IV9Xw1Y5cVbDWRnS5zE0U me@näh"
CLOUD_CONFIG = '#cloud-config\npackages: [nginx]\nwrite_files:\n  - {path: /etc/motd, content: "größe 😀\\n"}\n'
SCRIPT = "#!/bin/sh\necho \"it's $(hostname)\"\nprintf '\\033[1m'\n"
# What JSON, YAML 1.1 and shells read in ways of their own.
AWKWARD = [
    *("", " ", "  both ends  ", "no", "~", "null", "1:30", "0x1f", "2001-12-14", "<<", "=", "#c", "a #c", "a: b"),
    *(
        "- a",
        "? a",
        "{a",
        "[a",
        "*a",
        "&a",
        "!a",
        "%a",
        "@a",
        "`a",
        "|",
        ">",
        "'",
        '"',
        "\"q\" 's' \\ $(id) `id`",
        "\\n",
    ),
    *("tab\there", "line\nline\n", "bom\ufeff", "nbsp\xa0", "\ufffd"),
    *("größe", "漢字", "😀 \U0010ffff", "e\u0301", "\u202eright to left"),
]
# Keys are one line; values may have several.
METADATA = {"role": "web", **{f"key {n}: {text}".translate({9: " ", 10: " "}): text for n, text in enumerate(AWKWARD)}}
NICS = [
    {"network": "lan", "fixed_ip": "10.20.0.10", "mac": "52:54:00:AA:00:01"},
    {"network": "store", "fixed_ip": "10.30.0.7", "mac": "52:54:00:aa:00:02"},
    {"network": "office", "fixed_ip": "192.0.2.7", "mac": "52:54:00:aa:00:03"},
    {"network": "six", "fixed_ip": "fd00:20::7", "mac": "52:54:00:aa:00:04"},
    {"network": "bare", "mac": "52:54:00:aa:00:05"},
]
INTERFACES = {f"52:54:00:aa:00:0{number}": f"ens{number}" for number in range(1, 6)}
STACK: JSON = {
    "stack": "shop",
    "fleet": "fleet.yaml",
    "flavors": {"small": {"vcpus": 1, "ram": 512}},
    "images": {"debian": {"source": "debian.qcow2"}},
    "keypairs": {"ops": {"public_key": KEY}},
    "networks": {
        "lan": {"subnets": [{"cidr": "10.20.0.0/24"}]},
        "store": {"mode": "isolated", "mtu": 9000, "subnets": [{"cidr": "10.30.0.0/16", "enable_dhcp": False}]},
        "office": {
            "mode": "bridge",
            "bridge": "br0",
            "subnets": [{"cidr": "192.0.2.0/25", "gateway_ip": "192.0.2.126"}],
        },
        "six": {"mode": "route", "subnets": [{"cidr": "fd00:20::/64"}]},
        "bare": {"mode": "isolated"},
    },
    "servers": {
        "web": {"keypair": "ops", "networks": NICS, "metadata": METADATA, "user_data": CLOUD_CONFIG},
        "plain": {},
    },
}
FLEET = "fleet: lab\nhosts: {hv1: {libvirt: 'memory://', availability_zone: rack-a}}\n"
WEB = Address("server", "web")
FORMATS = ("configdrive", "nocloud")
both_formats = pytest.mark.parametrize("drive_format", FORMATS)


@dataclass(frozen=True, slots=True)
class Drive:
    """A server's drive as the product makes it."""

    files: Mapping[str, bytes]
    digest: str
    image: bytes


def drive_of(folder: Path, drive_format: str, server: Address = WEB, **changed: JSON) -> Drive:
    """The drive of a server of STACK, with some of its keys changed."""
    folder.mkdir(parents=True, exist_ok=True)
    common = {"flavor": "small", "image": "debian", "config_drive": drive_format}
    servers = {name: {**common, **keys} for name, keys in STACK["servers"].items()}
    servers[server.name] |= changed
    (folder / "fleet.yaml").write_text(FLEET)
    (folder / "debian.qcow2").write_bytes(b"image")
    (folder / "stack.yaml").write_text(yaml.safe_dump({**STACK, "servers": servers}, allow_unicode=True))
    loaded = load_stack(folder / "stack.yaml", LoadOptions(environment=dict(os.environ)))
    assert loaded.stack is not None, loaded.diagnostics
    hosts = {address: "hv1" for address in loaded.stack.resources if address.kind == "server"}
    wanted = build(loaded.stack, draft(loaded.stack, {}), hosts)[server]
    assert isinstance(wanted.spec, Server) and wanted.spec.config_drive is not None
    files = drive_files(loaded.stack, loaded.stack.resources[server], wanted.uuid, wanted.spec.nics, "rack-a")
    assert wanted.spec.config_drive.digest == drive_digest(files)
    return Drive(files, drive_digest(files), iso(files, wanted.spec.config_drive.format))


def extract(image: bytes, folder: Path, names: str = "rr_path") -> None:
    """Writes the image's files to a folder, by the names of Rock Ridge or Joliet."""
    disc = pycdlib.PyCdlib()
    disc.open_fp(io.BytesIO(image))
    for above, _, files in disc.walk(**{names: "/"}):
        for name in files:
            content = io.BytesIO()
            disc.get_file_from_iso_fp(content, **{names: f"{above.rstrip('/')}/{name}"})
            path = folder / above.lstrip("/") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.getvalue())
    disc.close()


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def cloud_init() -> Path:
    """Debian's cloud-init, unpacked."""
    folder = cache_home() / "cloud-init"
    done = subprocess.run([ROOT / "packaging/cloud-init.sh", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def run(cloud_init: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTHONPATH"] = str(cloud_init / "usr/lib/python3/dist-packages")
    python = ["/usr/bin/python3", "-W", "ignore"]
    return subprocess.run([*python, *command], env=environment, capture_output=True, text=True, check=False)


def read(cloud_init: Path, drive: Drive, drive_format: str, folder: Path) -> dict[str, JSON]:
    """What cloud-init reads on the drive."""
    name, seed = {"configdrive": ("ConfigDrive", "config_drive"), "nocloud": ("NoCloud", "nocloud")}[drive_format]
    extract(drive.image, folder / "seed" / seed)
    reader = ROOT / "tests/tools/cloud_init_reader.py"
    done = run(cloud_init, reader, name, folder, json.dumps(INTERFACES))
    assert done.returncode == 0, done.stderr
    answer: dict[str, JSON] = json.loads(done.stdout)
    return answer


@both_formats
def test_cloud_init_reads_identity_keys_metadata_and_user_data(
    cloud_init: Path, tmp_path: Path, drive_format: str
) -> None:
    seen = read(cloud_init, drive_of(tmp_path / "stack", drive_format), drive_format, tmp_path / "guest")
    assert seen["claimed"]
    assert seen["instance_id"] == identity("lab", "shop", WEB)
    assert seen["hostname"] == "web"
    assert seen["keys"] == [KEY]
    assert seen["metadata"]["meta"] == METADATA
    assert base64.b64decode(seen["user_data"]) == CLOUD_CONFIG.encode()
    assert seen["user_data_types"] == ["text/cloud-config"]


@both_formats
def test_cloud_init_runs_a_script_and_gets_bytes_that_are_no_text(
    cloud_init: Path, tmp_path: Path, drive_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = SCRIPT.encode() + b"# \xff\xfe\n"
    monkeypatch.setitem(os.environb, b"STACKSMITH_FIRST_BOOT", wanted)
    drive = drive_of(tmp_path / "stack", drive_format, user_data={"env": "STACKSMITH_FIRST_BOOT"})
    seen = read(cloud_init, drive, drive_format, tmp_path / "guest")
    assert base64.b64decode(seen["user_data"]) == wanted
    assert seen["user_data_types"] == ["text/x-shellscript"]


@both_formats
def test_cloud_init_accepts_the_drive_of_a_server_with_nothing(
    cloud_init: Path, tmp_path: Path, drive_format: str
) -> None:
    plain = Address("server", "plain")
    seen = read(cloud_init, drive_of(tmp_path / "stack", drive_format, plain), drive_format, tmp_path / "guest")
    assert (seen["claimed"], seen["hostname"], seen["keys"], seen["user_data"]) == (True, "plain", [], "")
    assert seen["instance_id"] == identity("lab", "shop", plain)


@both_formats
def test_cloud_init_configures_every_interface(cloud_init: Path, tmp_path: Path, drive_format: str) -> None:
    seen = read(cloud_init, drive_of(tmp_path / "stack", drive_format), drive_format, tmp_path / "guest")
    lines = {}
    for stanza in seen["interfaces"].split("\n\n"):
        name = stanza.partition("iface ")[2].split()[0]
        lines[name] = [line.strip() for line in stanza.splitlines() if "dns" not in line and "pre-down" not in line]
    by_format = {
        "configdrive": ["accept_ra 0", "post-up route add -A inet6 default gw fd00:20::1 || true"],
        "nocloud": ["gateway fd00:20::1"],
    }
    gateway6 = by_format[drive_format]
    gateway4 = "post-up route add default gw 192.0.2.126 || true"
    assert lines == {
        "lo": ["auto lo", "iface lo inet loopback"],
        "ens1": ["auto ens1", "iface ens1 inet dhcp"],
        "ens2": ["auto ens2", "iface ens2 inet static", "address 10.30.0.7/16", "mtu 9000"],
        "ens3": ["auto ens3", "iface ens3 inet static", "address 192.0.2.7/25", gateway4],
        "ens4": ["auto ens4", "iface ens4 inet6 static", "address fd00:20::7/64", *gateway6],
        "ens5": ["iface ens5 inet manual"],
    }
    assert "dns-nameservers 10.30.0.1 192.0.2.126 fd00:20::1\n" in seen["interfaces"]


def test_cloud_init_schema_knows_the_user_data(cloud_init: Path, tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(drive_of(tmp_path / "stack", "nocloud").files["user-data"])
    bad.write_text("#cloud-config\npackages: {nginx: 1}\n")
    schema = ("-m", "cloudinit.config.schema", "--config-file")
    assert run(cloud_init, *schema, good).returncode == 0
    assert run(cloud_init, *schema, bad).returncode == 1


@both_formats
def test_ds_identify_enables_the_data_source_for_the_image(cloud_init: Path, tmp_path: Path, drive_format: str) -> None:
    image = tmp_path / "drive.iso"
    image.write_bytes(drive_of(tmp_path / "stack", drive_format).image)
    root, programs = tmp_path / "root", tmp_path / "bin"
    for folder in (programs, root / "proc", root / "sys/class/dmi/id", root / "etc/cloud"):
        folder.mkdir(parents=True)
    (root / "proc/cmdline").write_text("console=ttyS0\n")
    (root / "proc/uptime").write_text("1.00 1.00\n")
    (root / "sys/class/dmi/id/product_name").write_text("Standard PC\n")
    for name, does in (("blkid", f"exec /usr/sbin/blkid -p -o export {image}"), ("systemd-detect-virt", "echo qemu")):
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "PATH_ROOT": str(root), "DI_LOG": str(tmp_path / "log")}
    script = cloud_init / "usr/lib/cloud-init/ds-identify"
    done = subprocess.run(["/bin/sh", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (tmp_path / "log").read_text()
    name = {"configdrive": "ConfigDrive", "nocloud": "NoCloud"}[drive_format]
    assert f"datasource_list: [ {name}, None ]" in (root / "run/cloud-init/cloud.cfg").read_text()


@pytest.mark.parametrize(("drive_format", "label"), [("configdrive", "config-2"), ("nocloud", "cidata")])
def test_image_has_the_label_and_both_trees_of_names(tmp_path: Path, drive_format: str, label: str) -> None:
    drive = drive_of(tmp_path / "stack", drive_format)
    path = tmp_path / "drive.iso"
    path.write_bytes(drive.image)
    said = subprocess.run(["/usr/sbin/blkid", "-p", "-o", "export", path], capture_output=True, text=True, check=True)
    assert {f"LABEL={label}", "TYPE=iso9660"} <= set(said.stdout.splitlines())
    for names in ("rr_path", "joliet_path"):
        extract(drive.image, tmp_path / names, names)
        assert tree(tmp_path / names) == drive.files


@both_formats
def test_image_of_equal_input_is_equal_bytes_at_any_time(
    tmp_path: Path, drive_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = drive_of(tmp_path / "one", drive_format)
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        time.sleep(1.1)  # ISO 9660 knows seconds
        second = drive_of(tmp_path / "two", drive_format)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert first == second


@both_formats
@pytest.mark.parametrize(
    "changed",
    [
        {"metadata": {**METADATA, "role": "db"}},
        {"metadata": {}},
        {"user_data": SCRIPT},
        {"name": "web-1"},
        {"networks": NICS[:1]},
    ],
    ids=["value", "no-metadata", "user_data", "name", "networks"],
)
def test_image_of_changed_input_is_another(tmp_path: Path, drive_format: str, changed: dict[str, JSON]) -> None:
    before, after = drive_of(tmp_path, drive_format), drive_of(tmp_path, drive_format, **changed)
    assert before.digest != after.digest
    assert before.image != after.image
