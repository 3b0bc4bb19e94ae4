"""Seeds of scenes that were given none."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator


def derived_seeds(prompts: Iterable[tuple[str, str]]) -> Iterator[int]:
    """A seed for each (prompt, negative prompt), from 0 to 2**32 - 1.

    It is the head of SHA-256 over the pair and over how often that pair came
    before, each part led by its length. So a scene keeps its seed when others
    are edited or moved, and a prompt that stands twice gives two pictures. 32
    bits, because JSON and JavaScript hold no larger integer for sure.
    """
    seen: Counter[tuple[str, str]] = Counter()
    for pair in prompts:
        digest = hashlib.sha256()
        for part in (*pair, str(seen[pair])):
            encoded = part.encode()
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
        seen[pair] += 1
        yield int.from_bytes(digest.digest()[:4], "big")
