"""Firmware of a node: its versions, and updates that its BMC fetches from a URL."""

import time
from typing import Final

from stacksmith.model.types import JSON
from stacksmith.providers.base import Deadline, ProviderError, Refused, TimedOut, Transient
from stacksmith.providers.bmc import NotNow, Unreachable
from stacksmith.providers.redfish import reading, task
from stacksmith.providers.redfish.reading import Page
from stacksmith.providers.redfish.tree import Tree
from stacksmith.providers.redfish.writing import LONG_SECONDS

SERVICE: Final = "/redfish/v1/UpdateService"
FIRMWARE: Final = f"{SERVICE}/FirmwareInventory"
POLL_SECONDS: Final = 1.0
SHOWN_SECONDS: Final = 30.0  # so long after its end an update may take to be seen, as a BMC that starts anew does
AT_BOOT: Final = frozenset({"AwaitToActivate", "ResetRequired", "OperationTransitionedToJob"})


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
    waits, lost = False, None
    try:
        answer = tree.connection.post(target, _body(action, page, url), deadline, LONG_SECONDS)
        if answer.task:
            outcome = task.follow(tree.connection, answer.task, deadline, may_wait=True)
            waits = outcome.is_waiting or bool(AT_BOOT & set(outcome.identifiers))
    except (NotNow, Unreachable):
        raise
    except (Transient, TimedOut) as fault:
        lost = fault
    return not waits and _is_shown(tree, name, (before, version), lost, deadline)


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
