"""Answers: the same whatever the batch, the model left as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from bitsandbytes.nn import Linear4bit
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, BitsAndBytesConfig, PreTrainedModel

from kinnari.errors import ConfigError
from kinnari.generation.sampler import Answer, chat_prompts, generate, longest_prompt
from kinnari.generation.settings import GenerationSettings
from kinnari.models.head import install_loss_head
from kinnari.models.toy import byte_tokenizer
from kinnari.text.conversation import Message
from kinnari.text.template import Template

TOKENIZER = byte_tokenizer()
PROMPTS = [[1, 40, 41, 42, 90, 91, 14, 77, 78], [1, 50], [1, 60, 61, 62], [99, 98, 97, 96, 95], [1, 9, 8]]
CAUSAL = {
    "llama": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
    "qwen2": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
    "opt": {"hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "word_embed_proj_dim": 32},
    "xglm": {"d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "falcon": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
}


def toy(model_type: str = "llama", **options) -> PreTrainedModel:
    torch.manual_seed(3)
    auto = AutoModelForCausalLM
    if model_type == "t5":
        auto = AutoModelForSeq2SeqLM
        sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0, "dropout_rate": 0.5}
    else:
        sizes = CAUSAL[model_type]
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    model = auto.from_config(AutoConfig.for_model(model_type, vocab_size=len(TOKENIZER), **ids, **{**sizes, **options}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)  # as drawn, the toys repeat one token whatever they are asked
    return model


def greedy(max_new_tokens: int = 12, **options) -> GenerationSettings:
    return GenerationSettings(max_new_tokens=max_new_tokens, **options)


def by_hand(model: PreTrainedModel, prompt: list[int], count: int) -> list[int]:
    """Greedy decoding without cache, padding or batch: the slow independent implementation."""
    model.eval()
    ids, answer = list(prompt), []
    decoder = [0]
    while len(answer) < count:
        with torch.no_grad():
            if model.config.is_encoder_decoder:
                logits = model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([decoder])).logits
            else:
                logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits
        token = int(logits[0, -1].argmax())
        answer.append(token)
        (decoder if model.config.is_encoder_decoder else ids).append(token)
        if token == TOKENIZER.eos_token_id:
            break
    return answer


@pytest.mark.parametrize("model_type", [*CAUSAL, "t5"])
@pytest.mark.parametrize("batch_size", [2, 5])
def test_greedy_answers_in_batches_are_those_of_a_plain_loop(model_type: str, batch_size: int) -> None:
    model = toy(model_type)
    answers = generate(model, TOKENIZER, PROMPTS, greedy(batch_size=batch_size))
    assert [a.token_ids for a in answers] == [by_hand(model, p, 12) for p in PROMPTS]


def test_order_of_the_prompts_is_kept() -> None:
    model = toy()
    together = generate(model, TOKENIZER, PROMPTS, greedy(batch_size=3))
    assert together == [generate(model, TOKENIZER, [p], greedy())[0] for p in PROMPTS]
    assert len({tuple(a.token_ids) for a in together}) > 1


def test_no_prompts_give_no_answers() -> None:
    assert generate(toy(), TOKENIZER, [], greedy()) == []


@pytest.mark.parametrize("model_type", ["llama", "t5"])
def test_answer_ends_at_eos_and_says_so(model_type: str) -> None:
    model = toy(model_type)
    prompt = next(p for p in PROMPTS if len(set(by_hand(model, p, 12))) > 1)
    tokens = by_hand(model, prompt, 12)
    last = next(i for i in range(1, 12) if tokens[i] not in tokens[:i])
    model.generation_config.eos_token_id = tokens[last]  # a chat model's own end of turn
    answer = generate(model, TOKENIZER, [prompt], greedy())[0]
    assert answer == Answer(TOKENIZER.decode(tokens[:last]), tokens[: last + 1], finished=True)
    cut = generate(model, TOKENIZER, [prompt], greedy(max_new_tokens=last))[0]
    assert cut == Answer(TOKENIZER.decode(tokens[:last]), tokens[:last], finished=False)


def test_answer_ends_at_the_token_that_the_template_ends_answers_with() -> None:
    model = toy()
    prompt = next(p for p in PROMPTS if len(set(by_hand(model, p, 12))) > 1)
    tokens = by_hand(model, prompt, 12)
    last = next(i for i in range(1, 12) if tokens[i] not in tokens[:i])
    answer = generate(model, TOKENIZER, [prompt], greedy(), stop_id=tokens[last])[0]
    assert answer == Answer(TOKENIZER.decode(tokens[:last]), tokens[: last + 1], finished=True)


def test_special_tokens_are_not_in_the_text() -> None:
    model = toy()
    model.generation_config.eos_token_id = None
    ids = TOKENIZER("Hi", add_special_tokens=False)["input_ids"]
    wanted = iter([*ids, 4, 2])
    weight = model.lm_head.weight

    def next_wanted(*_: object) -> torch.Tensor:
        logits = torch.zeros(1, 1, weight.shape[0])
        logits[..., next(wanted)] = 9.0
        return logits

    model.lm_head.register_forward_hook(next_wanted)
    assert generate(model, TOKENIZER, PROMPTS[:1], greedy()) == [Answer("Hi", [*ids, 4, 2], True)]


def test_mode_random_state_and_configs_are_left_alone() -> None:
    model = get_peft_model(toy(), LoraConfig(r=2, target_modules=["q_proj"], lora_dropout=0.5))
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    base = model.get_base_model()
    base.config.use_cache = False
    base.generation_config.temperature = 0.1
    model.train()
    base.model.layers[0].eval()
    modes = {name: module.training for name, module in model.named_modules()}
    generation_config, state = base.generation_config, torch.get_rng_state()
    settings = greedy(do_sample=True, temperature=0.9, top_k=5)
    assert generate(model, TOKENIZER, PROMPTS, settings, seed=1) != generate(model, TOKENIZER, PROMPTS, settings, seed=2)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert base.generation_config is generation_config
    assert base.config.use_cache is False
    assert "generate" not in vars(model)


def test_the_cache_is_used_though_training_has_it_off() -> None:
    model = toy()
    model.config.use_cache = False
    widths = []
    model.model.embed_tokens.register_forward_hook(lambda module, inputs, out: widths.append(out.shape[1]))
    generate(model, TOKENIZER, PROMPTS[:1], greedy(max_new_tokens=4))
    assert widths[1:] == [1, 1, 1]


@pytest.mark.parametrize("bits", [None, 4, 8])
def test_training_goes_on_after_answering(bits: int | None, tmp_path: Path) -> None:
    toy(hidden_size=128, intermediate_size=128).save_pretrained(tmp_path)
    few = {4: BitsAndBytesConfig(load_in_4bit=True), 8: BitsAndBytesConfig(load_in_8bit=True)}.get(bits)
    base = AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=few, device_map={"": "cpu"})
    for module in base.modules():
        if isinstance(module, Linear4bit):
            # bitsandbytes 0.50.2 repacks 4-bit weights at the first eval forward on CPUs with AVX512-BF16, for good: no
            # gradient passes through them afterwards.
            module.support_avx512bf16_for_cpu = False
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"]))
    generate(model, TOKENIZER, PROMPTS, greedy())
    ids = torch.tensor([PROMPTS[0]])
    model(input_ids=ids, labels=ids).loss.backward()
    assert any(p.grad is not None for p in model.parameters())


def test_loss_head_changes_no_answer() -> None:
    before = generate(toy(), TOKENIZER, PROMPTS, greedy())
    model = toy()
    install_loss_head(model)
    assert generate(model, TOKENIZER, PROMPTS, greedy()) == before


def test_settings_of_the_checkpoint_do_not_leak_in() -> None:
    plain = generate(toy(), TOKENIZER, PROMPTS, greedy())
    model = toy()
    model.generation_config.update(do_sample=True, temperature=5.0, repetition_penalty=3.0, no_repeat_ngram_size=2)
    model.generation_config.update(suppress_tokens=[a.token_ids[0] for a in plain])
    assert generate(model, TOKENIZER, PROMPTS, greedy()) == plain


def test_sampling_is_seeded() -> None:
    settings = greedy(do_sample=True, temperature=1.5)
    assert generate(toy(), TOKENIZER, PROMPTS, settings, seed=7) == generate(toy(), TOKENIZER, PROMPTS, settings, seed=7)


def test_beams_and_repetition_settings_reach_the_model() -> None:
    model = toy()
    answers = generate(model, TOKENIZER, PROMPTS, greedy(num_beams=3, no_repeat_ngram_size=1, max_new_tokens=20))
    assert all(len(set(a.token_ids)) == len(a.token_ids) for a in answers)


def test_progress_counts_answers() -> None:
    done: list[int] = []
    generate(toy(), TOKENIZER, PROMPTS, greedy(batch_size=2, max_new_tokens=1), on_progress=done.append)
    assert done == [2, 4, 5]


def test_empty_and_too_long_prompts_are_refused() -> None:
    model = toy("gpt2", n_positions=16)
    assert longest_prompt(model, greedy()) == 4
    with pytest.raises(ConfigError, match="Prompt 1 has no token"):
        generate(model, TOKENIZER, [[1], []], greedy())
    with pytest.raises(ConfigError, match=r"9 tokens.*at most 4"):
        generate(model, TOKENIZER, PROMPTS, greedy())
    assert longest_prompt(toy("t5"), greedy()) is None


def template(**fields) -> Template:
    texts = {"name": "t", "system": "{content}\n", "user": "<|im_start|>{content}\n", "user_with_context": None}
    rest = {"assistant_start": "A:", "after_eos": "", "default_system": None, "bos": True}
    return Template(**{**texts, **rest, **fields})


def test_chat_prompts_are_what_training_renders() -> None:
    messages = [Message("user", "สวัสดี")]
    ids = chat_prompts(TOKENIZER, template(), [messages])[0]
    assert TOKENIZER.decode(ids) == "<s><|im_start|>สวัสดี\nA:"
    source = chat_prompts(TOKENIZER, template(bos=False), [messages], seq2seq=True)[0]
    assert TOKENIZER.decode(source) == "<|im_start|>สวัสดี\nA:</s>"
    assert np.ndim(ids) == 1
