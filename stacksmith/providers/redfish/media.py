"""Virtual media and the boot override of a node, as BMCs really have them.

Slots are under the system or its manager, some for the remote console alone; media goes in by an action or by PATCH,
and comes out late. What a BMC says yes to is believed once it shows.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeVar
from urllib.parse import urlsplit

from stacksmith.model.types import JSON
from stacksmith.providers.base import Deadline, Gone, ProviderError, Refused, TimedOut, Transient
from stacksmith.providers.bmc import Unreachable
from stacksmith.providers.redfish.connection import Connection
from stacksmith.providers.redfish.fault import Failed, OtherParameters
from stacksmith.providers.redfish.reading import Page, inside, link, links

T = TypeVar("T")
INSERT, EJECT = "#VirtualMedia.InsertMedia", "#VirtualMedia.EjectMedia"
ENABLED, TARGET, MODE = "BootSourceOverrideEnabled", "BootSourceOverrideTarget", "BootSourceOverrideMode"
ALLOWED: Final = "@Redfish.AllowableValues"
TARGETS: Final = {"disk": ("Hdd",), "cd": ("Cd", "UsbCd"), "setup": ("BiosSetup",)}
MODES: Final = {"uefi": "UEFI", "bios": "Legacy"}
FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS = 0.3, 3.0
FAILING_SECONDS: Final = 60.0  # so long a BMC may fail to insert: many say so when they cannot read the URL
PATIENCE_SECONDS: Final = 15.0  # so long a write that was taken may take to show
EXTRAS: Final[Mapping[str, JSON]] = {"Inserted": True, "WriteProtected": True}  # some want them, some refuse them
# What some want besides the protocol, when they say so; any user does (sushy, of NVIDIA DGX).
WANTED: Final[Sequence[Mapping[str, JSON]]] = ({"TransferMethod": "Stream"}, {"UserName": "none", "Password": "none"})
LICENCE_HINT: Final = "virtual media needs a licence on many BMCs: iDRAC Enterprise, iLO Advanced, Supermicro OOB, …"
PARAMETER_HINT: Final = (
    "its BMC wants other parameters than are known here: try newer firmware of it, and report what it says"
)


def insert(connection: Connection, system: str, url: str, deadline: Deadline) -> None:
    """Has the ISO in a virtual CD drive. What is in is taken out first, even when it is from the same URL.

    Raises: Refused when no drive takes it; TimedOut; Unreachable.
    """
    eject(connection, system, deadline)
    refusals: list[ProviderError] = []
    for path in _drives(connection, system, deadline):
        try:
            return _insert(connection, path, url, deadline)
        except (Refused, Gone) as no:
            refusals.append(no)
        except TimedOut as late:
            raise TimedOut(_without_path(str(late), url), late.path, _reach(url)) from None
    cause = _without_path("; ".join(map(str, refusals)), url) or "it shows no virtual CD drive"
    raise Refused(f"cannot insert virtual media into {connection.name}: {cause}", hint=_hint(refusals, url))


def _hint(refusals: Sequence[ProviderError], url: str) -> str:
    if not refusals or any("licen" in f"{no} {no.hint}".lower() for no in refusals):
        return LICENCE_HINT
    if any(isinstance(no, OtherParameters) or _named(no, url) for no in refusals):
        return PARAMETER_HINT
    return _reach(url)


def _reach(url: str) -> str:
    parts = urlsplit(url)
    place = f"{parts.scheme}://{parts.netloc}"
    return f"its BMC must reach this machine at {place}: deploy.advertise_url, deploy.listen, firewalls"


def _without_path(words: str, url: str) -> str:
    """The words without the path of the ISO, which is what keeps it from others while it is served."""
    path = urlsplit(url).path
    return words.replace(path, "/….iso") if len(path) > 1 else words


def eject(connection: Connection, system: str, deadline: Deadline) -> None:
    """Returns once every virtual drive is empty; drives that cannot be emptied from here do not count.

    Raises: TimedOut, Unreachable.
    """
    for path in _slots(connection, system, deadline):
        if _is_full(_page(connection, path, deadline)):
            _eject(connection, path, deadline)


def boot_once(connection: Connection, system: str, device: str, mode: str | None, deadline: Deadline) -> None:
    """The next boot is from ``device`` (cd or disk), or into the firmware's ``setup``, in ``mode`` (uefi or bios), else
    in the mode that is.

    The whole override is written, with the mode, which some BMCs lose otherwise.
    Raises: Refused, TimedOut, Unreachable.
    """
    refused: Refused | None = None
    written_at: float | None = None
    for wait in _waits(deadline, f"set the next boot of {connection.name}"):
        page = _page(connection, system, deadline)
        wanted = _override(page, device, mode, connection.name)
        place = link(inside(page, "@Redfish.Settings"), "SettingsObject") or system
        if _shows(page, wanted) or (
            written_at and place != system and _shows(_page(connection, place, deadline), wanted)
        ):
            return
        if refused:
            raise refused
        if written_at is None:
            try:
                _write_override(connection, place, wanted, page, deadline)
            except Refused as no:  # some refuse and do it: the next look tells
                refused = no
            written_at = deadline.clock()
        elif deadline.clock() - written_at > PATIENCE_SECONDS:
            raise Refused(
                f"cannot set the next boot of {connection.name}: its BMC took {_words(wanted)} "
                f"and still shows {_words(inside(page, 'Boot'))}"
            )
        time.sleep(wait)


def _write_override(
    connection: Connection, place: str, wanted: Mapping[str, JSON], page: Page, deadline: Deadline
) -> None:
    """Sends the override; without the mode that is already, when the BMC does not take it along."""
    bodies = [dict(wanted)]
    if inside(page, "Boot").get(MODE) == wanted.get(MODE):
        bodies.append({key: value for key, value in wanted.items() if key != MODE})
    refusal: Refused | None = None
    for boot in bodies:
        try:
            _patiently(lambda: connection.patch(place, {"Boot": boot}, deadline), deadline)  # noqa: B023
            return
        except Refused as no:
            refusal = refusal or no
    assert refusal is not None
    raise refusal


def _override(page: Page, device: str, mode: str | None, name: str) -> dict[str, JSON]:
    """The override to write, in the words that the BMC allows."""
    boot = inside(page, "Boot")
    targets = boot.get(f"{TARGET}{ALLOWED}") or []
    wanted = list(TARGETS[device])
    if str(page.get("Manufacturer") or "").lower().startswith("supermicro"):
        wanted.reverse()
    target = next((each for each in wanted if each in targets), wanted[0])
    if targets and target not in targets:
        raise Refused(f"cannot boot {name} from {device}: its BMC offers {', '.join(map(str, targets))}")
    enabled = boot.get(f"{ENABLED}{ALLOWED}") or ["Once"]
    override = {ENABLED: "Once" if "Once" in enabled else "Continuous", TARGET: target}
    found = MODES[mode] if mode else boot.get(MODE)
    return {**override, MODE: found} if found else override


def _shows(page: Page, wanted: Mapping[str, JSON]) -> bool:
    boot = inside(page, "Boot")
    return all(boot.get(name) == value for name, value in wanted.items())


def _words(boot: Mapping[str, JSON]) -> str:
    return " ".join(str(boot[name]) for name in (ENABLED, TARGET, MODE) if boot.get(name)) or "nothing"


# --- drives


def _slots(connection: Connection, system: str, deadline: Deadline) -> list[str]:
    """The paths of all virtual drives: of the system, else of its managers."""
    page = _page(connection, system, deadline)
    owners = [page] if link(page, "VirtualMedia") else []
    if not owners:
        owners = [_page(connection, path, deadline) for path in links(inside(page, "Links"), "ManagedBy")]
    collections = [path for path in (link(owner, "VirtualMedia") for owner in owners) if path]
    return [slot for path in collections for slot in links(_page(connection, path, deadline))]


def _drives(connection: Connection, system: str, deadline: Deadline) -> list[str]:
    """The virtual CD drives; those that say how media goes in before the others."""
    pages = [(path, _page(connection, path, deadline)) for path in _slots(connection, system, deadline)]
    drives = [(path, page) for path, page in pages if {"CD", "DVD"} & set(page.get("MediaTypes") or ["CD"])]
    return [path for path, page in sorted(drives, key=lambda drive: _action(drive[1], INSERT) is None)]


def _insert(connection: Connection, path: str, url: str, deadline: Deadline) -> None:
    """Raises: Refused, Gone, TimedOut, Unreachable."""
    body: dict[str, JSON] = {"Image": url}
    refused: Refused | None = None  # without what was sent along last on a guess
    taken_at: float | None = None
    failing_since: float | None = None
    said: list[str] = []
    what = f"insert {url} into {path} of {connection.name}"
    for wait in _waits(deadline, what, said):
        page = _drive(connection, path, deadline, what, said)
        if _is_full(page):
            return _check_media(connection, page, path, url)
        if taken_at is None:
            try:
                late = _send_insert(connection, page, path, body, deadline)
                now = deadline.clock()
                taken_at = now if late is None else None
                said[:] = [str(late)] if late else []
                failing_since = (failing_since or now) if isinstance(late, Failed) else None
                if late and failing_since and now - failing_since > FAILING_SECONDS:
                    raise Refused(str(late))
            except Refused as no:
                named = {name: value for name, value in _named(no, url).items() if name not in body}
                if not named and EXTRAS.keys() <= body.keys():
                    if refused:
                        raise refused from no
                    raise
                refused = None if named else no
                body |= named or EXTRAS
                continue
        elif deadline.clock() - taken_at > PATIENCE_SECONDS:
            raise Refused(f"cannot insert {url} into {path} of {connection.name}: it is taken, and the drive is empty")
        time.sleep(wait)


def _named(refusal: ProviderError, url: str) -> dict[str, JSON]:
    """The parameters that a refusal is about by its words, with what there is to say; user and password go together."""
    groups: Sequence[Mapping[str, JSON]] = ({"TransferProtocolType": urlsplit(url).scheme.upper()}, *WANTED)
    found = [group for group in groups if any(re.search(rf"\b{name}\b", str(refusal)) for name in group)]
    return {name: value for group in found for name, value in group.items()}


def _send_insert(
    connection: Connection, page: Page, path: str, body: Mapping[str, JSON], deadline: Deadline
) -> ProviderError | None:
    """None when the BMC took it; else why not: it is busy, still ejecting, or did not answer. Then the drive tells."""
    action = _action(page, INSERT)
    try:
        if action:
            connection.post(action, dict(body), deadline)
        else:
            connection.patch(path, {**body, "Inserted": True}, deadline)
    except Unreachable:
        raise
    except (Transient, TimedOut) as late:
        return late
    return None


def _check_media(connection: Connection, page: Page, path: str, url: str) -> None:
    """Raises: Refused when the drive, empty a moment ago, has other media in it."""
    there = str(page.get("Image") or page.get("ImageName") or url)
    if there.rpartition("/")[2] != url.rpartition("/")[2]:
        raise Refused(f"cannot insert {url} into {path} of {connection.name}: {there} is in it again")


def _eject(connection: Connection, path: str, deadline: Deadline) -> None:
    asked_at = float("-inf")
    what = f"eject the media of {path} of {connection.name}"
    for wait in _waits(deadline, what):
        page = _drive(connection, path, deadline, what)
        if not _is_full(page):
            return
        if deadline.clock() - asked_at > PATIENCE_SECONDS:
            action = _action(page, EJECT)
            try:
                if action:
                    connection.post(action, {}, deadline)
                else:
                    body = {"Image": None, "Inserted": False}
                    connection.patch(path, body, deadline)
                asked_at = deadline.clock()
            except Unreachable:
                raise
            except (Transient, TimedOut):
                pass
            except (Refused, Gone):
                if action:
                    raise
                return  # a drive of the remote console
        time.sleep(wait)


def _is_full(page: Page) -> bool:
    return bool(page.get("Inserted"))


def _action(page: Page, name: str) -> str | None:
    target = inside(inside(page, "Actions"), name).get("target")
    return str(target) if target else None


# --- patience


def _page(connection: Connection, path: str, deadline: Deadline) -> Page:
    return _patiently(lambda: connection.get(path, deadline), deadline)


def _drive(connection: Connection, path: str, deadline: Deadline, what: str, said: Sequence[str] = ()) -> Page:
    """The page of a drive, looked at until ``what`` is so. Raises: TimedOut as ``_waits``: what was said tells more."""
    try:
        return _page(connection, path, deadline)
    except TimedOut as late:
        raise _over(what, said or [str(late)]) from None


def _over(what: str, said: Sequence[str]) -> TimedOut:
    return TimedOut("; ".join([f"cannot {what}: its time is over", *said]))


def _waits(deadline: Deadline, what: str, said: Sequence[str] = ()) -> Iterator[float]:
    """How long to sleep before the next look. Raises: TimedOut past the deadline, with what was said until then."""
    wait = FIRST_POLL_SECONDS
    while True:
        yield wait
        if deadline.seconds < wait:
            raise _over(what, said)
        wait = min(wait * 1.5, LONGEST_POLL_SECONDS)


def _patiently(call: Callable[[], T], deadline: Deadline) -> T:
    """What the call gives, tried again while its faults may pass by themselves. For what is safe to repeat."""
    wait = FIRST_POLL_SECONDS
    while True:
        try:
            return call()
        except Unreachable:
            raise
        except (Transient, TimedOut):
            if deadline.seconds < wait:
                raise
        time.sleep(wait)
        wait = min(wait * 1.5, LONGEST_POLL_SECONDS)
