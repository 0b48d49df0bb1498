"""sushy-tools' emulator in this process: one machine's Redfish tree, over its libvirt domain.

The emulator is one application for all domains of a host, made to serve one request at a time. Here each BMC has a
connection and a lock of its own, and sees its own domain alone.
"""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import libvirt
from sushy_tools.emulator import main
from sushy_tools.emulator.resources.systems import libvirtdriver

from stacksmith.lab.bmc.message import Answer
from stacksmith.model.types import JSON

POOL = "nodes"
FIRMWARE = Path("/usr/share/OVMF")
CODE_SECURE = FIRMWARE / "OVMF_CODE_4M.secboot.fd"
VARS, VARS_SECURE = FIRMWARE / "OVMF_VARS_4M.fd", FIRMWARE / "OVMF_VARS_4M.ms.fd"
SEABIOS = Path("/usr/share/seabios/bios-256k.bin")
KEEPALIVE_SECONDS, KEEPALIVE_COUNT = 2, 4

Disks = Mapping[str, Sequence[str]]  # names, by the UUID of the domain


class Here(threading.local):
    """What the emulator works on in this thread."""

    connection: Any = None
    identity: str = ""


_here = Here()


class _Connection:
    """In place of the emulator's own, which opens one for each call."""

    def __init__(self, uri: str, readonly: bool = False) -> None:
        pass

    def __enter__(self) -> Any:
        return _here.connection

    def __exit__(self, *cause: object) -> None:
        pass


Upstream = libvirtdriver.LibvirtDriver


class _Driver(Upstream):  # type: ignore[misc, valid-type]
    """The emulator's driver, which would keep every domain that it ever looked up, and with it a dead connection."""

    def _get_domain(self, identity: str, readonly: bool = False) -> Any:
        return Upstream._get_domain.__wrapped__(self, identity, readonly=readonly)

    @property
    def systems(self) -> list[str]:
        return [_here.identity]


def configure(uri: str, state: Path, disks: Disks, disk_bytes: int) -> None:
    """Set the emulator up for domains of one libvirt, by the names of their disks; once in a process."""
    storage, drives = _storage(disks, disk_bytes)
    libvirtdriver.libvirt_open = _Connection
    libvirtdriver.LibvirtDriver = _Driver
    logging.getLogger(main.app.logger.name).setLevel(logging.ERROR)
    main.app.configure(
        extra_config={
            "SUSHY_EMULATOR_LIBVIRT_URI": uri,
            "SUSHY_EMULATOR_STATE_DIR": str(state),
            "SUSHY_EMULATOR_STORAGE_POOL": POOL,
            "SUSHY_EMULATOR_STORAGE": storage,
            "SUSHY_EMULATOR_DRIVES": drives,
            "SUSHY_EMULATOR_VOLUMES": {key: [] for key in drives},
            "SUSHY_EMULATOR_BOOT_LOADER_MAP": {
                "UEFI": {"x86_64": str(CODE_SECURE)},
                "Legacy": {"x86_64": str(SEABIOS)},
            },
            "SUSHY_EMULATOR_SECURE_BOOT_ENABLED_NVRAM": str(VARS_SECURE),
            "SUSHY_EMULATOR_SECURE_BOOT_DISABLED_NVRAM": str(VARS),
        }
    )
    libvirt.virEventRegisterDefaultImpl()  # keepalive needs it
    threading.Thread(target=_run_events, daemon=True).start()


def _storage(disks: Disks, disk_bytes: int) -> tuple[dict[str, JSON], dict[tuple[str, str], JSON]]:
    """Storage and drives as the emulator takes them: one SATA controller with the disks of each domain."""
    controller = {"MemberId": "0", "Name": "SATA controller", "SpeedGbps": 6}
    return (
        {
            identity: [{"Id": "1", "Name": "Local storage", "StorageControllers": [controller], "Drives": list(names)}]
            for identity, names in disks.items()
        },
        {
            (identity, "1"): [
                {"Id": name, "Name": name, "CapacityBytes": disk_bytes, "Protocol": "SATA"} for name in names
            ]
            for identity, names in disks.items()
        },
    )


def _run_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


class Emulator:
    """The emulated machine of one domain."""

    def __init__(self, uri: str, identity: str) -> None:
        self._uri = uri
        self._identity = identity
        self._connection: Any = None
        self._lock = threading.RLock()
        self._client = main.app.test_client()

    def call(self, method: str, path: str, body: JSON = None) -> Answer:
        """What the emulator answers to a request. One at a time."""
        with self._entered():
            answer = self._client.open(path, method=method, json=body)
            data = answer.get_json(silent=True)
            if answer.status_code == 404 and not self._connection.isAlive():  # sushy-tools takes each fault for that
                raise RuntimeError("libvirtd is gone")
        return Answer(
            answer.status_code, data, {"Location": found} if (found := answer.headers.get("Location")) else {}
        )

    def change(self, path: str, body: JSON, method: str = "PATCH") -> None:
        """Have the emulator change something of its own accord.

        Raises:
            RuntimeError: it cannot.
        """
        answer = self.call(method, path, body)
        if answer.status >= 400:
            raise RuntimeError(f"cannot change {path} to {body}: {answer.status} {answer.data}")

    def remove_media(self, name: str) -> None:
        """Delete the copies of ejected images, which the emulator leaves in the pool."""
        with self._entered():
            pool = _here.connection.storagePoolLookupByName(POOL)
            for volume in pool.listAllVolumes():
                if volume.name().endswith(f"{name}-{self._identity}.img"):
                    volume.delete()

    @contextmanager
    def _entered(self) -> Iterator[None]:
        with self._lock:
            if self._connection is None or not self._connection.isAlive():
                self._connection = libvirt.open(self._uri)
                self._connection.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT)
            _here.connection, _here.identity = self._connection, self._identity
            try:
                yield
            finally:
                _here.connection = None
