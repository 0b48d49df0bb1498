"""Expressions: what they give, and that each text is compiled once."""

import pytest

from stacksmith.model.sandbox import BROKEN, FUNCTIONS, BrokenValue
from stacksmith.model.template import Expressions, TemplateFault

CONTEXT = {**FUNCTIONS, "var": {"n": 2, "items": [1, 2], "on": True, "bad": BROKEN, "t": "a,b"}, "index": 3}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ var.n }}", 2),
        ("  {{ var.n }}\n", 2),
        ("{{- var.n -}}", 2),
        ("{{ var.on }}", True),
        ("{{ var.items }}", [1, 2]),
        ("{{ var.n / 4 }}", 0.5),
        ("{{ none }}", None),
        ("{{ {'a': (1, 2)} }}", {"a": [1, 2]}),
        ("{{ '1e5' }}", "1e5"),
        ("{{ var.n }}.{{ index }}", "2.3"),
        ("on is {{ var.on }}", "on is true"),
        ("{{ '}}' }}", "}}"),
        ("{{ 1 }}{{ 2 }}", "12"),
        ("line\n{{ index }}\n", "line\n3\n"),
        ("${#list[@]} {%d} {{ index }}", "${#list[@]} {%d} 3"),
        ("{{ var.t.split(',') | map('upper') | join('-') }}", "A-B"),
        ("{{ var.items | map('string') | list }}", ["1", "2"]),
        ("{{ var['items'] | length }}", 2),
        ("{{ var.missing | default('x') }}", "x"),
        ("{{ 'Aé' | b64encode | b64decode }}", "Aé"),
        ("{{ var.items | to_json }}", "[1, 2]"),
        ("{{ 'a\nb' | indent(2) }}", "a\n  b"),
        ("{{ 'a' ~ 1 ~ 'b' }}", "a1b"),
        ("{{ 'ab' * 2 }}", "abab"),
        ("{{ 2 ** 10 }}", 1024),
        ("{{ 7 % 4 }}", 3),
        ("{{ range(3) | list }}", [0, 1, 2]),
        ("{{ cidrhost('10.0.0.0/24', 5) }}", "10.0.0.5"),
        ("{{ cidrhost('10.0.0.0/24', -2) }}", "10.0.0.254"),
        ("{{ cidrhost('fd00::/64', 1) }}", "fd00::1"),
        ("{{ [3, 1, 3] | unique | sort | first }}", 1),
        ("{{ 'yes' | bool }}", True),
        ("{{ [1, 2] | sum }}", 3),
    ],
)
def test_evaluate_gives_the_value_with_its_type(text: str, value: object) -> None:
    given = Expressions().evaluate(text, CONTEXT)
    assert (given, type(given)) == (value, type(value))


def test_evaluate_a_broken_variable_says_nothing_new() -> None:
    with pytest.raises(BrokenValue):
        Expressions().evaluate("{{ var.bad }}", CONTEXT)
    with pytest.raises(BrokenValue):
        Expressions().evaluate("x {{ var['bad'] }}", CONTEXT)


def test_evaluate_does_not_keep_what_it_was_given_before() -> None:
    expressions = Expressions()
    texts = [expressions.evaluate("n{{ index }}", {**CONTEXT, "index": number}) for number in range(3)]
    assert texts == ["n0", "n1", "n2"]


def test_render_set_does_not_change_the_context() -> None:
    expressions = Expressions()
    assert expressions.render("{% set index = 9 %}{{ index }}", "a.j2", CONTEXT, 100) == "9"
    assert expressions.evaluate("{{ index }}", CONTEXT) == 3


def test_render_fault_points_at_its_line() -> None:
    with pytest.raises(TemplateFault) as caught:
        Expressions().render("a\n{% for x in [1, 0] %}\n{{ 1 / x }}\n{% endfor %}\n", "a.j2", CONTEXT, 100)
    assert (caught.value.line, str(caught.value)) == (3, "division by zero")


def test_render_text_over_the_limit_is_refused() -> None:
    with pytest.raises(TemplateFault, match="longer than 10 characters"):
        Expressions().render("{% for i in range(11) %}x{% endfor %}", "a.j2", CONTEXT, 10)


def test_evaluate_all_together_over_the_time_is_refused() -> None:
    expressions = Expressions()
    clock = iter(range(0, 10**6, 20))
    expressions._sandbox.budget._clock = lambda: float(next(clock))
    with pytest.raises(TemplateFault, match="all expressions together took longer than 30 seconds"):
        for _ in range(10):
            expressions.evaluate("{{ index }}", CONTEXT)
