"""Expressions in the values of a stack, and the templates it names.

Values are parsed first and evaluated after, one by one: a fault points at its line and no value can add YAML.
"""

import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from jinja2 import Template, TemplateSyntaxError, nodes
from jinja2.parser import Parser

from stacksmith.frozen import dataclass
from stacksmith.model.budget import LimitReached, whole
from stacksmith.model.fileaccess import FileFault
from stacksmith.model.findings import did_you_mean
from stacksmith.model.sandbox import FILTER_NAMES, BrokenValue, Sandbox, UndefinedName, plain
from stacksmith.model.scalar import shorten
from stacksmith.model.types import JSON

MAX_SOURCE: Final = 2**18
MAX_EXPRESSION: Final = 2**14
_STATEMENT: Final = re.compile(r"\{%[-+]?\s*(if|for|set|macro|include|import|from|extends|block|call|filter|raw|do)\b")
_UNKNOWN_FILTER: Final = re.compile(r"No filter named '(.*)'")
_LONE: Final = re.compile(r"\s*\{\{[-+]?(.*?)[-+]?\}\}\s*", re.DOTALL)


class TemplateFault(Exception):
    """An expression or template that cannot be read or evaluated. ``line`` counts from 1 in its own text."""

    def __init__(self, code: str, cause: str, line: int = 1, hint: str | None = None) -> None:
        super().__init__(cause)
        self.code, self.line, self.hint = code, line, hint


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled value. Called with a context it gives plain data. Raises: TemplateFault, BrokenValue."""

    evaluate: Callable[[Mapping[str, Any]], JSON]
    filename: str | None = None

    def __call__(self, context: Mapping[str, Any]) -> JSON:
        return self.evaluate(context)


class Expressions:
    """Compiles and evaluates; each distinct text is compiled once."""

    def __init__(self) -> None:
        self._sandbox = Sandbox()
        self._known: dict[str, Callable[[Mapping[str, Any]], JSON] | TemplateFault] = {}
        self._templates: dict[tuple[str, str], Template] = {}

    def evaluate(self, text: str, context: Mapping[str, Any]) -> JSON:
        """The value of a text with ``{{ … }}``; a lone one keeps its type. ``context`` includes FUNCTIONS.

        Raises: TemplateFault, BrokenValue.
        """
        compiled = self._compiled(text)
        if isinstance(compiled, TemplateFault):
            raise compiled
        try:
            self._sandbox.budget.start()
            return compiled(context)
        except Exception as fault:  # whatever a user's expression can raise is a fault of the expression
            raise _explain(fault, context, None) from None
        finally:
            self._sandbox.budget.stop()

    def check(self, text: str) -> None:
        """Reads a text without evaluating it. Raises: TemplateFault."""
        compiled = self._compiled(text)
        if isinstance(compiled, TemplateFault):
            raise compiled

    def render(self, text: str, name: str, context: Mapping[str, Any], limit: int) -> str:
        """A whole template, statements included, as text of at most ``limit`` characters.

        Raises: TemplateFault, BrokenValue.
        """
        template: Template | None = None
        try:
            self._sandbox.budget.start()
            template = self._template(text, name)
            return "".join(_limited(template, context, limit))
        except Exception as fault:  # as above
            raise _explain(fault, context, template) from None
        finally:
            self._sandbox.budget.stop()

    def _template(self, text: str, name: str) -> Template:
        key = (name, text)
        if key not in self._templates:
            _check_source(text)
            code = self._sandbox.compile(text, name, name)
            self._templates[key] = Template.from_code(self._sandbox, code, self._sandbox.make_globals(None))
        return self._templates[key]

    def _compiled(self, text: str) -> Callable[[Mapping[str, Any]], JSON] | TemplateFault:
        compiled = self._known.get(text)
        if compiled is None:
            try:
                compiled = self._compile(text)
            except Exception as fault:  # Jinja's reader raises more than its own errors on hostile text
                compiled = _explain(fault, {}, None)
            self._known[text] = compiled
        return compiled

    def _compile(self, text: str) -> Callable[[Mapping[str, Any]], JSON]:
        _check_source(text)
        statement = _STATEMENT.search(text)
        if statement:
            line = text[: statement.start()].count("\n") + 1
            hint = "use count or for_each for loops, or user_data: {template: FILE}"
            raise TemplateFault("template-syntax", "statements {% … %} are not allowed in values", line, hint)
        lone = _lone(self._sandbox, text)
        if lone is not None:
            if len(lone) > MAX_EXPRESSION:
                cause = f"the expression has {len(lone)} characters, the limit is {MAX_EXPRESSION}"
                raise TemplateFault("template-limit", cause)
            expression = _expression(self._sandbox, lone)
            return lambda context: plain(_result(expression, context))
        template = self._sandbox.from_string(_only_expressions(text))
        return lambda context: "".join(_limited(template, context, MAX_SOURCE))


def _expression(sandbox: Sandbox, source: str) -> Template:
    """A template that sets ``result``, as Jinja's own compile_expression makes it."""
    parser = Parser(sandbox, source, state="variable")
    value = parser.parse_expression()
    if not parser.stream.eos:
        raise TemplateSyntaxError("something follows the end of the expression", parser.stream.current.lineno)
    value.set_environment(sandbox)
    target = nodes.Name("result", "store", lineno=1)
    return sandbox.from_string(nodes.Template([nodes.Assign(target, value, lineno=1)], lineno=1))


def _result(expression: Template, context: Mapping[str, Any]) -> Any:
    inside = expression.new_context(context, shared=True)  # type: ignore[arg-type]
    for _ in expression.root_render_func(inside):
        pass
    return inside.vars["result"]


def _limited(template: Template, context: Mapping[str, Any], limit: int) -> Iterator[str]:
    total = 0
    for piece in template.root_render_func(template.new_context(context, shared=True)):  # type: ignore[arg-type]
        total += len(whole(piece))
        if total > limit:
            raise LimitReached(f"the text is longer than {limit} characters")
        yield piece


def _check_source(text: str) -> None:
    if len(text) > MAX_SOURCE:
        raise TemplateFault("template-limit", f"the text has {len(text)} characters, the limit is {MAX_SOURCE}")


def _lone(sandbox: Sandbox, text: str) -> str | None:
    """The inside of a text that is one ``{{ … }}`` and nothing else."""
    match = _LONE.fullmatch(text)
    if match is None:
        return None
    if "{{" in match[1] or "}}" in match[1]:
        body = sandbox.parse(text.strip()).body
        output = body[0] if len(body) == 1 else None
        if not isinstance(output, nodes.Output) or len(output.nodes) != 1:
            return None
    return match[1]


def _only_expressions(text: str) -> str:
    """The text with Jinja's comment and statement marks made plain: ``${#list}`` of a shell script stays itself."""
    return re.sub(r"\{[#%]", lambda mark: "{{ '" + mark[0] + "' }}", text)


def _explain(fault: BaseException, context: Mapping[str, Any], template: Template | None) -> Any:
    """The fault in our words; BrokenValue as it is."""
    if isinstance(fault, BrokenValue | TemplateFault):
        return fault
    line = _line_of(fault, template)
    if isinstance(fault, FileFault):
        return TemplateFault(fault.code, str(fault), line, fault.hint)
    if isinstance(fault, TemplateSyntaxError):
        cause = (fault.message or "not an expression").replace("'end of template'", "end of the text").rstrip(".")
        unknown = _UNKNOWN_FILTER.match(cause)
        hint = did_you_mean(unknown[1], FILTER_NAMES, "filters") if unknown else None
        return TemplateFault("template-syntax", cause, fault.lineno, hint)
    if isinstance(fault, LimitReached):
        return TemplateFault("template-limit", str(fault), line)
    if isinstance(fault, UndefinedName):
        choices = fault.choices if fault.choices is not None else [str(name) for name in context]
        hint = did_you_mean(str(fault.name), choices, "defined names") if choices else None
        return TemplateFault("template-error", _undefined(fault), line, hint)
    if isinstance(fault, RecursionError | MemoryError):
        return TemplateFault("template-limit", "it is nested too deeply", line)
    return TemplateFault("template-error", shorten(str(fault) or type(fault).__name__, 300), line)


def _undefined(fault: UndefinedName) -> str:
    return f"{fault.name!r} is not defined" if fault.name is not None else str(fault.message)


def _line_of(fault: BaseException, template: Template | None) -> int:
    """The line of the template that raised, by the frames of its compiled code."""
    if template is None or fault.__traceback__ is None:
        return 1
    for frame, number in reversed(list(traceback.walk_tb(fault.__traceback__))):
        if frame.f_code.co_filename == template.filename:
            return template.get_corresponding_lineno(number)
    return 1
