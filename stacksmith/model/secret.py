"""Secrets that a fleet file refers to, read where they are."""

from collections.abc import Mapping
from pathlib import Path

from stacksmith.model.fileaccess import FileFault, read_limited
from stacksmith.model.node import LostRef, Node, SecretRef

SECRET_BYTES = 4096


class NoSecret(Exception):
    """A reference that leads nowhere: the message is the cause alone."""

    def __init__(self, cause: str, hint: str) -> None:
        super().__init__(cause)
        self.hint = hint


def secret(reference: SecretRef, environment: Mapping[str, str], folder: Path) -> str:
    """What a reference leads to; ``folder`` is the fleet file's. Raises: NoSecret."""
    if reference.env is not None:
        value = environment.get(reference.env, "")
        if not value:
            raise NoSecret(f"{reference.env} is not set in the environment", f"export {reference.env}=…")
        return value
    assert reference.file is not None
    try:
        text = read_limited(folder / reference.file, reference.file, SECRET_BYTES).decode()
    except FileFault as fault:
        raise NoSecret(str(fault), "paths in a fleet file start in its folder") from None
    except UnicodeDecodeError:
        raise NoSecret(f"{reference.file!r} is not UTF-8 text", "paths in a fleet file start in its folder") from None
    value = text.removesuffix("\n").removesuffix("\r")
    if not value:
        raise NoSecret(f"{reference.file} is empty", "write it there, on one line")
    return value


def with_user_names(nodes: Mapping[str, Node], environment: Mapping[str, str], folder: Path) -> dict[str, Node]:
    """The nodes with the user names that references lead to; one that leads nowhere is told to who signs in there."""
    return {name: _with_user_name(node, environment, folder) for name, node in nodes.items()}


def _with_user_name(node: Node, environment: Mapping[str, str], folder: Path) -> Node:
    if isinstance(node.username, str):
        return node
    named: str | LostRef
    try:
        named = secret(node.username, environment, folder)
    except NoSecret as fault:
        named = LostRef(env=node.username.env, file=node.username.file, cause=str(fault), hint=fault.hint)
    return node.model_copy(update={"username": named})
