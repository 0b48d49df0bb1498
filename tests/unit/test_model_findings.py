"""What the excerpt of a fault shows of its line."""

import pytest

from stacksmith.model.findings import HIDDEN, Findings
from stacksmith.source import Span


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("bios: {SysPassword: geheim, Foo: null}", f"bios: {{SysPassword: {HIDDEN}, Foo: null}}"),
        ("{'AdminPwd': \"two words\", a: 1}", f"{{'AdminPwd': {HIDDEN}, a: 1}}"),
        ("chpasswd: 'x'", f"chpasswd: {HIDDEN}"),
        ("password: {env: NAME}", "password: {env: NAME}"),
        ('password: "{{ var.name }}"', 'password: "{{ var.name }}"'),
        ("passwords: 3", "passwords: 3"),
    ],
)
def test_value_of_a_password_is_in_no_excerpt(line: str, shown: str) -> None:
    """Whatever the fault is about, and though nothing is known of the value."""
    findings = Findings()
    findings.source("f.yaml", line)
    findings.error("wrong-type", "something else", Span("f.yaml", 1, 1))
    assert findings.diagnostics[0].snippet == shown
