"""Counts the tensors that live while torch works, also on meta, where nothing is stored."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveTensors(TorchDispatchMode):
    """Bytes of the storages that are made while it is entered, those of `module` left out."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._sizes: dict[int, int] = {}
        self._known = {p.untyped_storage()._cdata for p in module.parameters()}

    def __torch_dispatch__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._note(leaf.untyped_storage())
        return result

    def _note(self, storage: Any) -> None:
        key = storage._cdata
        if key in self._sizes or key in self._known:
            return
        self._sizes[key] = storage.nbytes()
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._freed, key)

    def _freed(self, key: int) -> None:
        self.live -= self._sizes.pop(key)


class FusedAttention(TorchFunctionMode):
    """Attention that keeps no score matrix, as the kernels of GPUs do."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is functional.scaled_dot_product_attention:
            query, _, value = [*args, *kwargs.values()][:3]
            return query.new_empty(*query.shape[:-1], value.shape[-1])
        return function(*args, **kwargs)


@contextmanager
def counted(module: torch.nn.Module) -> Iterator[LiveTensors]:
    """Counts the tensors of a forward pass in the block."""
    with torch.inference_mode(), LiveTensors(module) as tensors, FusedAttention():
        yield tensors
