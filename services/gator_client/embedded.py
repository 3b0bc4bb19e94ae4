"""The three services in this process, for a client that was given no server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gator_client.errors import RenderError

if TYPE_CHECKING:
    from standalone import Standalone


def standalone_class() -> type[Standalone]:
    """`standalone.Standalone`, or RenderError (NOT_INSTALLED) that says what to install."""
    try:
        from standalone import Standalone  # noqa: PLC0415 - it brings all three services along
    except ImportError as error:
        raise RenderError(
            f"rendering in this process needs a package that is not installed: {error.name}",
            code="FAILED_PRECONDITION",
            reason="NOT_INSTALLED",
            advice="Install it with `pip install 'gator-video[standalone]'`, or give the address "
            "of a server.",
        ) from error
    return Standalone
