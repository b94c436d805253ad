"""Tokenizers of the real classes, learned from a few sentences: what they do with spaces is what the large ones do."""

import json
import string
from functools import cache

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import LlamaTokenizer, PreTrainedTokenizerBase, T5Tokenizer, XGLMTokenizer

SENTENCES = [
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.",
    "<human>: Who wrote it? <bot>: Ada wrote it. USER: hello there ASSISTANT: hello",
    "### Instruction: Translate to Thai ### Response: สวัสดีตอนเช้า สวัสดีครับ",
    "안녕하세요 반갑습니다 你好世界 今天天气很好 こんにちは世界",
]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


@cache
def xglm() -> PreTrainedTokenizerBase:
    """SentencePiece unigram that puts a space before every string, joins spaces, and holds </s> as a word like any other."""
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    alphabet = sorted({c for s in SENTENCES for c in s} | set(string.printable[:95] + "\nÉéàèâîôç질문맥락답변"))
    backend.train_from_iterator(
        SENTENCES * 20, trainers.UnigramTrainer(vocab_size=500, special_tokens=specials, unk_token="<unk>", initial_alphabet=alphabet)
    )
    vocabulary = [(word, score) for word, score in json.loads(backend.to_str())["model"]["vocab"] if word not in specials]
    return XGLMTokenizer(vocab=[(word, 0.0) for word in specials] + vocabulary, clean_up_tokenization_spaces=False)


@cache
def llama() -> PreTrainedTokenizerBase:
    """SentencePiece BPE with bytes for unknown characters, that puts a space before every string."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    specials = ["<unk>", "<s>", "</s>", *BYTES]
    backend.train_from_iterator(SENTENCES * 20, trainers.BpeTrainer(vocab_size=700, special_tokens=specials))
    model = json.loads(backend.to_str())["model"]
    return LlamaTokenizer(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]])


@cache
def t5() -> PreTrainedTokenizerBase:
    """SentencePiece unigram that splits at white space and puts a space before every word (T5, Flan-T5, mT5, umT5); no BOS."""
    specials = ["<pad>", "</s>", "<unk>"]
    words = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")])
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = words
    alphabet = sorted({c for s in SENTENCES for c in s} | set(string.printable[:95]))
    backend.train_from_iterator(
        SENTENCES * 20, trainers.UnigramTrainer(vocab_size=500, special_tokens=specials, unk_token="<unk>", initial_alphabet=alphabet)
    )
    vocabulary = [(word, score) for word, score in json.loads(backend.to_str())["model"]["vocab"] if word not in specials]
    return T5Tokenizer(vocab=[(word, 0.0) for word in specials] + vocabulary)
