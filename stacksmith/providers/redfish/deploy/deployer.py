"""The sequence of a deployment, which can be cut off anywhere and begun again: the disk itself says when it is done."""

import queue
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from stacksmith.model.deploy import DeploySpec
from stacksmith.model.node import Node
from stacksmith.model.node_found import Power
from stacksmith.providers.archive import Archive
from stacksmith.providers.base import Deadline, ProviderError, Refused, TimedOut, Transient
from stacksmith.providers.bmc import BmcSession, Tell
from stacksmith.providers.deployment import IN_THE_WAY, NO_DISK, Cleaning, Job, Stage
from stacksmith.providers.redfish.deploy import image, iso, job, ramdisk
from stacksmith.providers.redfish.deploy.job import Way
from stacksmith.providers.redfish.deploy.server import Event, Offer, Server, State

OFF_SECONDS = 60.0  # so long a ramdisk that is done may take to switch its node off
LEAST_SECONDS = 10.0  # a node that goes off sooner has written nothing
POWER_POLL_SECONDS = 10.0
LASTING_SECONDS = 20.0  # firmware that brings settings into force may switch a node off for less than that
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 10.0
EJECT_SECONDS = 30.0  # where a failure is about to be told
CALL_SECONDS = 300.0  # one call to a BMC, which may then be made again
UNVERIFIED = "written, unverified: the node switched itself off without a word"
NOT_EMPTY_HINT = "to lose what is on it: plan again, which tells it, and apply with --allow data-loss"
LATE = "its time is over"
TIME_HINT = "where it only takes longer: a longer deploy_timeout_seconds of the node"

T = TypeVar("T")


class Deployer:
    """Deploys to many nodes at the same time, from one server, which starts when it is first needed.

    ``cache`` keeps what can be made again and is not secret.
    """

    def __init__(self, settings: DeploySpec, nodes: Mapping[str, Node], cache: Path) -> None:
        self._settings, self._nodes, self._cache = settings, nodes, cache
        self._server: Server | None = None
        self._lock = threading.Lock()

    def deploy(
        self, bmc: BmcSession, wanted: Job, progress: Tell, reached: Tell, stage: str, deadline: Deadline
    ) -> str:
        """Has the node run from its disk with the image on it, or with ``wanted.iso`` booted once. Gives what is to be
        known of a disk that was written and could not be asked about it, else nothing.

        ``stage`` is what the last call, if one was cut off, told ``reached``, which must be durable when it returns.
        A disk that was finished is not written again. When the ramdisk gives up, the node stays on.

        With an ISO, returns when the node has switched itself off (it then boots from its disk), or is still on after
        ``boot_iso_seconds``: then the ISO stays in, and is served no longer. It is not booted a second time, unless the
        node was off again before BOOTED could be told.

        Raises: Refused with step and detail, TimedOut, Transient when the BMC stays out of reach.
        """
        run = self._run(bmc, wanted, progress, deadline)
        if wanted.iso is not None:
            return self._boot_iso(run, wanted.iso, reached, stage)
        warning = ""
        if stage not in (Stage.WRITTEN, Stage.READY):
            warning = self._write(run, wanted, reached)
            reached(Stage.WRITTEN)
        if stage != Stage.READY:
            run.put_away()
            reached(Stage.READY)
        if run.power() is not Power.ON:
            run.boot("disk")
        return warning

    def clean(self, bmc: BmcSession, wanted: Cleaning, progress: Tell, deadline: Deadline) -> None:
        """Wipes disks of the node, which is off afterwards. Safe to repeat. Raises: as ``deploy``."""
        run = self._run(bmc, wanted, progress, deadline)

        def pack(offer: Offer, way: Way) -> Archive:
            return _packed({"job": job.clean_text(wanted, way).encode()})

        try:
            self._run_ramdisk(run, pack, None, lambda stage: None)
        except Refused as refusal:
            if refusal.path == NO_DISK:
                run.put_away(waits=False)
            raise
        run.put_away()

    def close(self) -> None:
        """Ends the server; what it served is gone with it."""
        with self._lock:
            if self._server:
                self._server.close()
                self._server = None

    def _run(self, bmc: BmcSession, wanted: Job | Cleaning, progress: Tell, deadline: Deadline) -> "_Run":
        node = self._nodes[wanted.node]
        return _Run(bmc, wanted, (node.redfish, self._settings.for_node(node.deploy)), progress, deadline)

    def _write(self, run: "_Run", wanted: Job, reached: Tell) -> str:
        config = job.drive(wanted)

        def pack(offer: Offer, way: Way) -> Archive:
            files = {"job": job.deploy_text(wanted, source, config, way).encode()}
            files["hints"] = job.hints_text(wanted.root_device).encode()
            if way.method == "http":
                offer.image, offer.config = source.path, config
            elif config:
                files["config.iso"] = config
            return _packed(files)

        with image.source(wanted, run.settings.method, self._cache, run.progress) as source:
            return self._run_ramdisk(run, pack, source.packed, reached)

    def _run_ramdisk(
        self, run: "_Run", pack: Callable[[Offer, Way], Archive], embedded: Path | None, reached: Tell
    ) -> str:
        boot = ramdisk.ensure(self._cache)
        server = self._started()
        offer = server.offer()
        try:
            label = f"SS{secrets.token_hex(5).upper()}"
            way = Way(run.settings.method, run.url(server) + offer.path, offer.token, label)
            offer.iso = iso.build(boot, way.label, pack(offer, way), embedded, self._cache)
            run.insert(f"{way.url}.iso")
            reached(Stage.MEDIA)
            run.survive("switching on", run.bmc.switch_on)
            reached(Stage.BOOTED)
            return run.wait(offer)
        except (ProviderError, KeyboardInterrupt):
            run.eject_quietly()  # nobody serves the ISO any longer
            raise
        finally:
            server.withdraw(offer)

    def _boot_iso(self, run: "_Run", path: Path, reached: Tell, stage: str) -> str:
        """Boots it once for a server: a run that was cut off after that waits on, and boots nothing again. Gives what
        is to be known of one that is still at work."""
        server = self._started()
        offer = server.offer()
        try:
            if stage == Stage.MEDIA and run.power() is not Power.OFF:  # the run that was cut off had switched it on
                reached(Stage.BOOTED)
            elif stage != Stage.BOOTED:
                offer.iso = path.open("rb")
                try:
                    run.insert(f"{run.url(server)}{offer.path}.iso")
                except ProviderError:
                    run.eject_quietly()
                    raise
                reached(Stage.MEDIA)
                run.survive("switching on", run.bmc.switch_on)
                reached(Stage.BOOTED)
            if run.await_off():
                run.put_away()
                run.boot("disk")
                return ""
            return (
                f"it is on from its ISO after {run.settings.boot_iso_seconds:g} s, with the ISO in: nobody waits for it"
            )
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
        self,
        bmc: BmcSession,
        wanted: Job | Cleaning,
        place: tuple[str, DeploySpec],
        progress: Tell,
        deadline: Deadline,
    ) -> None:
        self.bmc, self.node, self.progress, self.deadline = bmc, wanted.node, progress, deadline
        self._redfish, self.settings = place
        self._mode = wanted.boot_mode
        self._verb = "clean" if isinstance(wanted, Cleaning) else "deploy"
        self._served_at = ""
        self._is_secure = isinstance(wanted, Job) and bool(wanted.secure_boot)

    def url(self, server: Server) -> str:
        """Where BMC and node reach the server. Raises: Refused when that cannot be worked out."""
        if self.settings.advertise_url:
            return self.settings.advertise_url
        host = server.host if server.host not in ("0.0.0.0", "::") else _address_towards(self._redfish)
        return f"http://[{host}]:{server.port}" if ":" in host else f"http://{host}:{server.port}"

    def insert(self, url: str) -> None:
        """Off, with the ISO in, from which the next boot is."""
        self.survive("switching off", lambda limit: self.bmc.switch_off(True, limit))
        self._served_at = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        self.survive("inserting virtual media", lambda limit: self.bmc.insert_media(url, limit))
        self.survive("setting the next boot", lambda limit: self.bmc.boot_once("cd", self._mode, limit))

    def put_away(self, waits: bool = True) -> None:
        """Off, without media. A ramdisk that is done switches its node off by itself, which is waited for."""
        until = self.deadline.clock() + OFF_SECONDS * waits
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
        """What the call gives, made again while the BMC is out of reach or busy, which it may be for
        ``bmc_timeout_seconds`` from the first fault. For what is safe to repeat."""
        if what:
            self.progress(what)
        wait, clock = FIRST_WAIT_SECONDS, self.deadline.clock
        end: float | None = None
        while True:
            try:
                return call(Deadline(min(self.deadline.at, clock() + CALL_SECONDS), clock))
            except (Transient, TimedOut) as fault:
                if end is None:
                    end = min(self.deadline.at, clock() + self.settings.bmc_timeout_seconds)
                if clock() + wait > end:
                    if end < self.deadline.at:
                        raise
                    raise self._late(str(fault).removesuffix(f": {LATE}"), fault.hint) from fault
                self.progress(f"{what or 'reading'}, again: {fault}")
            time.sleep(wait)
            wait = min(wait * 1.5, LONGEST_WAIT_SECONDS)

    def await_off(self) -> bool:
        """Whether the node switches itself off within ``boot_iso_seconds``. Raises: TimedOut at the deadline."""
        clock = self.deadline.clock
        end = min(self.deadline.at, clock() + self.settings.boot_iso_seconds)
        while clock() < end:
            time.sleep(min(POWER_POLL_SECONDS, max(0.0, end - clock())))
            if self.power() is Power.OFF:
                return True
        if not self.deadline.seconds:
            raise self._late("it is on from its ISO, which stays in")
        return False

    def wait(self, offer: Offer) -> str:
        """Returns when the ramdisk is done, with what is to be known of it.

        Raises: Refused with its step and detail, or when the node is off without a word of its end; TimedOut.
        """
        self.progress("waiting for the ramdisk")
        clock = time.monotonic  # that of the deadline is moved on when the run is to end
        began = heard = polled = clock()
        off_since: float | None = None
        last, is_gone = "", False
        while True:
            try:
                event = offer.events.get(timeout=0.5)
            except queue.Empty:
                event = None
            if event:
                heard, last = clock(), event.step
                if self._is_over(event):
                    return ""
            elif is_gone:  # and all that it had said is read
                return self._went_off(last, offer.is_fetched)
            elif not self.deadline.seconds or clock() - heard > self._patience(last, offer.is_fetched):
                raise self._silent(last, clock() - heard, offer.is_fetched)
            elif clock() - polled > POWER_POLL_SECONDS and clock() - began > LEAST_SECONDS:
                polled = clock()
                off_since = None if self._power_now() is not Power.OFF else off_since or polled
                is_gone = off_since is not None and polled - off_since >= LASTING_SECONDS

    def _patience(self, last: str, is_fetched: bool) -> float:
        """So many seconds nothing need be heard."""
        if last:
            return self.settings.silence_timeout_seconds
        # Who has the image on its media may have no network to speak by.
        return float("inf") if self.settings.method == "embedded" and is_fetched else self.settings.boot_timeout_seconds

    def _power_now(self) -> Power | ProviderError:
        """The power, or why the BMC does not say: it may go, or sign nobody in, while the ramdisk works on."""
        try:
            return self.bmc.observe(Deadline(self.deadline.clock() + CALL_SECONDS, self.deadline.clock)).power_state
        except ProviderError as fault:
            return fault

    def _went_off(self, last: str, is_fetched: bool) -> str:
        """A ramdisk without a network switches its node off as its only word; any other says before that it is done."""
        if self.settings.method == "embedded" and is_fetched and not last:
            self.progress(UNVERIFIED)
            return UNVERIFIED
        after = f"after {last}" if last else "before its ramdisk said anything"
        hint = "its console or its BMC's log tells why; what the disk has of it is gone on with by the next run"
        raise Refused(f"cannot {self._verb} {self.node}: it went off {after}", last, hint)

    def _is_over(self, event: Event) -> bool:
        if event.state is State.FAILED:
            hint = NOT_EMPTY_HINT if event.step in IN_THE_WAY else None
            raise Refused(f"cannot {self._verb} {self.node}: {event.step}: {event.detail}", event.step, hint)
        self.progress(f"{event.step}: {event.detail}")
        return event.state is State.DONE

    def _silent(self, last: str, seconds: float, is_fetched: bool) -> TimedOut:
        is_late = not self.deadline.seconds
        power = self._power_now()
        state = f"it is {power}" if isinstance(power, Power) else f"whether it is on is not known: {power}"
        if last and is_late:
            return self._late(f"it was at {last}; {state}")
        who, after = ("", f" after {last}") if last else (" of its ramdisk", "")
        heard = f"nothing was heard{who} for {seconds:.0f} s{after}; {state}"
        if not last and not is_fetched:
            heard += ", and its BMC never asked for the ISO"
        hint = None if last else self._silent_hint(is_fetched)
        return self._late(heard, hint) if is_late else TimedOut(f"cannot {self._verb} {self.node}: {heard}", hint=hint)

    def _silent_hint(self, is_fetched: bool) -> str:
        """What to look at when its ramdisk has said nothing."""
        if not is_fetched:
            return (
                f"the BMC must reach this machine at {self._served_at}: deploy.advertise_url, deploy.listen, firewalls"
            )
        hint = "its console tells more; its network card needs an address by DHCP and a way to deploy.advertise_url"
        if self.settings.method == "http":
            hint += ", or method: embedded"
        if self._is_secure:
            hint += "; with secure boot it must trust Microsoft's UEFI CA, which signed the shim"
        return hint

    def _late(self, state: str, hint: str | None = None) -> TimedOut:
        """The fault of a deadline that has come. A run that is to end moves its clock on: no setting gives it more."""
        is_cut = self.deadline.clock() > time.monotonic() + 1.0
        why = "its run had to end" if is_cut else LATE
        hints = [hint, None if is_cut else TIME_HINT]
        return TimedOut(f"cannot {self._verb} {self.node}: {why}: {state}", hint="; ".join(filter(None, hints)) or None)

    def eject_quietly(self) -> None:
        """Takes out what the BMC was given. The failure that is about to be told is the news, not that of this."""
        if not self._served_at:
            return
        try:
            self.bmc.eject_media(Deadline(self.deadline.clock() + EJECT_SECONDS, self.deadline.clock))
        except ProviderError:
            return


def _packed(files: dict[str, bytes]) -> Archive:
    packed = Archive()
    for name, data in files.items():
        packed.file(name, data, 0o600)
    return packed


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
