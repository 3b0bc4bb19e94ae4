"""The settings of the services, as a deployment gives them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from compositor.settings import Settings as CompositorSettings
from frame_gen.backends.openai_images.settings import OpenAISettings
from frame_gen.diffusion.settings import DiffusersSettings
from frame_gen.settings import Settings as FrameGenSettings
from gateway.settings import Settings as GatewaySettings
from rpckit.settings import ChannelSettings, LogSettings, MetricsSettings, ServerSettings, load

SERVICES: dict[str, type[ServerSettings]] = {
    "gateway": GatewaySettings,
    "frame-gen": FrameGenSettings,
    "compositor": CompositorSettings,
}
OTHERS: dict[str, tuple[type[BaseSettings], ...]] = {
    "gateway": (ChannelSettings, LogSettings, MetricsSettings),
    "frame-gen": (DiffusersSettings, OpenAISettings, LogSettings, MetricsSettings),
    "compositor": (LogSettings, MetricsSettings),
}
"""What else each service reads."""


def variables(settings: type[BaseSettings]) -> set[str]:
    """The variables that it reads."""
    prefix = settings.model_config["env_prefix"]
    return {
        str(field.validation_alias or prefix + name.upper())
        for name, field in settings.model_fields.items()
    }


def loaded(
    environment: Mapping[str, str],
    settings: type[BaseSettings],
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
) -> BaseSettings:
    """The settings of a service with this environment, on this machine."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if "GATOR_GATEWAY_SPOOL_DIR" in environment:  # must be there
        monkeypatch.setenv("GATOR_GATEWAY_SPOOL_DIR", str(folder))
    return load(settings)
