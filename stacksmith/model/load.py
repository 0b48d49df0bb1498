"""Files to a stack: everything that can be known without a host is checked here, all faults in one run."""

import gc
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from stacksmith.diagnostics import Diagnostic, Faults, Severity, has_errors
from stacksmith.model.assemble import Assembly
from stacksmith.model.expand import Evaluator
from stacksmith.model.findings import Findings
from stacksmith.model.fleet import Fleet
from stacksmith.model.gather import LoadOptions, gather, read_fleet
from stacksmith.model.image_file import MISSING
from stacksmith.model.sandbox import FUNCTIONS, BrokenValue
from stacksmith.model.stack import Loaded, Stack
from stacksmith.model.template import Expressions, TemplateFault
from stacksmith.model.types import JSON

__all__ = ["LoadOptions", "evaluate_outputs", "load_fleet", "load_stack"]


def load_stack(path: Path, options: LoadOptions) -> Loaded:
    """The stack of a file, or of a folder of files, with its fleet, and every fault and warning of all of them."""
    with _no_collection():
        evaluator = Evaluator(Findings())
        stack = Assembly(gather(path, options, evaluator), path, options, evaluator).stack()
        diagnostics = evaluator.findings.diagnostics
    if options.without_images:
        diagnostics = tuple(replace(d, severity=Severity.WARNING) if _is_lost_image(d) else d for d in diagnostics)
    return Loaded(None if has_errors(diagnostics) else stack, diagnostics)


def _is_lost_image(fault: Diagnostic) -> bool:
    return fault.code == MISSING and fault.address is not None and fault.address.kind == "image"


def load_fleet(path: Path, options: LoadOptions) -> tuple[Fleet | None, tuple[Diagnostic, ...]]:
    """The fleet of a file, None when it has errors, and its faults and warnings."""
    findings = Findings()
    loaded = read_fleet(path, options, findings)
    return loaded.fleet if loaded else None, findings.diagnostics


def evaluate_outputs(stack: Stack, servers: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """The values of the stack's outputs. ``servers`` maps a block's name to what is known of its server: a mapping,
    with count a list of them, with for_each a mapping of them by key. Raises: Faults.
    """
    expressions = Expressions()
    context = {**FUNCTIONS, "var": stack.variables, "stack": stack.name, "server": {**stack.unrolled, **servers}}
    values: dict[str, JSON] = {}
    findings = Findings()
    for secret in stack.secrets:
        findings.secret(secret)
    for name, source in stack.outputs.items():
        try:
            values[name] = expressions.evaluate(source, context) if "{{" in source else source
            text = json.dumps(values[name], ensure_ascii=False)
            if not text.isascii() and text != text.encode(errors="replace").decode():
                raise TemplateFault("bad-output", "it holds bytes that are no text")
            if findings.has_secrets and findings.is_secret(text):
                raise TemplateFault("bad-output", "it holds the value of a sensitive variable, and outputs are shown")
        except TemplateFault as fault:
            where = stack.output_places.get(name)
            findings.error("bad-output", f"cannot evaluate outputs.{name}: {fault}", where, fault.hint)
        except BrokenValue:
            continue
    if findings.error_count:
        raise Faults(findings.diagnostics)
    return values


@contextmanager
def _no_collection() -> Iterator[None]:
    """Garbage collection off: it is most of the time of building large trees that all live on."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
