"""A full disk, told as one."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from rpckit.errors import GatorError, Reason

RETRY_AFTER = 30.0
"""Seconds after which a full disk may have room again."""


@contextmanager
def spooling(service: str) -> Iterator[None]:
    """Around writes to a spool of `service`, such as "compositor".

    GatorError STORAGE_FULL where its disk is full; any other OSError as it is.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise GatorError(
            Reason.STORAGE_FULL,
            f"the {service}'s disk is full: free space in its spool folder, or set "
            f"GATOR_{service.upper()}_SPOOL_DIR to a larger one",
            retry_after=RETRY_AFTER,
        ) from error
