"""The files of a stack: its own, those of its folder, and what they include, each with its scope."""

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from stacksmith.frozen import dataclass
from stacksmith.model.budget import MAX_TEXT
from stacksmith.model.document import MAX_BYTES, Document, locate, read_document
from stacksmith.model.expand import Block, Evaluator
from stacksmith.model.fileaccess import FileFault, Folder, read_limited
from stacksmith.model.findings import Findings, did_you_mean
from stacksmith.model.fleet_file import FleetFile, check_fleet
from stacksmith.model.sandbox import BROKEN, FUNCTIONS
from stacksmith.model.secret import with_user_names
from stacksmith.model.spec import Spec
from stacksmith.model.types import JSON
from stacksmith.model.validate import LATER, found, validate
from stacksmith.model.variable import Given, declared, read_given, resolve_variables
from stacksmith.source import Span

MAX_INCLUDES: Final = 200
TIME_LIMIT: Final = "placement_time_limit_seconds"
STACK_KEYS: Final = ("stack", "fleet", "strategy", TIME_LIMIT, "description")
SECTIONS: Final = ("flavors", "images", "keypairs", "networks", "server_groups", "volumes", "servers")
SHARED_KEYS: Final = ("variables", "include", *SECTIONS)
ALL_KEYS: Final = (*STACK_KEYS, "outputs", *SHARED_KEYS)
STACK_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
VARIABLE_PREFIX: Final = "STACKSMITH_VAR_"


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What a load is asked. ``environment`` is the only environment that is looked at.

    ``variables`` are raw texts, typed by their declarations. ``provider`` ``memory`` puts every host into one file.
    With ``without_images``, image files that are missing are warnings.
    """

    fleet: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    var_files: Sequence[Path] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    allow_commands: bool = False
    provider: str | None = None
    without_images: bool = False


class IncludeSpec(Spec):
    """A file to bring in."""

    file: str
    variables: dict[str, object] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Module:
    """Files that share one scope: the stack's own, or one that is included."""

    documents: list[Document]
    folder: Folder
    context: dict[str, Any]


@dataclass(slots=True)
class Gathered:
    """All that was read: ``head`` holds the stack's own keys with the document they stand in."""

    modules: list[Module] = field(default_factory=list)
    head: dict[str, tuple[JSON, Span]] = field(default_factory=dict)
    name: str = ""


def gather(path: Path, options: LoadOptions, evaluator: Evaluator) -> Gathered:
    """Reads the stack at ``path``, a file or a folder, and its includes; faults go to the evaluator's findings."""
    findings = evaluator.findings
    gathered = Gathered()
    files = _stack_files(path, options, findings)
    files = [file for file in files if _is_inside(file, findings)]
    documents = [d for d in (_read_operator(file, findings) for file in files) if d is not None]
    if path.is_dir():
        documents = [d for d in documents if not _is_fleet(d)]
    elif any(map(_is_fleet, documents)):
        message, hint = f"cannot read {path}: it is a fleet file", "name a stack; --fleet gives it this fleet"
        findings.error("missing-key", message, Span(str(path), 1, 1), hint)
        return gathered
    if not documents or _has_several(path, documents, findings):
        return gathered
    folder = Folder.of_stack(files[0])
    declarations = declared(documents, findings)
    for document in documents:
        if not (path.is_dir() and _are_values(document, declarations, findings)):
            _check_keys(document, ALL_KEYS, findings)
    given = _from_environment(declarations, options) | _given(options, findings)
    values = resolve_variables(declarations, given, findings)
    _read_head(documents, {**FUNCTIONS, "var": values}, evaluator, gathered)
    module = Module(documents, folder, _context(values, gathered.name, folder))
    gathered.modules.append(module)
    _include(module, gathered, evaluator, tuple(file.resolve() for file in files))
    return gathered


def _stack_files(path: Path, options: LoadOptions, findings: Findings) -> list[Path]:
    if not path.is_dir():
        return [path]
    taken = {p.resolve() for p in (*options.var_files, *([options.fleet] if options.fleet else []))}
    files = sorted(f for f in path.iterdir() if f.suffix in (".yaml", ".yml") and not f.name.startswith("."))
    files = [f for f in files if f.resolve() not in taken and not _is_other(f)]
    if not files:
        hint = "name a stack file, or a folder that has stack.yaml"
        findings.error("file-missing", f"cannot read {path}: the folder has no stack file", None, hint)
    return sorted(files, key=lambda f: (f.stem != "stack", f.name))


def _is_inside(file: Path, findings: Findings) -> bool:
    """False, with the fault reported, for a link that leads out of the folder: its lines would show in messages."""
    try:
        Folder.of_stack(file).resolve(file.name)
    except FileFault as fault:
        findings.error(fault.code, f"cannot read {file}: {fault}", Span(str(file), 1, 1), fault.hint)
        return False
    return True


def _is_fleet(document: Document) -> bool:
    return "hosts" in document.data and "fleet" in document.data and "stack" not in document.data


def _are_values(document: Document, names: Container[str], findings: Findings) -> bool:
    """True, with the fault reported once, for a file of a stack's folder that gives values to its variables."""
    keys = list(document.data)
    given = next((key for key in keys if key in names), None)
    if given is None or any(key in ALL_KEYS for key in keys):
        return False
    file = Path(document.file)
    where = document.span(locate(document.places, (given,), key=True))
    message = f"cannot read {file}: it has no key of a stack, and {given!r} is a variable of the stack"
    hint = (
        f"it looks like a values file: name it {file.stem}.vars{file.suffix}, or keep it elsewhere; --var-file gives it"
    )
    findings.error("values-file", message, where, hint)
    return True


def _has_several(path: Path, documents: list[Document], findings: Findings) -> bool:
    """Whether a folder holds several stacks, which is reported once instead of for each of their blocks."""
    stacks = [document for document in documents if "stack" in document.data]
    if len(stacks) < 2:
        return False
    places = [document.span(locate(document.places, ("stack",), key=True)) for document in stacks]
    notes = tuple((f"a stack starts in {place.file}", place) for place in places)
    message = f"cannot read {path}: {len(stacks)} of its files are stacks"
    findings.error("duplicate-key", message, places[1], f"name one of them, as {stacks[0].file}", notes=notes)
    return True


def _is_other(file: Path) -> bool:
    """True for YAML files that lie in a stack's folder and are no part of it: fleets, values, cloud-init's."""
    if file.stem == "fleet" or file.stem.endswith((".fleet", ".vars")):
        return True
    try:
        return read_limited(file, file.name, MAX_BYTES).startswith(b"#cloud-config")
    except FileFault:
        return False


def _read_operator(path: Path, findings: Findings) -> Document | None:
    """A file named on the command line, by any path; None with its faults reported."""
    try:
        return _document(read_limited(path, str(path), MAX_BYTES), str(path), findings)
    except FileFault as fault:
        findings.error(fault.code, f"cannot read {path}: {fault}", Span(str(path), 1, 1), fault.hint)
        return None


def _document(content: bytes, file: str, findings: Findings) -> Document | None:
    document = read_document(content, file)
    findings.source(file, document.text)
    for diagnostic in document.diagnostics:
        findings.add(diagnostic)
    if isinstance(document.data, dict):
        return document
    if document.data is None and not document.diagnostics:
        findings.error("empty-file", f"cannot read {file}: the file is empty", Span(file, 1, 1))
    elif document.data is not None:
        cause = f"expected a mapping, found {found(document.data)}"
        findings.error("empty-file", f"cannot read {file}: {cause}", document.span(document.places))
    return None


def _check_keys(document: Document, keys: Sequence[str], findings: Findings) -> None:
    for key in document.data.keys() - set(keys):
        where = document.span(locate(document.places, (key,), key=True))
        if key in LATER:
            message = f"cannot read {document.file}: {key!r} is not supported yet"
            findings.error("unknown-key", message, where, "take it out for now")
        else:
            hint = None if findings.is_full else did_you_mean(key, keys, "keys")
            hint = "hosts belong in the fleet file" if key in ("hosts", "defaults") else hint
            findings.error("unknown-key", f"cannot read {document.file}: unknown key {key[:60]!r}", where, hint)


def _given(options: LoadOptions, findings: Findings) -> dict[str, Given]:
    """Values by precedence: --var, then --var-file (a later one wins), then the environment."""
    given: dict[str, Given] = {}
    for path in options.var_files:
        document = _read_operator(path, findings)
        if document is not None:
            given |= read_given(document, str(path))
    return given | {name: Given(text, "--var", text=True) for name, text in options.variables.items()}


def _from_environment(names: Iterable[str], options: LoadOptions) -> dict[str, Given]:
    variables = ((name, VARIABLE_PREFIX + name) for name in names)
    return {
        name: Given(options.environment[variable], variable, text=True)
        for name, variable in variables
        if variable in options.environment
    }


def _context(values: Mapping[str, Any], name: str, folder: Folder) -> dict[str, Any]:
    """The names that every expression of a module sees."""

    def file(path: str) -> str:
        return folder.read_text(path, MAX_TEXT)

    return {**FUNCTIONS, "var": values, "stack": name, "file": file}


def _read_head(documents: list[Document], context: Mapping[str, Any], evaluator: Evaluator, gathered: Gathered) -> None:
    """The stack's own keys, each given once in all its files."""
    findings = evaluator.findings
    for document in documents:
        for key in STACK_KEYS:
            if key not in document.data:
                continue
            node = locate(document.places, (key,))
            where = document.span(node)
            if key in gathered.head:
                notes = (("first given here", gathered.head[key][1]),)
                message = f"cannot read {document.file}: {key!r} is given twice"
                findings.error("duplicate-key", message, where, notes=notes)
                continue
            block = Block(document, (key,), key)
            value = evaluator.evaluate(document.data[key], node, context, block)
            expected, words = (int, "a whole number") if key == TIME_LIMIT else (str, "text")
            if value is not BROKEN and (not isinstance(value, expected) or isinstance(value, bool)):
                findings.error("wrong-type", f"cannot read {key}: expected {words}, found {found(value)}", where)
                value = BROKEN
            gathered.head[key] = (value, where)
    if "stack" not in gathered.head:
        document = documents[0]
        message = f"cannot read {document.file}: key 'stack' is missing"
        findings.error("missing-key", message, document.span(document.places), "add the stack's name: stack: shop")
        return
    name, where = gathered.head["stack"]
    if isinstance(name, str) and not STACK_NAME.fullmatch(name):
        hint = "use lower case letters, digits and -, up to 32, a letter first"
        findings.error("bad-name", f"cannot read stack: {found(name)} is not a name", where, hint)
    gathered.name = name if isinstance(name, str) else ""


def _include(module: Module, gathered: Gathered, evaluator: Evaluator, chain: tuple[Path, ...]) -> None:
    for document in module.documents:
        entries = document.data.get("include") or []
        node = locate(document.places, ("include",))
        if not isinstance(entries, list):
            cause = f"expected a list, found {found(entries)}"
            evaluator.findings.error("wrong-type", f"cannot read include: {cause}", document.span(node))
            continue
        for number, entry in enumerate(entries):
            block = Block(document, ("include", number), f"include[{number}]")
            _include_one(module, gathered, evaluator, chain, (block, entry))


def _include_one(
    module: Module, gathered: Gathered, evaluator: Evaluator, chain: tuple[Path, ...], entry: tuple[Block, JSON]
) -> None:
    block, data = entry
    findings = evaluator.findings
    value = evaluator.evaluate(data, locate(block.document.places, block.path), module.context, block)
    if value is BROKEN:
        return
    if isinstance(value, str):
        value = {"file": value}
    spec = validate(IncludeSpec, value, block.label, block, findings)
    if spec is None:
        return
    where = block(("file",))
    try:
        real = module.folder.resolve(spec.file)
        content = module.folder.read(spec.file, MAX_BYTES)
    except FileFault as fault:
        findings.error(fault.code, f"cannot include {spec.file!r}: {fault}", where, fault.hint)
        return
    if real in chain or len(chain) > MAX_INCLUDES or len(gathered.modules) > MAX_INCLUDES:
        cause, hint = "it includes itself", None
        if module is gathered.modules[0] and real in chain and real != Path(block.document.file).resolve():
            cause = "it is a file of the stack already"
            hint = "every YAML file of a stack's folder is part of it: keep what is included in a folder of its own"
        findings.error("include-loop", f"cannot include {spec.file!r}: {cause}", where, hint)
        return
    document = _document(content, str(module.folder.shown(spec.file)), findings)
    if document is None:
        return
    _check_keys(document, SHARED_KEYS, findings)
    given = {
        name: Given(item, "include", block(("variables", name), key=True)) for name, item in spec.variables.items()
    }
    values = resolve_variables(declared([document], findings), given, findings)
    folder = Folder(module.folder.shown(spec.file).parent, module.folder.root)
    included = Module([document], folder, _context(values, gathered.name, folder))
    gathered.modules.append(included)
    _include(included, gathered, evaluator, (*chain, real))


def read_fleet(path: Path, options: LoadOptions, findings: Findings) -> FleetFile | None:
    """The fleet of a file, None with its faults reported."""
    document = _read_operator(path, findings)
    loaded = check_fleet(document, path, options.provider, findings) if document is not None else None
    if loaded is None:
        return None
    nodes = with_user_names(loaded.fleet.nodes, options.environment, path.parent)
    return replace(loaded, fleet=loaded.fleet.model_copy(update={"nodes": nodes}))
