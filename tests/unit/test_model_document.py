"""YAML 1.2 core types and the place of every key and value."""

import pytest

from stacksmith.model.document import locate, read_document, span


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("52:54:00:12:34:56", "52:54:00:12:34:56"),
        ("22:22", "22:22"),
        ("yEs", "yEs"),
        ("True", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("Null", None),
        ("0x1F", 31),
        ("0o17", 15),
        ("-12", -12),
        ("+1", 1),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("1.2.3", "1.2.3"),
        ("2024-01-01", "2024-01-01"),
        ("=", "="),
        ("'1'", "1"),
        ('"true"', "true"),
        ("10.20.0.0/24", "10.20.0.0/24"),
        ("-", [None]),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_read_scalar_by_the_core_schema(text: str, value: object) -> None:
    document = read_document(f"a:\n  {text}\n".encode(), "f")
    assert document.diagnostics == ()
    assert (document.data["a"], type(document.data["a"])) == (value, type(value))


@pytest.mark.parametrize(("text", "word"), [("no", "'no'"), ("On", "'On'"), ("y", "'y'"), ("010", "10")])
def test_read_old_word_warns(text: str, word: str) -> None:
    (warning,) = read_document(f"a: {text}\n".encode(), "f").diagnostics
    assert (warning.severity, warning.code) == ("warning", "yaml-word")
    assert word in warning.message


TEXT = """\
servers:
  web:
    image: &i "debian"
    networks: [{network: lan, mac: 52:54:00:00:00:01}]
    user_data: |
      first
      {{ second }}
    copy: *i
"""


@pytest.mark.parametrize(
    ("path", "key", "place"),
    [
        (("servers",), True, "f:1:1-8"),
        (("servers", "web"), True, "f:2:3-6"),
        (("servers", "web", "image"), False, "f:3:12-23"),
        (("servers", "web", "networks", 0, "mac"), True, "f:4:31-34"),
        (("servers", "web", "networks", 0, "mac"), False, "f:4:36-53"),
        (("servers", "web", "networks", 5), False, "f:4:15-16"),
        (("servers", "web", "none", "below"), False, "f:3:5-0"),
        (("servers", "web", "copy"), False, "f:3:12-23"),
    ],
)
def test_locate_gives_the_place_of_keys_and_values(path: tuple[str | int, ...], key: bool, place: str) -> None:
    document = read_document(TEXT.encode(), "f")
    found = document.span(locate(document.places, path, key=key))
    assert f"{found}-{found.end_column}" == place


def test_span_line_of_a_literal_block_is_its_own() -> None:
    document = read_document(TEXT.encode(), "f")
    node = locate(document.places, ("servers", "web", "user_data"))
    assert [span("f", node, line).line for line in (0, 1, 2)] == [5, 6, 7]


def test_read_duplicate_key_keeps_the_first_and_shows_both() -> None:
    document = read_document(b"a: 1\nb: 2\na: {x: [1]}\nb: 3\n", "f")
    assert document.data == {"a": 1, "b": 2}
    places = [(str(d.span), str(d.notes[0][1])) for d in document.diagnostics]
    assert places == [("f:3:1", "f:1:1"), ("f:4:1", "f:2:1")]


def test_read_byte_order_mark_is_taken_off() -> None:
    document = read_document("\ufeffstack: a\n".encode(), "f")
    assert document.data == {"stack": "a"}
    assert str(document.span(locate(document.places, ("stack",), key=True))) == "f:1:1"
