"""Config -> what an answer is worth: `ppo.reward=` model, rule, callable or llm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from peft import PeftModel

from kinnari.completion.endpoint import EndpointCompleter
from kinnari.errors import ConfigError
from kinnari.models.backbone import head_of, hidden_size_of
from kinnari.models.head import base_model_of
from kinnari.models.load import load_tokenizer
from kinnari.models.quantized import is_quantized_parameter
from kinnari.models.reward import RewardSettings
from kinnari.models.spec import ModelSpec
from kinnari.rollouts.reward_model import ModelReward, share_backbone
from kinnari.rollouts.rewards import AskedModel, Reward, python_callable
from kinnari.strategies.parallel import cluster_environment
from kinnari.tasks import build
from kinnari.tasks.reward_folder import check_reward_folder, load_backbone, read_description, read_head
from kinnari.text.chat_template import ChatTemplate
from kinnari.text.conversation import Message
from kinnari.text.pair_batches import rows_to_score
from kinnari.text.records import Tokens
from kinnari.text.template import Template
from kinnari.text.tokens import SegmentEncoder


def check_reward(cfg: DictConfig) -> None:
    """What `preference_rules` cannot know: whether the reward model is whole, whether the endpoint answers.

    Raises:
        ConfigError: neither may be found out after minutes of work.
    """
    if cfg.ppo.reward == "model":
        check_reward_folder(Path(cfg.reward.path).expanduser())
    elif cfg.ppo.reward == "llm" and cluster_environment().global_rank() == 0:
        _asked(cfg).probe()


def reward_function(cfg: DictConfig, parts: build.Parts, policy: Any) -> Reward:
    """The reward that `ppo.reward` names, which `preference_rules` has looked at.

    Raises:
        ConfigError: something it needs is missing.
    """
    made: dict[str, Callable[[], Reward]] = {
        "rule": lambda: instantiate(cfg.ppo.rule),
        "callable": lambda: python_callable(cfg.ppo.callable),
        "llm": lambda: _asked(cfg),
        "model": lambda: model_reward(cfg, parts, policy, Path(cfg.reward.path).expanduser()),
    }
    return made[cfg.ppo.reward]()


def model_reward(cfg: DictConfig, parts: build.Parts, policy: Any, folder: Path) -> ModelReward:
    """Scores of a reward folder; on the policy's own backbone where both are adapters of one base, else beside it."""
    told = read_description(folder)
    spec, settings = ModelSpec(**told["model"]), RewardSettings(**told["reward"])
    tokenizer, head = load_tokenizer(spec), read_head(folder)
    template = told["template"]
    renderer = ChatTemplate(tokenizer, **template) if template.get("name") == "own" else Template(**template)
    encoder = SegmentEncoder(tokenizer)

    def encode(conversations: Sequence[Sequence[Message]]) -> list[Tokens]:
        alone = settings.input == "answer"
        return rows_to_score(conversations, encoder, renderer, answers_alone=alone, seq2seq=spec.architecture == "seq2seq").apart()

    def fits(model: Any) -> Any:
        loss_head = head_of(model)
        if head.weight.shape[1] != hidden_size_of(model, loss_head):
            raise ConfigError(
                f"reward.path={folder}: its head reads {head.weight.shape[1]} numbers a token, and {spec.name} has "
                f"{hidden_size_of(model, loss_head)}: files of two reward models were mixed. Copy the folder again, or run task=reward."
            )
        return loss_head

    device = build.local_device(cfg)
    options: dict[str, Any] = {"pad_id": tokenizer.pad_token_id, "batch_size": 2 * cfg.batch.micro_size}
    if isinstance(policy, PeftModel) and _same_base(parts, spec, told, cfg.seed) and share_backbone(policy, folder / "adapter"):
        return ModelReward(policy, fits(policy), head.to(device), settings, encode, adapter="reward", **options)
    model, _ = load_backbone(folder, dtype=parts.compute, device=device)
    model = model.to(device) if told["tuning"]["name"] in ("full", "lora") else model
    begins = cfg.ppo.critic == "separate" and _reads_alike(parts, policy, tokenizer, model)
    return ModelReward(model, fits(model), head.to(device), settings, encode, begins_critic=begins, **options)


def _reads_alike(parts: build.Parts, policy: Any, tokenizer: Any, reward: Any) -> bool:
    """Whether policy and reward model are whole models of one shape over one vocabulary: a critic of the policy may begin as the other."""
    if policy is None or isinstance(policy, PeftModel):
        return False
    base = base_model_of(reward)
    shapes = {name.replace(".base_layer.", "."): p.shape for name, p in base.named_parameters() if not is_quantized_parameter(p)}
    same = type(base) is type(policy) and all(shapes.get(name) == parameter.shape for name, parameter in policy.named_parameters())
    return same and load_tokenizer(parts.spec).get_vocab() == tokenizer.get_vocab()


def _same_weights(parts: build.Parts, spec: ModelSpec) -> bool:
    return all(vars(parts.spec)[name] == vars(spec)[name] for name in ("path", "package", "toy", "config", "shrunk", "add_tokens"))


def _same_base(parts: build.Parts, spec: ModelSpec, told: dict[str, Any], seed: int) -> bool:
    """Whether the reward adapter was trained on the very weights that the policy's adapter stands on."""
    drawn = spec.toy is not None or spec.shrunk  # with the seed
    return (
        _same_weights(parts, spec)
        and (not drawn or told["seed"] == seed)
        and told["tuning"]["name"] == parts.tuning.name
        and told["tuning"]["quant_type"] == parts.tuning.quant_type
    )


def _asked(cfg: DictConfig) -> AskedModel:
    node = cfg.ppo.llm
    completer = EndpointCompleter(node.url, node.model, node.api_key_env, parallel=node.parallel, timeout_s=node.timeout_s)
    options = {} if node.instruction is None else {"instruction": node.instruction}
    return AskedModel(completer, Path(cfg.output_dir) / "asked.csv", **options)
