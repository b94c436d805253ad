"""How GLM reads a row: two positions a token, and a context that sees itself whole while the answer is written from left to right.

    row          [CLS]  q  [SEP]  [MASK]  <eot>  <sop>  a1  a2          <eot> = <|endoftext|>, <sop> = <|startofpiece|>
    position       0    1    2      3       4      3    3   3           the blank's position for all of the answer
    in the blank   0    0    0      0       0      1    2   3           counted from <sop>
    sees           all of [CLS] .. <eot>           .. and <sop> up to itself

All of this is read from the token ids: the first <sop> of a record begins the answer, the first [MASK], [gMASK] or [sMASK] before it
is the blank. A record without <sop> is plain text, read from left to right, so that no token ever sees what it is trained to predict.
A record with several answers (a conversation) has the first question as its context; the rest is read from left to right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

IGNORED = -100


@dataclass(frozen=True)
class BlankTokens:
    """Token ids that a row is laid out by: the blanks, start and end of an answer, padding."""

    masks: tuple[int, ...]
    sop: int
    eop: int
    pad: int


@dataclass(frozen=True)
class RowLayout:
    """What the ids of a row say about it.

    Attributes:
        positions: [B, 2, L] int64, position and position in the blank.
        context_end: [B, L] int64, column at which the answer of this token's record begins; 0 where it has none.
        records: [B, L] int64, equal numbers mark one record (padding is a record of its own).
    """

    positions: Tensor
    context_end: Tensor
    records: Tensor

    def visible(self, context_end: Tensor | None = None) -> Tensor:
        """[B, 1, L, L] bool, True where query (row) may see key (column). Every query sees itself.

        Args:
            context_end: [B, L] or [B, 1], another one than the row's own.
        """
        columns = torch.arange(self.records.shape[1], device=self.records.device)
        end = self.context_end if context_end is None else context_end
        seen = (columns[None, None, :] <= columns[None, :, None]) | (columns[None, None, :] < end[:, :, None])
        return (seen & (self.records[:, :, None] == self.records[:, None, :]))[:, None]


def row_layout(input_ids: Tensor, blanks: BlankTokens, mask: Tensor | None = None, positions: Tensor | None = None) -> RowLayout:
    """Positions and borders of rows, from their ids.

    Args:
        input_ids: [B, L] int64.
        mask: [B, L], non-zero where there is a token and not padding, whatever its dtype and on whatever side; None for no padding.
        positions: [B, L] or [1, L] int64 that restart with every record of a packed row; read only where there is no `mask`.
    """
    columns = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
    if mask is not None:
        real = mask != 0
        records = (~real).long()
        rank = torch.where(real, real.cumsum(1), (~real).cumsum(1)) - 1
    elif positions is not None:
        records = (positions.expand_as(input_ids) == 0).cumsum(1)
        rank = columns - _first(torch.ones_like(input_ids, dtype=torch.bool), records, columns)
    else:
        records, rank = torch.zeros_like(input_ids), columns
    sop = _first(input_ids == blanks.sop, records, columns)
    is_blank = torch.stack([input_ids == token for token in blanks.masks]).any(0)  # unlike isin, copies nothing to the device
    blank = _first(is_blank & (columns < sop), records, columns)
    last = input_ids.shape[1] - 1
    sop_rank = rank.gather(1, sop.clamp(max=last))
    # an answer whose blank was cut away stands where the context ends
    blank_rank = torch.where(blank <= last, rank.gather(1, blank.clamp(max=last)), (sop_rank - 1).clamp(min=0))
    answer = columns >= sop
    position = torch.where(answer, blank_rank, rank)
    in_blank = torch.where(answer, rank - sop_rank + 1, 0)
    return RowLayout(torch.stack([position, in_blank], 1), torch.where(sop <= last, sop, 0), records)


def _first(condition: Tensor, records: Tensor, columns: Tensor) -> Tensor:
    """[B, L], the first column of each token's record where `condition` holds; L where it holds nowhere."""
    length = columns.shape[1]
    found = torch.full((columns.shape[0], length + 1), length, dtype=columns.dtype, device=columns.device)
    found.scatter_reduce_(1, records, torch.where(condition, columns, length), "amin")
    return found.gather(1, records)


def seen_keys(mask: Tensor) -> Tensor:
    """[B, 1, Q, K] bool from a 4-D mask of any kind: bool or 1 = may see, or the additive 0 / minus infinity.

    A query that sees nothing sees everything, as a softmax over equally masked scores would have it.
    """
    if mask.dtype == torch.bool:
        seen = mask
    elif mask.is_floating_point() and bool((mask.amin() < 0) | (mask.amax() == 0)):
        seen = mask >= 0
    else:
        seen = mask != 0
    return seen | ~seen.any(-1, keepdim=True)


def build_inputs_for_generation(
    contexts: Sequence[Sequence[int]], blanks: BlankTokens, targets: Sequence[Sequence[int]] | None = None
) -> dict[str, Tensor]:
    """Contexts with a blank -> model inputs that begin the answer; with targets, inputs and labels of the whole row.

    Args:
        contexts: ids of each context, its blank included.
        targets: ids of each answer, without <sop> and <eop>.

    Returns:
        `input_ids` and `attention_mask` [B, L] int64: padded on the left and ending in <sop>, so that `generate` can go on; with targets
        padded on the right and ending in <eop>, and `labels` [B, L], -100 where nothing is trained. Labels stand on the token itself.

    Raises:
        ValueError: a context without a blank; not as many targets as contexts.
    """
    without = [i for i, context in enumerate(contexts) if not set(blanks.masks) & set(context)]
    if without:
        raise ValueError(f"contexts {without} have no blank; put [MASK], [gMASK] or [sMASK] where the answer belongs")
    rows = [[*context, blanks.sop] for context in contexts]
    if targets is None:
        ids = pad_sequence([torch.tensor(row) for row in rows], True, blanks.pad, padding_side="left")
        mask = pad_sequence([torch.ones(len(row), dtype=torch.long) for row in rows], True, 0, padding_side="left")
        return {"input_ids": ids, "attention_mask": mask}
    if len(targets) != len(contexts):
        raise ValueError(f"{len(contexts)} contexts and {len(targets)} targets: each context needs one")
    answers = [[*target, blanks.eop] for target in targets]
    wholes = [torch.tensor(row + answer) for row, answer in zip(rows, answers, strict=True)]
    labels = [torch.tensor([IGNORED] * len(row) + answer) for row, answer in zip(rows, answers, strict=True)]
    return {
        "input_ids": pad_sequence(wholes, True, blanks.pad),
        "attention_mask": pad_sequence([torch.ones_like(whole) for whole in wholes], True, 0),
        "labels": pad_sequence(labels, True, IGNORED),
    }


@dataclass(frozen=True)
class MultipleChoice:
    """One context and its choices in one row, which hide from each other.

        context  <sop> a1 a2  <sop> b1      each choice sees the context and itself

    Attributes:
        input_ids: [1, L] int64.
        position_ids: [1, 2, L] int64.
        attention_mask: [1, 1, L, L] bool.
        targets: [1, L] int64, the token each position must predict, -100 elsewhere.
        choices: [1, L] int64, which choice each position belongs to; the context has the number of choices.
        count: number of choices.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    targets: Tensor
    choices: Tensor
    count: int


def build_inputs_for_multiple_choice(context: Sequence[int], choices: Sequence[Sequence[int]], blanks: BlankTokens) -> MultipleChoice:
    """The row that scores all choices for one reading of the context.

    Args:
        context: ids with a blank.
        choices: ids of each choice, without <sop> and <eop>.

    Raises:
        ValueError: no choices, an empty one, or a context without a blank.
    """
    if not choices or not all(choices):
        raise ValueError("multiple choice needs at least one choice, and a token in each")
    blank = next((i for i, token in enumerate(context) if token in blanks.masks), None)
    if blank is None:
        raise ValueError("the context has no blank; put [MASK], [gMASK] or [sMASK] where the choice belongs")
    ids, belongs = list(context), [len(choices)] * len(context)
    targets = [IGNORED] * len(context)
    positions, in_blank = list(range(len(context))), [0] * len(context)
    for number, choice in enumerate(choices):
        ids += [blanks.sop, *choice[:-1]]
        targets += choice
        belongs += [number] * len(choice)
        positions += [blank] * len(choice)
        in_blank += range(1, len(choice) + 1)
    owner = torch.tensor(belongs)
    in_context = owner == len(choices)
    mine = (owner[:, None] == owner[None, :]).tril()
    seen = in_context[None, :] | mine
    two_rows = torch.tensor([[positions, in_blank]])
    return MultipleChoice(torch.tensor([ids]), two_rows, seen[None, None], torch.tensor([targets]), owner[None], len(choices))


def choice_scores(model: Any, row: MultipleChoice) -> Tensor:
    """[choices] float, the summed log-probability (nats) of each choice's tokens; the highest is the model's answer.

    Args:
        model: a `GLMForConditionalGeneration`; its mode and gradients are the caller's.
    """
    device = model.device
    inputs = {"position_ids": row.position_ids, "attention_mask": row.attention_mask}
    logits = model(row.input_ids.to(device), **{k: v.to(device) for k, v in inputs.items()}, use_cache=False).logits
    targets, owner = row.targets.to(device), row.choices.to(device)
    log_probs = logits.log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    scores = torch.zeros(row.count + 1, dtype=log_probs.dtype, device=device)
    return scores.index_add(0, owner[0], log_probs[0].masked_fill(targets[0] == IGNORED, 0))[: row.count]
