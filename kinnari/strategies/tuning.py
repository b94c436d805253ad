"""Which numbers of a model are trained: all of them (full), or low-rank adapters on a plain, 4-bit or 8-bit base.

Sources: LoRA, arXiv 2106.09685; QLoRA, arXiv 2305.14314; LLM.int8(), arXiv 2208.07339. Adapters are those of `peft`.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftConfig, PeftModel, TaskType, get_peft_model
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel

from kinnari.errors import ConfigError
from kinnari.models.quantized import is_quantized_parameter
from kinnari.models.spec import ModelSpec

log = logging.getLogger(__name__)

NAMES = ("full", "lora", "qlora", "lora_int8")
ALL_LINEAR = "all-linear"
_TASKS = {"causal": TaskType.CAUSAL_LM, "seq2seq": TaskType.SEQ_2_SEQ_LM, "encoder": TaskType.FEATURE_EXTRACTION}


@dataclass
class Tuning:
    """What is trained, and how the frozen rest is held.

    Attributes:
        name: "full", "lora", "qlora" (4-bit base) or "lora_int8" (8-bit base).
        r: rank of the adapters.
        alpha: the adapters' output is scaled by alpha / r.
        dropout: probability of dropping an adapter input in training.
        targets: last name components of the adapted linear layers; None takes `ModelSpec.lora_targets`, "all-linear"
            every linear layer but the head.
        bias: which bias terms train beside the adapters.
        quant_type: 4-bit code, NormalFloat or plain float.
        double_quant: whether the block scales of the 4-bit base are quantised too (saves 0.4 bit a weight).
        quant_storage: dtype the packed 4-bit numbers are kept in; None takes uint8, or the compute dtype under sharding.
        adapter: folder of an existing PEFT adapter to train on; its rank and targets then hold.
        gradient_checkpointing: recompute block activations in the backward pass; less memory, about a third slower.
    """

    name: Literal["full", "lora", "qlora", "lora_int8"] = "lora"
    r: int = 8
    alpha: float = 16
    dropout: float = 0.0
    targets: list[str] | str | None = None
    bias: Literal["none", "all", "lora_only"] = "none"
    quant_type: Literal["nf4", "fp4"] = "nf4"
    double_quant: bool = True
    quant_storage: Literal["uint8", "float32", "bfloat16", "float16"] | None = None
    adapter: str | None = None
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ConfigError(f"tuning.name={self.name!r} is not known; choose one of {', '.join(NAMES)}.")
        if self.quant_type not in ("nf4", "fp4"):
            raise ConfigError(f"tuning.quant_type={self.quant_type!r} is not known; choose nf4 or fp4.")
        if self.r < 1:
            raise ConfigError(f"tuning.r={self.r}: the rank of an adapter must be 1 or more; 8 is usual.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"tuning.dropout={self.dropout} is no probability below 1.")
        if self.name == "full" and self.adapter is not None:
            raise ConfigError(
                f"tuning.adapter={self.adapter} with tuning.name=full: full tuning has no adapter to train on. "
                f"Set strategy/tuning=lora, or merge the adapter first and give the merged folder as model.path."
            )


def quantization_config(tuning: Tuning, compute_dtype: torch.dtype, sharded: bool, offloads: bool = False) -> BitsAndBytesConfig | None:
    """What `kinnari.models.load.load_model` needs to hold the base in few bits; None for full and plain LoRA.

    Args:
        compute_dtype: dtype the weights are expanded to for each matrix product.
        sharded: whether the strategy splits the parameters over ranks (FSDP2, ZeRO-3). Packed 4-bit numbers are then
            kept in the compute dtype, since a shard must be cut from a floating-point parameter.
        offloads: whether 8-bit models may have layers in host memory, unquantised (float32), that visit the GPU for each forward.

    Raises:
        ConfigError: 8-bit weights under sharding.
    """
    if tuning.name == "qlora":
        # fsdp gathers a group in the compute dtype: packed numbers kept in another one would be cast, and so destroyed
        storage = tuning.quant_storage or (str(compute_dtype).removeprefix("torch.") if sharded else "uint8")
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=tuning.quant_type,
            bnb_4bit_use_double_quant=tuning.double_quant,
            bnb_4bit_compute_dtype=compute_dtype,
            bnb_4bit_quant_storage=storage,
        )
    if tuning.name == "lora_int8":
        if sharded:
            raise ConfigError(
                "strategy/tuning=lora_int8 keeps int8 weights, which cannot be sharded (integers take no gradient "
                "hooks). Set strategy/tuning=qlora or lora, or strategy/parallel=ddp."
            )
        # bitsandbytes 0.50 warns of this cast in every layer of every step; once is enough
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        if compute_dtype != torch.float16:
            log.info("LLM.int8 computes its products in float16, whatever the precision (%s here).", compute_dtype)
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_enable_fp32_cpu_offload=offloads)
    return None


def apply_tuning(
    model: PreTrainedModel, tuning: Tuning, spec: ModelSpec, *, trainable_dtype: torch.dtype = torch.float32, trains: bool = True
) -> PreTrainedModel | PeftModel:
    """Marks what is trained, adds adapters where the tuning has them, and says so in the log.

    Trained parameters get `trainable_dtype` (float32: the optimizer's master weights). The frozen base keeps the dtype
    it was loaded in, norms included: the norms of transformers compute in float32 anyway, and what is trained then is
    what is sampled from, merged and exported. The mode (train or eval) is left as it was.

    Args:
        trains: False for a model that only answers: nothing is logged of what would be trained.

    Raises:
        ConfigError: tokens added under an adapter, an adapter on the language-model head, a target that names no linear
            layer, full tuning of a quantised model, or an adapter folder made for another base or shape.
    """
    tuned: Any = model
    if spec.add_tokens and tuning.name != "full":
        raise ConfigError(
            f"model.add_tokens={spec.add_tokens} with tuning.name={tuning.name}: adapters leave the embedding frozen, so the rows of new "
            "tokens would stay the mean of all others. Use full tuning, or tokens the vocabulary has."
        )
    if tuning.name == "full":
        if any(is_quantized_parameter(parameter) for parameter in model.parameters()):
            raise ConfigError("strategy/tuning=full cannot train 4- or 8-bit weights; load the model without quantization.")
        model.requires_grad_(True)
        tuned.to(trainable_dtype)
    elif tuning.adapter is not None:
        tuned = _continue_adapter(model, tuning, Path(tuning.adapter).expanduser(), tells=trains)
    else:
        tuned = get_peft_model(model, _lora_config(model, tuning, spec))
    for parameter in tuned.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(trainable_dtype)
    if tuning.gradient_checkpointing:
        base: Any = tuned.get_base_model() if isinstance(tuned, PeftModel) else tuned
        # reentrant checkpoints would lose the gradients of adapters above a frozen input
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if not trains:
        return tuned
    trainable, total = trainable_parameters(tuned)
    log.info("%s trains %d of %d parameters (%.2f %%).", tuning.name, trainable, total, 100 * trainable / total)
    return tuned


def _lora_config(model: PreTrainedModel, tuning: Tuning, spec: ModelSpec) -> LoraConfig:
    targets = spec.lora_targets if tuning.targets is None else tuning.targets
    if isinstance(targets, str) and targets != ALL_LINEAR:
        raise ConfigError(f"tuning.targets={targets!r} must be a list of layer names, null or {ALL_LINEAR!r}.")
    if targets != ALL_LINEAR:
        targets = list(targets)
        _check_targets(model, targets)
    return LoraConfig(
        r=tuning.r,
        lora_alpha=tuning.alpha,  # type: ignore[arg-type]  # any number scales
        lora_dropout=tuning.dropout,
        target_modules=targets,
        bias=tuning.bias,
        task_type=_TASKS[spec.architecture],
    )


def _linear_layers(model: PreTrainedModel) -> Iterator[str]:
    head = model.get_output_embeddings()
    return (name for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head)


def _check_targets(model: PreTrainedModel, targets: list[str]) -> None:
    output = model.get_output_embeddings()  # an encoder has none
    head = next((name for name, module in model.named_modules() if module is output), "")
    names = list(_linear_layers(model))
    known = sorted({name.rsplit(".", 1)[-1] for name in names})
    for target in targets:
        if head == target or head.endswith(f".{target}"):
            raise ConfigError(
                f"tuning.targets holds {target!r}, the language-model head. The head shares its weight with the "
                f"embedding in many models and computes the loss in chunks; it takes no adapter. Choose from "
                f"{', '.join(known)}."
            )
        if not any(name == target or name.endswith(f".{target}") for name in names):
            raise ConfigError(
                f"tuning.targets holds {target!r}, but this {model.config.model_type} model has no such linear layer. "
                f"Choose from {', '.join(known)}, or set tuning.targets={ALL_LINEAR}."
            )


def _continue_adapter(model: PreTrainedModel, tuning: Tuning, folder: Path, *, tells: bool) -> PeftModel:
    if not (folder / "adapter_config.json").is_file():
        raise ConfigError(f"tuning.adapter={folder} holds no adapter_config.json; give the folder of a PEFT adapter.")
    if not (folder / "adapter_model.safetensors").is_file():
        raise ConfigError(f"tuning.adapter={folder} holds no adapter_model.safetensors (pickled adapters are refused).")
    config = PeftConfig.from_pretrained(str(folder))
    if not isinstance(config, LoraConfig):
        raise ConfigError(f"tuning.adapter={folder} is a {config.peft_type} adapter; only LoRA adapters can be trained on.")
    if config.use_dora or config.modules_to_save:
        raise ConfigError(
            f"tuning.adapter={folder} uses DoRA or fully trained modules (modules_to_save), which this version "
            f"cannot merge exactly; give a plain LoRA adapter."
        )
    _check_base(model, config, folder)
    if tells and (config.r, config.lora_alpha) != (tuning.r, tuning.alpha):
        log.warning("%s has r=%d, alpha=%s: they hold, not tuning.r=%d, tuning.alpha=%s.",
                    folder, config.r, config.lora_alpha, tuning.r, tuning.alpha)  # fmt: skip
    config.lora_dropout = tuning.dropout  # a setting of this run, not a shape of the adapter
    config.inference_mode = False
    try:
        peft_model = get_peft_model(model, config)
        # its report names what did not fit; PeftModel.from_pretrained would only warn (peft 0.21)
        loaded = peft_model.load_adapter(str(folder), "default", is_trainable=True)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().split("\n")[-1].strip()
        raise ConfigError(
            f"The adapter {folder} does not fit {model.name_or_path}: {reason}. Take the base it was trained on "
            f"({config.base_model_name_or_path})."
        ) from error
    misfits = [key for key in loaded.missing_keys if "lora_" in key] + loaded.unexpected_keys
    if misfits:
        raise ConfigError(
            f"The adapter {folder} does not fit {model.name_or_path}: {len(misfits)} of its weights are missing or "
            f"have no place, such as {misfits[0]}. Take the base it was trained on."
        )
    return peft_model


def _check_base(model: PreTrainedModel, config: LoraConfig, folder: Path) -> None:
    """Compares last path components: cache folders carry a checksum there, and stand elsewhere on another machine."""
    made_for, given = config.base_model_name_or_path, model.name_or_path
    if made_for and given and Path(made_for).name != Path(given).name:
        raise ConfigError(
            f"The adapter {folder} was made for {made_for}, not for {given}: on another base its numbers mean nothing. "
            f"Load that base, or correct base_model_name_or_path in its adapter_config.json if it is the same model "
            "moved."
        )


def trainable_parameters(model: nn.Module) -> tuple[int, int]:
    """(trained, all) parameters. Tied ones count once; packed 4-bit ones count as the weights they hold."""
    trainable = total = 0
    for parameter in model.parameters():
        count = parameter.numel()
        if type(parameter).__name__ == "Params4bit" and parameter.quant_state is not None:
            count = parameter.quant_state.shape.numel()
        total += count
        trainable += count if parameter.requires_grad else 0
    return trainable, total
