"""Counters and gauges of the compositor, as Prometheus reads them."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

RUNNING = Gauge("gator_compositions_running", "Videos that are being composed.")
LIMIT = Gauge("gator_compositions_limit", "Videos that may be composed at a time.")
REFUSED = Counter("gator_compositions_refused", "Videos that were refused: there was no room.")
PICTURES = Counter(
    "gator_pictures_encoded", "Pictures of videos that were encoded, by quality.", ["quality"]
)
SECONDS = Counter(
    "gator_encode_seconds",
    "Time for which engines worked, by quality: without waiting for frames or for readers.",
    ["quality"],
)
BYTES = Counter("gator_video_bytes", "Bytes of videos that were encoded, by quality.", ["quality"])
