"""Several records in one row: the model arguments that keep each record from seeing the others.

records    A A A B B        attention of the row       A . . . .
segment    0 0 0 1 1                                   A A . . .
position   0 1 2 0 1                                   A A A . .
                                                       . . . B .
                                                       . . . B B
"""

import torch
from torch import Tensor

from kinnari.errors import ConfigError
from kinnari.models.spec import PackingMethod


def block_diagonal_mask(segment_ids: Tensor) -> Tensor:
    """Which token may attend to which: causal, and inside one segment only.

    Args:
        segment_ids: [B, T] int64; equal numbers mark one record (padding has a number of its own).

    Returns:
        [B, 1, T, T] bool, True where query (row) may see key (column). Every query sees itself, so no row is empty.
    """
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    return same.tril()[:, None]


def packed_inputs(
    position_ids: Tensor,
    segment_ids: Tensor,
    method: PackingMethod,
    attention_implementation: str,
    dtype: torch.dtype,
) -> dict[str, Tensor | bool | None]:
    """Extra keyword arguments of a causal model's forward that make a packed row equal to separate rows.

    "position_ids": transformers finds the borders itself where positions restart, and only then keeps sliding windows
    (gemma3, qwen2) right; a 4-D mask would replace the window by full attention. It needs no attention mask and no
    cache: with either of them the borders are ignored without a word (transformers 5.23, `masking_utils`).
    "mask4d": for families whose mask does not come from positions (opt, falcon, xglm, bloom). Boolean for SDPA; additive for eager,
    where the mask is summed to the scores. Bloom's ALiBi takes its positions from the mask (`kinnari.models.attention.bloom`).

    Args:
        position_ids: [B, T] int64, restarting at 0 with every record.
        segment_ids: [B, T] int64.
        method: `ModelSpec.packing`.
        attention_implementation: `model.config._attn_implementation`: "sdpa", "eager" or "flash_attention_2".
        dtype: dtype of the attention scores, the compute dtype of the model; used by the additive mask only.

    Returns:
        `attention_mask`, `position_ids` and `use_cache=False`.

    Raises:
        ConfigError: the family or the attention kernel cannot pack exactly.
    """
    if method == "position_ids":
        if attention_implementation == "flash_attention_2" and position_ids.shape[0] != 1:
            raise ConfigError(
                f"Packing with flash_attention_2 needs one row per micro-batch, not {position_ids.shape[0]}: this "
                f"kernel finds record borders in a single row only. Set the micro-batch to 1, or model.attention=sdpa."
            )
        return {"attention_mask": None, "position_ids": position_ids, "use_cache": False}
    if method == "mask4d":
        mask = block_diagonal_mask(segment_ids)
        if attention_implementation == "eager":
            mask = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
        elif attention_implementation != "sdpa":
            raise ConfigError(
                f"Packing this model needs a 4-D attention mask, which model.attention={attention_implementation} "
                f"cannot take; set model.attention=sdpa or eager, or turn packing off."
            )
        return {"attention_mask": mask, "position_ids": position_ids, "use_cache": False}
    raise ConfigError(
        "This model family cannot hold several records in one row exactly (model.packing=none): its positions or its "
        "encoder cannot be split. Turn packing off; rows are then grouped by length instead."
    )
