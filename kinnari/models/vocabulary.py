"""Tokens and their rows: special tokens put right, tokens added, embedding and head grown, ids agreed between tokenizer and model."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import AddedToken, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from kinnari.errors import ConfigError
from kinnari.models.spec import ModelSpec

log = logging.getLogger(__name__)

_ROLES = ("bos_token", "eos_token", "unk_token")
# Early LLaMA conversions have empty special tokens in tokenizer_config.json and the wrong ids in config.json (0 and 1 for BOS and
# EOS, where the vocabulary has 1 and 2), so that their models never stop. For these families the name decides, not the id.
_BY_FAMILY = {"llama": ("<s>", "</s>", "<unk>")}


def mend_special_tokens(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> None:
    """Fills in BOS, EOS and UNK that are missing or empty: with the family's names, else with the token of the config's id.

    A token is only chosen if it is in the vocabulary; what is there already is left alone.
    """
    vocabulary = tokenizer.get_vocab()
    family = dict(zip(_ROLES, _BY_FAMILY.get(config.model_type, ()), strict=False))
    for role in _ROLES:
        present = getattr(tokenizer, role)
        if present:
            continue
        by_id = _token_of(tokenizer, getattr(config, f"{role}_id", None))
        found = family.get(role) if family.get(role) in vocabulary else by_id
        # an empty string is worse than no token: it is "found" in every text
        setattr(tokenizer, role, found)
        if found is not None:
            log.warning("The tokenizer names no %s; it is %r (id %d) now.", role, found, vocabulary[found])


def _token_of(tokenizer: PreTrainedTokenizerBase, index: Any) -> str | None:
    index = index[0] if isinstance(index, list) and index else index
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(tokenizer):
        return None
    token = tokenizer.convert_ids_to_tokens(index)
    return token if isinstance(token, str) and token else None


def add_tokens(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> list[int]:
    """Adds what the vocabulary lacks of `tokens`; returns the ids of these.

    A token written as markup (`<...>` or `[...]`) becomes a special one: typed by a user it is text, and answers are shown without it.
    """
    known = tokenizer.get_vocab()
    fresh = [token for token in dict.fromkeys(tokens) if token not in known]
    if not all(token.strip() for token in tokens):
        raise ConfigError(f"model.add_tokens={list(tokens)} holds an empty token. Leave it out.")
    markup = [token for token in fresh if (token[0], token[-1]) in (("<", ">"), ("[", "]"))]
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in markup], special_tokens=True)
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in fresh if token not in markup])
    grown = tokenizer.get_vocab()
    return [grown[token] for token in fresh]


def choose_pad_token(tokenizer: PreTrainedTokenizerBase, spec: ModelSpec) -> None:
    """Gives the tokenizer a pad token: its own if it has one, else `spec.pad_token`, else the EOS token.

    Padding with EOS does no harm: labels come from lengths, never from token ids.

    Raises:
        ConfigError: the pad token is not in the vocabulary, or there is none at all.
    """
    if tokenizer.pad_token:
        return
    tokenizer.pad_token = _pad_token(spec, tokenizer)
    log.info("%s pads with %r (id %d).", spec.name, tokenizer.pad_token, tokenizer.pad_token_id)


def _pad_token(spec: ModelSpec, tokenizer: PreTrainedTokenizerBase) -> str:
    if spec.pad_token is None:
        if tokenizer.eos_token is None:
            raise ConfigError(
                f"The tokenizer of {spec.name} names neither a pad nor an EOS token; set model.pad_token to a token of its vocabulary."
            )
        return tokenizer.eos_token
    if spec.pad_token not in tokenizer.get_vocab():
        raise ConfigError(
            f"model.pad_token={spec.pad_token!r} is not in the vocabulary of {spec.name}, and a new token would change the size of the "
            f"embedding. Set model.pad_token to an existing token, or to null for {tokenizer.eos_token!r}; or add it, which full tuning "
            f"can train: 'model.add_tokens=[\"{spec.pad_token}\"]'."
        )
    return spec.pad_token


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises ConfigError when the tokenizer has ids that the embedding of the model has no row for."""
    embedding: Any = model.get_input_embeddings()
    rows = embedding.num_embeddings
    if len(tokenizer) > rows:
        raise ConfigError(
            f"The tokenizer has {len(tokenizer)} tokens, the embedding {rows} rows: they do not belong together. "
            f"Nothing is resized silently; use the tokenizer that came with the weights."
        )


def grow_rows(model: PreTrainedModel, old: int, new_ids: Sequence[int]) -> None:
    """Rows for new tokens in the embedding and, where it is another matrix, in the head; each begins as the mean of the old rows.

    A mean row has a logit like that of an average token, where a random one could win against all others. Rows that the
    checkpoint already has beyond its vocabulary (padded to a round number) are taken first; the rest are appended, so that the
    embedding has as many rows as the tokenizer needs and no more.

    Args:
        old: rows [0, old) belong to tokens and make the mean, which is summed in float32.
        new_ids: ids of the new tokens, all >= old.
    """
    embedding: Any = model.get_input_embeddings()
    if max(new_ids) >= embedding.num_embeddings:
        _append_rows(model, max(new_ids) + 1)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    matrices = [embedding.weight]
    if head is not None and head.weight is not embedding.weight:
        matrices.append(head.weight)
    if isinstance(head, nn.Linear) and head.bias is not None:
        matrices.append(head.bias)
    with torch.no_grad():
        for matrix in matrices:
            mean = matrix[:old].mean(0, dtype=torch.float32)
            matrix[torch.tensor(new_ids, device=matrix.device)] = mean.to(matrix.dtype)
    log.info("%d tokens added: their rows begin as the mean of the %d old ones; the embedding has %d rows.",
             len(new_ids), old, embedding.num_embeddings)  # fmt: skip


def _append_rows(model: PreTrainedModel, rows: int) -> None:
    head: Any = model.get_output_embeddings()
    embedding: Any = model.get_input_embeddings()
    own = None if head is None or head.weight is embedding.weight else head.weight
    # mean_resizing draws random rows around the mean, after a covariance matrix of hidden size squared (transformers 5.23)
    model.resize_token_embeddings(rows, mean_resizing=False)
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if own is not None and head.weight is embedding.weight:
        # T5Config says tied to every T5; where the checkpoint's head differs, loading does not tie it, but resizing does (5.23)
        fresh = own.new_zeros(rows - len(own), own.shape[1])
        head.weight = nn.Parameter(torch.cat([own.detach(), fresh]), requires_grad=own.requires_grad)


def agree_on_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """BOS, EOS and pad ids of config and generation config become the tokenizer's; what a model stops at is what it is trained to end with.

    Where the config lists several EOS ids, the tokenizer's among them, the list stays.
    """
    places: list[tuple[str, Any]] = [("config", model.config)]
    if model.can_generate():
        places.append(("generation_config", model.generation_config))
    for place, settings in places:
        if settings is None:
            continue
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            right, found = getattr(tokenizer, name), getattr(settings, name, None)
            if right is None or found == right or (isinstance(found, list) and right in found):
                continue
            setattr(settings, name, right)
            if found is not None:
                log.warning("%s.%s was %s; the tokenizer says %d.", place, name, found, right)
