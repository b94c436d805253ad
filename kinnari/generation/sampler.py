"""The one sampler: prompts -> answers, for sample logging, evaluation, rollouts and chat.

prompts of unequal length     [[5 8 3 2], [7 4]]
causal: padded on the left    5 8 3 2 | answer ...        so that every answer begins in the same column
                              . . 7 4 | answer ...
seq2seq: padded on the right, as in training; the answer is what the decoder says
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from kinnari.errors import ConfigError
from kinnari.generation.said_before import SaidBefore
from kinnari.generation.settings import GenerationSettings
from kinnari.generation.start_script import StartInScript
from kinnari.text.batches import pad_rows
from kinnari.text.conversation import Message
from kinnari.text.seq2seq_tokens import source_segments
from kinnari.text.template import Renderer
from kinnari.text.tokens import SegmentEncoder, answer_end_id, prompt_ids


@dataclass(frozen=True)
class Answer:
    """What the model said.

    Attributes:
        text: without special tokens.
        token_ids: as generated, the EOS included where there is one.
        finished: an EOS was generated; False means cut at `max_new_tokens`.
    """

    text: str
    token_ids: list[int]
    finished: bool


def chat_prompts(
    tokenizer: PreTrainedTokenizerBase, template: Renderer, conversations: Sequence[Sequence[Message]], *, seq2seq: bool = False
) -> list[list[int]]:
    """Token ids of generation prompts, token for token the prefix (seq2seq: the source) that training uses."""
    encoder = SegmentEncoder(tokenizer)
    if seq2seq:
        return [list(t.input_ids) for t in encoder.encode_all([source_segments(template, m) for m in conversations])]
    return prompt_ids(encoder, template, conversations)


def answer_end(tokenizer: PreTrainedTokenizerBase, template: Renderer, *, seq2seq: bool = False) -> int:
    """The token that training puts at the end of an answer."""
    return int(tokenizer.eos_token_id) if seq2seq else answer_end_id(SegmentEncoder(tokenizer), template)


def end_ids(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, stop_id: int | None) -> list[int]:
    """Tokens that end an answer. Chat models may end turns with another one than the tokenizer's EOS, which is what training teaches."""
    own = _base(model).generation_config.eos_token_id
    also = own if isinstance(own, list) else [own]
    return sorted({int(i) for i in [tokenizer.eos_token_id, *also, stop_id] if i is not None})


def generate(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    settings: GenerationSettings,
    *,
    seed: int = 0,
    synced: bool = False,
    stop_id: int | None = None,
    on_progress: Callable[[int], None] = lambda done: None,
    logits_processors: Sequence[LogitsProcessor] = (),
    stopping_criteria: Sequence[StoppingCriteria] = (),
) -> list[Answer]:
    """Answer every prompt; the model is in eval mode meanwhile and left in the mode, and the RNG state, it was in.

    Args:
        model: causal or seq2seq, bare or in PEFT, under any strategy.
        prompts: token ids of each prompt, see `chat_prompts`.
        seed: of sampling; greedy answers do not depend on it.
        synced: the parameters are sharded over ranks (FSDP2, ZeRO-3). All ranks must then call this together, with equal
            numbers of prompts; each goes on with the forward until the last rank has finished, as every forward gathers.
        stop_id: the token a template ends answers with, see `answer_end`; answers end at it as at the tokenizer's EOS.
        on_progress: called with the number of prompts answered.
        logits_processors, stopping_criteria: of transformers, for what settings do not say; called with padded rows.

    Returns:
        Answers in the order of the prompts.

    Raises:
        ConfigError: an empty prompt, or one that leaves no room for the answer in the model's positions.
    """
    _check_lengths(model, prompts, settings)
    base = _base(model)
    config = _transformers_config(base, tokenizer, settings, stop_id)
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))  # longest first: out of memory shows at once
    answers: dict[int, Answer] = {}
    started = [StartInScript(tokenizer, settings.start_script)] if settings.start_script else []
    said = [SaidBefore(settings)] if settings.repetition_penalty != 1.0 or settings.no_repeat_ngram_size else []
    with _answering(model, base, config, synced), torch.random.fork_rng(devices=_cuda_devices(base)):
        torch.manual_seed(seed)
        for start in range(0, len(order), settings.batch_size):
            members = order[start : start + settings.batch_size]
            rows = _answer_batch(
                model,
                [prompts[i] for i in members],
                config,
                [*said, *started],
                synced_gpus=synced,
                logits_processor=LogitsProcessorList([*said, *started, *logits_processors]),
                stopping_criteria=StoppingCriteriaList(stopping_criteria),
            )
            answers |= {i: _answer(row, tokenizer, config.eos_token_id) for i, row in zip(members, rows, strict=True)}
            on_progress(len(answers))
    return [answers[i] for i in range(len(prompts))]


def longest_prompt(model: PreTrainedModel | PeftModel, settings: GenerationSettings) -> int | None:
    """Tokens a prompt may have so that the whole answer fits into the model's positions; None where there is no limit."""
    config = _base(model).config
    positions = config.to_dict().get(config.attribute_map.get("max_position_embeddings", "max_position_embeddings"))
    if positions is None:
        return None
    return positions if config.is_encoder_decoder else positions - settings.max_new_tokens


def _check_lengths(model: PreTrainedModel | PeftModel, prompts: Sequence[Sequence[int]], settings: GenerationSettings) -> None:
    most = longest_prompt(model, settings)
    for i, prompt in enumerate(prompts):
        if not prompt:
            raise ConfigError(f"Prompt {i} has no token; give a question, or a template that writes one.")
        if most is not None and len(prompt) > most:
            raise ConfigError(
                f"Prompt {i} has {len(prompt)} tokens; with generation.max_new_tokens={settings.max_new_tokens} at most {most} "
                "fit into the model's positions. Shorten the prompt or lower generation.max_new_tokens."
            )


def _base(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    return base


def _transformers_config(
    base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: GenerationSettings, stop_id: int | None
) -> GenerationConfig:
    """All of decoding is said here, and in `SaidBefore`; nothing of the checkpoint's own generation_config but its EOS and start."""
    own = base.generation_config
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    sampling = {"temperature": settings.temperature, "top_p": settings.top_p, "top_k": settings.top_k} if settings.do_sample else {}
    start = own.decoder_start_token_id
    if base.config.is_encoder_decoder and start is None:
        start = base.config.decoder_start_token_id
    return GenerationConfig(
        do_sample=settings.do_sample,
        num_beams=settings.num_beams,
        min_new_tokens=settings.min_new_tokens or None,
        max_new_tokens=settings.max_new_tokens,
        eos_token_id=end_ids(base, tokenizer, stop_id),
        pad_token_id=pad,
        bos_token_id=tokenizer.bos_token_id,
        decoder_start_token_id=start,
        use_cache=True,
        **sampling,
    )


@contextmanager
def _answering(model: nn.Module, base: PreTrainedModel, config: GenerationConfig, synced: bool) -> Iterator[None]:
    """Eval mode, no gradients, our decoding settings alone; every module gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    own = base.generation_config
    # transformers 5.23 fills what a given GenerationConfig leaves at None from the model's own one, so that is replaced.
    base.generation_config = config
    model.eval()
    groups = [module for module in model.modules() if isinstance(module, FSDPModule)]
    try:
        # Parameters gathered in inference mode could not be used in the next backward. Where it can be used it is a fifth
        # faster than no_grad (30 layers of width 576, batch 8, CPU): small steps are mostly bookkeeping.
        with torch.no_grad() if groups or synced else torch.inference_mode():
            yield
    finally:
        base.generation_config = own
        for module, training in modes:
            module.training = training
        for group in groups:
            group.reshard()  # the root group stays gathered after a forward that no backward follows


def _answer_batch(
    model: PreTrainedModel | PeftModel,
    prompts: list[Sequence[int]],
    config: GenerationConfig,
    of_rows: Sequence[StartInScript | SaidBefore],
    **options: Any,
) -> Tensor:
    """Generated ids [B, S] int64 on the CPU, without the prompt (seq2seq: without the decoder's start token).

    Args:
        of_rows: processors among `options` that must know where the rows of this batch begin, or their answers.
    """
    base = _base(model)
    seq2seq = base.config.is_encoder_decoder
    ids, mask = pad_rows(prompts, config.pad_token_id, left=not seq2seq)
    device = _device(base)
    padding = torch.from_numpy((1 - mask).sum(1)) * (not seq2seq)  # a decoder's rows have none on the left
    for processor in of_rows:
        if isinstance(processor, SaidBefore):
            processor.padding = padding.to(device)
        else:
            processor.begin = 1 if seq2seq else ids.shape[1]
    # PEFT's generate calls the model inside, so that the hooks of the outermost FSDP2 group would not fire by themselves.
    register_fsdp_forward_method(model, "generate")
    try:
        generates: Any = model
        rows = generates.generate(
            input_ids=torch.from_numpy(ids).to(device),
            attention_mask=torch.from_numpy(mask).to(device),
            generation_config=config,
            **options,
        )
    finally:
        vars(model).pop("generate", None)
    return rows[:, 1 if seq2seq else ids.shape[1] :].cpu()


def _answer(row: Tensor, tokenizer: PreTrainedTokenizerBase, eos: list[int]) -> Answer:
    token_ids = row.tolist()
    ends = [i for i, token in enumerate(token_ids) if token in eos]
    said = token_ids[: ends[0]] if ends else token_ids
    text = str(tokenizer.decode(said, skip_special_tokens=True))
    return Answer(text, token_ids[: len(said) + 1], finished=bool(ends))


def _cuda_devices(base: PreTrainedModel) -> list[torch.device]:
    device = _device(base)
    return [device] if device.type == "cuda" else []


def _device(base: PreTrainedModel) -> torch.device:
    """Where the input ids are needed."""
    return next(base.get_input_embeddings().parameters()).device
