"""Times as exact rationals of seconds, and as google.protobuf.Duration."""

from __future__ import annotations

from fractions import Fraction

from google.protobuf.duration_pb2 import Duration

NANOS = 1_000_000_000


def to_seconds(duration: Duration) -> Fraction:
    """Seconds of a Duration, exact."""
    return duration.seconds + Fraction(duration.nanos, NANOS)


def to_duration(seconds: Fraction) -> Duration:
    """The Duration nearest to `seconds`; ties go to the even nanosecond."""
    nanos = round(abs(seconds) * NANOS)
    sign = -1 if seconds < 0 else 1
    return Duration(seconds=sign * (nanos // NANOS), nanos=sign * (nanos % NANOS))
