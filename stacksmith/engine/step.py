"""One step: read the object again, check it, journal, act, record."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from stacksmith.address import Address
from stacksmith.engine.check import check
from stacksmith.engine.contents import StackContents
from stacksmith.engine.job import Job, Site, words
from stacksmith.engine.note import Notebook
from stacksmith.engine.retry import retried
from stacksmith.events import StepRetried
from stacksmith.model.found import WARNING, Found, Mark
from stacksmith.model.machine_identity import machine_of
from stacksmith.model.realised import to_data
from stacksmith.model.record import Record
from stacksmith.model.report import Outcome, StepResult
from stacksmith.model.url import masked
from stacksmith.planner.claim import Allocations
from stacksmith.planner.layout import taken
from stacksmith.planner.ledger import CLAIMED_KINDS
from stacksmith.planner.plan import Operation, Step
from stacksmith.providers.base import (
    Contents,
    Driver,
    Gone,
    Migrating,
    ProviderError,
    Refused,
    Target,
    TimedOut,
    Transient,
)
from stacksmith.state.store import JournalEntry

log = logging.getLogger(__name__)

T = TypeVar("T")


def perform(job: Job, site: Site) -> StepResult | None:
    """Does the step; None when the run gave it up meanwhile.

    What it journalled as begun is journalled as ended when it returns, unless it was given up or the store failed.
    """
    try:
        if job.step.operation is Operation.FORGET:
            return _forget(job, site)
        return _Action(job, site).perform()
    except Exception as fault:
        return _failed(job, site, fault) if job.settle() else None


def _forget(job: Job, site: Site) -> StepResult | None:
    """Needs no host: the record goes, the object stays."""
    entry = _entry(job.step, site)
    site.store.begin(entry)
    return _ended_well(job, site, entry, remove=job.step.address)


def _ended_well(
    job: Job,
    site: Site,
    entry: JournalEntry,
    record: Record | None = None,
    remove: Address | None = None,
    holds: Allocations | None = None,
) -> StepResult | None:
    if not job.settle():
        return None
    try:
        site.store.end(entry, Outcome.DONE, record, remove, holds=holds)
    except Exception as fault:
        failed = _failed(job, site, fault)
        return replace(failed, cause=f"it was done, but that is not recorded: {failed.cause}")
    return job.result(Outcome.DONE)


def _failed(job: Job, site: Site, fault: Exception) -> StepResult:
    kind, cause, hint = words(fault)
    if kind == "internal":
        log.debug("%s failed", job.step.id, exc_info=fault)
    if site.halted.is_set() and isinstance(fault, TimedOut | Transient):
        kind, cause, hint = "interrupted", f"it did not end in time: {cause}", "run the same command again"
    return replace(job.result(Outcome.FAILED), kind=kind, cause=cause, hint=hint)


def _entry(step: Step, site: Site) -> JournalEntry:
    run, stack = site.options.run, site.plan.stack
    return JournalEntry(run, stack, step.id, step.operation.value, step.address, step.host, step.uuid)


class _Action:
    """A step that needs its object: the state of doing it once."""

    def __init__(self, job: Job, site: Site) -> None:
        self.job, self.site, self.step = job, site, job.step
        step, plan = self.step, site.plan
        self.data = step.before if step.wanted is None else to_data(step.wanted)
        self.mark = Mark(plan.fleet, plan.stack, step.address, step.uuid, self.data, step.policy)
        self.entry = _entry(step, site)
        self.notes = Notebook(site.store, self.entry, step)
        self.stage = ""
        self.found: Found | None = None

    def perform(self) -> StepResult | None:
        driver = self._driver(self.step.source or self.step.host)
        self._read(driver)
        if self.found is None and self.step.source:  # a killed run may have brought it there
            self._read(self._driver(self.step.host))
        check(self.step, self.found, (self.site.plan.fleet, self.site.plan.stack), self.site.begun)
        self.notes.check()
        self.notes.check_begun()
        if self.site.halted.is_set():
            return self.job.result(Outcome.SKIPPED, because="interrupted")
        # What is made, and a disk that is being wiped, is not whole until it is.
        unmakes = self.step.operation is Operation.CREATE or bool(self.step.policy.wipe and self.step.wanted is None)
        half = replace(self._record(), complete=False) if unmakes else None
        self.site.store.begin(self.entry, half, self.data if self.step.operation is Operation.UPDATE else None)
        was_there, self.stage = self.found is not None, self.notes.stage()
        try:
            self._act(driver)
            self.notes.done()
        except Exception as fault:
            return self._ended_badly(driver, fault, was_there)
        if self.step.operation is Operation.DELETE:
            stays = self.step.replaces or (self.step.address.kind in CLAIMED_KINDS and self.step.address.host)
            kept = self.site.claimed.get(self.step.uuid) if stays else None
            return _ended_well(self.job, self.site, self.entry, remove=self.step.address, holds=kept)
        ended = _ended_well(self.job, self.site, self.entry, self._record(), holds=self._holds())
        warning = self.found.facts.get(WARNING) if self.found is not None else None
        return replace(ended, warning=str(warning)) if ended is not None and warning else ended

    def _driver(self, host: str) -> Driver:
        session = self.site.sessions.get(host)
        if session is None:
            raise Refused(f"host {host} is not open")
        driver = session.drivers.get(self.step.address.kind)
        if driver is None:
            raise Refused(f"host {host} cannot have objects of kind {self.step.address.kind}")
        return driver

    def _read(self, driver: Driver) -> None:
        try:
            self.found = self._retried(lambda: driver.read(self.mark))
        except (Transient, TimedOut):
            self.job.unreachable = True
            raise

    def _act(self, driver: Driver) -> None:
        """Calls the driver; after a transient fault with the object as it is then."""
        again = False

        def attempt() -> None:
            nonlocal again
            if again:
                self.found, self.stage = driver.read(self.mark), self.notes.stage()
            again = True
            self._call(driver)

        self._retried(attempt)

    def _call(self, driver: Driver) -> None:
        target, deadline = self._target(), self.job.deadline
        match self.step.operation:
            case Operation.CREATE:
                self.found = driver.create(target, self._contents(), deadline)
            case Operation.UPDATE if target.found is None:
                raise Gone("it no longer exists")
            case Operation.UPDATE:
                self.found = driver.update(target, self._contents(), deadline)
            case Operation.MIGRATE:
                if not isinstance(driver, Migrating):
                    raise Refused(f"{self.step.address} cannot leave {self.step.source}: its provider cannot migrate")
                destination = self._driver(self.step.host)
                self.found = driver.migrate(target, destination, self._contents(), deadline)
            case _:
                driver.delete(target, deadline)

    def _target(self) -> Target:
        step = self.step
        return Target(
            mark=self.mark,
            host=step.host,
            wanted=self.notes.wanted(),
            policy=step.policy,
            found=self.found,
            changes=step.changes,
            allowed=self.site.options.allowed,
            wait_for=step.wait_for,
            progress=self.job.note,
            stage=self.stage,
            reached=self.notes.reached,
        )

    def _contents(self) -> Contents:
        contents = self.site.contents
        return contents.bound(self.job.deadline, self.job.note) if isinstance(contents, StackContents) else contents

    def _record(self) -> Record:
        """What is recorded when it ends well."""
        step, adopted = self.step, self.notes.stays_adopted()
        machine = machine_of(self.found.facts if self.found is not None else {})
        return Record(
            step.address, step.host, step.uuid, self.data, step.policy, True, step.depends_on, adopted, machine
        )

    def _holds(self) -> Allocations | None:
        """What the object that was made or changed takes of its host, where that is not what was claimed for it."""
        layout = self.site.layouts.get(self.step.host)
        if layout is None or self.found is None or self.step.address.kind not in CLAIMED_KINDS:
            return None
        holds = taken(self.found, layout)
        return None if holds == self.site.claimed.get(self.step.uuid) else holds

    def _ended_badly(self, driver: Driver, fault: Exception, was_there: bool) -> StepResult | None:
        """Journals the failure; a create that made nothing at all leaves no record."""
        nothing = self.step.operation is Operation.CREATE and not was_there and self._absent(driver, fault)
        if not self.job.settle():
            return None
        result = _failed(self.job, self.site, fault)
        try:
            remove = self.step.address if nothing else None
            self.notes.failed(result.cause, is_begun=not nothing)
            self.site.store.end(self.entry, Outcome.FAILED, remove=remove, cause=result.cause)
        except Exception as broken:  # the failure itself is what matters; its entry stays open
            log.debug("%s: its end is not journalled", self.step.id, exc_info=broken)
        if isinstance(fault, TimedOut) and not self.site.halted.is_set():
            self.job.unreachable = not self._answers()
        return result

    def _answers(self) -> bool:
        """False when the step's host does not even answer a read: then it was not the step that took too long."""
        try:
            self._driver(self.step.host).read(self.mark)
        except ProviderError as fault:
            return not isinstance(fault, (Transient, TimedOut))
        return True

    def _absent(self, driver: Driver, fault: Exception) -> bool:
        if not isinstance(fault, Refused):
            return False
        try:
            return driver.read(self.mark) is None
        except ProviderError:
            return False

    def _retried(self, call: Callable[[], T]) -> T:
        step = self.step

        def tell(cause: str, attempt: int, seconds: float) -> None:
            self.site.post(StepRetried(step.id, step.address, step.host, masked(cause), attempt, seconds))

        return retried(call, self.job.deadline, self.site.halted, tell, self.site.options.retry_seconds)
