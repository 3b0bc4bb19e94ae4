"""Composes the clips, has every decoder show them, and compares picture by picture."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from compositor.doctor.clips import Clip, ClipFiles, clips, compose
from compositor.doctor.framemd5 import framemd5
from compositor.doctor.openh264 import OpenH264Decoder
from compositor.doctor.page import PageClip, page
from compositor.doctor.thumbnails import thumbnail
from compositor.encoder.decoding import (
    DecodingError,
    FfmpegDecoder,
    codec_string,
    hardware_decoders,
)
from compositor.planes import Planes
from rpckit.errors import GatorError
from rpckit.video import PRESETS

PAGE = "players.html"


class ExaminationError(Exception):
    """A clip could not be composed."""


class Decoder(Protocol):
    """Something that shows the pictures of MP4 files."""

    @property
    def name(self) -> str:
        """What people call it."""

    def pictures(self, path: Path) -> Iterator[Planes]:
        """The pictures of a file in output order. Raises DecodingError."""


class Verdict(Enum):
    """What became of a clip in a decoder."""

    AGREES = "agrees"
    """Every picture is that of FFmpeg's software decoder, bit for bit."""
    DIFFERS = "differs"
    FAILS = "fails"
    MISSING = "missing"
    """There is no such decoder on this machine."""


@dataclass(frozen=True)
class Outcome:
    """What became of a clip in a decoder."""

    decoder: str
    verdict: Verdict
    picture: int | None = None
    """The first that differs, or that never came."""
    reason: str = ""
    """What the decoder says, if it fails or is missing."""


@dataclass(frozen=True)
class CheckedClip:
    """A clip and what became of it."""

    clip: Clip
    pictures: int
    """How many FFmpeg's software decoder shows."""
    outcomes: tuple[Outcome, ...]
    """Of every decoder that was looked for; FFmpeg's software decoder comes first."""


class Examination:
    """One check of all decoders of this machine."""

    def __init__(self, folder: Path, *, keep: bool) -> None:
        """Writes clips into `folder`, which exists, and with `keep` checksums and a page."""
        self._folder = folder
        self._keep = keep
        self._others: Sequence[Decoder] = [OpenH264Decoder(), *hardware_decoders()]
        self._missing: dict[str, str] = {}
        self._pages: list[PageClip] = []

    @property
    def clips(self) -> tuple[Clip, ...]:
        """What is going to be checked, in order."""
        return clips()

    def check(self, clip: Clip) -> CheckedClip:
        """Composes a clip and has it decoded. The control must be the first.

        Raises:
            ExaminationError: it could not be composed.
        """
        try:
            files = compose(clip)
        except GatorError as error:
            raise ExaminationError(f"clip {clip.name}: {error.message}") from error
        path = self._folder / f"{clip.name}.mp4"
        path.write_bytes(files.stored)
        reference = FfmpegDecoder()
        digests: list[bytes] = []
        thumbnails = bytearray()
        try:
            for picture in reference.pictures(path):
                digests.append(_digest(picture))
                thumbnails += thumbnail(picture).tobytes()
            outcome = Outcome(reference.name, Verdict.AGREES)
        except DecodingError as error:
            outcome = Outcome(reference.name, Verdict.FAILS, len(digests), str(error))
        outcomes = [outcome, *(self._outcome(d, clip, path, digests) for d in self._others)]
        if self._keep:
            self._write(clip, files, path, digests, bytes(thumbnails))
        return CheckedClip(clip, len(digests), tuple(outcomes))

    def write_page(self) -> Path:
        """The page with all clips that were checked; returns where it is."""
        path = self._folder / PAGE
        path.write_text(page(self._pages), encoding="utf-8")
        return path

    def _outcome(
        self, decoder: Decoder, clip: Clip, path: Path, digests: Sequence[bytes]
    ) -> Outcome:
        if decoder.name in self._missing:
            return Outcome(decoder.name, Verdict.MISSING, reason=self._missing[decoder.name])
        found = compare(decoder, path, digests)
        if clip.is_control and found.verdict is Verdict.FAILS and found.picture == 0:
            self._missing[decoder.name] = found.reason
            return Outcome(decoder.name, Verdict.MISSING, reason=found.reason)
        return found

    def _write(
        self,
        clip: Clip,
        files: ClipFiles,
        path: Path,
        digests: Sequence[bytes],
        thumbnails: bytes,
    ) -> None:
        preset = PRESETS[clip.quality]
        text = framemd5(
            digests,
            preset.width,
            preset.height,
            preset.fps,
            aspect_is_told=not clip.is_control,  # x264 says nothing unless it is asked
        )
        path.with_suffix(".framemd5").write_text(text, encoding="ascii")
        self._pages.append(
            PageClip(
                clip.name,
                clip.about,
                preset,
                codec_string(path),
                len(digests),
                thumbnails,
                files,
            )
        )


def compare(decoder: Decoder, path: Path, digests: Sequence[bytes]) -> Outcome:
    """How the pictures that a decoder shows differ from those with these MD5 `digests`."""
    number = 0
    try:
        for picture in decoder.pictures(path):
            if number >= len(digests) or _digest(picture) != digests[number]:
                return Outcome(decoder.name, Verdict.DIFFERS, number)
            number += 1
    except DecodingError as error:
        return Outcome(decoder.name, Verdict.FAILS, number, str(error))
    if number < len(digests):
        return Outcome(decoder.name, Verdict.DIFFERS, number)
    return Outcome(decoder.name, Verdict.AGREES)


def _digest(picture: Planes) -> bytes:
    return hashlib.md5(picture.i420.data, usedforsecurity=False).digest()
