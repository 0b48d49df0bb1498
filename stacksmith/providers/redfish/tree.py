"""The pages of one BMC: its system, its collections, and whether it hands those out whole."""

from threading import Lock
from typing import Final

from stacksmith.model.types import JSON
from stacksmith.providers.base import Deadline, Gone, Refused
from stacksmith.providers.redfish import reading
from stacksmith.providers.redfish.connection import Connection
from stacksmith.providers.redfish.known import Known
from stacksmith.providers.redfish.reading import Page

ROOT: Final = "/redfish/v1/"
SYSTEMS: Final = "/redfish/v1/Systems"
EXPAND: Final = "?$expand=.($levels=2)"  # two levels: the drives of a storage are not its members


class Tree:
    """Reads pages. What stays while the BMC is asked, is asked for once."""

    def __init__(self, connection: Connection, system: str | None, known: Known) -> None:
        self.connection = connection
        self.known = known
        self.name = connection.name
        self.registries: dict[str, Page] = {}  # files of attribute registries, by name
        self._path = system
        self._root: Page | None = None
        self._lock = Lock()

    def get(self, path: str, deadline: Deadline) -> Page:
        return self.connection.get(path, deadline)

    def path(self, deadline: Deadline) -> str:
        """The path of the system. Raises: Refused when the BMC has none, or several to choose from."""
        if self._path is None:
            paths = reading.links(self.get(SYSTEMS, deadline))
            if len(paths) != 1:
                found = ", ".join(paths) or "none"
                raise Refused(f"cannot choose the system of {self.name}: there are {found}", "system", "say system:")
            self._path = paths[0]
        return self._path

    def system(self, deadline: Deadline) -> Page:
        """The page of the system."""
        try:
            return self.get(self.path(deadline), deadline)
        except Gone as gone:
            hint = "check system: of the node in the fleet file; without it, the only one that the BMC has is taken"
            raise Gone(str(gone), "system", hint) from gone

    def root(self, deadline: Deadline) -> Page:
        """The page that all others are reached from."""
        with self._lock:
            if self._root is None:
                self._root = self.get(ROOT, deadline)
            return self._root

    def expands(self, deadline: Deadline) -> Page:
        """What the BMC says of the $expand that it takes; empty when it takes none."""
        return reading.inside(reading.inside(self.root(deadline), "ProtocolFeaturesSupported"), "ExpandQuery")

    def members(self, path: str | None, deadline: Deadline) -> list[Page]:
        """The pages of a collection, in one request where the BMC can; none when it has no such collection."""
        if path is None:
            return []
        try:
            collection = self.get(f"{path}{EXPAND}" if self.expands(deadline) else path, deadline)
        except Gone:
            return []
        return self.pages(collection.get("Members"), deadline)

    def pages(self, entries: JSON, deadline: Deadline) -> list[Page]:
        """The entries of a list as pages: some BMCs take $expand and answer with links all the same."""
        pages = []
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and "@odata.id" in entry:
                is_link = not entry.keys() - {"@odata.id", "@odata.etag"}
                pages.append(self.get(entry["@odata.id"], deadline) if is_link else entry)
        return pages
