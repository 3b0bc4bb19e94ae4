"""A server that gets SIGTERM at the points of its life that the command line names."""

from __future__ import annotations

import os
import signal
import sys

from rpckit.termination import note_signals

STARTING = ("noted", "registered", "asked")
DRAINING = "draining"
CLOSED = "the service was closed"
"""What it says at its end."""


def reached(point: str) -> None:
    if point in sys.argv[1:]:
        os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    note_signals()
    reached("noted")
    from rpckit.server import Service, run  # noqa: PLC0415 - as the services do
    from rpckit.testing import LoopbackSettings  # noqa: PLC0415

    class Signalled:
        def register(self, server) -> None:
            reached("registered")

        async def ready(self) -> bool:
            reached("asked")  # as soon as it listens
            return True

        def drain(self) -> None:
            reached(DRAINING)

        async def close(self) -> None:
            print(CLOSED, flush=True)

    def build(settings) -> Service:
        own = Signalled()
        return Service("signalled", "none", own.register, own.ready, own.close, drain=own.drain)

    run(LoopbackSettings, build)


if __name__ == "__main__":
    main()
