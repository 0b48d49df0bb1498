"""The sequence of a deployment, which can be cut off anywhere and begun again: the disk itself says when it is done."""

import queue
import secrets
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from stacksmith.model.deploy import DeploySpec
from stacksmith.model.node_found import Power
from stacksmith.providers.archive import Archive
from stacksmith.providers.base import Deadline, ProviderError, Refused, TimedOut, Transient
from stacksmith.providers.bmc import BmcSession
from stacksmith.providers.redfish.deploy import image, iso, job, ramdisk
from stacksmith.providers.redfish.deploy.job import Cleaning, Job, Source, Stage, Way
from stacksmith.providers.redfish.deploy.server import Event, Offer, Server, State

OFF_SECONDS = 60.0  # so long a ramdisk that is done may take to switch its node off
LEAST_SECONDS = 10.0  # a node that goes off sooner has written nothing
POWER_POLL_SECONDS = 10.0
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 10.0
CALL_SECONDS = 300.0  # one call to a BMC, which may then be made again
NOT_EMPTY_HINT = "to lose what is on it: --allow data-loss, or node clean"

T = TypeVar("T")
Tell = Callable[[str], None]


class Deployer:
    """Deploys to many nodes at the same time, from one server, which starts when it is first needed.

    ``cache`` keeps what can be made again and is not secret.
    """

    def __init__(self, settings: DeploySpec, cache: Path) -> None:
        self._settings, self._cache = settings, cache
        self._server: Server | None = None
        self._lock = threading.Lock()

    def deploy(
        self, bmc: BmcSession, wanted: Job, progress: Tell, reached: Tell, stage: str, deadline: Deadline
    ) -> None:
        """Has the node run from its disk with the image on it, or with ``wanted.iso`` booted once.

        ``stage`` is what the last call, if one was cut off, told ``reached``, which must be durable when it returns.
        A disk that was finished is not written again. When the ramdisk gives up, the node stays on.

        With an ISO, returns when the node has switched itself off (it then boots from its disk), or is still on after
        ``boot_iso_seconds``: then the ISO stays in, and is served no longer.

        Raises: Refused with step and detail, TimedOut, Transient when the BMC stays out of reach.
        """
        run = _Run(bmc, wanted.node, wanted.settings, wanted.boot_mode, progress, deadline)
        if wanted.iso is not None:
            return self._boot_iso(run, wanted.iso, wanted.redfish)
        if stage not in (Stage.WRITTEN, Stage.READY):
            with_image = wanted.settings.method == "embedded"

            def pack(offer: Offer, way: Way, source: Source) -> Archive:
                config = job.drive(wanted)
                files = {"job": job.deploy_text(wanted, source, config, way).encode()}
                files["hints"] = job.hints_text(wanted.root_device).encode()
                if with_image and config:
                    files["config.iso"] = config
                else:
                    offer.image, offer.config = source.path, config
                return _packed(files)

            source = image.source(wanted, self._cache, progress)
            self._run_ramdisk(
                run, wanted.redfish, lambda offer, way: (pack(offer, way, source), source.packed), reached
            )
            reached(Stage.WRITTEN)
        if stage != Stage.READY:
            run.put_away()
            reached(Stage.READY)
        if run.power() is not Power.ON:
            run.boot("disk")
        return None

    def clean(self, bmc: BmcSession, wanted: Cleaning, progress: Tell, deadline: Deadline) -> None:
        """Wipes disks of the node, which is off afterwards. Safe to repeat. Raises: as ``deploy``."""
        run = _Run(bmc, wanted.node, wanted.settings, wanted.boot_mode, progress, deadline)

        def pack(offer: Offer, way: Way) -> tuple[Archive, None]:
            return _packed({"job": job.clean_text(wanted, way).encode(), "hints": b""}), None

        self._run_ramdisk(run, wanted.redfish, pack, lambda stage: None)
        run.put_away()

    def close(self) -> None:
        """Ends the server; what it served is gone with it."""
        with self._lock:
            if self._server:
                self._server.close()
                self._server = None

    def _run_ramdisk(
        self,
        run: "_Run",
        redfish: str,
        pack: Callable[[Offer, Way], tuple[Archive, Path | None]],
        reached: Tell,
    ) -> None:
        boot = ramdisk.ensure(self._cache)
        server = self._started()
        offer = server.offer()
        try:
            way = Way(
                _url(server, run.settings, redfish) + offer.path, offer.token, f"SS{secrets.token_hex(5).upper()}"
            )
            packed, embedded = pack(offer, way)
            offer.iso = iso.build(boot, way.label, packed, embedded, self._cache)
            run.insert(f"{way.url}.iso")
            reached(Stage.MEDIA)
            run.survive("switching on", run.bmc.switch_on)
            reached(Stage.BOOTED)
            run.wait(offer)
        finally:
            server.withdraw(offer)

    def _boot_iso(self, run: "_Run", path: Path, redfish: str) -> None:
        server = self._started()
        offer = server.offer()
        try:
            offer.iso = path.open("rb")
            run.insert(f"{_url(server, run.settings, redfish)}{offer.path}.iso")
            run.survive("switching on", run.bmc.switch_on)
            end = min(run.deadline.at, run.deadline.clock() + run.settings.boot_iso_seconds)
            while run.deadline.clock() < end:
                time.sleep(min(POWER_POLL_SECONDS, max(0.0, end - run.deadline.clock())))
                if run.power() is Power.OFF:
                    run.put_away()
                    return run.boot("disk")
        except OSError as fault:
            raise Refused(f"cannot boot {run.node} from {path}: {fault.strerror or fault}", "boot_iso") from fault
        finally:
            server.withdraw(offer)

    def _started(self) -> Server:
        with self._lock:
            if self._server is None:
                self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._server = Server(self._settings.listen)
            return self._server


class _Run:
    """One node on its way: its BMC, which may be out of reach for a while, and what its ramdisk says."""

    def __init__(
        self, bmc: BmcSession, node: str, settings: DeploySpec, mode: str | None, progress: Tell, deadline: Deadline
    ) -> None:
        self.bmc, self.node, self.settings, self.deadline = bmc, node, settings, deadline
        self._mode, self._progress = mode, progress

    def insert(self, url: str) -> None:
        """Off, with the ISO in, from which the next boot is."""
        self.survive("switching off", lambda limit: self.bmc.switch_off(True, limit))
        self.survive("inserting virtual media", lambda limit: self.bmc.insert_media(url, limit))
        self.survive("setting the next boot", lambda limit: self.bmc.boot_once("cd", self._mode, limit))

    def put_away(self) -> None:
        """Off, without media. A ramdisk that is done switches its node off by itself."""
        until = self.deadline.clock() + OFF_SECONDS
        while self.power() is not Power.OFF and self.deadline.clock() < until:
            time.sleep(FIRST_WAIT_SECONDS)
        self.survive("switching off", lambda limit: self.bmc.switch_off(True, limit))
        self.survive("ejecting virtual media", self.bmc.eject_media)

    def boot(self, device: str) -> None:
        self.survive("setting the next boot", lambda limit: self.bmc.boot_once(device, self._mode, limit))
        self.survive("switching on", self.bmc.switch_on)

    def power(self) -> Power:
        return self.survive("", self.bmc.observe).power_state

    def survive(self, what: str, call: Callable[[Deadline], T]) -> T:
        """What the call gives, made again while the BMC is out of reach or busy. For what is safe to repeat."""
        if what:
            self._progress(what)
        wait, clock = FIRST_WAIT_SECONDS, self.deadline.clock
        end = min(self.deadline.at, clock() + self.settings.bmc_timeout_seconds)
        while True:
            try:
                return call(Deadline(min(self.deadline.at, clock() + CALL_SECONDS), clock))
            except (Transient, TimedOut) as fault:
                if clock() + wait > end:
                    raise
                self._progress(f"{what or 'reading'}, again: {fault}")
            time.sleep(wait)
            wait = min(wait * 1.5, LONGEST_WAIT_SECONDS)

    def wait(self, offer: Offer) -> None:
        """Returns when the ramdisk is done. Raises: Refused with its step and detail, TimedOut."""
        self._progress("waiting for the ramdisk")
        clock = self.deadline.clock
        began = heard = clock()
        last, polled = "", began
        while True:
            limit = self.settings.silence_timeout_seconds if last else self.settings.boot_timeout_seconds
            try:
                event = offer.events.get(timeout=0.5)
            except queue.Empty:
                event = None
            if event:
                heard, last = clock(), event.step
                if self._is_over(event):
                    return
            elif not self.deadline.seconds or clock() - heard > limit:
                raise self._silent(last, clock() - heard)
            if not last and self.settings.method == "embedded" and clock() - polled > POWER_POLL_SECONDS:
                polled = clock()
                if polled - began > LEAST_SECONDS and self.power() is Power.OFF:
                    self._progress("written, unverified: the node switched itself off without a word")
                    return

    def _is_over(self, event: Event) -> bool:
        if event.state is State.FAILED:
            self._eject_quietly()
            hint = NOT_EMPTY_HINT if event.step in ("root-device", "config-drive") else None
            raise Refused(f"cannot deploy {self.node}: {event.step}: {event.detail}", hint=hint)
        self._progress(f"{event.step}: {event.detail}")
        return event.state is State.DONE

    def _silent(self, last: str, seconds: float) -> TimedOut:
        self._eject_quietly()
        if last:
            return TimedOut(f"cannot deploy {self.node}: nothing was heard for {seconds:.0f} s after {last}; it is on")
        return TimedOut(
            f"cannot deploy {self.node}: nothing was heard of its ramdisk for {seconds:.0f} s; it is on",
            hint="its network card needs an address by DHCP and a way to deploy.advertise_url, or method: embedded",
        )

    def _eject_quietly(self) -> None:
        """The failure that is about to be told is the news, not this one."""
        try:
            self.bmc.eject_media(Deadline(self.deadline.clock() + 30.0, self.deadline.clock))
        except ProviderError:
            return


def _packed(files: dict[str, bytes]) -> Archive:
    packed = Archive()
    for name, data in files.items():
        packed.file(name, data, 0o600)
    return packed


def _url(server: Server, settings: DeploySpec, redfish: str) -> str:
    """Where BMC and node reach the server. Raises: Refused when that cannot be worked out."""
    if settings.advertise_url:
        return settings.advertise_url
    host = server.host if server.host not in ("0.0.0.0", "::") else _address_towards(redfish)
    return f"http://[{host}]:{server.port}" if ":" in host else f"http://{host}:{server.port}"


def _address_towards(url: str) -> str:
    parts = urlsplit(url)
    try:
        family, kind, _, _, address = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as link:
            link.connect(address)
            return str(link.getsockname()[0])
    except OSError as fault:
        hint = "say it: deploy.advertise_url in the fleet file"
        raise Refused(f"cannot work out where {parts.hostname} reaches this machine: {fault}", hint=hint) from fault
