"""Settings of images by OpenAI: OPENAI_API_KEY, OPENAI_BASE_URL, and GATOR_OPENAI_..."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from frame_gen.backends.openai_images.models import Size

Quality = Literal["auto", "low", "medium", "high", "xhigh", "max"]


NOWHERE = "none"
"""In the place of the URL of a ledger: nothing is bought."""


def _purchases_url() -> str:
    """A folder of the user's state, as the XDG base directory specification has it."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return (Path(state).expanduser().absolute() / "gator-video" / "openai").as_uri()


class OpenAISettings(BaseSettings):
    """What the OpenAI backend can be told."""

    model_config = SettingsConfigDict(
        env_prefix="GATOR_OPENAI_",
        env_ignore_empty=True,
        validate_by_name=True,
        validate_by_alias=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    """The key, from the variable OPENAI_API_KEY."""
    api_key_file: Path | None = None
    """File that holds the key, where that variable is not set. It is read again for each image,
    so that a key can be changed while the service runs."""
    base_url: str | None = Field(default=None, validation_alias="OPENAI_BASE_URL")
    """Where a service with OpenAI's API is, from OPENAI_BASE_URL. Unset is OpenAI's own."""
    model: str = Field(default="gpt-image-2", min_length=1, max_length=200)
    """Name of the model."""
    size: str = "auto"
    """Size to ask for, such as 2560x1440. `auto` takes one that fits model and video."""
    quality: Quality = "medium"
    """What the model is asked for. `auto` lets it choose, and with it the price."""
    partial_images: int = Field(default=0, ge=0, le=3)
    """Previews per image. OpenAI charges for each."""
    timeout: float = Field(default=180.0, gt=0, le=3600)
    """Seconds for an image, further tries included. What is not there by then counts as paid."""
    max_retries: int = Field(default=2, ge=0, le=10)
    """Further tries after a refusal that costs nothing: 408, 409, 429, 500, 503, no connection.
    Never after a time-out, which may have been charged."""
    retry_delay: float = Field(default=0.5, gt=0, le=60)
    """Seconds before the first further try where OpenAI names no time; doubled for each next."""
    max_concurrent: int = Field(default=4, ge=1, le=1000)
    """Images that this process asks for at a time."""
    images_per_render: int = Field(default=60, ge=0, le=10_000)
    """Images that may be paid for one render."""
    images_per_day: int = Field(default=200, ge=0, le=1_000_000)
    """Images that may be paid for in a day (UTC), by all services with the same `purchases_url`."""
    purchases_url: str = Field(default_factory=_purchases_url)
    """Where purchases are written down: file:///folder, s3://bucket/folder, gs:// or az://. It
    must outlive this process and its machine, or what was paid for is bought again. `none`
    buys nothing."""
    keep_days: int = Field(default=30, ge=2, le=3650)
    """Days after which a purchase is forgotten, its image with it."""
    recheck_after: float = Field(default=60.0, ge=0, le=86_400)
    """Seconds for which OpenAI is not asked after it refused the key or the model."""

    @field_validator("size")
    @classmethod
    def _is_size(cls, value: str) -> str:
        return value if value == "auto" else str(Size.parse(value))
