"""A stack's outputs."""

import json
from collections.abc import Mapping

from stacksmith.model.types import JSON
from stacksmith.views.words import clean, value


def outputs_text(outputs: Mapping[str, JSON]) -> str:
    """``name = value`` lines in order of name; empty for none."""
    width = max(map(len, outputs), default=0)
    return "".join(f"{name.ljust(width)} = {value('', outputs[name])}\n" for name in sorted(outputs))


def output_raw(data: JSON) -> str:
    """One output for a shell: text as it is, anything else as JSON."""
    return clean(data) + "\n" if isinstance(data, str) else json.dumps(data, ensure_ascii=False) + "\n"


def outputs_data(outputs: Mapping[str, JSON]) -> JSON:
    """Terraform's ``output -json``: ``{name: {value, sensitive}}``."""
    return {name: {"value": outputs[name], "sensitive": False} for name in sorted(outputs)}
