"""Ids of renders on the command line: their beginning is enough, where it is unique."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from gator_client.errors import RenderError

if TYPE_CHECKING:
    from gator_client.client import AsyncClient

SHORTEST = 8
"""Characters of an id that are shown where one stands for itself."""
_LOOKED_AT = 1_000
_WHOLE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def whole_id(client: AsyncClient, given: str) -> str:
    """The id that `given` is or begins, among the newest 1,000 renders; else `given` itself.

    RenderError (AMBIGUOUS) if it begins several.
    """
    if _WHOLE.fullmatch(given) or not given:
        return given
    found: list[str] = []
    looked_at = 0
    async with aclosing(client.list()) as renders:
        async for render in renders:
            if render.render_id == given:
                return given
            if render.render_id.startswith(given):
                found.append(render.render_id)
            looked_at += 1
            if looked_at == _LOOKED_AT:
                break
    if len(found) > 1:
        raise RenderError(
            f"{given} begins the ids of {len(found)} renders: {', '.join(found[:5])}"
            f"{' and others' if len(found) > 5 else ''}",
            code="INVALID_ARGUMENT",
            reason="AMBIGUOUS",
            advice="Write more of the id.",
        )
    return found[0] if found else given


def shortened(ids: Sequence[str]) -> dict[str, str]:
    """The shortest beginning, of at least 8 characters, that tells each of `ids` from the rest."""
    for length in range(SHORTEST, max(map(len, ids), default=0)):
        short = {render_id: render_id[:length] for render_id in ids}
        if len(set(short.values())) == len(short):
            return short
    return {render_id: render_id for render_id in ids}
