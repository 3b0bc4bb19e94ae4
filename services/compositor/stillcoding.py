"""Stills coded side by side, ahead of their turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from compositor.encoder.stills import IntraCoder
from compositor.engine import Stills
from compositor.h264.coded import CodedPicture
from compositor.planes import Planes

AHEAD = 2
"""Stills that are being coded, or are coded and wait for their turn."""


@dataclass(frozen=True)
class CodedStill:
    """A still as one I picture."""

    picture: CodedPicture
    planes: Planes | None
    """The still itself, where a transition beside it is coded. Whoever took it releases it."""


class StillCoder:
    """Takes stills as they come and codes them in threads of its own.

    A still is released as soon as it is coded, unless it is kept.
    """

    def __init__(
        self, stills: Stills, coder: IntraCoder, budgets: Sequence[int], kept: Sequence[bool]
    ) -> None:
        """`budgets` in bits and whether to keep the planes, both for each still."""
        self._stills = stills
        self._coder = coder
        self._budgets = budgets
        self._kept = kept
        self._taken = 0
        self._coding: deque[Future[CodedStill]] = deque()
        self._threads = ThreadPoolExecutor(AHEAD, thread_name_prefix="stills")

    def fill(self) -> None:
        """Takes stills that are there already, without waiting."""
        while len(self._coding) < AHEAD and self._taken < len(self._budgets):
            planes = self._stills.get(0)
            if planes is None:
                return
            self._start(planes)

    def next(self) -> CodedStill:
        """The next still. Waits for it to come and to be coded.

        Raises:
            Cancelled: the video is not wanted any more.
            GatorError: ENCODING_FAILED.
        """
        self.fill()
        while not self._coding:
            planes = self._stills.get()
            if planes is not None:
                self._start(planes)
        self.fill()
        coded = self._coding.popleft().result()
        self.fill()
        return coded

    def close(self) -> None:
        """Waits for what is being coded, about the time of one still, and forgets it."""
        self._threads.shutdown(cancel_futures=True)

    def _start(self, planes: Planes) -> None:
        self._coding.append(self._threads.submit(self._code, planes, self._taken))
        self._taken += 1

    def _code(self, planes: Planes, index: int) -> CodedStill:
        annexb = self._coder.code(planes, self._budgets[index])
        kept = self._kept[index]
        if not kept:
            del planes
            self._stills.release()
        return CodedStill(CodedPicture.parse(annexb), planes if kept else None)
