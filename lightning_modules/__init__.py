"""The algorithms as Lightning modules: thin hooks over the pure functions of `kinnari`."""

from lightning_modules.causal_lm_sft import CausalLMSFT
from lightning_modules.seq2seq_sft import Seq2SeqSFT

__all__ = ["CausalLMSFT", "Seq2SeqSFT"]
