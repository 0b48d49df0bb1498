"""Diagnostics as other programs read them: JSON, SARIF 2.1.0, GitHub annotations."""

from collections.abc import Iterable

from stacksmith.diagnostics import Diagnostic, has_errors
from stacksmith.model.types import JSON
from stacksmith.source import Span

_SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def diagnostics_data(diagnostics: Iterable[Diagnostic]) -> JSON:
    """``{format_version, valid, error_count, warning_count, diagnostics: […]}``, Terraform's ``validate -json``."""
    listed = list(diagnostics)
    errors = sum(has_errors([each]) for each in listed)
    return {
        "format_version": "1.0",
        "valid": not errors,
        "error_count": errors,
        "warning_count": len(listed) - errors,
        "diagnostics": [_diagnostic(each) for each in listed],
    }


def _diagnostic(each: Diagnostic) -> JSON:
    data: dict[str, JSON] = {
        "severity": each.severity.value,
        "code": each.code,
        "summary": each.message,
        "detail": each.hint or "",
        "address": str(each.address) if each.address else None,
        "notes": [{"message": note, "range": _range(span)} for note, span in each.notes],
    }
    if each.span:
        data["range"] = _range(each.span)
    if each.snippet is not None:
        data["snippet"] = {"code": each.snippet}
    return data


def _range(span: Span | None) -> JSON:
    if span is None:
        return None
    end = {"line": span.line, "column": span.end_column or span.column + 1}
    return {"filename": span.file, "start": {"line": span.line, "column": span.column}, "end": end}


def sarif_data(diagnostics: Iterable[Diagnostic], version: str) -> JSON:
    """A SARIF 2.1.0 log with one run; ``version`` is the program's."""
    listed = list(diagnostics)
    rules = sorted({each.code for each in listed})
    driver = {"name": "stacksmith", "version": version, "rules": [{"id": code} for code in rules]}
    results = [{**_result(each), "ruleIndex": rules.index(each.code)} for each in listed]
    return {"$schema": _SARIF_SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def _result(each: Diagnostic) -> dict[str, JSON]:
    text = f"{each.message}\nhint: {each.hint}" if each.hint else each.message
    result: dict[str, JSON] = {"ruleId": each.code, "level": each.severity.value, "message": {"text": text}}
    if each.span:
        result["locations"] = [_location(each.span)]
    related = [{**_location(span), "message": {"text": note}} for note, span in each.notes if span]
    return {**result, "relatedLocations": related} if related else result


def _location(span: Span) -> dict[str, JSON]:
    region = {"startLine": span.line, "startColumn": span.column}
    if span.end_column:
        region["endColumn"] = span.end_column
    return {"physicalLocation": {"artifactLocation": {"uri": _uri(span.file)}, "region": region}}


def _uri(file: str) -> str:
    from urllib.parse import quote

    return ("file://" if file.startswith("/") else "") + quote(file)


def github_annotations(diagnostics: Iterable[Diagnostic]) -> str:
    """Workflow commands, one a line: ``::error file=stack.yaml,line=3,col=5,title=E101::message``."""
    return "".join(_annotation(each) + "\n" for each in diagnostics)


def _annotation(each: Diagnostic) -> str:
    properties: dict[str, object] = {}
    if each.span:
        properties = {"file": each.span.file, "line": each.span.line, "col": each.span.column}
        if each.span.end_column:
            properties["endColumn"] = each.span.end_column
    properties["title"] = each.code
    message = f"{each.message}\nhint: {each.hint}" if each.hint else each.message
    written = ",".join(f"{name}={_property(str(item))}" for name, item in properties.items())
    return f"::{each.severity.value} {written}::{_escaped(message)}"


def _escaped(text: str) -> str:
    # The runner's own escapes (actions/toolkit, command.ts): a value cannot begin a command of its own.
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
