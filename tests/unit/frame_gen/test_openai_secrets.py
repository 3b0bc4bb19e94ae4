"""Where the key comes from, and that it goes nowhere but to OpenAI."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import pydantic
import pytest

from frame_gen.backends.base import BackendError
from frame_gen.backends.openai import OpenAIBackend
from frame_gen.backends.openai_images.settings import OpenAISettings
from tests.support.openai_buying import SCENE, backend, buying, frame_of
from tests.support.openai_server import KEY, OpenAIServer, raw, refusal

VARIABLES = (
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "GATOR_OPENAI_API_KEY_FILE",
    "GATOR_OPENAI_PURCHASES_URL",
)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_without_a_key_the_user_is_told_how_to_set_one() -> None:
    state = OpenAIBackend(OpenAISettings()).availability()
    assert not state.available
    assert state.models == ("gpt-image-2",)
    assert "No image generation models available" in state.message
    assert "export OPENAI_API_KEY=your_openai_key" in state.message


async def test_the_key_and_the_address_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with OpenAIServer() as server:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("GATOR_OPENAI_PURCHASES_URL", tmp_path.as_uri())
        monkeypatch.setenv("GATOR_OPENAI_SIZE", "64x32")
        async with backend(OpenAISettings()) as openai:
            assert openai.availability().available
            await frame_of(openai)
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_a_key_in_a_file_may_be_changed_while_the_service_runs(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-proj-old\n")
    async with OpenAIServer() as server:
        settings = buying(
            server, tmp_path / "bought", api_key=None, api_key_file=file, recheck_after=0
        )
        async with backend(settings) as openai:
            with pytest.raises(BackendError, match="does not take the API key"):
                await frame_of(openai)
            file.write_text(f"{KEY}\n")
            await frame_of(openai)
    sent = [request.headers["authorization"] for request in server.requests]
    assert sent == ["Bearer sk-proj-old", f"Bearer {KEY}"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read"),
        (b"", "is empty"),
        (b"\xff\xfe", "cannot be read"),
        (b"sk-secret\nsecret", "characters that no key has"),
        ("sk-secr\u00e9t".encode(), "characters that no key has"),
    ],
)
def test_a_file_without_a_key(tmp_path: Path, content: bytes | None, told: str) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    state = OpenAIBackend(OpenAISettings(api_key_file=file)).availability()
    assert not state.available
    assert told in state.message
    assert "GATOR_OPENAI_API_KEY_FILE" in state.message
    assert "secr" not in state.message


@pytest.mark.parametrize(
    "reply",
    [
        refusal(401, "invalid_api_key", f"Incorrect API key provided: {KEY}"),
        refusal(400, KEY, f"echo {KEY}"),
        refusal(500, message=f"proxy saw {KEY}"),
        raw(f"<html>{KEY}</html>".encode(), status=502, content_type="text/html"),
        raw(f'{{"data": [{{"b64_json": "{KEY}"}}]}}'.encode()),
        raw(f"{{ {KEY}".encode()),
    ],
)
async def test_the_key_is_in_no_error_and_no_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, reply: object
) -> None:
    caplog.set_level(logging.DEBUG)
    async with OpenAIServer() as server:
        server.script.extend([reply] * 3)
        settings = buying(server, tmp_path)
        async with backend(settings) as openai:
            with pytest.raises(BackendError) as caught:
                await frame_of(openai)
            told = "".join(traceback.format_exception(caught.value))
            shown = [repr(settings), repr(openai), str(settings.model_dump()), told, caplog.text]
            shown += [repr(vars(caught.value)), repr(openai.availability())]
    assert len(server.requests) in (1, 3)
    assert not [text for text in shown if "SecretSecret" in text]
    for record in caplog.records:
        assert "SecretSecret" not in record.getMessage() + repr(record.args)


def test_a_wrong_setting_is_told_without_its_value() -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        OpenAISettings(api_key=[KEY])
    assert "SecretSecret" not in str(caught.value)


async def test_the_prompt_is_in_no_log_of_ours(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with OpenAIServer() as server:
        server.script.append(refusal(400, "moderation_blocked", f"bad: {SCENE.prompt}"))
        async with backend(buying(server, tmp_path)) as openai:
            with pytest.raises(BackendError) as caught:
                await frame_of(openai)
    assert SCENE.prompt not in caplog.text + caught.value.message
