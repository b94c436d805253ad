"""What a reward model learns by: the chosen answer of a pair scores above the rejected one.

    loss = -log sigmoid(chosen - rejected - margin) + centering * (chosen + rejected)²

Sources: pairwise ranking, Ouyang et al. 2022, arXiv 2203.02155, equation 1; margin, Touvron et al. 2023, arXiv 2307.09288, equation 2;
centering, Eisenstein et al. 2023, arXiv 2312.09244, section 2.1. One loss for each pair: the caller sums those that count and divides by
their number over the whole global batch.

Notation: P pairs, T positions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def pairwise_losses(chosen: Tensor, rejected: Tensor, *, margin: float | Tensor = 0.0, centering: float = 0.0) -> Tensor:
    """Losses of pairs in nats, in the shape of `chosen`; float32 at least.

    Args:
        chosen, rejected: scores, [P] or any one shape.
        margin: how far apart they must be; a number, or one for each pair.
        centering: weight of (chosen + rejected)², which keeps scores around 0, since a difference alone fixes no level.
    """
    chosen, rejected = _at_least_float32(chosen), _at_least_float32(rejected)
    losses = -F.logsigmoid(chosen - rejected - margin)
    return losses + centering * (chosen + rejected).square() if centering else losses


def divergence_losses(
    chosen: Tensor,
    rejected: Tensor,
    chosen_ids: Tensor,
    rejected_ids: Tensor,
    chosen_mask: Tensor,
    rejected_mask: Tensor,
    *,
    margin: float = 0.0,
    centering: float = 0.0,
) -> Tensor:
    """Losses of pairs [P], each the mean of `pairwise_losses` over the tokens from where the two answers part to the end of the longer one.

    As sunzeyeah/RLHF and trlx train on summaries, with two differences. Past the end of the shorter answer they read its scores on
    padding, which depend on what pads; here it keeps the score of its last real token. And log sigmoid does not underflow. A pair of
    equal answers parts nowhere and costs 0.

    Args:
        chosen, rejected: [P, T] scores of every token; the two may have different T.
        chosen_ids, rejected_ids: [P, T] int64, prompt and answer.
        chosen_mask, rejected_mask: [P, T], nonzero on real tokens; padding on either side.
        margin, centering: as in `pairwise_losses`, at every token.
    """
    width = max(chosen.shape[1], rejected.shape[1])
    chosen, chosen_ids, chosen_length = _from_the_first_token(chosen, chosen_ids, chosen_mask, width)
    rejected, rejected_ids, rejected_length = _from_the_first_token(rejected, rejected_ids, rejected_mask, width)
    places = torch.arange(width, device=chosen.device)
    end = torch.maximum(chosen_length, rejected_length)
    differs = (chosen_ids != rejected_ids) | (places >= torch.minimum(chosen_length, rejected_length))
    counted = (differs.cumsum(1) > 0) & (places < end)
    losses = pairwise_losses(chosen, rejected, margin=margin, centering=centering)
    return torch.where(counted, losses, 0.0).sum(1) / counted.sum(1).clamp(min=1)


def _from_the_first_token(values: Tensor, ids: Tensor, mask: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scores and ids [P, width] with the first real token in column 0 and the last one repeated after the end; lengths [P, 1]."""
    order = (mask == 0).long().argsort(dim=1, stable=True)
    length = (mask != 0).sum(1, keepdim=True)
    places = torch.arange(width, device=values.device).expand(len(values), -1)
    order = order.gather(1, places.minimum((length - 1).clamp(min=0)))
    return values.gather(1, order), ids.gather(1, order), length


def _at_least_float32(scores: Tensor) -> Tensor:
    return scores.to(torch.promote_types(scores.dtype, torch.float32))
