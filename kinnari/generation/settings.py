"""How answers are sampled: one file of `conf/generation/`."""

from __future__ import annotations

from dataclasses import dataclass

from kinnari.errors import ConfigError
from kinnari.generation.start_script import SCRIPTS


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """Decoding settings; the defaults are greedy decoding.

    Args:
        do_sample: draw from the distribution instead of taking the most likely token.
        num_beams: width of beam search, 1 for none.
        temperature: divides the logits before sampling.
        top_p: sample from the smallest set of tokens with at least this probability together; 1.0 for all.
        top_k: sample from the k most likely tokens; 0 for all.
        no_repeat_ngram_size: no n-gram of this size occurs twice; 0 allows all. In a causal model the prompt counts.
        repetition_penalty: logits of tokens that occurred are divided by this where positive, multiplied where negative.
        min_new_tokens: EOS is forbidden before.
        max_new_tokens: the answer is cut there.
        batch_size: prompts answered together; no influence on greedy answers but for float rounding.
        start_script: language whose letters the answer must begin with (`kinnari.generation.start_script.SCRIPTS`); None for any.

    Raises:
        ConfigError: a value is out of its range, or a sampling setting is changed while do_sample is false.
    """

    do_sample: bool = False
    num_beams: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0
    min_new_tokens: int = 0
    max_new_tokens: int = 48
    batch_size: int = 8
    start_script: str | None = None

    def __post_init__(self) -> None:
        for name in ("num_beams", "max_new_tokens", "batch_size"):
            self._require(name, vars(self)[name] >= 1, "must be at least 1")
        for name in ("top_k", "no_repeat_ngram_size", "min_new_tokens"):
            self._require(name, vars(self)[name] >= 0, "must not be negative; 0 turns it off")
        self._require("temperature", self.temperature > 0, "must be above 0; for greedy answers set generation.do_sample=false")
        self._require("top_p", 0 < self.top_p <= 1, "must be in (0, 1]; 1 keeps all tokens")
        known = self.start_script is None or self.start_script in SCRIPTS
        self._require("start_script", known, f"is not known; choose one of {', '.join(SCRIPTS)}, or null for any")
        self._require("repetition_penalty", self.repetition_penalty > 0, "must be above 0; 1 turns it off")
        within = self.min_new_tokens <= self.max_new_tokens
        self._require("min_new_tokens", within, f"exceeds generation.max_new_tokens={self.max_new_tokens}; lower it")
        if not self.do_sample:
            for name, off in {"temperature": 1.0, "top_p": 1.0, "top_k": 0}.items():
                self._require(name, vars(self)[name] == off, "has no effect without sampling; set generation.do_sample=true")

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ConfigError(f"generation.{name}={vars(self)[name]} {rule}.")
