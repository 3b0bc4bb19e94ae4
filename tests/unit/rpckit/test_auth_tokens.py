"""Tokens in a file: what the file may say, who is known by it, and what happens when it changes."""

import hashlib

import pytest

from rpckit import reloaded
from rpckit.auth_tokens import TokenFile
from rpckit.errors import GatorError, Reason
from rpckit.identity import EVERYTHING, Identity, Scope
from rpckit.settings import SettingsError
from tests.support.tokens import entry, replaced

TOKEN = "gator_0123456789abcdef0123456789abcdef"


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(reloaded, "LOOK_EVERY", 0.0)
    return tmp_path / "tokens.toml"


async def test_a_token_is_known_by_its_hash(file):
    file.write_text(entry(TOKEN, "ci", "team-a") + entry("other", "laptop", "team-b"))
    tokens = TokenFile(file)
    assert await tokens.identify(TOKEN) == Identity("team-a", "ci", EVERYTHING)
    assert (await tokens.identify("other")).owner == "team-b"


@pytest.mark.parametrize(
    "shown", ["", TOKEN[:-1], f"{TOKEN} ", TOKEN.upper(), "é", hashlib.sha256(b"x").hexdigest()]
)
async def test_others_are_not(file, shown):
    file.write_text(entry(TOKEN, "ci", "team-a"))
    assert await TokenFile(file).identify(shown) is None


async def test_the_hash_itself_is_no_token(file):
    file.write_text(entry(TOKEN, "ci", "team-a"))
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    assert await TokenFile(file).identify(digest) is None


async def test_scopes_and_time_bound_a_token(file):
    file.write_text(
        entry(TOKEN, "ci", "team-a", scopes='["gator.read"]', expires="2999-01-01T00:00:00Z")
        + entry("old", "old", "team-a", expires="2020-01-01T00:00:00+02:00")
    )
    tokens = TokenFile(file)
    assert (await tokens.identify(TOKEN)).scopes == {Scope.READ}
    with pytest.raises(GatorError, match="the token old expired at 2020-01-01") as raised:
        await tokens.identify("old")
    assert raised.value.reason is Reason.UNAUTHENTICATED
    assert raised.value.metadata == {"problem": "expired"}


async def test_a_file_that_changes_counts_at_once(file):
    file.write_text(entry(TOKEN, "ci", "team-a"))
    tokens = TokenFile(file)
    replaced(file, entry("new", "ci", "team-a"))
    assert await tokens.identify(TOKEN) is None
    assert (await tokens.identify("new")).owner == "team-a"
    replaced(file, "token = []")
    assert await tokens.identify("new") is None


@pytest.mark.parametrize("content", ["", "[[token", '[[token]]\nname = "ci"\n', None])
async def test_a_file_that_cannot_be_used_changes_nothing(file, content):
    file.write_text(entry(TOKEN, "ci", "team-a"))
    tokens = TokenFile(file)
    if content is None:
        file.unlink()
    else:
        replaced(file, content)
    assert (await tokens.identify(TOKEN)).owner == "team-a"
    replaced(file, entry("new", "ci", "team-b"))
    assert (await tokens.identify("new")).owner == "team-b"
    assert await tokens.identify(TOKEN) is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "token: Field required"),
        ("[[token", "is no TOML"),
        ('[[token]]\nname = "ci"\n', r"token\.0\.owner: Field required"),
        (entry(TOKEN, "ci", ""), r"token\.0\.owner: String should have at least 1"),
        (entry(TOKEN, "ci", "a\\u0000b"), r"token\.0\.owner: String should match"),
        (entry(TOKEN, "ci", "a", scopes='["all"]'), r"token\.0\.scopes\.0: Input should be"),
        (entry(TOKEN, "ci", "a", expires='"2027-01-01T00:00:00"'), "timezone"),
        (entry(TOKEN, "ci", "a", secret=f'"{TOKEN}"'), r"token\.0\.secret: Extra inputs"),
        (f'[[token]]\nname = "a"\nowner = "a"\nsha256 = "{TOKEN}"', r"sha256: String should match"),
        (entry("a", "ci", "a") + entry("b", "ci", "a"), "the same name in two tokens"),
        (entry("a", "x", "a") + entry("a", "y", "b"), "the same sha256 in two tokens"),
    ],
)
def test_a_file_with_a_fault_is_told_without_its_secrets(file, content, told):
    file.write_text(content)
    with pytest.raises(SettingsError, match=told) as raised:
        TokenFile(file)
    assert str(file) in str(raised.value)
    assert TOKEN not in str(raised.value)


def test_a_missing_file_is_told(file):
    with pytest.raises(SettingsError, match=r"tokens\.toml cannot be read: No such file"):
        TokenFile(file)
