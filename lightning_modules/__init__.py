"""The algorithms as Lightning modules: thin hooks over the pure functions of `kinnari`."""

from lightning_modules.causal_lm_sft import CausalLMSFT
from lightning_modules.dpo import DPOModule
from lightning_modules.ppo import PPOModule
from lightning_modules.reward_model import RewardModel
from lightning_modules.seq2seq_sft import Seq2SeqSFT

__all__ = ["CausalLMSFT", "DPOModule", "PPOModule", "RewardModel", "Seq2SeqSFT"]
