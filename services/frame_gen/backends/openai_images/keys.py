"""Where OpenAI's key is read: the environment or a file. It is never part of a message."""

from __future__ import annotations

import re

from frame_gen.backends.openai_images.failures import Cause, PurchaseError
from frame_gen.backends.openai_images.settings import OpenAISettings

_SENDABLE = re.compile(r"[!-~]{1,512}")
"""What an HTTP header can carry. An error about anything else would show the key."""


def read_key(settings: OpenAISettings) -> str:
    """The key. PurchaseError, with what to do, if there is no usable one."""
    if settings.api_key is not None:
        key = settings.api_key.get_secret_value().strip()
        where = "OPENAI_API_KEY"
    elif settings.api_key_file is not None:
        where = "the file in GATOR_OPENAI_API_KEY_FILE"
        try:
            key = settings.api_key_file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            raise _unusable(f"{where} cannot be read") from None
    else:
        raise _unusable("OPENAI_API_KEY is not set")
    if not key:
        raise _unusable(f"{where} is empty")
    if not _SENDABLE.fullmatch(key):
        raise _unusable(f"{where} holds characters that no key has")
    return key


def _unusable(why: str) -> PurchaseError:
    return PurchaseError(
        Cause.NO_KEY,
        f"{why}. For images by OpenAI: export OPENAI_API_KEY=your_openai_key",
    )
