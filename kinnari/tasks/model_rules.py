"""Rules about models: parts on several devices, tokens added, encoders. Each raises a ConfigError with value, rule and remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kinnari.errors import ConfigError

Config = Mapping[str, Any]


def is_placed(c: Config) -> bool:
    """Whether one process spreads one model over the devices of the machine (`strategy.parallel.device_map`)."""
    return c["strategy"]["parallel"].get("device_map") is not None


def ranks_per_node(c: Config) -> int:
    """Processes on each node: one per device, or a single one that has them all."""
    return 1 if is_placed(c) else int(c["hw"]["devices"])


def check_placement(c: Config) -> None:
    """`device_map` and `max_memory`: one node, GPUs that `hw` has, values that mean something; host memory in inference alone."""
    hw, parallel = c["hw"], c["strategy"]["parallel"]
    device_map, max_memory = parallel.get("device_map"), parallel.get("max_memory")
    if device_map is None:
        if max_memory is not None:
            raise ConfigError(
                f"strategy.parallel.max_memory={max_memory} limits what strategy.parallel.device_map places, and that is null. Set "
                "strategy.parallel.device_map=auto too, or leave max_memory out."
            )
        return
    if hw["accelerator"] != "gpu":
        raise ConfigError(
            f"strategy.parallel.device_map={device_map} on hw={hw['name']}: it spreads one model over the GPUs of one process. Choose an "
            "hw with GPUs, such as hw=v100x4, or leave device_map out."
        )
    if hw["num_nodes"] != 1:
        raise ConfigError(
            f"strategy.parallel.device_map={device_map} with hw.num_nodes={hw['num_nodes']}: one process cannot use the GPUs of another "
            "machine. Set hw.num_nodes=1, or use strategy/parallel=fsdp."
        )
    if max_memory is not None and (not isinstance(max_memory, Mapping) or not max_memory):
        raise ConfigError(f"strategy.parallel.max_memory={max_memory} is no map; write '{{0: 20GiB, 1: 30GiB}}'.")
    mapped = list(device_map.values()) if isinstance(device_map, Mapping) else []
    for place in [*mapped, *(max_memory or {})]:
        if isinstance(place, int) and not 0 <= place < hw["devices"]:
            raise ConfigError(
                f"strategy.parallel names GPU {place}, but hw={hw['name']} has hw.devices={hw['devices']}, numbered from 0. Correct it, or "
                "set hw.devices."
            )


def _offloads(c: Config) -> bool:
    parallel = c["strategy"]["parallel"]
    device_map, max_memory = parallel.get("device_map"), parallel.get("max_memory")
    mapped = list(device_map.values()) if isinstance(device_map, Mapping) else []
    return "cpu" in mapped or "cpu" in (max_memory or {})


def check_offloaded_bits(c: Config) -> None:
    """LLM.int8() takes parts in host memory where the map names them: they stay float32, as bitsandbytes multiplies on the GPU alone."""
    tuning = c["strategy"]["tuning"]["name"]
    if tuning not in ("qlora", "lora_int8") or not is_placed(c) or not _offloads(c):
        return
    if tuning == "qlora" or not isinstance(c["strategy"]["parallel"]["device_map"], Mapping):
        raise ConfigError(
            f"strategy/tuning={tuning} with parts in host memory (cpu): transformers decides which layers are quantised before it places "
            "them by itself. Use strategy/tuning=lora_int8 and name the places, such as "
            "strategy.parallel.device_map='{model.embed_tokens: 0, model.layers.0: 0, model.layers.1: cpu, model.norm: 0, lm_head: 0}'."
        )


def check_no_offloading_in_training(c: Config) -> None:
    """Weights in host memory visit a GPU for the forward and are gone before the backward needs them."""
    if _offloads(c):
        raise ConfigError(
            "strategy.parallel places parts of the model in host memory (cpu). accelerate brings them to a GPU for each forward and drops "
            "them again, so there is no gradient; that serves task=generate alone. To train a model larger than the GPUs use "
            "strategy=qlora, or strategy/parallel=deepspeed_zero3 with strategy.parallel.offload_parameters=true."
        )


def check_encoder(c: Config) -> None:
    """An encoder reads and never writes, so a score is all it can be trained for."""
    if c["model"]["architecture"] == "encoder" and c["task"]["name"] != "reward":
        raise ConfigError(
            f"task={c['task']['name']} with model={c['model']['name']}: an encoder reads a text and writes none, so it can only be the "
            "backbone of a reward model. Use task=reward, and give the folder it writes to task=ppo as reward.path; or choose another "
            "model, such as model=smollm2_135m."
        )


def check_added_tokens(c: Config) -> None:
    """New rows mean something only once they are trained, and adapters train no rows."""
    tokens, tuning = c["model"].get("add_tokens") or [], c["strategy"]["tuning"]["name"]
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise ConfigError(f"model.add_tokens={tokens} must be a list of texts, such as 'model.add_tokens=[\"<|user|>\"]'.")
    if tokens and tuning != "full":
        raise ConfigError(
            f"model.add_tokens={tokens} with strategy/tuning={tuning}: adapters leave the embedding frozen, so the rows of new tokens "
            "would stay the mean of all others and mean nothing. Use strategy/tuning=full; or take tokens the vocabulary has."
        )
