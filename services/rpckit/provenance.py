"""Where a frame came from, as a plain value, and on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

from gator.type.v1 import frame_pb2
from rpckit.times import to_duration, to_seconds
from rpckit.tracing import Attribute, Attributes


class Backend(Enum):
    """What can make a frame; the value is its number in frame.proto."""

    DIFFUSERS = frame_pb2.BACKEND_DIFFUSERS
    OPENAI = frame_pb2.BACKEND_OPENAI
    PLACEHOLDER = frame_pb2.BACKEND_PLACEHOLDER
    CACHE = frame_pb2.BACKEND_CACHE
    EXTERNAL = frame_pb2.BACKEND_EXTERNAL


@dataclass(frozen=True)
class PassedOver:
    """A better backend that did not make the frame, and why."""

    backend: Backend
    reason: str
    """Name of a `rpckit.errors.Reason`."""
    message: str
    """For people, with what to do."""


@dataclass(frozen=True)
class Provenance:
    """Where a frame came from."""

    backend: Backend
    model: str
    """Name and revision; empty where no model was used."""
    seed: int
    num_inference_steps: int
    guidance_scale: float
    width: int
    """Of the frame as it was made, pixels."""
    height: int
    """Of the frame as it was made, pixels."""
    queue_time: Fraction
    """Seconds."""
    generation_time: Fraction
    """Seconds."""
    frame_sha256: bytes
    passed_over: tuple[PassedOver, ...] = ()
    """Better backends, best first."""
    original_backend: Backend | None = None
    """What made a frame that was stored already (backend CACHE); None for any other."""

    @property
    def span_attributes(self) -> Attributes:
        """What a span says of the frame."""
        over = [f"{over.backend.name.lower()}: {over.reason}" for over in self.passed_over]
        attributes: dict[str, Attribute] = {
            "gator.frame.backend": self.backend.name.lower(),
            "gator.frame.model": self.model,
            "gator.frame.steps": self.num_inference_steps,
            "gator.frame.guidance_scale": self.guidance_scale,
            "gator.frame.width": self.width,
            "gator.frame.height": self.height,
            "gator.frame.queue_seconds": float(self.queue_time),
            "gator.frame.generation_seconds": float(self.generation_time),
            "gator.frame.passed_over": over,
        }
        if self.original_backend is not None:
            attributes["gator.frame.original_backend"] = self.original_backend.name.lower()
        return attributes

    def to_proto(self) -> frame_pb2.Provenance:
        """The message of this provenance."""
        return frame_pb2.Provenance(
            backend=self.backend.value,
            model=self.model,
            seed=self.seed,
            num_inference_steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
            width=self.width,
            height=self.height,
            queue_time=to_duration(self.queue_time),
            generation_time=to_duration(self.generation_time),
            frame_sha256=self.frame_sha256,
            passed_over=[
                frame_pb2.PassedOver(
                    backend=over.backend.value, reason=over.reason, message=over.message
                )
                for over in self.passed_over
            ],
            original_backend=(
                self.original_backend.value
                if self.original_backend
                else frame_pb2.BACKEND_UNSPECIFIED
            ),
        )

    @classmethod
    def from_proto(cls, message: frame_pb2.Provenance) -> Provenance:
        """The provenance of a message from one of our services. ValueError if it names none."""
        return cls(
            backend=Backend(message.backend),
            model=message.model,
            seed=message.seed,
            num_inference_steps=message.num_inference_steps,
            guidance_scale=message.guidance_scale,
            width=message.width,
            height=message.height,
            queue_time=to_seconds(message.queue_time),
            generation_time=to_seconds(message.generation_time),
            frame_sha256=message.frame_sha256,
            passed_over=tuple(
                PassedOver(Backend(over.backend), over.reason, over.message)
                for over in message.passed_over
            ),
            original_backend=(
                Backend(message.original_backend) if message.original_backend else None
            ),
        )
