"""The faults of one load, collected over all files."""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from stacksmith.address import Address
from stacksmith.diagnostics import Diagnostic, Severity
from stacksmith.model.document import split_lines
from stacksmith.model.near import meant
from stacksmith.model.scalar import shorten
from stacksmith.model.url import masked
from stacksmith.source import Span

MAX_SHOWN: Final = 500
SHORTEST_SECRET: Final = 4
CUT_SECRET: Final = 10  # characters of a secret that are enough to know its beginning
HIDDEN: Final = "(sensitive value)"
MAX_MESSAGE: Final = 600
MAX_COMPARED: Final = 300  # names that a misspelt one is compared with
_SNIPPET_WIDTH: Final = 400
# The value of a key that is a password's by its name, in the line of any fault: a reference to one is a mapping.
_KEYED: Final = re.compile(
    r"""((?i:passw(?:or)?d|pwd|passphrase)["']?\s*:\s+)(?:"[^"{]*"|'[^'{]*'|[^\s,{}\[\]($"'][^\s,{}\[\]]*)"""
)
_NUMBER: Final = re.compile(r"[0-9]+")

Notes = tuple[tuple[str, Span | None], ...]


class Findings:
    """Collects diagnostics; ``diagnostics`` gives them in order of place, each with its source line."""

    def __init__(self) -> None:
        self._items: dict[tuple[str, str, Span | None], Diagnostic] = {}
        self._texts: dict[str, str] = {}
        self._lines: dict[str, list[str]] = {}
        self._dropped = 0
        self._secrets: set[str] = set()
        self.error_count = 0

    def source(self, file: str, text: str) -> None:
        """Remembers a file's text, for snippets."""
        self._texts[file] = text

    def secret(self, text: str) -> None:
        """Keeps ``text`` out of every message. Very short texts are not kept out: they would garble all words."""
        if len(text) >= SHORTEST_SECRET:
            self._secrets.add(text)
            self._secrets.update(line for line in text.splitlines() if len(line) >= CUT_SECRET)

    @property
    def secrets(self) -> frozenset[str]:
        """What is kept out of messages."""
        return frozenset(self._secrets)

    @property
    def has_secrets(self) -> bool:
        """True when something is kept out of messages."""
        return bool(self._secrets)

    def is_secret(self, text: str) -> bool:
        """True when the text holds something that is kept out of messages."""
        return any(secret in text for secret in self._secrets)

    def error(
        self,
        code: str,
        message: str,
        span: Span | None = None,
        hint: str | None = None,
        address: Address | None = None,
        notes: Notes = (),
    ) -> None:
        """Adds an error."""
        self.error_count += 1
        self.add(Diagnostic(Severity.ERROR, code, message, span, hint=hint, address=address, notes=notes))

    def warning(
        self, code: str, message: str, span: Span | None = None, hint: str | None = None, address: Address | None = None
    ) -> None:
        """Adds a warning."""
        self.add(Diagnostic(Severity.WARNING, code, message, span, hint=hint, address=address))

    def add(self, diagnostic: Diagnostic) -> None:
        """Adds a diagnostic once: of the instances of a block that say the same but for numbers, the first."""
        address, words = diagnostic.address, diagnostic.message
        if address is not None and address.key is not None:
            words = _NUMBER.sub("#", words.replace(str(address), str(address.block)))
        key = (diagnostic.code, words, diagnostic.span)
        if key in self._items:
            return
        if len(self._items) < MAX_SHOWN:
            self._items[key] = diagnostic
        else:
            self._dropped += 1

    @property
    def is_full(self) -> bool:
        """True when no more will be shown, so that hints need not be looked for."""
        return len(self._items) >= MAX_SHOWN

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """All of them by file, line and column, with snippets and without secrets."""
        done = sorted((self._finish(d) for d in self._items.values()), key=_place)
        if self._dropped:
            message = f"cannot show all faults: {self._dropped} more were found"
            done.append(Diagnostic(Severity.ERROR if self.error_count else Severity.WARNING, "too-many", message))
        return tuple(done)

    def _finish(self, diagnostic: Diagnostic) -> Diagnostic:
        message = shorten(self._redact(diagnostic.message), MAX_MESSAGE)
        hint = shorten(self._redact(diagnostic.hint or ""), MAX_MESSAGE) or None
        snippet = self._snippet(diagnostic.span)
        notes = tuple((self._redact(note), place) for note, place in diagnostic.notes)
        shown = _KEYED.sub(rf"\1{HIDDEN}", self._redact(snippet)) if snippet else snippet
        return replace(diagnostic, message=message, hint=hint, snippet=shown, notes=notes)

    def _redact(self, text: str) -> str:
        for secret in sorted(self._secrets, key=len, reverse=True):
            for written in dict.fromkeys((secret, repr(secret)[1:-1])):
                text = _without_start(text.replace(written, HIDDEN), written)
        return masked(text)

    def _snippet(self, span: Span | None) -> str | None:
        if span is None or span.file not in self._texts:
            return None
        if span.file not in self._lines:
            self._lines[span.file] = split_lines(self._texts[span.file])
        lines = self._lines[span.file]
        if not 1 <= span.line <= len(lines):
            return None
        return lines[span.line - 1][:_SNIPPET_WIDTH]


def _without_start(text: str, secret: str) -> str:
    """The text without what a message, cut short, still shows of a long secret."""
    if len(secret) <= CUT_SECRET:
        return text
    while (at := text.find(secret[:CUT_SECRET])) >= 0:
        end = at + CUT_SECRET
        while end < len(text) and end - at < len(secret) and text[end] == secret[end - at]:
            end += 1
        text = text[:at] + HIDDEN + text[end:]
    return text


def _place(diagnostic: Diagnostic) -> tuple[str, int, int, str]:
    span = diagnostic.span
    return (span.file, span.line, span.column, diagnostic.message) if span else ("", 0, 0, diagnostic.message)


def did_you_mean(word: str, choices: Iterable[str], what: str = "choices") -> str:
    """A hint: the nearest choice, else the choices themselves (20 at most)."""
    names = sorted(choices)
    alike = names if len(names) <= MAX_COMPARED else [name for name in names if name[:2] == word[:2]]
    hint = meant(word, alike[:MAX_COMPARED])
    if hint is not None:
        return hint
    if not names:
        return f"there are no {what}"
    return f"{what}: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}"
