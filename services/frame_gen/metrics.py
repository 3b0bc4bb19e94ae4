"""Metrics of frame generation, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import Counter, Gauge, Histogram

from rpckit.provenance import Backend as Kind
from rpckit.provenance import PassedOver, Provenance

REQUESTS = Gauge("gator_frame_requests", "Frames that are being made or wait for it.")
REQUESTS_LIMIT = Gauge("gator_frame_requests_limit", "Frames that may be made or wait at a time.")
REFUSED = Counter("gator_frame_requests_refused", "Frames that were refused: there was no room.")

_NOTHING = "none"
"""Where a metric has a reason and there was none."""

_FRAMES = Counter(
    "gator_frames",
    "Frames that were made, by backend, and by why the backend before it did not make them "
    "(gator.type.v1.ErrorReason; none for the first one).",
    ["backend", "reason"],
)
_PASSED_OVER = Counter(
    "gator_backends_passed_over",
    "Backends that were wanted and did not make a frame, by reason (gator.type.v1.ErrorReason).",
    ["backend", "reason"],
)
_BACKEND_UP = Gauge(
    "gator_backend_up",
    "Whether a backend that the settings name can make frames now.",
    ["backend"],
)
_FRAME_SECONDS = Histogram(
    "gator_frame_generation_seconds",
    "How long frames were made, without waiting, by backend.",
    ["backend"],
    buckets=(0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 900),
)
_WAIT_SECONDS = Histogram(
    "gator_frame_wait_seconds",
    "How long frames waited before they were made, by backend.",
    ["backend"],
    buckets=(0.01, 0.1, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 900),
)
_STEPS = Counter("gator_denoising_steps", "Denoising steps of images.")
_BATCH_ROWS = Histogram(
    "gator_denoiser_batch_rows",
    "Rows in one call of a UNet; an image with guidance has two.",
    buckets=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32),
)
_PADDING_ROWS = Counter("gator_denoiser_padding_rows", "Rows in calls of a UNet that had no image.")
_OUT_OF_MEMORY = Counter(
    "gator_device_out_of_memory",
    "How often the device's memory ran out, by phase of the work.",
    ["phase"],
)
_DEVICE_TOTAL = Gauge("gator_device_memory_total_bytes", "Memory of the device that runs models.")
_DEVICE_FREE = Gauge(
    "gator_device_memory_free_bytes",
    "Memory of the device that was free, or in torch's reserve, after the last frame.",
)
_DEVICE_GONE = Gauge(
    "gator_device_gone",
    "1 if the device that runs models is lost, or is not there though the settings name it.",
)
_LOAD_SECONDS = Histogram(
    "gator_model_load_seconds",
    "How long models took from their files to the device, warmed up, by model.",
    ["model"],
    buckets=(1, 2, 5, 10, 20, 40, 60, 120, 300, 600, 1_200),
)

# What may happen is shown before it does: the first time is an increase then.
for _phase in ("encode", "denoise", "decode"):
    _OUT_OF_MEMORY.labels(_phase)


def frame_made(provenance: Provenance) -> None:
    """Counts a frame, what was passed over for it, and its times."""
    backend, over = provenance.backend.name.lower(), provenance.passed_over
    _FRAMES.labels(backend, over[-1].reason if over else _NOTHING).inc()
    backends_passed_over(over)
    _FRAME_SECONDS.labels(backend).observe(float(provenance.generation_time))
    _WAIT_SECONDS.labels(backend).observe(float(provenance.queue_time))


def backends_passed_over(passed_over: Sequence[PassedOver]) -> None:
    """Counts each: gator_backends_passed_over_total{backend,reason}."""
    for over in passed_over:
        _PASSED_OVER.labels(over.backend.name.lower(), over.reason).inc()


def show_backend(kind: Kind, available: Callable[[], bool]) -> None:
    """Shows gator_backend_up{backend}; `available` is asked at each scrape, in its thread."""
    _BACKEND_UP.labels(kind.name.lower()).set_function(available)


def forget_backend(kind: Kind) -> None:
    """Shows it no more."""
    _BACKEND_UP.remove(kind.name.lower())


def steps_taken(images: int) -> None:
    """Counts a denoising step of so many images."""
    _STEPS.inc(images)


def unet_called(rows: int, padding: int) -> None:
    """Counts a call of a UNet."""
    _BATCH_ROWS.observe(rows)
    _PADDING_ROWS.inc(padding)


def out_of_memory(phase: str) -> None:
    """Counts that the device's memory ran out."""
    _OUT_OF_MEMORY.labels(phase).inc()


def device_memory(total: int, free: int) -> None:
    """Shows the memory of the device, in bytes."""
    _DEVICE_TOTAL.set(total)
    _DEVICE_FREE.set(free)


def device_gone(*, gone: bool) -> None:
    """Shows whether the device failed, or is missing."""
    _DEVICE_GONE.set(gone)


def model_loaded(model: str, seconds: float) -> None:
    """Notes how long a model took to load."""
    _LOAD_SECONDS.labels(model).observe(seconds)
