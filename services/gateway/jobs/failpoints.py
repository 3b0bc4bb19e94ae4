"""Points in the life of a render at which a test ends or halts the process.

Nothing is armed unless GATOR_FAILPOINTS says so, and only tests set it:
"after_claim:kill" ends the process with SIGKILL when it gets there,
"before_publish:stop" halts it with SIGSTOP until somebody sends SIGCONT,
"mid_scene:kill:3" does it at the third time. Several are separated by commas.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

VARIABLE = "GATOR_FAILPOINTS"


class Point(Enum):
    """A place where something may die."""

    BEFORE_COMMIT = "before_commit"
    """A render is about to be created."""
    AFTER_COMMIT = "after_commit"
    """A render is created, and the client not told."""
    AFTER_CLAIM = "after_claim"
    """A worker has taken a render and done nothing."""
    MID_SCENE = "mid_scene"
    """A piece of a frame has come."""
    SCENE_STORED = "scene_stored"
    """A frame is an object, and the render's row does not know it."""
    SCENE_FINISHED = "scene_finished"
    """A frame is an object, and the render's row knows it."""
    MID_ENCODE = "mid_encode"
    """A piece of the video has come."""
    AFTER_UPLOAD = "after_upload"
    """The stored form is an object, and has not been checked."""
    BEFORE_PUBLISH = "before_publish"
    """The stored form is checked, and the render's row does not know it."""
    AFTER_PUBLISH = "after_publish"
    """The render has succeeded, and nobody is told."""


class FailpointError(Exception):
    """The variable names a point or an action that does not exist."""


_ACTIONS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


@dataclass(frozen=True)
class _Armed:
    number: signal.Signals
    at: int


def parsed(text: str) -> Mapping[Point, _Armed]:
    """The armed points of the variable's text. FailpointError if it says nothing known."""
    armed: dict[Point, _Armed] = {}
    for item in filter(None, text.split(",")):
        name, _, action = item.partition(":")
        action, _, count = action.partition(":")
        try:
            armed[Point(name)] = _Armed(_ACTIONS[action], int(count or "1"))
        except (KeyError, ValueError):
            raise FailpointError(f"{VARIABLE}: {item} is no point:action[:count]") from None
    return armed


_armed = parsed(os.environ.get(VARIABLE, ""))
_passed: Counter[Point] = Counter()


def passing(point: Point) -> None:
    """The process is at `point`: it ends or halts here if a test said so."""
    armed = _armed.get(point)
    if armed is None:
        return
    _passed[point] += 1
    if _passed[point] == armed.at:
        os.kill(os.getpid(), armed.number)
