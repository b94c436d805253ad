"""Proximal policy optimisation of a language model: answer, score, learn, again.

One dataloader item is one iteration: this rank's share of `num_rollouts` prompts. An iteration answers them, and then takes
`epochs` x (rollouts / global_size) optimizer steps, each the same arithmetic as a step of fine-tuning (`kinnari.strategies`).

Policy, value and reference are one backbone: the value is a head on the policy's hidden states, the reference its first weights. With
`PPOSettings(critic="separate")` the value has an adapter of its own on that backbone, under full tuning a backbone of its own, and a
forward of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from peft import PeftModel
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kinnari.errors import ConfigError
from kinnari.functional.labels import IGNORED, count_trained, shift_targets
from kinnari.functional.rl_losses import masked_sum, policy_loss, value_loss
from kinnari.functional.running_moments import RunningMoments
from kinnari.generation.sampler import generate
from kinnari.generation.settings import GenerationSettings
from kinnari.models.backbone import hidden_size_of
from kinnari.models.dropout import train_without_dropout
from kinnari.models.head import install_loss_head, read_answers
from kinnari.models.scalar_head import ScalarHead
from kinnari.models.shared_prefix import SharedRows, can_share, shared_inputs
from kinnari.models.spec import PackingMethod
from kinnari.rollouts.advantages import set_advantages, set_rewards
from kinnari.rollouts.critic import CRITIC, add_critic, is_critics, with_critic_lr
from kinnari.rollouts.one_row import in_one_row, targets_in_row
from kinnari.rollouts.ptx import DataAnswers, ptx_part
from kinnari.rollouts.reward_model import adapter_in_use
from kinnari.rollouts.rewards import Reward, checked
from kinnari.rollouts.rollout import TOKEN_NUMBERS, Rollout, collate_rollouts, longest_first, take_apart
from kinnari.rollouts.settings import PPOSettings
from kinnari.rollouts.watch import StepWatch
from kinnari.strategies.ema import MovingAverage
from kinnari.strategies.fine_tuning import FineTuning, FineTuningSettings
from kinnari.strategies.microbatches import gather_objects, gradient_rules, micro_batch_sync, sum_over_ranks
from kinnari.strategies.optimizer_step import StepTotals
from kinnari.strategies.reference import InitialWeights
from kinnari.text.prompts import Prompt, PromptShare
from lightning_modules.seq2seq_sft import shifted_right


class PPOModule(pl.LightningModule):
    """Trains a causal or seq2seq model on rewards of its own answers.

    Args:
        model: tuned as it will be trained (plain, or wrapped by PEFT); as it is now, it is the reference.
        tokenizer: of the model.
        reward: rollouts of this rank -> a score each.
        ppo: rollouts, loss, KL penalty.
        settings: optimizer, schedule; its loss settings are not used.
        global_size: rollouts of an optimizer step over all ranks.
        micro_size: rollouts of one forward on one rank.
        stop_id: the token that ends an answer, see `kinnari.generation.sampler.answer_end`.
        data: the data's own answers, which `ppo.ptx_coef` needs.
        packing: how the family keeps parts of a row from each other (`model.packing`); "none" never computes answers in one row.

    Raises:
        ConfigError: what `kinnari.rollouts.critic.add_critic` refuses, or ptx_coef without data.
    """

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        reward: Reward,
        ppo: PPOSettings | None = None,
        settings: FineTuningSettings | None = None,
        *,
        global_size: int = 16,
        micro_size: int = 4,
        stop_id: int | None = None,
        data: DataAnswers | None = None,
        packing: PackingMethod = "none",
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.tokenizer, self.reward = model, tokenizer, reward
        self.ppo, self.global_size, self.micro_size, self.stop_id = ppo or PPOSettings(), global_size, micro_size, stop_id
        self.seq2seq = bool(model.config.is_encoder_decoder)
        self.head = install_loss_head(model)
        self.value_head = ScalarHead(hidden_size_of(model, self.head), zero=True)
        self.reference = InitialWeights(model)
        self.critic: torch.nn.Module | None = None
        self.tuning = FineTuning(self._with_critic(settings or FineTuningSettings()), accuracy="clipped", unit="answer tokens")
        if self.ppo.ptx_coef and data is None:
            raise ConfigError(f"ppo.ptx_coef={self.ppo.ptx_coef} needs answers to learn from: give PPOModule(data=DataAnswers(...)).")
        self.data, self.packing = data, packing
        self.ema = None if self.ppo.ema_beta is None else MovingAverage(self, self.ppo.ema_beta, lambda name: not is_critics(name))
        self.controller, self.seen, self.watch = self.ppo.controller(), RunningMoments(), StepWatch()
        self.iteration = 0
        self.rollouts: list[Rollout] = []
        self.held_out: list[Rollout] = []
        self.metrics: dict[str, float] = {}
        self.findings: list[dict[str, Any]] = []  # of callbacks.Watchdogs
        self._validated, self._ptx_sums = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)

    def _models(self) -> list[torch.nn.Module]:
        """The backbones: the policy's, and the critic's where it has one."""
        return [self.model] if self.critic is None else [self.model, self.critic]

    def _with_critic(self, settings: FineTuningSettings) -> FineTuningSettings:
        """Give the backbone its critic, after the reference was remembered, which has none."""
        if self.ppo.critic == "shared":
            return settings
        self.critic = add_critic(self.model, self.value_head, self.reward)
        self.critic_head = self.head if self.critic is None else install_loss_head(self.critic)
        if self.ppo.critic_lr is None:
            return settings
        return replace(settings, optimizer=with_critic_lr(settings.optimizer, self, self.ppo.critic_lr))

    # --- what the policy says about its tokens -------------------------------------------------------------------------

    def token_answers(self, batch: dict[str, Any], *, entropy_gradient: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(logprobs, entropy, values, mask), [B, T] each, where the answers' tokens are predicted."""
        inputs, targets, row = self._row_inputs(batch)
        with self.head.token_answers(targets, temperature=self.ppo.temperature, entropy_gradient=entropy_gradient):
            said = read_answers(self.model(**inputs).logits)
        hidden = said.hidden_states if self.ppo.critic == "shared" else self._critic_states(inputs)
        logprobs, entropy, values = said.logprobs, said.entropy, self.value_head(hidden)
        if row is None:
            return logprobs, entropy, values, targets != IGNORED
        return row.separate(logprobs), row.separate(entropy), row.separate(values), self._inputs(batch)[1] != IGNORED

    def _critic_states(self, inputs: dict[str, Any]) -> Tensor:
        """Hidden states [B, T, H] of the critic: its adapter on the policy's backbone, or its own backbone."""
        in_use = adapter_in_use(self.model, CRITIC) if self.critic is None else nullcontext()
        with in_use, self.critic_head.hidden_states():
            return (self.critic or self.model)(**inputs).logits

    def reference_logprobs(self, batch: dict[str, Any]) -> Tensor:
        """[B, T] of the model as it was at the beginning; within `self.reference.in_use()`."""
        inputs, targets, row = self._row_inputs(batch)
        with self.head.token_logprobs(targets, temperature=self.ppo.temperature):
            logprobs = self.model(**inputs).logits
        return logprobs if row is None else row.separate(logprobs)

    def _row_inputs(self, batch: dict[str, Any]) -> tuple[dict[str, Any], Tensor, SharedRows | None]:
        """As `_inputs`, in one row where the family allows that and it pays; what stands without a target there means nothing."""
        inputs, targets = self._inputs(batch)
        config, ids = self.model.config, inputs["input_ids"]
        if self.seq2seq or not can_share(config, self.packing, ids.shape[1]):
            return inputs, targets, None
        row = in_one_row(ids, inputs["attention_mask"], targets, self.value_head.in_features)
        if row is None:
            return inputs, targets, None
        laid = shared_inputs(row, config._attn_implementation, self.model.dtype)
        return laid | {"use_cache": False}, targets_in_row(row, targets), row

    def _inputs(self, batch: dict[str, Any]) -> tuple[dict[str, Any], Tensor]:
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "use_cache": False}
        if self.seq2seq:
            return inputs | {"decoder_input_ids": shifted_right(batch["labels"], self.model.config)}, batch["labels"]
        return inputs, shift_targets(batch["labels"])

    def forward(self, batch: dict[str, Any]) -> Tensor:
        """Micro-batch of rollouts -> [2] float32: sum of token losses, tokens whose ratio was clipped."""
        logprobs, entropy, values, mask = self.token_answers(batch, entropy_gradient=self.ppo.entropy_coef > 0)
        policy = policy_loss(logprobs, batch["logprobs"], batch["advantages"], mask, clip=self.ppo.clip)
        value = value_loss(values, batch["values"], batch["returns"], mask, clip=self.ppo.value_clip)
        surprise = masked_sum(entropy, mask)
        self.watch.add(policy, value, surprise)
        loss = policy.loss_sum + self.ppo.value_coef * value.loss_sum - self.ppo.entropy_coef * surprise.total
        if self.ppo.ptx_coef:
            loss = loss + self._ptx_loss(batch)
        return torch.stack((loss, policy.clipped.to(loss.dtype)))

    def _ptx_loss(self, batch: dict[str, Any]) -> Tensor:
        """[] instruction-tuning loss of the data's answers beside the rollouts, so that the step holds ptx_coef x its mean over tokens."""
        inputs, targets = self._inputs(ptx_part(batch))
        with self.head.loss_of(targets, chunked=self.tuning.settings.chunked_loss):
            nll_sum = self.model(**inputs).logits[0]
        self._ptx_sums += torch.tensor([float(nll_sum.detach()), count_trained(targets)], dtype=torch.float64)
        # the step divides by the tokens of all rollouts
        return nll_sum * (self.ppo.ptx_coef * batch["step_tokens"] / max(1, batch["ptx_tokens"]))

    # --- one iteration -------------------------------------------------------------------------------------------------

    def training_step(self, share: PromptShare, index: int) -> None:
        """Answer the prompts of this rank, neighbours the same one, score the answers, learn from them."""
        prompts = [prompt for prompt in share.prompts for _ in range(self.ppo.answers_per_prompt)]
        for model in self._models():
            train_without_dropout(model)
        self.rollouts = self.answered(prompts, self._sampling(), seed=self._seed(0))
        scores = checked(self.reward, self.rollouts)
        for rollout, score in zip(self.rollouts, scores, strict=True):
            rollout.score = score
        set_rewards(self.rollouts, self._baselines(prompts), self.ppo, self.seen)
        self._measure(self.rollouts)
        coefficient = self.controller.coefficient
        found = set_advantages(self.rollouts, self.ppo, coefficient)
        self.learn(self.rollouts)
        self.controller.update(found["kl"], self.ppo.num_rollouts)
        self.metrics = self._summary(found | {"kl_coef": coefficient}) | self.watch.metrics() | self._ptx_metrics()
        self.log_dict({f"ppo/{name}": value for name, value in self.metrics.items()}, batch_size=1)
        self.iteration += 1

    def answered(self, prompts: Sequence[Prompt], settings: GenerationSettings, seed: int) -> list[Rollout]:
        """One answer to each prompt, cut at a length drawn for it."""
        sharded = gradient_rules(self.trainer.strategy).averages_gradients
        answers = generate(
            self.model, self.tokenizer, [p.token_ids for p in prompts], settings, seed=seed, synced=sharded, stop_id=self.stop_id
        )
        least, most = self.ppo.response_lengths
        lengths = np.random.default_rng(seed).integers(least, most + 1, size=len(prompts))
        rollouts = []
        for prompt, answer, length in zip(prompts, answers, lengths.tolist(), strict=True):
            whole = len(answer.token_ids) <= length
            ids = answer.token_ids[:length]
            text = answer.text if whole else str(self.tokenizer.decode(ids, skip_special_tokens=True))
            rollouts.append(Rollout(prompt, ids, text, finished=answer.finished and whole))
        return rollouts

    def learn(self, rollouts: Sequence[Rollout]) -> None:
        """Epochs of optimizer steps over the rollouts; stops early where the policy has gone too far from them. Collective."""
        self.watch = StepWatch()
        lengths = gather_objects([len(r) for r in rollouts])  # of all ranks, so that each knows the tokens of every step
        share = self.global_size // self.trainer.world_size
        for epoch in range(self.ppo.epochs):
            order = self._order(len(rollouts), epoch)
            for start in range(0, len(order), share):
                members = order[start : start + share].tolist()
                tokens = sum(rank[i] for rank in lengths for i in members)
                batches = self._micro_batches([rollouts[i] for i in members], tokens)
                self._add_data_answers(batches, len(members))
                self.watch.begin_step()
                self.tuning.step(self, batches, self)  # type: ignore[arg-type]
                if self.ema is not None:
                    self.ema.update()
                kl = self.watch.end_step(self.trainer.strategy, self.tuning.last.loss)
                if self.ppo.target_kl is not None and kl > self.ppo.target_kl:
                    return

    def _order(self, count: int, epoch: int) -> np.ndarray:
        """[count] this rank's rollouts as an epoch takes them; answers to one prompt stay neighbours, to be computed together."""
        together = self.ppo.answers_per_prompt
        groups = np.random.default_rng(self._seed(1 + epoch)).permutation(count // together)
        return (groups[:, None] * together + np.arange(together)).reshape(-1)

    def _add_data_answers(self, batches: list[Any], rows: int) -> None:
        """With `ptx_coef`: as many of the data's own answers beside this rank's rollouts of the step."""
        if not self.ppo.ptx_coef or self.data is None:
            return
        world_size, rank = self.trainer.world_size, self.trainer.global_rank
        records = self.data.members(self.trainer.global_step, self.global_size, rows * world_size)
        self.data.beside(batches, records[rank::world_size], self.data.trained_tokens(records), self._pad_id)

    @property
    def _pad_id(self) -> int:
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.tokenizer.eos_token_id)

    def _micro_batches(self, rollouts: Sequence[Rollout], tokens: int = 1) -> list[Any]:
        """Longest first, on this rank's device."""
        by_length = longest_first(rollouts)
        parts = [by_length[i : i + self.micro_size] for i in range(0, len(by_length), self.micro_size)]
        batches = (collate_rollouts(part, self._pad_id, seq2seq=self.seq2seq, step_tokens=tokens) for part in parts)
        return [{k: v.to(self.device) if isinstance(v, Tensor) else v for k, v in batch.items()} for batch in batches]

    @torch.no_grad()
    def _measure(self, rollouts: list[Rollout]) -> None:
        """Log-probabilities under policy and reference, and values, of every token that was chosen."""
        rollouts[:] = longest_first(rollouts)
        batches = self._micro_batches(rollouts)
        parts = [rollouts[i : i + self.micro_size] for i in range(0, len(rollouts), self.micro_size)]
        for part, batch in zip(parts, batches, strict=True):
            with micro_batch_sync(self.trainer.strategy, is_last=False):
                logprobs, _, values, _ = self.token_answers(batch)
            self._keep(part, logprobs=logprobs, values=values)
        with self.reference.in_use():
            for part, batch in zip(parts, batches, strict=True):
                with micro_batch_sync(self.trainer.strategy, is_last=False):
                    self._keep(part, ref_logprobs=self.reference_logprobs(batch))

    def _keep(self, rollouts: Sequence[Rollout], **numbers: Tensor) -> None:
        for name, values in numbers.items():
            assert name in TOKEN_NUMBERS
            for rollout, row in zip(rollouts, take_apart(values, rollouts, seq2seq=self.seq2seq), strict=True):
                rollout.numbers[name] = row

    def _baselines(self, prompts: Sequence[Prompt]) -> list[float] | None:
        if self.ppo.baseline != "reference":
            return None
        return checked(self.reward, [Rollout(p, [], p.reference, finished=True) for p in prompts])

    def _summary(self, found: dict[str, float]) -> dict[str, float]:
        """Means over the answers of all ranks."""
        rows = [(r.score, r.reward, len(r), r.finished) for r in self.rollouts]
        sums = sum_over_ranks(self.trainer.strategy, torch.tensor(rows, dtype=torch.float64).sum(0)).tolist()
        names = ("score", "reward", "response_tokens", "eos_rate")
        return {name: total / self.ppo.num_rollouts for name, total in zip(names, sums, strict=True)} | found

    def _ptx_metrics(self) -> dict[str, float]:
        """Mean instruction-tuning loss of the iteration's steps, in nats a token of the data's answers, and start anew."""
        if not self.ppo.ptx_coef:
            return {}
        total, tokens = sum_over_ranks(self.trainer.strategy, self._ptx_sums).tolist()
        self._ptx_sums.zero_()
        return {"ptx_loss": total / max(1.0, tokens)}

    def _sampling(self) -> GenerationSettings:
        return GenerationSettings(
            do_sample=True, temperature=self.ppo.temperature, max_new_tokens=self.ppo.response_lengths[1], batch_size=4 * self.micro_size
        )

    def _seed(self, what: int) -> int:
        """Of sampling (0) or of the order of an epoch; the same in a resumed run."""
        rank = self.trainer.global_rank if what == 0 else 0
        return int(np.random.SeedSequence([self.tuning.settings.seed, self.iteration, what, rank]).generate_state(1)[0])

    # --- validation ----------------------------------------------------------------------------------------------------

    def validation_step(self, share: PromptShare, index: int) -> None:
        """Greedy answers to held-out prompts, and their scores."""
        settings = GenerationSettings(max_new_tokens=self.ppo.response_lengths[1], batch_size=4 * self.micro_size)
        self.held_out = self.answered(share.prompts, settings, seed=0)
        scores = checked(self.reward, self.held_out)
        for rollout, score in zip(self.held_out, scores, strict=True):
            rollout.score = score
        self._validated += torch.tensor([sum(scores), len(scores)], dtype=torch.float64)

    def on_validation_epoch_end(self) -> None:
        total, count = sum_over_ranks(self.trainer.strategy, self._validated.to(self.device)).tolist()
        self._validated.zero_()
        # a loss, so that the best checkpoint and early stopping look at PPO as at everything else
        self.tuning.validation = StepTotals(-total, 0, int(count))
        self.log_dict({"val/loss": -total / max(1, count), "val/reward": total / max(1, count)}, prog_bar=True)

    # --- Lightning -----------------------------------------------------------------------------------------------------

    def on_train_start(self) -> None:
        self.reference.place()
        if self.ema is not None:
            self.ema.place()

    def configure_model(self) -> None:
        for model in self._models():
            self.tuning.shard(self, model)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return self.tuning.configure_optimizers(self, *self._models(), self.value_head)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = {"iteration": self.iteration, "controller": self.controller.state_dict(), "seen": self.seen.state_dict()}
        if self.ema is not None:
            state["ema"] = self.ema.state_dict()
        checkpoint["ppo"] = state

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["ppo"]
        self.iteration = int(state["iteration"])
        self.controller.load_state_dict(state["controller"])
        self.seen.load_state_dict(state["seen"])
        if self.ema is not None:
            if "ema" not in state:
                raise ConfigError(
                    f"ppo.ema_beta={self.ppo.ema_beta}, but the checkpoint holds no moving average; resume with ppo.ema_beta=null, as the "
                    "run was started."
                )
            self.ema.load_state_dict(state["ema"])
