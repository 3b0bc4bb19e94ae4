"""The three services in this process, for a client that was given no server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from gator_client.errors import RenderError

if TYPE_CHECKING:
    from standalone import ExternalImages, Standalone


@contextmanager
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


@asynccontextmanager
async def embedded(*, external_images: ExternalImages | None = None) -> AsyncIterator[Standalone]:
    """The services until the end of the block. RenderError (NOT_STARTED) if they cannot start."""
    with needs_standalone():
        # Loaded now: it brings all three services along.
        from standalone import ServerStartError, Standalone  # noqa: PLC0415
    async with AsyncExitStack() as running:
        try:
            services = Standalone(external_images=external_images)
            stack = await running.enter_async_context(services)
        except ServerStartError as error:
            raise RenderError(
                str(error), code="FAILED_PRECONDITION", reason="NOT_STARTED"
            ) from None
        yield stack
