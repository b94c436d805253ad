"""Rules of the tasks that learn from preferences: the sections `reward` and `ppo`, and what task=reward and task=dpo have of their own.

Each raises a ConfigError with value, rule and remedy. task=rlhf looks at all of its stages this way before the first begins, so nothing
here may need what an earlier stage writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kinnari.errors import ConfigError, need_number, need_truth
from kinnari.tasks.model_rules import ranks_per_node

Config = Mapping[str, Any]

REWARDS = ("model", "rule", "callable", "llm")
_OF_THE_TASK = ("reward", "rule", "callable", "llm", "iterations", "num_layers_unfrozen", "export_ema", "query_tokens", "held_out_prompts")

_PLAIN_DECODING = {"do_sample": False, "num_beams": 1, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "no_repeat_ngram_size": 0,
                   "repetition_penalty": 1.0, "min_new_tokens": 0, "start_script": None}  # fmt: skip


def check_preferences(c: Config) -> None:
    """The rules of the task that runs."""
    rules = {"reward": (_reward, _pairs), "dpo": (_dpo, _pairs), "ppo": (_ppo, _room, _prompts, _whole_distribution, _reward_of_ppo)}
    for rule in rules.get(c["task"]["name"], ()):
        rule(c)


def _section(c: Config, name: str, known: tuple[str, ...]) -> Mapping[str, Any]:
    section = c[name]
    if not isinstance(section, Mapping):
        raise ConfigError(f"{name}={section} replaces a whole section by one value. Write {name}.SETTING=VALUE.")
    for key in section:
        if key not in known:
            raise ConfigError(f"{name}.{key} is no setting of it; its settings: {', '.join(known)}.")
    return section


def _pairs(c: Config) -> None:
    task = c["task"]
    if task["construction"] not in ("adjacent", "all"):
        raise ConfigError(f"task.construction={task['construction']} is unknown; choose adjacent or all.")
    need_number("task.pairs_per_prompt", task["pairs_per_prompt"], least=1, whole=True, null="all of them")


def _reward(c: Config) -> None:
    from kinnari.models.reward import RewardSettings

    section = _section(c, "reward", ("path", *RewardSettings.__dataclass_fields__))
    RewardSettings(**{key: value for key, value in section.items() if key != "path"})


def _dpo(c: Config) -> None:
    task = c["task"]
    need_number("task.beta", task["beta"], above=0, why="0.1 is usual")
    need_number("task.label_smoothing", task["label_smoothing"], least=0, below=0.5, why="0 trusts every pair")
    need_truth("task.precompute_reference", task["precompute_reference"])


def _ppo(c: Config) -> None:
    from kinnari.rollouts.settings import PPOSettings

    fields = tuple(PPOSettings.__dataclass_fields__)
    ppo = _section(c, "ppo", (*_OF_THE_TASK, *fields))
    PPOSettings(**{key: value for key, value in ppo.items() if key in fields})
    need_number("ppo.iterations", ppo["iterations"], least=1, whole=True)
    need_number("ppo.num_layers_unfrozen", ppo["num_layers_unfrozen"], least=1, whole=True, null="all")
    need_truth("ppo.export_ema", ppo["export_ema"])
    if ppo["export_ema"] and ppo["ema_beta"] is None:
        raise ConfigError("ppo.export_ema=true needs an average to export: set ppo.ema_beta, such as 0.992.")
    ranks = ranks_per_node(c) * int(c["hw"]["num_nodes"])
    together = ranks * ppo["answers_per_prompt"]  # all answers to a prompt are sampled by one rank
    if ppo["num_rollouts"] % together:
        nearest = -(-ppo["num_rollouts"] // together) * together
        raise ConfigError(
            f"ppo.num_rollouts={ppo['num_rollouts']} cannot be shared by the {ranks} ranks of hw={c['hw']['name']}, with "
            f"ppo.answers_per_prompt={ppo['answers_per_prompt']}. Use ppo.num_rollouts={nearest}."
        )


def _room(c: Config) -> None:
    """An answer and a prompt of at least one token stand in a row of max_length; an encoder-decoder has a row for each."""
    longest, room = c["ppo"]["response_length"], c["model"]["max_length"]
    most = longest if isinstance(longest, int) else longest[1]
    limit = room - 1 if c["model"]["architecture"] == "causal" else room
    if most > limit:
        raise ConfigError(
            f"ppo.response_length={longest} with model.max_length={room} leaves no room for a prompt. Lower ppo.response_length or raise "
            "model.max_length, which holds prompt and answer."
        )


def _prompts(c: Config) -> None:
    from kinnari.rollouts.settings import need_range

    need_number("ppo.held_out_prompts", c["ppo"]["held_out_prompts"], least=0, whole=True, why="0 measures nothing before and after")
    lengths = c["ppo"]["query_tokens"]
    if lengths is not None:
        need_range("ppo.query_tokens", lengths, lengths, ending=", or null to leave questions whole")


def _whole_distribution(c: Config) -> None:
    """What decoding does to the distribution, rollouts do not: their log-probabilities are of the whole of it."""
    for name, off in _PLAIN_DECODING.items():
        value = c["generation"].get(name, off)
        if value != off:
            raise ConfigError(
                f"generation.{name}={value} is not for task=ppo: it draws answers from the whole distribution at ppo.temperature, as ratio "
                f"and KL compare the probabilities they were drawn with. Leave generation=greedy; ppo.temperature and ppo.response_length "
                f"shape the answers, and task=generate takes generation.{name} with the trained model."
            )


def _rule(settings: Mapping[str, Any]) -> None:
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        instantiate(settings)
    except InstantiationException as problem:
        if isinstance(problem.__cause__, ConfigError):
            raise problem.__cause__ from None
        raise ConfigError(
            f"ppo.rule={dict(settings)} cannot be made: {problem.__cause__ or problem}. Choose a file with ppo/rule=."
        ) from problem


def _reward_of_ppo(c: Config) -> None:
    """All of a reward that can be known without a model: it exists, and takes what it is given."""
    from kinnari.rollouts.rewards import python_callable

    ppo = c["ppo"]
    kind = ppo["reward"]
    if kind not in REWARDS:
        raise ConfigError(f"ppo.reward={'null' if kind is None else kind} is unknown; choose {', '.join(REWARDS)}.")
    if kind == "rule":
        if not isinstance(ppo["rule"], Mapping):
            raise ConfigError(f"ppo.rule={ppo['rule']} must be a section: choose a file with ppo/rule=answer_overlap.")
        _rule(ppo["rule"])
    elif kind == "callable":
        if not isinstance(ppo["callable"], str):
            raise ConfigError("ppo.reward=callable needs the function: ppo.callable=package.module:function.")
        python_callable(ppo["callable"])
    elif kind == "llm":
        _endpoint(ppo["llm"])
    elif not isinstance(c["reward"]["path"], str):
        given = "null" if c["reward"]["path"] is None else c["reward"]["path"]
        raise ConfigError(
            f"ppo.reward=model with reward.path={given} needs a reward model: reward.path=DIR, the folder `reward` that task=reward wrote. "
            "Or choose ppo.reward=rule, callable or llm."
        )


def _endpoint(node: Any) -> None:
    if not isinstance(node, Mapping) or not isinstance(node.get("url"), str) or not isinstance(node.get("api_key_env"), str):
        raise ConfigError(
            "ppo.reward=llm needs ppo.llm.url=http://HOST:PORT/v1, and ppo.llm.api_key_env=NAME of the variable with the key."
        )
    if not isinstance(node.get("model"), str):
        raise ConfigError("ppo.reward=llm: the endpoint may serve several models, so add ppo.llm.model=NAME (the name it knows it by).")
    need_number("ppo.llm.parallel", node["parallel"], least=1, whole=True)
    need_number("ppo.llm.timeout_s", node["timeout_s"], above=0)
    text = node["instruction"]
    if text is not None and not (isinstance(text, str) and "{prompt}" in text and "{answer}" in text):
        raise ConfigError(f"ppo.llm.instruction={text!r} must hold {{prompt}} and {{answer}}, where question and answer are put.")
