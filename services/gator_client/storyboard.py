"""Storyboard files: the scenes of a video and what holds for all of them, in YAML or JSON.

    quality: high
    transition: crossfade
    duration_per_frame: 3
    scenes:
      - a quiet harbour at dawn
      - prompt: a market in full swing
        duration: 4.5
        transition: slide

The keys are those of `RenderOptions`, and of `Scene` in `scenes`. A scene with
nothing but a prompt may be just that text, and a file with nothing but scenes
just their list. Reading them needs PyYAML, which `gator-video[standalone]` brings.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import cast

import yaml

from gator_client.errors import Problem, StoryboardError
from gator_client.scene import RenderOptions, Scene, Storyboard
from gator_client.suggestion import suggestion
from gator_client.video import Codec, FallbackPolicy, Quality, Transition

MAX_FILE_SIZE = 16 << 20
"""Bytes of the largest file that is read: 500 scenes of 4,000 characters need less."""


def load_storyboard(path: Path | str) -> Storyboard:
    """The storyboard in the file `path`.

    Raises StoryboardError, or OSError if the file cannot be read.
    """
    with Path(path).open("rb") as file:
        data = file.read(MAX_FILE_SIZE + 1)
    name = str(path)
    if len(data) > MAX_FILE_SIZE:
        raise StoryboardError(name, [Problem(None, "", f"has more than {MAX_FILE_SIZE} bytes")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise StoryboardError(name, [Problem(line, "", "is not UTF-8 text")]) from None
    return parse_storyboard(text, name)


def parse_storyboard(text: str, name: str = "storyboard") -> Storyboard:
    """The storyboard in `text`, YAML or JSON. `name` stands in errors.

    Raises StoryboardError.
    """
    reader = _Reader(*_parse(text, name))
    board = reader.storyboard()
    if reader.problems:
        raise StoryboardError(name, reader.problems)
    return board


_Path = tuple[str | int, ...]
_Lines = dict[_Path, int]


def _parse(text: str, name: str) -> tuple[object, _Lines, list[Problem]]:
    """The plain values of a file, the line of each, and keys that stand there twice."""
    lines: _Lines = {}
    twice: list[Problem] = []
    value = _values(text, name)
    with contextlib.suppress(yaml.YAMLError, ValueError, RecursionError):  # JSON that is no YAML
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None:
            _note_lines(root, (), lines, twice)
    return value, lines, twice


def _values(text: str, name: str) -> object:
    # JSON is read as such: most of it is YAML as well, but for its escapes.
    problem: Problem | None = None
    if text.lstrip().startswith(("{", "[")):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            problem = Problem(error.lineno, "", f"is not JSON: {error.msg}")
        except RecursionError:
            problem = Problem(None, "", "is nested too deeply")
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise StoryboardError(name, [problem or _not_yaml(error)]) from None


def _not_yaml(error: Exception) -> Problem:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
    return Problem(mark.line + 1 if mark else None, "", f"is not YAML: {what}")


def _note_lines(node: yaml.Node, path: _Path, lines: _Lines, twice: list[Problem]) -> None:
    # No deeper than a storyboard goes: scenes, a scene, its keys.
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode) and len(path) <= 2:
        for key, value in node.value:
            place = (*path, str(key.value))
            if place in lines:
                line = key.start_mark.line + 1
                twice.append(Problem(line, _shown_path(place), "stands here a second time"))
            _note_lines(value, place, lines, twice)
            lines[place] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode) and len(path) <= 1:
        for index, value in enumerate(node.value):
            _note_lines(value, (*path, index), lines, twice)


def _shown_path(path: _Path) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def _text(value: object) -> str | None:
    return None if isinstance(value, str) else "must be text"


def _flag(value: object) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _whole(value: object) -> str | None:
    ok = isinstance(value, int) and not isinstance(value, bool)
    return None if ok else "must be a whole number"


def _number(value: object) -> str | None:
    ok = isinstance(value, int | float) and not isinstance(value, bool)
    return None if ok else "must be a number"


def _seconds(value: object) -> str | None:
    return None if _number(value) is None else "must be a number of seconds"


def _one_of(names: list[str]) -> Callable[[object], str | None]:
    def check(value: object) -> str | None:
        if isinstance(value, str) and value.lower() in names:
            return None
        hint = suggestion(value.lower(), names) if isinstance(value, str) else ""
        return f"must be one of {', '.join(names)}{hint}"

    return check


_KINDS: dict[str, Callable[[object], str | None]] = {
    "prompt": _text,
    "negative_prompt": _text,
    "duration": _seconds,
    "duration_per_frame": _seconds,
    "transition": _one_of(list(Transition)),
    "transition_duration": _seconds,
    "quality": _one_of(list(Quality)),
    "codec": _one_of(list(Codec)),
    "fallback_policy": _one_of(list(FallbackPolicy)),
    "use_ai_generation": _flag,
    "strict": _flag,
    "seed": _whole,
    "num_inference_steps": _whole,
    "guidance_scale": _number,
}
_SCENE_KEYS = [field.name for field in fields(Scene)]
_OPTION_KEYS = list(RenderOptions.__annotations__)


class _Reader:
    """Reads plain values as a storyboard, and keeps every problem that it finds."""

    def __init__(self, value: object, lines: _Lines, problems: list[Problem]) -> None:
        self._value = value
        self._lines = lines
        self.problems = problems

    def storyboard(self) -> Storyboard:
        whole = {"scenes": self._value} if isinstance(self._value, list) else self._value
        if not isinstance(whole, dict):
            self._add((), "holds no storyboard: a list of scenes, or `scenes:` and options")
            return Storyboard((), {})
        options = self._known((), {k: v for k, v in whole.items() if k != "scenes"}, _OPTION_KEYS)
        path: _Path = () if isinstance(self._value, list) else ("scenes",)
        items = whole.get("scenes")
        if not isinstance(items, list) or not items:
            missing = "scenes" not in whole
            self._add(path, "is missing" if missing else "must be a list of at least one scene")
            return Storyboard((), {})
        scenes = [self._scene((*path, index), item) for index, item in enumerate(items)]
        found = tuple(scene for scene in scenes if scene is not None)
        return Storyboard(found, cast("RenderOptions", options))

    def _scene(self, path: _Path, item: object) -> Scene | None:
        if isinstance(item, str):
            return Scene(item)
        if not isinstance(item, dict):
            self._add(path, f"is {_shown(item)}; must be a prompt, or keys with a `prompt`")
            return None
        values = self._known(path, item, _SCENE_KEYS)
        if "prompt" not in values:
            missing = "prompt" not in item
            self._add((*path, "prompt"), "is missing" if missing else "is empty")
            return None
        return Scene(**values)  # type: ignore[arg-type]  # checked by _known

    def _known(
        self, path: _Path, items: dict[object, object], keys: list[str]
    ) -> dict[str, object]:
        """The items with a known key and a value of the right kind; the others are problems."""
        values: dict[str, object] = {}
        for key, value in items.items():
            place = (*path, str(key))
            if key not in keys:
                known = keys if path else ["scenes", *keys]
                hint = suggestion(str(key), known) or f"; the keys are {', '.join(known)}"
                self._add(place, f"is not a key of a {'scene' if path else 'storyboard'}{hint}")
            elif value is not None:
                wrong = _KINDS[str(key)](value)
                if wrong:
                    self._add(place, f"is {_shown(value)}; {wrong}")
                values[str(key)] = value
        return values

    def _add(self, path: _Path, message: str) -> None:
        line = self._lines.get(path, self._lines.get(path[:-1]))
        self.problems.append(Problem(line, _shown_path(path), message))


def _shown(value: object) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
