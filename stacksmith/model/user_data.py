"""What a server's guest is told at its first boot: text, a file, a template, a variable or a program's answer."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Final

from stacksmith.frozen import dataclass
from stacksmith.model.document import read_document
from stacksmith.model.expand import Evaluator, Instance
from stacksmith.model.fileaccess import FileFault, Folder
from stacksmith.model.kinds.server import UserDataSpec
from stacksmith.model.sandbox import BrokenValue
from stacksmith.model.scalar import shorten
from stacksmith.model.stack import Where
from stacksmith.model.template import TemplateFault
from stacksmith.source import Span

MAX_BYTES: Final = 65_535  # Nova: base64 of at most 65535 bytes
COMMAND_SECONDS: Final = 10.0
MAX_CHECKED: Final = 20  # servers of one block whose cloud-config is read: the others come from the same text
ENVIRONMENT: Final = "STACKSMITH_"  # a stack may come from anyone, the environment of a pipeline holds secrets
SOURCES: Final = ("template", "file", "env", "command")


@dataclass(slots=True)
class UserData:
    """Loads user_data for the servers of one module."""

    folder: Folder
    environment: Mapping[str, str]
    allow_commands: bool
    evaluator: Evaluator
    texts: dict[tuple[str, int], tuple[str, str]] = field(default_factory=dict)  # of files already read
    read: set[str] = field(default_factory=set)  # cloud-configs that were looked at
    checked: dict[str, int] = field(default_factory=dict)  # how many cloud-configs of a block were read

    def load(self, wanted: str | UserDataSpec | None, instance: Instance, where: Where) -> str | None:
        """The text, None when there is none or with the fault reported."""
        if wanted is None:
            return None
        path: tuple[str, ...] = ("user_data",)
        try:
            if isinstance(wanted, str):
                text = wanted
            else:
                source = _source_of(wanted)
                path = ("user_data", source)
                text = self._from(source, wanted, instance, where)
            if len(text.encode(errors="surrogateescape")) > MAX_BYTES:
                cause = f"{len(text.encode(errors='surrogateescape'))} bytes, the limit is {MAX_BYTES}"
                raise FileFault("bad-user-data", cause)
        except FileFault as fault:
            message = f"cannot use {instance.address}.user_data: {fault}"
            self.evaluator.findings.error(fault.code, message, where(path), fault.hint, instance.address)
            return None
        except BrokenValue:
            return None
        self._check_cloud_config(text, instance, where)
        return text

    def _from(self, source: str, wanted: UserDataSpec, instance: Instance, where: Where) -> str:
        if source == "file":
            return self._read(wanted.file or "", MAX_BYTES)[0]
        if source == "template":
            return self._template(wanted, instance, where)
        if source == "env":
            name = wanted.env or ""
            if not name.startswith(ENVIRONMENT):
                hint = f"stacks see only variables whose names start with {ENVIRONMENT}"
                raise FileFault("bad-user-data", f"environment variable {name[:60]!r} is not offered to stacks", hint)
            if name not in self.environment:
                raise FileFault("bad-user-data", f"environment variable {name[:60]!r} is not set")
            return self.environment[name]
        return self._command(wanted.command or [])

    def _read(self, name: str, limit: int) -> tuple[str, str]:
        """The text of a file and its path as shown."""
        if (name, limit) not in self.texts:
            self.texts[name, limit] = (self.folder.read_text(name, limit), str(self.folder.shown(name)))
        return self.texts[name, limit]

    def _template(self, wanted: UserDataSpec, instance: Instance, where: Where) -> str:
        name = wanted.template or ""
        text, shown = self._read(name, MAX_BYTES * 4)
        context: dict[str, Any] = {**wanted.vars, "vars": wanted.vars, "index": instance.index, **instance.context}
        try:
            return self.evaluator.expressions.render(text, shown, context, MAX_BYTES)
        except TemplateFault as fault:
            findings = self.evaluator.findings
            findings.source(shown, text)
            message = f"cannot render user_data of {instance.address}: {fault}"
            notes = (("for this server", where(("user_data", "template"))),)
            place = Span(shown, fault.line, 1)
            findings.error(fault.code, message, place, fault.hint, instance.address, notes)
            raise BrokenValue from None

    def _command(self, command: Sequence[str]) -> str:
        if not self.allow_commands:
            raise FileFault("bad-user-data", "a command is not run unless allowed", "run with --allow-commands")
        if not command:
            raise FileFault("bad-user-data", "the command is empty")
        try:
            done = subprocess.run(
                list(command),
                cwd=self.folder.path,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise FileFault("bad-user-data", f"{command[0]!r} took longer than {COMMAND_SECONDS:g} seconds") from None
        except (OSError, ValueError) as fault:
            raise FileFault("bad-user-data", f"{command[0]!r}: {fault}") from None
        if done.returncode != 0:
            said = shorten(done.stderr.decode(errors="replace").strip().replace("\n", "; "), 200)
            raise FileFault("bad-user-data", f"{command[0]!r} ended with {done.returncode}: {said}")
        try:
            return done.stdout.decode()
        except UnicodeDecodeError:
            raise FileFault("not-utf8", f"{command[0]!r} printed text that is not UTF-8") from None

    def _check_cloud_config(self, text: str, instance: Instance, where: Where) -> None:
        block = instance.address.name
        if not text.startswith("#cloud-config") or text in self.read or self.checked.get(block, 0) >= MAX_CHECKED:
            return
        self.read.add(text)
        self.checked[block] = self.checked.get(block, 0) + 1
        document = read_document(text.encode(errors="surrogateescape"), "user_data")
        errors = [d for d in document.diagnostics if d.code not in ("yaml-word", "bad-number", "duplicate-key")]
        if errors:
            place = f"line {errors[0].span.line}" if errors[0].span else "it"
            cause = errors[0].message.removeprefix("cannot read user_data: ")
            message = f"cannot read user_data of {instance.address} as YAML: {place}: {cause}"
            self.evaluator.findings.warning("cloud-config", message, where(("user_data",)), None, instance.address)


def _source_of(wanted: UserDataSpec) -> str:
    """Which key is given. Raises: FileFault when not exactly one is."""
    given = [name for name in SOURCES if getattr(wanted, name) is not None]
    if len(given) != 1:
        cause = f"give one of {', '.join(SOURCES)}" + (f", not {' and '.join(given)}" if given else "")
        raise FileFault("bad-user-data", cause)
    return given[0]
