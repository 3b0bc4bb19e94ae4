"""`python -m gateway` on a machine whose clock is wrong by SHIFTED_GATEWAY_SECONDS.

What Python tells the time with is shifted before the gateway is imported: `time.time`,
`time.time_ns` and `datetime.now`. What counts from a start (`time.monotonic`) is not: a wrong
clock runs as fast as a right one. gRPC's core reads the machine's clock by itself, and compares
it with deadlines that its Python part makes with `time.time`: that part keeps the right one,
as both would have the same on a machine whose clock is wrong.
"""

import datetime as dt
import os
import runpy
import time
from types import SimpleNamespace

from grpc._cython import cygrpc
from grpc.aio import _utils as deadlines

SECONDS = "SHIFTED_GATEWAY_SECONDS"
"""Variable with how far the clock is ahead."""


def shift(seconds: float) -> None:
    """Makes the clock of this process wrong."""
    real_time, real_ns = time.time, time.time_ns
    cygrpc.time = deadlines.time = SimpleNamespace(time=real_time)

    class Shifted(dt.datetime):
        __slots__ = ()

        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(time.time(), tz)

    time.time = lambda: real_time() + seconds
    time.time_ns = lambda: real_ns() + int(seconds * 1e9)
    dt.datetime = Shifted


if __name__ == "__main__":
    shift(float(os.environ[SECONDS]))
    runpy.run_module("gateway", run_name="__main__", alter_sys=True)
