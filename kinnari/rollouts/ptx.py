"""The data's own answers beside rollouts: PPO-ptx, the instruction-tuning loss mixed into every optimizer step.

Source: Ouyang et al. 2022, arXiv 2203.02155, equation 2; there the texts are those of pre-training, here the conversations that the
prompts come from, as in DeepSpeed-Chat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kinnari.text.batches import collate_causal, collate_seq2seq
from kinnari.text.plan import BatchPlan
from kinnari.text.records import TokenizedRecords

NAMES = ("input_ids", "attention_mask", "labels")


@dataclass(frozen=True)
class DataAnswers:
    """An endless stream of records, shuffled again and again, as many in a step as there are rollouts.

    Args:
        records: tokenised conversations.
        plan: whose order of epochs is followed; it knows the weights of sources.
    """

    records: TokenizedRecords
    plan: BatchPlan

    def members(self, step: int, per_step: int, count: int) -> list[int]:
        """Records of an optimizer step over all ranks: `count` from number step x per_step on."""
        length = len(self.plan.order(0))
        places = (divmod(step * per_step + i, length) for i in range(count))
        return [int(self.plan.order(epoch)[place]) for epoch, place in places]

    def trained_tokens(self, members: Sequence[int]) -> int:
        """Of records."""
        return int(sum(self.plan.trained_counts[i] for i in members))

    def beside(self, batches: Sequence[dict[str, Any]], mine: Sequence[int], tokens: int, pad_id: int) -> None:
        """Add records to the micro-batches of a rank, row for row, so that halving those halves both.

        Adds ptx_input_ids, ptx_attention_mask, ptx_labels (rows as in the micro-batch) and ptx_tokens.

        Args:
            mine: as many as the micro-batches have rows.
            tokens: trained ones of all ranks' records.
            pad_id: fills rows.
        """
        mine = sorted(mine, key=lambda i: -self.plan.lengths[i])  # rollouts are longest first too
        start = 0
        for batch in batches:
            rows = tuple((i,) for i in mine[start : start + len(batch["input_ids"])])
            start += len(rows)
            if self.plan.seq2seq:
                made = collate_seq2seq(rows, self.records, pad_id, tokens)
            else:
                made = collate_causal(rows, self.records, pad_id, False, tokens)
            device = batch["input_ids"].device
            batch |= {f"ptx_{name}": made[name].to(device) for name in NAMES}  # type: ignore[literal-required]
            batch["ptx_tokens"] = tokens


def ptx_part(batch: dict[str, Any]) -> dict[str, Any]:
    """What `DataAnswers.beside` added to a micro-batch, under the names of a batch of its own."""
    return {name: batch[f"ptx_{name}"] for name in NAMES}
