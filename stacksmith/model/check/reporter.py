"""How a check says what is wrong with a resource."""

from stacksmith.frozen import dataclass
from stacksmith.model.document import DataPath
from stacksmith.model.findings import Findings, Notes
from stacksmith.model.stack import Resource


@dataclass(frozen=True, slots=True)
class Reporter:
    """Adds faults at the places of resources."""

    findings: Findings

    def fault(  # a fault has many parts, and all but the first four are optional
        self, code: str, resource: Resource, path: DataPath, cause: str, hint: str | None = None, notes: Notes = ()
    ) -> None:
        """``cannot use server.web[0].networks[0]: <cause>`` at the value of ``path``."""
        dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
        message = f"cannot use {resource.address}{dotted}: {cause}"
        self.findings.error(code, message, resource.where(path), hint, resource.address, notes)

    def warning(self, code: str, resource: Resource, path: DataPath, cause: str, hint: str | None = None) -> None:
        """The same as a warning."""
        where = resource.where(path)
        self.findings.warning(code, f"{resource.address}: {cause}", where, hint, resource.address)
