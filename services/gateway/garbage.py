"""When this process looks for garbage in cycles, which stops every call meanwhile."""

from __future__ import annotations

import gc

YOUNG = 10_000
"""Objects that are new before they are looked at; Python's own is 700."""


def collect_less_often() -> None:
    """Leaves out what is there now, such as imported modules, and looks at the rest less often.

    With hundreds of streams a look at all objects takes up to 0.2 s, and at Python's own rate
    there is one about every two seconds. Now there is one for each million of objects that stay.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
