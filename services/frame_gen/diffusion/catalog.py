"""The image models that are known: where they are, what they need, what they may be used for.

Free of torch. A model generates at one constant size for 16:9, near the area on
which it was trained and in the multiples that its layers halve without a rest;
the size of the video plays no part, so that a draft and a premium render of the
same scenes share their frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

GIB = 1 << 30


class Engine(StrEnum):
    """How a model is run."""

    STEPS = "steps"
    """Step by step over its UNet, many images at once (Stable Diffusion 1.x, SDXL)."""
    PIPELINE = "pipeline"
    """As a whole diffusers pipeline, images with equal settings at once."""
    UPSCALER = "upscaler"
    """Not by itself: as a whole diffusers pipeline that enlarges the pictures of other models."""


class Dtype(StrEnum):
    """Number format of the weights."""

    AUTO = "auto"
    """bfloat16 where the device has it, else float16, and float32 on a CPU."""
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


@dataclass(frozen=True)
class Working:
    """Memory at work beside the weights, in elements of the weights' number format.

    The two of the UNets and of the VAE are the peaks of live tensors in a
    forward pass of the real architecture, counted on torch's meta device with
    attention that keeps no score matrix; they grow linearly with the area.
    """

    denoise: int
    """Per latent and row of a step, where a row is one image, or half of one with guidance."""
    decode: int = 768
    """Per pixel of one image in the VAE: three maps of 256 channels at full size."""


UNET_SD = Working(denoise=8_335)
UNET_SDXL = Working(denoise=5_050)
TRANSFORMER = Working(denoise=8_000)
"""An allowance: transformers differ."""


@dataclass(frozen=True)
class ModelEntry:
    """A model of the catalog."""

    name: str
    """Short and unique, such as "sdxl"."""
    width: int = 0
    """Of a generated image, pixels, a constant for 16:9; not set for an upscaler."""
    height: int = 0
    """Of a generated image, pixels; not set for an upscaler."""
    repository: str = ""
    """On the Hugging Face hub, such as "stabilityai/stable-diffusion-xl-base-1.0"."""
    folder: Path | None = None
    """A folder with the model in diffusers' layout; goes before the repository."""
    revision: str = "main"
    """Of the repository: a commit, or a branch that is pinned to a commit at the download."""
    variant: str = ""
    """Of the weight files, such as "fp16"; others serve where there is none."""
    engine: Engine = Engine.PIPELINE
    multiple: int = 8
    """Width and height must be multiples of this."""
    native_area: int = 1024 * 1024
    """Pixels of the images on which the model was trained."""
    dtype: Dtype = Dtype.AUTO
    scheduler: str = ""
    """Name of a solver (see `schedulers.NAMES`); empty takes the one that comes with the model."""
    weights: int = 0
    """Bytes of the weights in 16 bits, to judge by before there are files; 0: not known."""
    working: Working = TRANSFORMER
    max_steps: int | None = None
    """Steps beyond which a distilled model gains nothing; None: as many as are asked for."""
    guidance: float | None = None
    """The only guidance scale that a distilled model takes; None: the one asked for."""
    max_batch: int = 4
    """Images in one call of a whole pipeline."""
    scale: int = 2
    """Times that an upscaler enlarges width and height; only its memory is judged by this."""
    preview_decoder: str = ""
    """Folder of a diffusers AutoencoderTiny for previews; empty: by linear factors where known."""
    licence: str = "not known: read the model's card"
    """Terms of the weights, for people."""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a model needs a name")
        if not self.repository and self.folder is None:
            raise ValueError(f"model {self.name}: set repository or folder")
        if self.engine is Engine.UPSCALER:
            if self.scale < 1:
                raise ValueError(f"upscaler {self.name}: scale is {self.scale}; must be at least 1")
            return
        for side in ("width", "height"):
            value = getattr(self, side)
            if value <= 0 or value % self.multiple:
                raise ValueError(
                    f"model {self.name}: {side} is {value}; must be a multiple of {self.multiple}"
                )

    @property
    def source(self) -> str:
        """The repository, or the folder's name: what stands in a frame's provenance."""
        return self.folder.name if self.folder is not None else self.repository

    def settings_for(self, steps: int, guidance: float) -> tuple[int, float]:
        """Steps and guidance scale with which the model is run where these are asked for."""
        if self.max_steps is not None:
            steps = min(steps, self.max_steps)
        return steps, guidance if self.guidance is None else self.guidance


SDXL = ModelEntry(
    name="sdxl",
    repository="stabilityai/stable-diffusion-xl-base-1.0",
    revision="462165984030d82259a11f4367a4eed129e94a7b",
    variant="fp16",
    engine=Engine.STEPS,
    width=1344,
    height=768,
    multiple=64,
    native_area=1024 * 1024,
    weights=6_939_000_000,
    working=UNET_SDXL,
    licence="CreativeML Open RAIL++-M: commercial use with restrictions on what is made",
)

SD15 = ModelEntry(
    name="sd15",
    repository="stable-diffusion-v1-5/stable-diffusion-v1-5",
    variant="fp16",
    engine=Engine.STEPS,
    width=704,
    height=384,
    multiple=64,
    native_area=512 * 512,
    weights=2_134_000_000,
    working=UNET_SD,
    licence="CreativeML Open RAIL-M: commercial use with restrictions on what is made",
)

PIXART_SIGMA = ModelEntry(
    name="pixart-sigma",
    repository="PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
    width=1344,
    height=768,
    multiple=32,
    weights=10_900_000_000,
    licence="CreativeML Open RAIL++-M: commercial use with restrictions on what is made",
)

Z_IMAGE_TURBO = ModelEntry(
    name="z-image-turbo",
    repository="Tongyi-MAI/Z-Image-Turbo",
    width=1344,
    height=768,
    multiple=32,
    weights=20_600_000_000,
    max_steps=8,
    guidance=0.0,
    licence="Apache-2.0",
)

FLUX1_SCHNELL = ModelEntry(
    name="flux1-schnell",
    repository="black-forest-labs/FLUX.1-schnell",
    width=1344,
    height=768,
    multiple=32,
    weights=33_700_000_000,
    max_steps=4,
    guidance=0.0,
    max_batch=2,
    licence="Apache-2.0; the hub may ask for its terms to be accepted, then set HF_TOKEN",
)

BUILT_IN = (SDXL, SD15, PIXART_SIGMA, Z_IMAGE_TURBO, FLUX1_SCHNELL)
"""What the catalog holds without settings."""

SD_X2 = ModelEntry(
    name="sd-x2",
    repository="stabilityai/sd-x2-latent-upscaler",
    engine=Engine.UPSCALER,
    scale=2,
    guidance=0.0,
    licence="CreativeML Open RAIL++-M: commercial use with restrictions on what is made",
)

SD_X4 = ModelEntry(
    name="sd-x4",
    repository="stabilityai/stable-diffusion-x4-upscaler",
    variant="fp16",
    engine=Engine.UPSCALER,
    scale=4,
    # Its VAE has 4 pixels a latent, not 8: four times the latents.
    working=Working(denoise=4 * TRANSFORMER.denoise),
    guidance=9.0,
    licence="CreativeML Open RAIL++-M: commercial use with restrictions on what is made",
)

UPSCALERS = (SD_X2, SD_X4)
"""What the catalog holds beside the models."""


class UnknownModel(ValueError):  # noqa: N818 - a name that settings hold, said to people
    """The settings name a model that the catalog does not have."""


class Catalog:
    """The known models by name."""

    def __init__(self, added: Iterable[ModelEntry] = ()) -> None:
        """The built-in models and `added`, which replace built-in ones of the same name."""
        self._entries = {entry.name: entry for entry in (*BUILT_IN, *UPSCALERS, *added)}

    @property
    def names(self) -> tuple[str, ...]:
        """Every model's name, the built-in ones first."""
        return self._names(upscalers=False)

    def entries(self, names: Iterable[str]) -> tuple[ModelEntry, ...]:
        """The models of these names, in this order.

        Raises:
            UnknownModel: there is none of that name.
        """
        found: list[ModelEntry] = []
        for name in names:
            if name not in self.names:
                known = ", ".join(self.names)
                raise UnknownModel(f"there is no model {name!r} in the catalog; it has {known}")
            found.append(self._entries[name])
        return tuple(found)

    def upscaler(self, name: str) -> ModelEntry:
        """The upscaler of this name.

        Raises:
            UnknownModel: there is none of that name.
        """
        names = self._names(upscalers=True)
        if name not in names:
            known = ", ".join(names)
            raise UnknownModel(f"there is no upscaler {name!r} in the catalog; it has {known}")
        return self._entries[name]

    def _names(self, *, upscalers: bool) -> tuple[str, ...]:
        entries = self._entries.values()
        return tuple(e.name for e in entries if (e.engine is Engine.UPSCALER) is upscalers)
