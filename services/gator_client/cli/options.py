"""The options of `gator render`, and what other commands share; `connection` has the server's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gator_client.durable import Priority
from gator_client.video import Codec, FallbackPolicy, Quality, Transition

_SCENES = "Scenes"
_MODELS = "Image models"
_OUTPUT = "Output"
_QUEUE = "Renders on a server"

Prompts = Annotated[
    list[str] | None,
    typer.Argument(metavar="PROMPT", help="What each scene shows, one text a scene."),
]
StoryboardFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="A storyboard, YAML or JSON, instead of prompts. What the command line says "
        "goes before what the file says for all scenes.",
        rich_help_panel=_SCENES,
    ),
]
QualityName = Annotated[
    Quality | None,
    typer.Option(
        "--quality",
        "-q",
        metavar="NAME",
        case_sensitive=False,
        help="draft (854x480), standard (1280x720), high (1920x1080, the default) or premium "
        "(3840x2160).",
        rich_help_panel=_SCENES,
    ),
]
TransitionName = Annotated[
    Transition | None,
    typer.Option(
        "--transition",
        "-t",
        metavar="NAME",
        case_sensitive=False,
        help="How a scene gives way to the next: fade, crossfade (the default), wipe, slide, "
        "zoom or dissolve.",
        rich_help_panel=_SCENES,
    ),
]
CodecName = Annotated[
    Codec | None,
    typer.Option(
        "--codec",
        metavar="NAME",
        case_sensitive=False,
        help="How the pictures are coded: h264 (the default, plays everywhere), hevc or av1 "
        "(smaller files that take longer).",
        rich_help_panel=_OUTPUT,
    ),
]
Duration = Annotated[
    float | None,
    typer.Option(
        "--duration",
        "-d",
        metavar="SECONDS",
        help="How long each scene lasts, 3 by default.",
        rich_help_panel=_SCENES,
    ),
]
TransitionDuration = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="How long a transition takes, at the end of a scene, 0.5 by default; 0 cuts.",
        rich_help_panel=_SCENES,
    ),
]
NegativePrompt = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="What no scene may show.", rich_help_panel=_MODELS),
]
Steps = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Denoising steps, 1 to 100: more is better and slower. 25 by default.",
        rich_help_panel=_MODELS,
    ),
]
Guidance = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="How closely to follow the prompt, 1 to 20. 7.5 by default.",
        rich_help_panel=_MODELS,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Seed of the first scene; the next ones count up. Without it a seed comes from "
        "each prompt, the same every time.",
        rich_help_panel=_MODELS,
    ),
]
Placeholder = Annotated[
    bool,
    typer.Option(
        "--placeholder",
        metavar="",
        help="Draw placeholders, fast: no image model is asked.",
        rich_help_panel=_MODELS,
    ),
]
Fallback = Annotated[
    FallbackPolicy | None,
    typer.Option(
        metavar="NAME",
        case_sensitive=False,
        help="What becomes of a scene that no model could make: placeholder (the default), or "
        "fail, which ends the render.",
        rich_help_panel=_MODELS,
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        metavar="",
        help="Refuse values that would be replaced with a warning.",
        rich_help_panel=_MODELS,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="The MP4 file, or - for the standard output. Without it the name comes from the "
        "first prompt or the storyboard.",
        rich_help_panel=_OUTPUT,
    ),
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        "-f",
        metavar="",
        help="Replace the file if it exists, and previews of an earlier render.",
        rich_help_panel=_OUTPUT,
    ),
]
Preview = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Write previews of images in the making to this folder, as scene-003-step-010.jpg. "
        "Image models send some; placeholders have none.",
        rich_help_panel=_OUTPUT,
    ),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        metavar="",
        help="Print the result, or the error, as one JSON document and nothing else.",
        rich_help_panel=_OUTPUT,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", metavar="", help="Print warnings and errors only.", rich_help_panel=_OUTPUT
    ),
]
Detach = Annotated[
    bool,
    typer.Option(
        "--detach",
        metavar="",
        help="Print the render's id and return: the server goes on alone. Needs --server.",
        rich_help_panel=_QUEUE,
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="KEY=VALUE",
        help="A label to find the render by; may be given several times.",
        rich_help_panel=_QUEUE,
    ),
]
PriorityName = Annotated[
    Priority | None,
    typer.Option(
        "--priority",
        metavar="NAME",
        case_sensitive=False,
        help="interactive (the default, but with --detach) comes before all of batch.",
        rich_help_panel=_QUEUE,
    ),
]
RequestId = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="A name of your own that makes the command safe to repeat: with the same scenes "
        "and options it finds the render that is there.",
        rich_help_panel=_QUEUE,
    ),
]
RenderId = Annotated[
    str,
    typer.Argument(metavar="ID", help="The render: its id, or the beginning of it."),
]
RenderIds = Annotated[
    list[str],
    typer.Argument(metavar="ID", help="The renders: their ids, or the beginnings of them."),
]
Document = Annotated[
    bool, typer.Option("--json", metavar="", help="Print one JSON document and nothing else.")
]


def labels_of(given: list[str] | None) -> dict[str, str]:
    """The pairs of --label; a usage error for what is no pair."""
    labels = {}
    for text in given or []:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"--label {text} is no pair; write --label key=value")
        labels[key] = value
    return labels
