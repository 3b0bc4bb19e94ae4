"""What an owner is told who has as much of something as may be."""

from __future__ import annotations

from rpckit.errors import GatorError, QuotaViolation, Reason

RETRY_AFTER = 5.0
"""Seconds after which a client that was refused may try again."""


def quota_exceeded(quota: str, limit: int, owner: str, used: str, advice: str) -> GatorError:
    """QUOTA_EXCEEDED of `quota`: `used` says how much is, `advice` what to do."""
    # Without authentication there is one owner, who has no name.
    subject = f"owner:{owner}" if owner else "owner"
    return GatorError(
        Reason.QUOTA_EXCEEDED,
        f"{used}; {advice}",
        quota=QuotaViolation(quota, limit, subject, used),
        retry_after=RETRY_AFTER,
        metadata={"quota": quota, "limit": str(limit)},
    )
