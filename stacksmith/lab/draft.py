"""Files and folders that are there whole or not at all, even when their maker, or a command it ran, outlives a kill."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


def draft_of(target: Path) -> Path:
    """Where this process alone drafts the target."""
    return target.with_name(f".{target.name}.{os.getpid()}")


def write(target: Path, text: str) -> None:
    """Put the text in place whole, or leave what was there."""
    draft = draft_of(target)
    draft.write_text(text, encoding="utf-8")
    draft.chmod(0o644)
    draft.replace(target)


@contextlib.contextmanager
def folder(target: Path) -> Iterator[Path]:
    """A new private folder that becomes the target, which must not exist, when the block ends well."""
    draft = draft_of(target)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700, parents=True)
    yield draft
    draft.rename(target)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder to a place where nothing is yet."""
    draft = draft_of(target)
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(source, draft)
    draft.rename(target)
