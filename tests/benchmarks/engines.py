"""The compositor's engines as the benchmark calls them, with the default settings."""

from __future__ import annotations

from collections.abc import Callable

from compositor.compressed import STILL_CRF_OFFSET, CompressedEngine
from compositor.encoder.stills import IntraCoder
from compositor.encoder.x264 import X264Coding
from compositor.engine import Engine
from compositor.reference import ReferenceEngine
from rpckit.video import Preset

FLUSH_AFTER = 0.25

ENGINES: dict[str, Callable[[], Engine]] = {
    "compressed": lambda: CompressedEngine(X264Coding()),
    "reference": lambda: ReferenceEngine(X264Coding(), FLUSH_AFTER),
}
TITLES = {
    "compressed": "Gator, compressed domain",
    "reference": "Gator, reference engine",
}


def still_coder(preset: Preset) -> IntraCoder:
    """What codes the stills of the compressed domain."""
    return IntraCoder(preset, crf=X264Coding().crf + STILL_CRF_OFFSET)
