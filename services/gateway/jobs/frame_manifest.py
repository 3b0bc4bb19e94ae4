"""What is stored beside a frame's bytes, as JSON: header, checksum, provenance, warnings."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any

from gateway.request import RenderWarning
from rpckit.frame import FrameHeader, PixelFormat
from rpckit.provenance import Backend, PassedOver, Provenance

VERSION = 1
"""Of the layout. A manifest of another one is left alone, and its frame not used."""


class UnreadableManifestError(Exception):
    """The bytes are no manifest."""


@dataclass(frozen=True)
class FrameManifest:
    """A frame that is stored."""

    header: FrameHeader
    provenance: Provenance
    """As it was made."""
    warnings: tuple[RenderWarning, ...]
    used: datetime
    """When the frame was made, or about when it was last used since; aware."""

    def to_json(self) -> bytes:
        """The manifest's bytes."""
        header, made = self.header, self.provenance
        content = {
            "version": VERSION,
            "used": self.used.isoformat(),
            "frame": {
                "width": header.width,
                "height": header.height,
                "pixel_format": header.pixel_format.name,
                "size": header.size,
                "sha256": header.sha256.hex(),
            },
            "provenance": {
                "backend": made.backend.name,
                "model": made.model,
                "seed": made.seed,
                "num_inference_steps": made.num_inference_steps,
                "guidance_scale": made.guidance_scale,
                "width": made.width,
                "height": made.height,
                "queue_time": str(made.queue_time),
                "generation_time": str(made.generation_time),
                "frame_sha256": made.frame_sha256.hex(),
                "passed_over": [
                    {**asdict(over), "backend": over.backend.name} for over in made.passed_over
                ],
            },
            "warnings": [asdict(warning) for warning in self.warnings],
        }
        return json.dumps(content, indent=1).encode()

    @classmethod
    def of_json(cls, content: bytes) -> FrameManifest | None:
        """The manifest in some bytes; None for one of another version.

        Raises:
            UnreadableManifestError: it is none.
        """
        try:
            read = json.loads(content)
            if read["version"] != VERSION:
                return None
            frame = read["frame"]
            header = FrameHeader(
                frame["width"],
                frame["height"],
                PixelFormat[frame["pixel_format"]],
                bytes.fromhex(frame["sha256"]),
            )
            warnings = tuple(RenderWarning(**warning) for warning in read["warnings"])
            provenance = _provenance(read["provenance"])
            used = datetime.fromisoformat(read["used"])
        except (ValueError, LookupError, TypeError) as error:
            raise UnreadableManifestError(str(error)) from error
        return cls(header, provenance, warnings, used)


def _provenance(read: dict[str, Any]) -> Provenance:
    return Provenance(
        backend=Backend[read["backend"]],
        model=read["model"],
        seed=read["seed"],
        num_inference_steps=read["num_inference_steps"],
        guidance_scale=read["guidance_scale"],
        width=read["width"],
        height=read["height"],
        queue_time=Fraction(read["queue_time"]),
        generation_time=Fraction(read["generation_time"]),
        frame_sha256=bytes.fromhex(read["frame_sha256"]),
        passed_over=tuple(
            PassedOver(Backend[over["backend"]], over["reason"], over["message"])
            for over in read["passed_over"]
        ),
    )
