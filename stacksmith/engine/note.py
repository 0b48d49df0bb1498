"""What a run notes of the bare-metal node that a step works on: how far it has come, and what went wrong."""

from dataclasses import field, replace

from stacksmith.engine.tenancy import CLEANING
from stacksmith.frozen import dataclass
from stacksmith.model.bare_metal import MAINTENANCE, ON_DISK
from stacksmith.model.realised import Machine, Realised, is_machine_data
from stacksmith.model.record import Record
from stacksmith.planner.machine import disturbs, in_maintenance, is_deployment, is_update, writes_image
from stacksmith.planner.plan import Operation, Plan, Step
from stacksmith.providers.base import Refused
from stacksmith.providers.deployment import LOSING, Stage
from stacksmith.state.store import JournalEntry, NodeNote, Store

DEPLOYING, FAILED = "deploying", "failed"
_OTHERS = (MAINTENANCE, CLEANING)  # states that somebody else has noted, and that stay


@dataclass(slots=True)
class Notebook:
    """The notes of one step; of a step that is about no node there are none.

    From where a change may have taken what is on the disk, the record of its server says so: whatever becomes of the
    run, the next plan has it written again. ``whole`` is the record before, while it can be put back.
    """

    store: Store
    entry: JournalEntry
    step: Step
    whole: Record | None = field(default=None, init=False)
    is_begun: bool = field(default=False, init=False)  # by this run, which has noted a stage

    @property
    def is_used(self) -> bool:
        """True when the step is about a node, or may be: of what is half made and goes nothing says what it was."""
        step, before = self.step, self.step.before
        if step.operation is Operation.DELETE and step.partial:
            return step.address.kind == "server"
        return isinstance(step.wanted, Machine) or is_machine_data(before)

    def check(self) -> None:
        """Passes unless the step disturbs a node in maintenance, or one that is cleaned: it may be so since the plan.
        Raises: Refused."""
        note = self._kept() if disturbs(self.step) else None
        if note is not None and note.state == CLEANING:
            raise Refused(f"{note.name} is being cleaned (stacksmith node release {note.name}, when no run is at work)")
        if note is not None:
            raise Refused(in_maintenance(note.name, note.reason))

    def check_begun(self) -> None:
        """Passes unless the step would end what a killed run has begun on a node that is in maintenance by now.
        Raises: Refused."""
        note = self._kept() if is_update(self.step) and self.stage() else None
        if note is not None:
            raise Refused(in_maintenance(note.name, note.reason))

    def wanted(self) -> Realised | None:
        """What the driver is to bring about: the power of a node in maintenance stays as it is."""
        wanted = self.step.wanted
        is_left = is_update(self.step) and self._kept() is not None
        return replace(wanted, power_state=None) if isinstance(wanted, Machine) and is_left else wanted

    def stage(self) -> str:
        """How far a killed or failed run had come with the same server on the same node; empty for nothing."""
        notes = self.store.nodes() if self.is_used else ()
        return next((n.stage for n in notes if (n.name, n.uuid) == (self.step.host, self.step.uuid)), "")

    def stays_adopted(self) -> bool:
        """True when the step leaves the image of an adopted server."""
        step = self.step
        if not self.is_used or step.operation is not Operation.UPDATE or writes_image(step):
            return False
        return any(record.adopted for record in self.store.records(self.entry.stack) if record.address == step.address)

    def reached(self, stage: str) -> None:
        """Notes how far the step has come; with an empty ``stage``, that it has touched nothing after all.

        Raises: Refused when the node is in maintenance or cleaned, before its first stage.
        """
        if not self.is_begun or is_deployment(self.step):
            self.check()
        self.is_begun = self.is_begun or bool(stage)
        at = stage.partition(" ")[0]
        if at in (Stage.NOTHING, Stage.SETTINGS):
            self._mend()
        if at in LOSING:
            self._tear()
        if stage:
            self._write(DEPLOYING, stage)
        else:
            self.done()

    def failed(self, cause: str, is_begun: bool) -> None:
        """Notes that the node is not to be given to others as it is: one that was being deployed, or whose new server
        is begun."""
        if not self.is_used or self.step.operation is Operation.DELETE:
            return
        stage = self.stage()
        if self.step.operation is Operation.UPDATE and stage.partition(" ")[0] == Stage.SETTINGS:
            return  # it runs what it ran
        if stage or (is_begun and self.step.operation is Operation.CREATE):
            self._write(FAILED, stage, cause)

    def done(self) -> None:
        """Drops what the run or an earlier one noted of this server; maintenance stays."""
        if self.is_used:
            for note in self.store.nodes():
                if note.name == self.step.host and note.uuid == self.step.uuid:
                    _drop(self.store, note)

    def _tear(self) -> None:
        if self.step.operation is not Operation.UPDATE or self.whole is not None:
            return
        for record in self.store.records(self.entry.stack):
            if record.address == self.step.address and _has_disk(record):
                self.whole, drive = record, record.applied.get("config_drive")
                lost = dict.fromkeys(ON_DISK) if writes_image(self.step) else {}
                rewritten = {"config_drive": {**drive, "digest": ""}} if isinstance(drive, dict) else {}
                self.store.amend(self.entry, replace(record, applied=record.applied | (lost or rewritten)))

    def _mend(self) -> None:
        if self.whole is not None:
            self.store.amend(self.entry, self.whole)
            self.whole = None

    def _kept(self) -> NodeNote | None:
        """The note of the node that is somebody else's, and stays."""
        notes = self.store.nodes()
        return next((n for n in notes if n.name == self.step.host and n.state in _OTHERS), None)

    def _write(self, state: str, stage: str, reason: str = "") -> None:
        """In place of what there is; of a node that is kept from servers it is told beside that."""
        stack, uuid = self.entry.stack, self.step.uuid
        self.store.note_node(NodeNote(self.step.host, state, stage, reason, stack, uuid), unless=_OTHERS)
        kept = self._kept()
        if kept is not None and kept.state == MAINTENANCE and stage:
            self.store.note_node(replace(kept, stage=stage, stack=stack, uuid=uuid))


def drop_ended(store: Store, plan: Plan) -> None:
    """Drops what killed runs noted of settings that are in force: the plan has nothing to do for their servers."""
    quiet = {each.host for each in plan.unchanged if each.address.kind == "server"}
    for note in store.nodes():
        if (note.stack, note.at) == (plan.stack, Stage.SETTINGS) and note.name in quiet:
            _drop(store, note)


def _drop(store: Store, note: NodeNote) -> None:
    if note.state == MAINTENANCE:
        store.note_node(replace(note, stage="", stack="", uuid=""))
    else:
        store.clear_node(note.name)


def _has_disk(record: Record) -> bool:
    """Whether the server has anything on its disk that it was given."""
    applied = record.applied
    return isinstance(applied, dict) and any(applied.get(name) for name in ("image", "boot_iso"))
