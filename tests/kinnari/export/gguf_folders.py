"""Tiny random models of every architecture that is written as GGUF, with trained byte-level and SentencePiece tokenizers."""

import io
import json
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

TEXTS = (
    "สวัสดีชาวโลก ภาษาไทย", "안녕하세요 세계", "你好，世界！", "こんにちは世界、カタカナ", "🚀👩‍👩‍👧 émoji",
    "def f(x):\n\treturn x ** 2  # 12345\n", "  two  spaces   three\n\n\nlines \t tab", "I'll pay 1234567.89, won't you?",
    "<|im_start|>user\nhi<|im_end|>", "",
)  # fmt: skip
TEMPLATE = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
DECODER = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}  # fmt: skip
GEMMA = {**DECODER, "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 16}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip
GEMMA3_ROPE = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 20000.0},
    "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
}
YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 32}
MODELS: dict[str, dict[str, Any]] = {
    "llama": {**DECODER, "rope_theta": 50000.0, "rms_norm_eps": 1e-5},
    "llama tied, llama3 rope": {**DECODER, "model_type": "llama", "tie_word_embeddings": True, "head_dim": 32, "rope_parameters": LLAMA3},
    "llama with biases": {**DECODER, "model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "mistral": {**DECODER, "sliding_window": None, "head_dim": 32},
    "qwen2": {**DECODER, "tie_word_embeddings": True, "rope_theta": 1e6},
    "qwen2 yarn": {**DECODER, "model_type": "qwen2", "rope_parameters": YARN},
    "qwen3": {**DECODER, "head_dim": 32, "rope_theta": 1e6},
    "gemma2": {**GEMMA, "num_hidden_layers": 3, "attn_logit_softcapping": 40.0, "final_logit_softcapping": 20.0},
    "gemma3_text": {**GEMMA, "num_hidden_layers": 7, "rope_parameters": GEMMA3_ROPE},
    "starcoder2": {**DECODER, "rope_theta": 1e5, "norm_epsilon": 1e-6},
    "bloom": {"hidden_size": 64, "n_layer": 2, "n_head": 4, "layer_norm_epsilon": 1e-6},
    "falcon": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 128},
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128, "n_inner": 96},
}  # fmt: skip


def tiny_model(name: str, vocab_size: int) -> PreTrainedModel:
    """A float32 model with weights large enough that its logits differ, and norms and biases that are not 1 and 0."""
    settings = dict(MODELS[name])
    model_type = settings.pop("model_type", name)
    config = AutoConfig.for_model(model_type, vocab_size=vocab_size, bos_token_id=1, eos_token_id=2, pad_token_id=0, **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(len(name))
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.1 * torch.randn_like(weight)) if weight.ndim == 1 else weight.mul_(4)
    return model


def byte_level_tokenizer(cut: pre_tokenizers.PreTokenizer | None = None, ignore_merges: bool = False) -> PreTrainedTokenizerFast:
    """Trained on `TEXTS`; pad 0, bos 1, eos 2; one added token that is not special."""
    backend = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    backend.pre_tokenizer = cut or pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(TEXTS * 3, trainer)
    backend.add_tokens([AddedToken("<think>", normalized=False)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", clean_up_tokenization_spaces=False
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def sentencepiece_model(space_prefix: bool) -> bytes:
    """A BPE model with byte fallback as the LLaMA and Gemma tokenizers have; unk 0, bos 1, eos 2."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*TEXTS[:-2], "the cat sat on the mat and the dog on the log"] * 20),
        model_writer=written, vocab_size=480, model_type="bpe", byte_fallback=True, add_dummy_prefix=space_prefix,
        remove_extra_whitespaces=False, normalization_rule_name="identity", split_digits=True, minloglevel=2,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1,
    )  # fmt: skip
    return written.getvalue()


def save_sentencepiece(folder: Path, tokenizer_class: str, space_prefix: bool) -> None:
    """tokenizer.model and its config, as published folders of the first LLaMA had them."""
    (folder / "tokenizer.model").write_bytes(sentencepiece_model(space_prefix))
    settings = {"tokenizer_class": tokenizer_class, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "add_bos_token": True, "legacy": False}), encoding="utf-8")


def save_folder(folder: Path, name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The model `name` and the byte-level tokenizer; the model has three rows more than the tokenizer has tokens."""
    tokenizer = byte_level_tokenizer()
    model = tiny_model(name, len(tokenizer) + 3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, tokenizer
