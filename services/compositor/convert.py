"""Between the messages of compositor_service.proto and the values of the service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

from google.protobuf.duration_pb2 import Duration

from compositor.engines import Choice
from compositor.intake import Part, SceneFrame, Specification
from compositor.service import Event, Plan, Progress, Stored, Summary
from compositor.timeline import SceneTiming
from gator.compositor.v1 import compositor_service_pb2 as pb
from gator.type.v1 import video_pb2
from gator.type.v1.capability_pb2 import CodecCapability, QualityPreset
from rpckit.errors import FieldViolation, GatorError, Reason, invalid
from rpckit.frame import checked_header
from rpckit.times import NANOS, to_duration, to_seconds
from rpckit.version import VERSION
from rpckit.video import PRESETS, Codec, Quality, Transition, VideoForm

MAX_SCENES = 500
MAX_SCENE_SECONDS = 600
MAX_TRANSITION_SECONDS = 10
MAX_TOTAL_SECONDS = 7_200
DEFAULT_TRANSITION = Fraction(1, 2)
FORMAT = "MP4"


def part(message: pb.ComposeRequest) -> Part:
    """The part that `message` carries; INVALID_ARGUMENT that names every bad field of it."""
    kind = message.WhichOneof("part")
    if kind == "chunk":
        return message.chunk.data
    if kind == "scene":
        header = checked_header(message.scene.frame, field="scene.frame")
        return SceneFrame(message.scene.index, header)
    if kind == "specification":
        return _specification(message.specification)
    raise GatorError(
        Reason.MESSAGE_OUT_OF_ORDER,
        "a message without a part came; send a specification, a scene or a chunk",
        metadata={"expected": "part"},
    )


def response(event: Event) -> pb.ComposeResponse:
    """The message that tells of `event`."""
    match event:
        case bytes():
            return pb.ComposeResponse(video=video_pb2.VideoChunk(data=event))
        case Progress(frames):
            return pb.ComposeResponse(progress=pb.ComposeProgress(frames_encoded=frames))
        case Stored(data):
            return pb.ComposeResponse(stored=video_pb2.VideoChunk(data=data))
        case Plan(preset, timeline):
            return pb.ComposeResponse(
                plan=pb.ComposePlan(
                    frame_count=timeline.frame_count,
                    duration=to_duration(timeline.duration),
                    preset=preset.to_proto(),
                    slots=[
                        pb.SceneSlot(
                            first_frame=slot.first_frame,
                            frame_count=slot.frame_count,
                            transition_frame_count=slot.transition_frame_count,
                        )
                        for slot in timeline.slots
                    ],
                )
            )
        case Summary(timeline, fragmented, stored, encoder):
            summary = pb.ComposeSummary(
                frame_count=timeline.frame_count,
                duration=to_duration(timeline.duration),
                format=FORMAT,
                encoder=encoder,
            )
            if fragmented is not None:
                summary.size_bytes, summary.sha256 = fragmented.size, fragmented.sha256
            if stored is not None:
                summary.stored_size_bytes = stored.size
                summary.stored_sha256 = stored.sha256
            return pb.ComposeResponse(summary=summary)


def capabilities(engines: Mapping[Codec, Choice]) -> pb.GetCapabilitiesResponse:
    """What the service can do; `engines` make the videos."""
    return pb.GetCapabilitiesResponse(
        presets=[
            QualityPreset(quality=video_pb2.Quality.ValueType(q.value), preset=preset.to_proto())
            for q, preset in PRESETS.items()
        ],
        transitions=[video_pb2.Transition.ValueType(t.value) for t in Transition],
        codecs=[codec.name.lower() for codec in engines],
        encoder=engines[Codec.H264].engine.description,
        version=VERSION,
        codec_capabilities=[
            CodecCapability(
                codec=video_pb2.Codec.ValueType(codec.value),
                encoder=choice.engine.description,
                hardware=choice.hardware,
            )
            for codec, choice in engines.items()
        ],
    )


def _specification(message: pb.ComposeSpecification) -> Specification:
    reader = _Reader()
    quality = reader.quality(message.quality)
    codec = reader.codec(message.codec)
    forms = reader.forms(message.forms)
    if not 1 <= len(message.scenes) <= MAX_SCENES:
        reader.refuse("scenes", f"has {len(message.scenes)}; must have 1 to {MAX_SCENES}")
        raise invalid(*reader.violations)
    fps = PRESETS[quality].fps
    scenes = tuple(reader.scene(i, scene, fps) for i, scene in enumerate(message.scenes))
    total = sum(scene.duration for scene in scenes)
    if total > MAX_TOTAL_SECONDS:
        reader.refuse(
            "scenes", f"last {float(total):g} s; at most {MAX_TOTAL_SECONDS} s are composed"
        )
    if reader.violations:
        raise invalid(*reader.violations)
    return Specification(quality, scenes, codec, forms)


class _Reader:
    """Reads the fields of a specification and notes every one that cannot be used."""

    def __init__(self) -> None:
        self.violations: list[FieldViolation] = []

    def refuse(self, field: str, description: str) -> None:
        self.violations.append(FieldViolation(f"specification.{field}", description))

    def quality(self, number: int) -> Quality:
        if number == video_pb2.QUALITY_UNSPECIFIED:
            return Quality.HIGH
        if number not in {q.value for q in Quality}:
            self.refuse("quality", f"is {number}; must be one of {_names(Quality)}")
            return Quality.HIGH
        return Quality(number)

    def codec(self, number: int) -> Codec:
        if number == video_pb2.CODEC_UNSPECIFIED:
            return Codec.H264
        if number not in {c.value for c in Codec}:
            self.refuse("codec", f"is {number}; must be one of {_names(Codec)}")
            return Codec.H264
        return Codec(number)

    def forms(self, numbers: Iterable[int]) -> frozenset[VideoForm]:
        known: dict[int, VideoForm] = {form.value: form for form in VideoForm}
        known[video_pb2.VIDEO_FORM_UNSPECIFIED] = VideoForm.FRAGMENTED
        forms = set()
        for index, number in enumerate(numbers):
            if number in known:
                forms.add(known[number])
            else:
                self.refuse(f"forms[{index}]", f"is {number}; must be one of {_names(VideoForm)}")
        return frozenset(forms or {VideoForm.FRAGMENTED})

    def scene(self, index: int, message: pb.ComposeScene, fps: int) -> SceneTiming:
        field = f"scenes[{index}]"
        return SceneTiming(
            self._duration(field, message, fps),
            self._transition(f"{field}.transition", message.transition),
            self._transition_duration(f"{field}.transition_duration", message),
        )

    def _duration(self, field: str, message: pb.ComposeScene, fps: int) -> Fraction:
        seconds = self._seconds(f"{field}.duration", message.duration)
        if seconds is not None and not Fraction(1, fps) <= seconds <= MAX_SCENE_SECONDS:
            shortest = -(-NANOS // fps) / NANOS
            self.refuse(
                f"{field}.duration",
                f"is {float(seconds):g} s; must be one frame, {shortest:.9f} s, "
                f"to {MAX_SCENE_SECONDS} s",
            )
        return seconds or Fraction(1)

    def _transition(self, field: str, number: int) -> Transition:
        if number == video_pb2.TRANSITION_UNSPECIFIED:
            return Transition.CROSSFADE
        if number not in {t.value for t in Transition}:
            self.refuse(field, f"is {number}; must be one of {_names(Transition)}")
            return Transition.CROSSFADE
        return Transition(number)

    def _transition_duration(self, field: str, message: pb.ComposeScene) -> Fraction:
        if not message.HasField("transition_duration"):
            return DEFAULT_TRANSITION
        seconds = self._seconds(field, message.transition_duration)
        if seconds is not None and not 0 <= seconds <= MAX_TRANSITION_SECONDS:
            self.refuse(field, f"is {float(seconds):g} s; must be 0 to {MAX_TRANSITION_SECONDS} s")
        return seconds or Fraction(0)

    def _seconds(self, field: str, message: Duration) -> Fraction | None:
        seconds, nanos = message.seconds, message.nanos
        if abs(nanos) >= NANOS or seconds * nanos < 0:
            self.refuse(
                field, "is no duration; nanos must be under 1 s and have the sign of seconds"
            )
            return None
        return to_seconds(message)


def _names(kind: type[Quality | Transition | Codec | VideoForm]) -> str:
    return ", ".join(value.name for value in kind)
