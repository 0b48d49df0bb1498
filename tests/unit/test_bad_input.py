"""Hostile and broken files: always diagnostics with a place, never another exception, never long, never a change."""

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stacksmith.model.codes import CODES
from stacksmith.model.document import Places, locate, read_document, span
from stacksmith.model.load import LoadOptions, load_stack
from stacksmith.model.stack import Loaded
from tests.mutants import CASE, mutants

MUTANTS = 200
SECONDS = 60.0
HEAD = "stack: shop\nfleet: fleet.yaml\n"
HOSTILE = {
    "brackets": "[" * 40_000,
    "braces": "a: " + "{a: " * 40_000,
    "dashes": "- " * 40_000,
    "laughs": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "python": "stack: !!python/object/apply:os.system ['touch pwned']\n",
    "nul": "stack: \0\n",
    "bom inside": "stack: shop\n\ufeffservers: {}\n",
    "tabs": "stack:\n\tshop\n",
    "huge integer": HEAD + "variables: {a: {type: integer, default: " + "9" * 100_000 + "}}\n",
    "huge size": HEAD + "flavors: {a: {vcpus: 1, ram: '" + "9" * 5000 + " GiB'}}\n",
    "large size": HEAD + "volumes: {a: {size: 9223372036854775807}}\n",
    "many keys": HEAD + "".join(f"k{n}: 1\n" for n in range(100_000)),
    "many duplicates": HEAD + "metadata: {}\n" * 50_000,
    "many servers with faults": HEAD + "servers:\n" + "".join(f"  s{n}: {{flavour: x}}\n" for n in range(20_000)),
    "self alias": "stack: &a [*a]\n",
    "no anchor": "stack: *a\n",
    "alias key": "&a x: 1\n*a : 2\n",
    "merge": HEAD + "flavors: {a: &a {vcpus: 1, ram: 1}, b: {<<: *a}}\n",
    "directive": "%YAML 9.9\n---\nstack: x\n",
    "many directives": "%" * 100_000,
    "surrogate": b"stack: \xed\xa0\x80\n",
    "utf-16": "stack: shop\n".encode("utf-16"),
    "binary": bytes(range(256)) * 64,
    "long line": HEAD + "description: " + "x" * 3_000_000 + "\nflavours: {}\n",
    "unclosed quote": "stack: 'shop\n" + "x\n" * 50_000,
    "long key": HEAD + "x" * 900 + ": 1\n",
}
EXPRESSIONS = [
    "{{ '\\ud800' }}",
    "{{ ['\\ud800'] }}",
    "x {{ '\\ud800' }}",
    "{{ ('a' * 1000000).rsplit('ab' + 'a' * 500000) | length }}",
    "{{ ('a' * 1000000).strip('b' * 999999 + 'a') | length }}",
    "{{ ('a' * 1000000) | trim('b' * 999999 + 'a') | length }}",
    "{{ (['a' * 1000000] * 100000) | to_json }}",
    "{{ ['a' * 1000000] * 1000000 }}",
    "{{ range(100) | map('default', ['a' * 1000000] * 16) | list }}",
    "{{ ([1] * 1000000) | select('in', [2] * 1000000) | list }}",
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ 'a' * 10**9 }}",
    "{{ ['a'] * 10**9 }}",
    "{{ 9**9**9 }}",
    "{{ (2**64) * (2**64) * (2**64) }}",
    "{{ range(10**9) | list }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '{:>1000000000}'.format(1) }}",
    "{{ 'a'['format'](1) }}",
    "{{ 'a' | attr('__class__') }}",
    "{{ 'a' | center(2000000000) }}",
    "{{ 'ab' | replace('', 'x' * 1000000) | replace('x', 'y' * 1000000) }}",
    "{{ range(10000) | map('replace', '1', 'a' * 100000) | list }}",
    "{{ range(9999) | join('x' * 100000) }}",
    "{{ 1 | round(1000000000) }}",
    "{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}",
    "{{ " + "[" * 200 + "1" + "]" * 200 + " }}",
    "{{ " + "-" * 50_000 + "1 }}",
    "{{ " + "1+" * 50_000 + "1 }}",
    "{{ " + "a." * 20_000 + "b }}",
    "{{ " + "9" * 10_000 + " }}",
    "{{ '" + "x" * 300_000 + "' }}",
    "{{ self }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ lipsum.__globals__ }}",
    "{{ var.__class__ }}",
    "{{ file.__globals__ }}",
    "{{ file('/etc/passwd') }}",
    "{{ file('\\0') }}",
    "{{ file(5) }}",
    "{{ namespace(a=1) }}",
    "{{ range }}",
    "{{ cidrhost('0.0.0.0/0', 10**30) }}",
    "{{ cidrhost('x', 1) }}",
    "{{ 1 / 0 }}",
    "{{",
    "{{ }}",
    "}} {{",
    "{% for i in range(10**9) %}{% endfor %}{{ 1 }}",
    "{{ [1, 2] | map(attribute='x') | list }}",
    "{{ 'YQ=' | b64decode }}",
    "{{ {'a': 1}.update({'b': 2}) }}",
]
TEMPLATES = [
    "{{ '\\ud800' }}",
    "{% set n = namespace(a=1) %}{% for i in range(40) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a ~ 'x' }}",
    "{% set n = namespace(a=1) %}{% for i in range(40) %}{% set n.a = (n.a, n.a) %}{% endfor %}{{ {n.a: 1} }}",
    "{% set n = namespace(a=1)%}{% for i in range(40)%}{% set n.a = {'l': n.a, 'r': n.a}%}{% endfor %}{{ n.a ~ 1 }}",
    "{% set n = namespace(a=1)%}{% for i in range(40)%}{% set n.a = namespace(l=n.a, r=n.a)%}{% endfor %}{{ n.a ~ 1 }}",
    "{% macro m(n)%}{% if n %}{{ m(n - 1, varargs, varargs) }}{% else %}{{ varargs ~ 'x' }}{% endif%}{% endmacro %}"
    "{{ m(40, 1) }}",
    "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}{% endfor %}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9) %}{% endfor %}{% endfor %}{% endfor %}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% for i in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "{% for i in range(9999) %}{{ 'x' * 1000 }}{% endfor %}",
    "{% include '/etc/passwd' %}",
    "{% extends 'x' %}",
    "{% import 'os' as os %}",
    "{% if %}",
    "{{ missing }}",
    "{% set var = 1 %}{{ var.x }}",
    "{% for k in var.__dict__ %}{% endfor %}",
]


def load(folder: Path, content: str | bytes) -> Loaded:
    """The load of a folder with one stack file, in the time that is allowed."""
    for name in ("fleet.yaml", "debian.img", "ops.pub", "web.yaml.j2"):
        (folder / name).write_bytes((CASE / name).read_bytes())
    path = folder / "stack.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = sorted(folder.iterdir())
    began = time.process_time()
    loaded = load_stack(path, LoadOptions())
    assert time.process_time() - began < SECONDS
    assert sorted(folder.iterdir()) == before
    return loaded


def assert_refused(loaded: Loaded) -> None:
    assert loaded.stack is None
    assert any(d.severity == "error" for d in loaded.diagnostics)
    assert len(loaded.diagnostics) <= 501
    for diagnostic in loaded.diagnostics:
        assert diagnostic.code in CODES
        assert len(diagnostic.message) < 1000
        if diagnostic.code != "too-many":
            assert diagnostic.span is not None
            assert diagnostic.span.line >= 1 and diagnostic.span.column >= 1


def test_load_200_mutants_each_is_refused_with_a_place(tmp_path: Path) -> None:
    refused = 0
    for count, (kind, content) in enumerate(mutants()):
        loaded = load(tmp_path, content)
        if loaded.stack is None:
            assert_refused(loaded)
            refused += 1
        if refused == MUTANTS:
            break
        assert count < 3 * MUTANTS, f"most mutants load: the last was a {kind}"


@pytest.mark.parametrize("name", HOSTILE)
def test_load_hostile_file_is_refused_with_a_place(name: str, tmp_path: Path) -> None:
    assert_refused(load(tmp_path, HOSTILE[name]))


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=lambda text: text[:40])
def test_load_hostile_expression_is_refused_with_a_place(expression: str, tmp_path: Path) -> None:
    quoted = "'" + expression.replace("'", "''") + "'"
    stack = f"{HEAD}flavors: {{a: {{vcpus: 1, ram: 1, description: {quoted}}}}}\n"
    loaded = load(tmp_path, stack)
    assert_refused(loaded)
    assert loaded.diagnostics[0].span is not None
    assert loaded.diagnostics[0].span.line == 3


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda text: text[:60])
def test_load_hostile_template_is_refused_with_its_place(template: str, tmp_path: Path) -> None:
    (tmp_path / "hostile.j2").write_text("first line\n" + template)
    servers = "servers: {a: {flavor: f, image: i, user_data: {template: hostile.j2}}}\n"
    stack = f"{HEAD}flavors: {{f: {{vcpus: 1, ram: 1}}}}\nimages: {{i: {{source: debian.img}}}}\n{servers}"
    loaded = load(tmp_path, stack)
    assert_refused(loaded)
    (fault,) = loaded.diagnostics
    assert fault.span is not None
    assert fault.span.file.endswith("hostile.j2")


def test_load_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    loaded = load(tmp_path, HEAD + "#" * 17_000_000)
    assert [d.code for d in loaded.diagnostics] == ["too-large"]


@pytest.mark.parametrize("is_folder", [True, False])
def test_load_stack_file_that_is_a_link_out_of_the_folder_is_not_read(is_folder: bool, tmp_path: Path) -> None:
    secret, folder = tmp_path / "secret.yaml", tmp_path / "stack"
    secret.write_text("password: hunter2-canary\n")
    folder.mkdir()
    (folder / "stack.yaml").symlink_to(secret)
    loaded = load_stack(folder if is_folder else folder / "stack.yaml", LoadOptions())
    assert {d.code for d in loaded.diagnostics} == {"outside-folder"}
    assert "canary" not in repr(loaded)


@pytest.mark.parametrize("name", [".git/config", "sub/../.git/config", "link", ".stacksmith/lab.db"])
def test_load_file_of_the_checkout_or_the_state_is_refused(name: str, tmp_path: Path) -> None:
    for hidden in (".git/config", ".stacksmith/lab.db"):
        (tmp_path / hidden).parent.mkdir()
        (tmp_path / hidden).write_text("canary")
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to(".git/config")
    (tmp_path / "stack.yaml").write_text(f"{HEAD}keypairs: {{a: {{public_key: \"{{{{ file('{name}') }}}}\"}}}}\n")
    loaded = load_stack(tmp_path / "stack.yaml", LoadOptions(provider="memory"))
    assert [d.code for d in loaded.diagnostics] == ["outside-folder"]
    assert "canary" not in repr(loaded)


def test_load_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    loaded = load_stack(tmp_path / "pipe", LoadOptions())
    assert [d.code for d in loaded.diagnostics] == ["file-missing"]


def test_load_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key.pub").symlink_to("/etc/hostname")
    loaded = load(tmp_path, HEAD + "keypairs: {a: {public_key: \"{{ file('key.pub') }}\"}}\n")
    assert [d.code for d in loaded.diagnostics] == ["outside-folder"]


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_read_document_any_bytes_gives_data_or_diagnostics(content: bytes) -> None:
    document = read_document(content, "f")
    check_places(document.data, document.places)


YAML_TEXT = st.text(alphabet="ab12 \n\t:-[]{},'\"#&*!|>%@`?~.\\{}", max_size=120)


@given(YAML_TEXT)
@settings(max_examples=600, deadline=None)
def test_read_document_any_yaml_like_text_has_a_place_for_everything(text: str) -> None:
    document = read_document(text.encode(), "f")
    check_places(document.data, document.places)


@given(YAML_TEXT)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_load_any_text_gives_diagnostics(tmp_path: Path, text: str) -> None:
    loaded = load(tmp_path, HEAD + text)
    assert loaded.stack is not None or any(d.span for d in loaded.diagnostics)


def check_places(data: object, node: object) -> None:
    """Every key and value has a place, of its own kind."""
    if isinstance(data, dict):
        assert isinstance(node, Places)
        assert list(data) == list(node.keys) == list(node.values)
        for key, value in data.items():
            assert span("f", locate(node, (key,), key=True)).line >= 1
            check_places(value, node.values[key])  # type: ignore[call-overload]
    elif isinstance(data, list):
        assert isinstance(node, Places)
        assert len(data) == len(node.values)
        for number, value in enumerate(data):
            check_places(value, node.values[number])  # type: ignore[index]
    else:
        assert isinstance(node, int)
