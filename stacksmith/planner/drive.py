"""The config drive's content: OpenStack's metadata files, or cloud-init's NoCloud files. Pure."""

import hashlib
import json
import re
from collections.abc import Mapping
from itertools import chain

from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.realised import ConfigDrive, Nic
from stacksmith.model.stack import Resource, Stack
from stacksmith.model.types import JSON
from stacksmith.planner.disk import tagged_disks
from stacksmith.planner.guest_network import links, network_config, network_data

# cloud-init takes the newest dated folder that it knows, else latest.
_VERSIONS = ("2018-08-27", "latest")


def drive_format(spec: ServerSpec) -> str | None:
    """configdrive, nocloud, or None when the server has no config drive."""
    if spec.config_drive is False:
        return None
    return "configdrive" if spec.config_drive is True else spec.config_drive


def drive_files(stack: Stack, server: Resource, uuid: str, nics: tuple[Nic, ...], zone: str | None) -> dict[str, bytes]:
    """Files by path on the drive. Equal input gives equal bytes."""
    spec = server.spec
    assert isinstance(spec, ServerSpec)
    if drive_format(spec) == "nocloud":
        return _nocloud(stack, server, uuid, nics)
    files = {"meta_data.json": _json(_meta_data(stack, server, uuid, zone))}
    files["network_data.json"] = _json(network_data(links(stack, spec, nics)))
    files["vendor_data.json"] = b"{}"
    if server.user_data is not None:
        files["user_data"] = _bytes(server.user_data)
    return {f"openstack/{version}/{name}": data for version in _VERSIONS for name, data in files.items()}


def drive_digest(files: Mapping[str, bytes]) -> str:
    """sha256 over names and contents."""
    parts = ((f"{name}\0{len(data)}\0".encode(), data) for name, data in sorted(files.items()))
    return hashlib.sha256(b"".join(chain.from_iterable(parts))).hexdigest()


def config_drive(
    stack: Stack, server: Resource, uuid: str, nics: tuple[Nic, ...], zone: str | None
) -> ConfigDrive | None:
    """The drive as a realised object, or None."""
    spec = server.spec
    assert isinstance(spec, ServerSpec)
    kind = drive_format(spec)
    if kind is None:
        return None
    return ConfigDrive(kind, drive_digest(drive_files(stack, server, uuid, nics, zone)))


def server_label(server: Resource) -> str:
    """The server's name and host name."""
    spec = server.spec
    assert isinstance(spec, ServerSpec)
    return spec.name or server.address.label


_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(", ", ": ")).encode


def _json(data: JSON) -> bytes:
    return _encode(data).encode()


def _bytes(user_data: str) -> bytes:
    """The bytes as they came: those that are no UTF-8 came from the environment, as surrogates."""
    return user_data.encode(errors="surrogateescape")


def _yaml(text: str) -> str:
    """A text as YAML reads it: JSON, but YAML knows no surrogates, and more controls and line ends."""
    quoted = json.dumps(text, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda found: f"\\u{ord(found[0]):04x}", quoted)


def _public_key(stack: Stack, spec: ServerSpec) -> str | None:
    return stack.keypairs[spec.keypair].public_key if spec.keypair else None


def _meta_data(stack: Stack, server: Resource, uuid: str, zone: str | None) -> JSON:
    """meta_data.json in Nova's order of keys; random_seed is left out so that equal input is equal bytes."""
    spec = server.spec
    assert isinstance(spec, ServerSpec)
    key = _public_key(stack, spec)
    name = server_label(server)
    data: dict[str, JSON] = {"uuid": uuid}
    if spec.metadata:
        data["meta"] = dict(spec.metadata)
    if key:
        data["public_keys"] = {spec.keypair: key}
        data["keys"] = [{"name": spec.keypair, "type": "ssh", "data": key}]
    data |= {"hostname": name, "name": name, "launch_index": server.index, "availability_zone": zone}
    data["devices"] = tagged_disks(stack, server)
    return data


def _nocloud(stack: Stack, server: Resource, uuid: str, nics: tuple[Nic, ...]) -> dict[str, bytes]:
    """user-data, meta-data and network-config (version 2), all of which must be there, if only empty."""
    spec = server.spec
    assert isinstance(spec, ServerSpec)
    name = _yaml(server_label(server))
    lines = [f"instance-id: {uuid}", f"local-hostname: {name}", f"hostname: {name}"]
    key = _public_key(stack, spec)
    if key:
        lines += ["public-keys:", f"  - {_yaml(key)}"]
    if spec.metadata:
        lines += ["meta:", *(f"  {_yaml(k)}: {_yaml(v)}" for k, v in spec.metadata.items())]
    return {
        "meta-data": ("\n".join(lines) + "\n").encode(),
        "user-data": _bytes(server.user_data or ""),
        "network-config": _json(network_config(links(stack, spec, nics))),
    }
