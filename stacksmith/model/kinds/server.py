"""Servers, in Nova's words."""

from typing import Literal

from pydantic import Field, model_validator

from stacksmith.model.kinds.bare_metal import BareMetalSpec
from stacksmith.model.spec import Spec

LABEL = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"


class NicSpec(Spec):
    """One interface."""

    network: str
    fixed_ip: str | None = None
    mac: str | None = Field(
        None, pattern=r"^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$", description="Default: derived, stable"
    )
    model: Literal["virtio", "e1000", "e1000e", "rtl8139"] | None = None


class BdmSpec(Spec):
    """An entry of Nova's block_device_mapping_v2."""

    source_type: Literal["image", "blank", "volume"]
    destination_type: Literal["local", "volume"]
    image: str | None = Field(None, description="With source_type image")
    volume: str | None = Field(None, description="With source_type volume: a volume of this stack")
    boot_index: int | None = None
    volume_size: int | None = Field(None, ge=1, description="GiB; MiB for swap")
    guest_format: str | None = Field(None, description="swap: a swap disk")
    device_name: str | None = Field(None, pattern=r"^(/dev/)?[a-z]{2,3}[a-z]$")
    device_type: Literal["disk", "cdrom"] = "disk"
    disk_bus: Literal["virtio", "scsi", "sata", "ide"] | None = None
    delete_on_termination: bool = Field(
        False,
        description="Delete the volume made for the server with it; local disks always go, a volume of this stack "
        "says `on_destroy`",
    )
    volume_type: str | None = None
    tag: str | None = Field(
        None, min_length=1, max_length=60, description="Names the disk to the guest: `devices` of its meta_data.json"
    )


class UserDataSpec(Spec):
    """Where user_data comes from when it is not written in place: exactly one of the keys."""

    template: str | None = Field(None, description="Jinja2 file in the stack's folder, given vars, var, index, each")
    file: str | None = Field(None, description="File in the stack's folder, taken as it is")
    env: str | None = Field(None, description="Environment variable, whose name starts with STACKSMITH_")
    command: list[str] | None = Field(
        None, description="Program and arguments, run without a shell; only with --allow-commands"
    )
    vars: dict[str, object] = Field(default_factory=dict)


class WaitForSpec(Spec):
    """What the guest must reach before the server counts as created."""

    source: Literal["lease", "agent", "console"] = "lease"
    text: str | None = Field(None, description="With console: a text on the serial console")
    timeout: float = Field(120, gt=0, le=3600, description="Seconds")


class HintsSpec(Spec):
    """Where a new server goes, by what its host is and by other servers: ``server.db``, ``server.db[0]``,
    ``shop/server.db`` of another stack of the fleet, or the UUID of any server on its hosts."""

    same_host: list[str] = Field(default_factory=list, description="On a host that has one of these servers")
    different_host: list[str] = Field(default_factory=list, description="On a host that has none of these servers")
    query: str | list[object] | None = Field(
        None, description='With JsonFilter: a list, or JSON text of it, as [">=", "$free_ram_mb", 1024]'
    )
    build_near_host_ip: str | None = Field(
        None, description="With SimpleCIDRAffinityFilter: on a host whose address is in the network of this one"
    )
    cidr: str | None = Field(None, description="How large that network is; default /24")
    group: str | None = Field(None, description="The same as group: of the server")
    host: str | None = Field(None, description="The same as host: of the server")


class ServerSpec(Spec):
    """A server."""

    name: str | None = Field(None, pattern=LABEL, description="Host name; default: block name, and key, as web-0")
    description: str = Field("", max_length=255)
    flavor: str
    image: str | None = None
    keypair: str | None = None
    group: str | None = None
    networks: list[NicSpec] = Field(default_factory=list)
    block_device_mapping: list[BdmSpec] = Field(default_factory=list)
    user_data: str | UserDataSpec | None = None
    metadata: dict[str, str] = Field(default_factory=dict, max_length=128)
    tags: list[str] = Field(default_factory=list, max_length=50)
    config_drive: bool | Literal["configdrive", "nocloud"] = Field(
        True,
        description="Format; true is configdrive. A later `false` takes the drive away at a restart; a later `true` "
        "adds one, but not to a bare-metal disk without its partition",
    )
    power_state: Literal["running", "stopped", "paused", "unmanaged"] = Field(
        "running", description="unmanaged: of a bare-metal server, left to others"
    )
    autostart: bool = True
    availability_zone: str | None = None
    host: str | None = Field(None, description="Pin to this host, or bare-metal node")
    bare_metal: BareMetalSpec | None = Field(None, description="Settings of the node, with a flavor of bare metal")
    scheduler_hints: HintsSpec | None = Field(None, description="Looked at when the server is made")
    wait_for: WaitForSpec | None = None
    protect: bool = False
    depends_on: list[str] = Field(default_factory=list, description="Addresses, as volume.data or server.db")

    @model_validator(mode="before")
    @classmethod
    def _take_hints(cls, data: object) -> object:
        """``group`` and ``host`` may be said as hints, as in Nova; they are one thing with the server's own."""
        hints = data.get("scheduler_hints") if isinstance(data, dict) else None
        if not isinstance(data, dict) or not isinstance(hints, dict):
            return data
        for name in ("group", "host"):
            hint, own = hints.get(name), data.get(name)
            if own is not None and hint is not None and own != hint:
                raise ValueError(f"scheduler_hints.{name} is {hint!r}, {name} is {own!r}")
        return {name: hints[name] for name in ("group", "host") if hints.get(name) is not None} | {
            key: value for key, value in data.items() if value is not None or key not in ("group", "host")
        }
