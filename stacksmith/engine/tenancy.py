"""Which server has which bare-metal node, and what state each node is in: by the state store."""

from collections.abc import Mapping

from stacksmith.diagnostics import Faults, error
from stacksmith.engine.node import Nodes
from stacksmith.engine.store import opened
from stacksmith.frozen import dataclass
from stacksmith.model.record import Record
from stacksmith.state.store import NodeNote, Reader


@dataclass(frozen=True, slots=True)
class Tenancy:
    """A node's state (``available``, ``active``, ``deploying``, ``failed`` or ``maintenance``), how far and why, and
    the server that it has, as ``stack/address``. ``adopted``: that ran there before, and no image was written since."""

    state: str
    stage: str = ""
    reason: str = ""
    server: str = ""
    adopted: bool = False


def tenancies(of: Nodes) -> Mapping[str, Tenancy]:
    """What the state store knows of each node of the fleet. Raises: Faults."""
    with opened(of, of.environment, read_only=True) as store:
        notes = {note.name: note for note in store.nodes()}
        held = records(store)
    return {name: _tenancy(notes.get(name), held.get(name)) for name in of.fleet.nodes}


def _tenancy(note: NodeNote | None, record: tuple[str, Record] | None) -> Tenancy:
    server, adopted = (f"{record[0]}/{record[1].address}", record[1].adopted) if record else ("", False)
    if note is not None:
        return Tenancy(note.state, note.stage.partition(" ")[0], note.reason, server, adopted)
    if record is None:
        return Tenancy("available")
    return Tenancy("active" if record[1].complete else "deploying", server=server, adopted=adopted)


def records(store: Reader) -> dict[str, tuple[str, Record]]:
    """The record of the server on each node, with its stack; records of other hosts' servers are among them."""
    return {
        record.host: (stack, record)
        for stack in store.stacks()
        for record in store.records(stack)
        if record.address.kind == "server"
    }


def in_use(name: str, cause: str, hint: str) -> Faults:
    """The refusal to take a node."""
    return Faults((error("node-in-use", f"cannot take {name}: {cause}", hint=hint),))
