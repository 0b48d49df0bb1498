"""Firmware of a node: its versions, and updates that its BMC fetches from a URL."""

import hashlib
import time
from typing import Final

from stacksmith.model.types import JSON
from stacksmith.providers.base import Deadline, ProviderError, Refused, TimedOut, Transient
from stacksmith.providers.bmc import NotNow, Unreachable
from stacksmith.providers.redfish import reading, task
from stacksmith.providers.redfish.fault import Failed
from stacksmith.providers.redfish.reading import Page
from stacksmith.providers.redfish.tree import Tree
from stacksmith.providers.redfish.writing import LONG_SECONDS

SERVICE: Final = "/redfish/v1/UpdateService"
FIRMWARE: Final = f"{SERVICE}/FirmwareInventory"
POLL_SECONDS: Final = 1.0
SHOWN_SECONDS: Final = 30.0  # so long after its end an update may take to be seen, as a BMC that starts anew does
AT_BOOT: Final = frozenset({"AwaitToActivate", "ResetRequired", "OperationTransitionedToJob"})
LOST_SECONDS: Final = 5.0  # so long the task of an update whose answer was lost may take to be listed
UNKNOWN_HINT: Final = "its BMC does not show a task of it: look there, then apply again"


def update(tree: Tree, name: str, url: str, version: str, deadline: Deadline) -> bool:
    """See BmcSession."""
    page = _item(tree, name, deadline)
    before = reading.told(page, "Version")
    if before == version:
        return True
    service = tree.get(SERVICE, deadline)
    action = reading.inside(reading.inside(service, "Actions"), "#UpdateService.SimpleUpdate")
    target = reading.told(action, "target")
    if target is None:
        raise Refused(f"cannot update {name} of {tree.name}: its BMC fetches no images (SimpleUpdate)", "firmware")
    known = _idle(tree, name, deadline)
    lost: ProviderError | None = None
    waits = False
    try:
        answer = tree.connection.post(target, _body(action, page, url), deadline, LONG_SECONDS)
        waits = answer.task is not None and _waits(tree, answer.task, deadline)
    except (NotNow, Unreachable):
        raise
    except (Transient, TimedOut) as fault:
        lost = fault
    except Refused as refusal:
        cause = f"cannot update {name} of {tree.name} from {url}: {refusal}"
        raise Refused(cause, f"firmware.{name}", refusal.hint) from refusal
    if lost is not None and not isinstance(lost, Failed):
        begun = _begun(tree, known, deadline)
        if begun:  # it was taken all the same
            waits, lost = _waits(tree, begun, deadline), None
        elif begun is None:
            lost = Refused(f"cannot tell whether {tree.name} updates {name}: {lost}", "firmware", UNKNOWN_HINT)
    return not waits and _is_shown(tree, name, (before, version), lost, deadline)


def waits(tree: Tree, deadline: Deadline) -> bool:
    """Whether the BMC has an update that the next boot brings into force."""
    return task.waits(tree, AT_BOOT, deadline)


def tasks(tree: Tree, deadline: Deadline) -> str:
    """See BmcSession."""
    known = _idle(tree, "firmware", deadline)
    return "" if known is None else _digest(known)


def has_failed(tree: Tree, before: str, deadline: Deadline) -> bool:
    """See BmcSession."""
    known = task.listed(tree, deadline) or set()
    own = [path for path in known if _digest(known - {path}) == before]
    return bool(own) and task.has_failed(tree, own[0], deadline)


def _digest(paths: set[str]) -> str:
    return hashlib.sha256(" ".join(sorted(paths)).encode()).hexdigest()[:12]


def _idle(tree: Tree, name: str, deadline: Deadline) -> set[str] | None:
    """The tasks that the BMC lists, of which none runs: it may be the update that a killed run asked for.

    Raises: NotNow when one does.
    """
    known = task.listed(tree, deadline)
    if running := task.running(tree, known or (), deadline):
        raise NotNow(f"cannot update {name} of {tree.name}: its BMC is still at {running}")
    return known


def _begun(tree: Tree, known: set[str] | None, deadline: Deadline) -> str | None:
    """The task that an update became whose answer was lost; "" for none, None when the BMC does not tell."""
    until = Deadline(min(deadline.at, deadline.clock() + LOST_SECONDS), deadline.clock)
    told = None
    while known is not None and until.seconds:
        try:
            told = sorted((task.listed(tree, deadline) or set()) - known)
        except (Transient, TimedOut):
            told = None
        if told:
            return told[-1]
        time.sleep(min(POLL_SECONDS, until.seconds))
    return None if told is None else ""


def _waits(tree: Tree, path: str, deadline: Deadline) -> bool:
    """Whether the update, whose task is followed to its end, is in force at the next boot alone."""
    outcome = task.follow(tree.connection, path, deadline, may_wait=True)
    return outcome.is_waiting or bool(AT_BOOT & set(outcome.identifiers))


def _body(action: Page, page: Page, url: str) -> JSON:
    """The parameters that the BMC says it knows."""
    body: dict[str, JSON] = {"ImageURI": url}
    protocols = action.get("TransferProtocol@Redfish.AllowableValues")
    scheme = url.partition(":")[0].upper()
    if isinstance(protocols, list) and scheme in protocols:
        body["TransferProtocol"] = scheme
    if "Targets@Redfish.AllowableValues" in action:
        body["Targets"] = [page.get("@odata.id")]
    return body


def _is_shown(
    tree: Tree, name: str, versions: tuple[str | None, str], lost: ProviderError | None, deadline: Deadline
) -> bool:
    """Waits for the version; whether it came. A BMC that shows the one before it may say nothing of the next boot.

    Raises: Refused when it is another one; ``lost``, for which it is not known whether it was updated at all.
    """
    before, wanted = versions
    until = Deadline(min(deadline.at, deadline.clock() + SHOWN_SECONDS), deadline.clock)
    while True:
        try:
            shown = reading.told(_item(tree, name, until), "Version")
        except (Transient, TimedOut):
            shown = before
        if shown == wanted:
            return True
        if shown != before:
            raise Refused(
                f"cannot update {name} of {tree.name} to {wanted}: the image is of version {shown}", "firmware"
            )
        if until.seconds < POLL_SECONDS:
            if lost is not None:
                raise lost
            return False
        time.sleep(POLL_SECONDS)


def versions(tree: Tree, deadline: Deadline) -> dict[str, str]:
    """Versions by name."""
    return versions_of(tree.members(FIRMWARE, deadline))


def versions_of(pages: list[Page]) -> dict[str, str]:
    return {_name(page): str(page.get("Version")) for page in pages}


def _name(page: Page) -> str:
    return str(page.get("Name") or page.get("Id"))


def _item(tree: Tree, name: str, deadline: Deadline) -> Page:
    pages = {_name(page): page for page in tree.members(FIRMWARE, deadline)}
    if name not in pages:
        hint = f"there are {', '.join(sorted(pages)) or 'none'}"
        raise Refused(f"cannot update {name} of {tree.name}: there is no such firmware", "firmware", hint)
    return pages[name]
