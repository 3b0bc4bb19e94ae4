"""The compositor's engines as the benchmark calls them, with the default settings."""

from __future__ import annotations

from collections.abc import Callable

from compositor.compressed import CompressedEngine
from compositor.encoder.x264 import Coding
from compositor.engine import Engine
from compositor.reference import ReferenceEngine

FLUSH_AFTER = 0.25

ENGINES: dict[str, Callable[[], Engine]] = {
    "compressed": lambda: CompressedEngine(Coding()),
    "reference": lambda: ReferenceEngine(Coding(), FLUSH_AFTER),
}
TITLES = {
    "compressed": "Gator, compressed domain",
    "reference": "Gator, reference engine",
}
