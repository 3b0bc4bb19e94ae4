"""Rows of many images in one call of the UNet."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Row:
    """One image's part of a call, for one of its texts."""

    sample: torch.Tensor
    """Scaled latents, shape (1, channels, rows, columns)."""
    timestep: float
    hidden: torch.Tensor
    """The text, shape (1, tokens, width)."""
    pooled: torch.Tensor | None
    """The text as one vector, shape (1, width), for models that take it."""
    time_ids: torch.Tensor | None
    """Sizes, shape (1, 6), for models that take them."""


class Buckets:
    """The batch sizes with which the UNet is called: a pack is padded to the next one.

    Compiled code is made for each batch size, so there must be few of them.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        """`sizes` are at least 1, in any order, 1 among them."""
        self._sizes = sorted(set(sizes) | {1})

    def __iter__(self) -> Iterator[int]:
        return iter(self._sizes)

    @property
    def largest(self) -> int:
        """The largest size."""
        return self._sizes[-1]

    def size_for(self, rows: int) -> int:
        """The smallest size that holds so many rows.

        Raises:
            ValueError: none does.
        """
        place = bisect.bisect_left(self._sizes, rows)
        if place == len(self._sizes):
            raise ValueError(f"{rows} rows are more than the largest bucket of {self.largest}")
        return self._sizes[place]

    def at_most(self, rows: int) -> int:
        """The largest size of at most so many rows, which is 1 or more."""
        return self._sizes[max(bisect.bisect_right(self._sizes, rows) - 1, 0)]


def predict(unet: Any, rows: Sequence[Row], size: int) -> list[torch.Tensor]:
    """The UNet's output for each row, shapes (1, channels, rows, columns).

    The call has `size` rows: the last row is repeated for what is missing. Each
    row has its own timestep.
    """
    padded = [*rows, *[rows[-1]] * (size - len(rows))]
    sample = torch.cat([row.sample for row in padded])
    timesteps = torch.tensor([row.timestep for row in padded], dtype=torch.float32)
    if sample.device.type == "cuda":
        # From pinned memory the copy does not wait for the work before it.
        timesteps = timesteps.pin_memory().to(sample.device, non_blocking=True)
    else:
        timesteps = timesteps.to(sample.device)
    added = None
    if rows[0].pooled is not None:
        added = {
            "text_embeds": torch.cat([row.pooled for row in padded]),
            "time_ids": torch.cat([row.time_ids for row in padded]),
        }
    output = unet(
        sample,
        timesteps,
        encoder_hidden_states=torch.cat([row.hidden for row in padded]),
        added_cond_kwargs=added,
        return_dict=False,
    )[0]
    return list(output[: len(rows)].split(1))
