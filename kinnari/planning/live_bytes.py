"""Bytes of live tensors while a step runs, by what they are for and by where in the step; the same for real and for fake tensors.

    live = LiveBytes()
    live.hold(model)
    with live:
        with live.part("forward"): ...
    live.peaks["forward"].total

`torch.distributed._tools.MemTracker` (torch 2.13) counts the same storages, with a snapshot for each module. It is not used here because
it cannot tell the loss head from the blocks, keeps one peak for the whole step (a peak at reduced depth is another one than at full
depth) and does not see the floating-point operations that are counted here on the way.
"""

from __future__ import annotations

import math
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

Bytes = Mapping[str, float]
_ATEN = torch.ops.aten


def _packed_product(a: Tensor, packed: Tensor, shape: Any, absmax: Tensor, blocksize: int, *_: Any, **__: Any) -> tuple[int, int]:
    """(operations, bytes in between) of a product with a 4-bit weight: it is expanded to the dtype of `a`, its scales to float32."""
    numbers = math.prod(shape)
    return 2 * a.numel() // a.shape[-1] * numbers, numbers * a.element_size() + 4 * numbers // blocksize


def _int8_product(a: Tensor, b: Tensor, *_: Any, **__: Any) -> tuple[int, int]:
    """The product of integers is int32 before it is scaled."""
    rows = a.numel() // a.shape[-1]
    return 2 * rows * b.numel(), 4 * rows * b.shape[0]


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> tuple[int, int]:
    return sdpa_flop_count(query.shape, (*query.shape[:2], *key.shape[2:]), (*query.shape[:2], *value.shape[2:])), 0


def _attention_backward(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> tuple[int, int]:
    shapes = (*query.shape[:2], *key.shape[2:]), (*query.shape[:2], *value.shape[2:])
    return sdpa_backward_flop_count(grad.shape, query.shape, *shapes), 0


def _added_product(total: Tensor, a: Tensor, b: Tensor, *_: Any, **__: Any) -> tuple[int, int]:
    return 2 * a.shape[0] * a.shape[1] * b.shape[1], 0


# What an operation does inside, where no dispatch mode sees it (bitsandbytes 0.50), and operations that torch's counter passes over (2.13).
INSIDE: dict[str, Callable[..., tuple[int, int]]] = {
    "bitsandbytes::gemm_4bit": _packed_product,
    "bitsandbytes::int8_scaled_mm": _int8_product,
    "aten::addmm_": _added_product,
    "aten::_scaled_dot_product_flash_attention_for_cpu": _attention,
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward": _attention_backward,
}


class LiveBytes(TorchDispatchMode):
    """Counts every storage from the operation that makes it to its last reference.

    Args:
        rows_with_target: what `nonzero` finds among the targets, for fake tensors, which have no values; None for real ones.

    Attributes:
        now: kind -> bytes that live now.
        peaks: part of the step -> the same at its highest moment; a part that comes again keeps the higher one.
        flops: part -> floating-point operations of matrix products and attention, two for a multiply-add (`torch.utils.flop_counter`).
    """

    def __init__(self, rows_with_target: int | None = None) -> None:
        super().__init__()
        self.rows_with_target = rows_with_target
        self.now: Counter[str] = Counter()
        self.peaks: dict[str, Counter[str]] = {}
        self.flops: Counter[str] = Counter()
        self.is_backward = False
        self._total, self._highest = 0, dict[str, int]()
        self._part, self._kind = "before", "inputs"
        self._kinds: weakref.WeakKeyDictionary[Any, list[Any]] = weakref.WeakKeyDictionary()

    @property
    def total(self) -> int:
        """Bytes that live now."""
        return self._total

    def peak(self) -> int:
        """Highest total of all parts."""
        return max(self._highest.values())

    def __enter__(self) -> LiveBytes:
        # FSDP2 (torch 2.13) lets go of gathered weights by resizing their storage to nothing, which no dispatch mode sees
        resize, sized = torch.UntypedStorage.resize_, self._resized

        def resized(storage: Any, size: int) -> Any:
            out = resize(storage, size)
            sized(storage)
            return out

        self._resize = resize
        torch.UntypedStorage.resize_ = resized  # type: ignore[method-assign,assignment]
        return super().__enter__()

    def __exit__(self, *problem: Any) -> None:
        torch.UntypedStorage.resize_ = self._resize  # type: ignore[method-assign]
        super().__exit__(*problem)

    def hold(self, module: nn.Module, kind_of: Callable[[str], str], *, trained_alone: bool = False) -> None:
        """Count the parameters and buffers of `module`; gradients are told apart from now on.

        Args:
            kind_of: name of a parameter or buffer -> its kind.
            trained_alone: what is not trained weighs nothing, since it stands for what another module holds already.
        """
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if trained_alone and not tensor.requires_grad:
                self._kinds[_local(tensor).untyped_storage()] = [0, kind_of(name)]
            else:
                self.count(tensor, kind_of(name))
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(self._is_gradient)

    def count(self, tensor: Tensor, kind: str) -> None:
        """Count a storage that was made outside, or call one that is counted something else."""
        storage = _local(tensor).untyped_storage()
        entry = self._kinds.get(storage)
        if entry is None:
            # beside real tensors those of the meta device and fake ones (DTensor asks them for shapes) hold nothing
            is_held = storage.device.type != "meta" or self.rows_with_target is not None
            entry = [storage.nbytes() if is_held else 0, kind]
            self._kinds[storage] = entry
            weakref.finalize(storage, self._freed, entry)
            self._total += entry[0]
        else:
            self.now[entry[1]] -= entry[0]
            entry[1] = kind
        self.now[kind] += entry[0]
        self._note()

    def enter(self, part: str, kind: str) -> None:
        """From here on it is `part` of the step, and what is made is of `kind`."""
        self._part, self._kind = part, kind
        self._note()

    @contextmanager
    def part(self, part: str, kind: str) -> Iterator[None]:
        """`enter` for a block."""
        before = self._part, self._kind
        self.enter(part, kind)
        try:
            yield
        finally:
            self.enter(*before)

    def add_flops(self, flops: float) -> None:
        """Of an operation that is stood in for."""
        self.flops[self._part] += int(flops)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if any(_is_sharded(kind) for kind in types):
            return NotImplemented  # comes again, as operations on this rank's part
        out = self._places(args[0]) if func is _ATEN.nonzero.default and self.rows_with_target is not None else func(*args, **kwargs)
        if func._overloadpacket in flop_registry:
            self.add_flops(flop_registry[func._overloadpacket](*args, **kwargs, out_val=out))
        elif func._schema.name in INSIDE:
            flops, between = INSIDE[func._schema.name](*args, **kwargs)
            self.add_flops(flops)
            self.for_a_moment(between)
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and _local(tensor).untyped_storage() not in self._kinds:
                self.count(tensor, self._kind_of_new(func, args))
        return out

    def _kind_of_new(self, func: Any, args: Any) -> str:
        if func is _ATEN._to_copy.default and not self.is_backward:
            entry = self._kinds.get(args[0].untyped_storage())
            if entry is not None and entry[1] in ("weights", "adapters"):
                return "casts"
        return self._kind

    def _places(self, targets: Tensor) -> Tensor:
        return torch.empty((min(self.rows_with_target or 0, targets.numel()), targets.dim()), dtype=torch.int64, device=targets.device)

    def _is_gradient(self, parameter: Tensor) -> None:
        if parameter.grad is not None:
            self.count(parameter.grad, "gradients")

    def for_a_moment(self, count: int) -> None:
        """Bytes that are there and gone again, within one operation."""
        self._total += count
        self.now["temporaries"] += count
        self._note()
        self._total -= count
        self.now["temporaries"] -= count

    def _note(self) -> None:
        if self._total > self._highest.get(self._part, -1):
            self._highest[self._part] = self._total
            self.peaks[self._part] = self.now.copy()

    def _freed(self, entry: list[Any]) -> None:
        self._total -= entry[0]
        self.now[entry[1]] -= entry[0]
        entry[0] = 0

    def _resized(self, storage: Any) -> None:
        entry = self._kinds.get(storage)
        if entry is None:
            return
        size = storage.nbytes()
        self._total += size - entry[0]
        self.now[entry[1]] += size - entry[0]
        entry[0] = size
        self._note()


def _is_sharded(kind: type) -> bool:
    return kind.__name__ == "DTensor"  # by name: most runs never import it


def _local(tensor: Tensor) -> Tensor:
    """The part of a sharded tensor that this rank has."""
    return tensor._local_tensor if _is_sharded(type(tensor)) else tensor  # type: ignore[attr-defined]
