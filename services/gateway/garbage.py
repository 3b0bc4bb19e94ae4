"""When this process looks for garbage in cycles, which stops every call meanwhile."""

from __future__ import annotations

import gc

YOUNG = 10_000
"""Objects that are new before they are looked at; Python's own is 700."""


def collect_less_often() -> None:
    """Leaves out what is there now, such as imported modules, and looks at the rest less often.

    With hundreds of streams every look at all objects takes a tenth of a second or more, and at
    Python's own rate there is one each second. What waits in cycles for the next one is at most
    a million objects, some 100 MiB; calls and renders leave few.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
