"""TRL's variants of `benchmarks/ppo.py`: PPOTrainer of its last release, in an environment of its own.

    trl         policy and value model trained in full, reference and reward model frozen: four models
    trl_lora    LoRA on the policy (the reference is its base with the adapter off) and on the value model: three models

python benchmarks/ppo_trl.py '<settings as json>'       # prints one line of json last
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, inject_adapter_in_model
from ppo_log import UpdateLog
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerFast, TrainerCallback
from trl import PPOConfig, PPOTrainer


class TimedUpdates(TrainerCallback):
    """Fills the UpdateLog from TRL's trainer."""

    def __init__(self, log: UpdateLog, tokens: int) -> None:
        self.log, self.tokens = log, tokens
        self.kl = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.log.begin()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.kl = logs["objective/kl"]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.log.add(tokens=self.tokens, kl=self.kl)


def arguments_of(settings: dict[str, Any], output_dir: str) -> PPOConfig:
    """As the other variants: one optimizer step an epoch over the whole batch, in micro-batches."""
    return PPOConfig(
        output_dir=output_dir,
        per_device_train_batch_size=settings["micro"],
        gradient_accumulation_steps=settings["batch"] // settings["micro"],
        num_mini_batches=1,
        num_ppo_epochs=settings["epochs"],
        total_episodes=settings["batch"] * (settings["updates"] + 1),
        response_length=settings["response"],
        temperature=1.0,
        kl_coef=0.1,
        vf_coef=0.2,
        learning_rate=settings["lr"],
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        weight_decay=0.0,
        num_sample_generations=0,
        bf16=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        seed=settings["seed"],
    )


def trl_run(settings: dict[str, Any], output_dir: str) -> UpdateLog:
    """The whole run."""
    told = json.loads((Path(settings["folder"]) / "prompts.json").read_text())
    folder = Path(settings["folder"]) / "model"
    # transformers 5 wrote a class into tokenizer_config.json that 4 does not know, so the tokenizer is told here
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), padding_side="left")
    never = tokenizer.convert_ids_to_tokens(told["never"])
    tokenizer.pad_token = tokenizer.eos_token = never  # TRL takes every pad token of an answer for its end
    log = UpdateLog(settings)
    lora = settings["variant"].endswith("lora")
    policy = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    reference = None if lora else AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    value, reward = (AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32) for _ in range(2))
    torch.nn.init.zeros_(value.score.weight)
    if lora:
        inject_adapter_in_model(LoraConfig(**told["lora"]), value.model)
        value.score.requires_grad_(True)
    prompts = Dataset.from_list([{"input_ids": ids} for ids in told["prompts"]])
    timed = TimedUpdates(log, settings["batch"] * settings["response"])
    trainer = PPOTrainer(
        args=arguments_of(settings, output_dir), processing_class=tokenizer, model=policy, ref_model=reference, reward_model=reward,
        value_model=value, train_dataset=prompts, eval_dataset=prompts, callbacks=[timed],
        peft_config=LoraConfig(task_type="CAUSAL_LM", **told["lora"]) if lora else None,
    )  # fmt: skip
    # the same prompts in the same updates as elsewhere: TRL shuffles
    in_order = DataLoader(prompts, batch_size=settings["batch"], collate_fn=trainer.data_collator)
    trainer.dataloader = trainer.accelerator.prepare(in_order)
    log.probe = probe_of(policy, told["prompts"][0])
    trainer.train()
    return log


@torch.no_grad()
def probe_of(policy: Any, prompt: list[int]) -> float:
    """As `ppo_ours.probe_of`."""
    row = torch.tensor([prompt])
    return float(policy(input_ids=row).logits[:, :-1].log_softmax(-1).gather(-1, row[:, 1:, None]).sum())


def main() -> None:
    settings = json.loads(sys.argv[1])
    torch.set_num_threads(settings["threads"])
    with tempfile.TemporaryDirectory() as output_dir:
        print(json.dumps(trl_run(settings, output_dir).result()))


if __name__ == "__main__":
    main()
