"""Settings of the image models on this machine.

The environment's variables that begin with GATOR_FRAME_GEN_DIFFUSERS_. HF_TOKEN,
HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE and HF_ENDPOINT mean here what they mean to Hugging
Face's own programs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode

from frame_gen.diffusion.catalog import Catalog, ModelEntry
from frame_gen.diffusion.device import Wanted
from rpckit.settings import settings_config


class DiffusersSettings(BaseSettings):
    """What the backend for models on this machine can be told."""

    model_config = settings_config("GATOR_FRAME_GEN_DIFFUSERS_")

    enabled: bool = True
    """Whether models on this machine are used at all."""
    models: Annotated[tuple[str, ...], NoDecode] = ("sdxl", "sd15")
    """Names of the catalog, best first, with commas between them: the first that can be had and
    fits into memory is used."""
    catalog: tuple[ModelEntry, ...] = ()
    """Entries beside the built-in ones, as JSON; one of the same name replaces a built-in one."""
    upscaler: str = ""
    """Name of an upscaler of the catalog, which enlarges every image; empty: none."""
    folder: Path | None = None
    """A folder with folders of models, each named as its entry: looked into before the hub's
    cache."""
    device: Wanted = "auto"
    """`auto` takes a GPU (CUDA or ROCm, then MPS) and never the CPU, on which an image takes
    minutes: `cpu` is for those who have the time."""
    download: Literal["auto", "always", "never"] = "auto"
    """Whether models that are not on this machine are downloaded. `auto` does where a token of
    the hub is there (HF_TOKEN, or a login)."""
    hub_timeout: float = Field(default=5.0, gt=0, le=120)
    """Seconds in which the hub must say what a repository holds."""
    retry_after: float = Field(default=300.0, ge=0, le=86_400)
    """Seconds after a failure to load in which it is not tried again."""
    max_rows: int = Field(default=16, ge=1, le=256)
    """Rows of a step at most: an image has two, or one without guidance. Memory may allow fewer."""
    preview_every: int = Field(default=5, ge=0, le=100)
    """Steps between previews; 0 makes none."""
    safety_checker: bool = True
    """Whether the safety checker that comes with a model is used: what it flags is no frame."""
    memory_fraction: float = Field(default=0.95, gt=0, le=1)
    """Part of the device's free memory that a model may be predicted to need."""
    compile: bool = False
    """Whether the UNet is compiled when a model is loaded: minutes then, faster steps later."""

    @field_validator("models", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _models_are_known(self) -> DiffusersSettings:
        self.entries()
        self.upscaler_entry()
        return self

    def entries(self) -> tuple[ModelEntry, ...]:
        """The models to choose from, best first."""
        return Catalog(self.catalog).entries(self.models)

    def upscaler_entry(self) -> ModelEntry | None:
        """The upscaler, if one is configured."""
        return Catalog(self.catalog).upscaler(self.upscaler) if self.upscaler else None
