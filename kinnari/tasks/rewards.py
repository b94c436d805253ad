"""Config -> what an answer is worth: `ppo.reward=` model, rule, callable or llm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from peft import PeftModel

from kinnari.completion.endpoint import EndpointCompleter
from kinnari.errors import ConfigError
from kinnari.models.head import install_loss_head
from kinnari.models.load import load_tokenizer
from kinnari.models.reward import RewardSettings
from kinnari.models.spec import ModelSpec
from kinnari.rollouts.reward_model import ModelReward, share_backbone
from kinnari.rollouts.rewards import AskedModel, Reward, python_callable, rule
from kinnari.tasks import build
from kinnari.tasks.reward_folder import load_backbone, read_description, read_head
from kinnari.text.chat_template import ChatTemplate
from kinnari.text.conversation import Message
from kinnari.text.template import Template
from kinnari.text.tokens import SegmentEncoder


def check_reward(cfg: DictConfig) -> None:
    """Raises ConfigError for a reward model that is not there, before anything slow."""
    if cfg.ppo.reward == "model":
        read_description(_reward_folder(cfg))


def _reward_folder(cfg: DictConfig) -> Path:
    if cfg.reward.path is None:
        raise ConfigError("ppo.reward=model needs a reward model: reward.path=DIR, the folder `reward` that task=reward wrote.")
    return Path(cfg.reward.path).expanduser()


def reward_function(cfg: DictConfig, parts: build.Parts, policy: Any) -> Reward:
    """The reward that `ppo.reward` names.

    Raises:
        ConfigError: it is unknown, or something it needs is missing.
    """
    kind = cfg.ppo.reward
    if kind == "rule":
        return rule(**build.plain(cfg.ppo.rule))
    if kind == "callable":
        if cfg.ppo.callable is None:
            raise ConfigError("ppo.reward=callable needs the function: ppo.callable=package.module:function.")
        return python_callable(cfg.ppo.callable)
    if kind == "llm":
        return _asked(cfg)
    if kind == "model":
        return model_reward(cfg, parts, policy, _reward_folder(cfg))
    raise ConfigError(f"ppo.reward={kind} is unknown; choose model, rule, callable or llm.")


def model_reward(cfg: DictConfig, parts: build.Parts, policy: Any, folder: Path) -> ModelReward:
    """Scores of a reward folder; on the policy's own backbone where both are adapters of one base, else beside it."""
    told = read_description(folder)
    spec, settings = ModelSpec(**told["model"]), RewardSettings(**told["reward"])
    tokenizer, head = load_tokenizer(spec), read_head(folder)
    template = told["template"]
    renderer = ChatTemplate(tokenizer, **template) if template.get("name") == "own" else Template(**template)
    encoder = SegmentEncoder(tokenizer)

    def encode(conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        return [list(t.input_ids) for t in encoder.encode_all([renderer.render(c) for c in conversations])]

    device = build.local_device(cfg)
    options: dict[str, Any] = {"pad_id": tokenizer.pad_token_id, "batch_size": 2 * cfg.batch.micro_size}
    if isinstance(policy, PeftModel) and _same_base(parts, spec, told) and share_backbone(policy, folder / "adapter"):
        return ModelReward(policy, install_loss_head(policy), head.to(device), settings, encode, adapter="reward", **options)
    model, _ = load_backbone(folder, dtype=parts.compute, device=device)
    model = model.to(device) if told["tuning"]["name"] in ("full", "lora") else model
    return ModelReward(model, install_loss_head(model), head.to(device), settings, encode, **options)


def _same_base(parts: build.Parts, spec: ModelSpec, told: dict[str, Any]) -> bool:
    """Whether the reward adapter was trained on the very weights that the policy's adapter stands on."""
    same = all(vars(parts.spec)[name] == vars(spec)[name] for name in ("path", "package", "toy", "config", "shrunk", "add_tokens"))
    return same and told["tuning"]["name"] == parts.tuning.name and told["tuning"]["quant_type"] == parts.tuning.quant_type


def _asked(cfg: DictConfig) -> AskedModel:
    node = cfg.ppo.llm
    if node.model is None:
        raise ConfigError("ppo.reward=llm: the endpoint may serve several models, so add ppo.llm.model=NAME (the name it knows it by).")
    completer = EndpointCompleter(node.url, node.model, node.api_key_env, parallel=node.parallel, timeout_s=node.timeout_s)
    options = {} if node.instruction is None else {"instruction": node.instruction}
    return AskedModel(completer, Path(cfg.output_dir) / "asked.csv", **options)
