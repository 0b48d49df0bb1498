"""URLs that hold secrets."""

import pytest

from stacksmith.model.url import masked, secret_in

SECRET = "token Token sig X-Amz-Signature X-Amz-Security-Token X-Goog-Signature api_key apikey accessToken key password"
HARMLESS = "version monkey keyboard sigma design tokenizer author region file v"


@pytest.mark.parametrize("name", SECRET.split())
def test_parameter_that_is_a_secret_is_named_and_masked(name: str) -> None:
    url = f"https://files.example/x.bin?v=2&{name}=hunter%2F22&x=1"
    assert secret_in(url) == f"a secret ({name})"
    assert masked(f'image: "{url}"}}') == f'image: "https://files.example/x.bin?v=2&{name}=***&x=1"}}'


@pytest.mark.parametrize("name", HARMLESS.split())
def test_other_parameter_is_none_and_is_shown(name: str) -> None:
    url = f"https://files.example/x.bin?{name}=hunter22"
    assert (secret_in(url), masked(url)) == (None, url)


def test_user_and_password_are_secrets_and_the_password_is_masked() -> None:
    assert secret_in("http://user@files.example/x") == secret_in("http://u:p@files.example/x") == "a user or a password"
    assert masked("cannot get http://u:p@files.example/x: 404") == "cannot get http://u:***@files.example/x: 404"


def test_value_that_is_hidden_already_is_left_as_it_is() -> None:
    assert masked("http://h/x?token=(sensitive value)") == "http://h/x?token=(sensitive value)"


def test_secret_behind_the_fragment_is_one_too() -> None:
    assert secret_in("http://files.example/x#token=hunter22") == "a secret (token)"
