"""The three services in this process, for a client that was given no server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gator_client.errors import RenderError

if TYPE_CHECKING:
    from standalone import Standalone


@contextlib.contextmanager
def needs_standalone() -> Iterator[None]:
    """Around an import from `standalone`: RenderError (NOT_INSTALLED) says what to install."""
    try:
        yield
    except ImportError as error:
        raise RenderError(
            f"rendering in this process needs a package that is not installed: {error.name}",
            code="FAILED_PRECONDITION",
            reason="NOT_INSTALLED",
            advice="Install it with `pip install 'gator-video[standalone]'`, or give the address "
            "of a server.",
        ) from error


def standalone_class() -> type[Standalone]:
    """`standalone.Standalone`, loaded now: it brings all three services along."""
    with needs_standalone():
        from standalone import Standalone  # noqa: PLC0415
    return Standalone
