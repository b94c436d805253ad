"""FSDP2: every block and then the root becomes a group whose parameters are gathered together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn import Module, Parameter

from kinnari.errors import ConfigError

# torch computes in param_dtype and reduces gradients in float32: sums over many ranks in 16 bits lose small gradients
_POLICIES = {
    "32-true": MixedPrecisionPolicy(),
    "bf16-mixed": MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32),
    "bf16-true": MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32),
    # autocast casts what it multiplies; a residual stream that is float32 because it overflows (T5) must pass from block to block as it is
    "16-mixed": MixedPrecisionPolicy(param_dtype=torch.float16, reduce_dtype=torch.float32, cast_forward_inputs=False),
}


def mixed_precision_policy(precision: str) -> MixedPrecisionPolicy:
    """Policy for a Lightning precision string. Raises: ConfigError for one that FSDP2 is not run with."""
    if precision not in _POLICIES:
        raise ConfigError(f"precision={precision!r} is not run under fsdp; choose one of {', '.join(_POLICIES)}")
    return _POLICIES[precision]


def shard_fsdp2(
    model: Module,
    block_classes: Sequence[str],
    mesh: DeviceMesh,
    precision: str,
) -> Module:
    """Shard `model` in place over the one-dimensional `mesh`: each block of a class in `block_classes`, then the rest.

    Embeddings and a head tied to them stay together in the root group. Within a group frozen parameters may have any dtype;
    trainable ones must share one (LoRA: base in bf16, adapters in fp32). Call it before the optimizer is made.

    Returns: the same module, now also an FSDPModule.
    Raises: ConfigError where no block is found, trainable dtypes differ, or packed 4-bit weights would be cast.
    """
    policy = mixed_precision_policy(precision)
    blocks = [module for module in model.modules() if type(module).__name__ in set(block_classes)]
    if not blocks:
        raise ConfigError(
            f"model {type(model).__name__} has no block of class {', '.join(block_classes) or '(none given)'}; set"
            f" model.block_classes to the class of its repeated layer (its classes: {_repeated_classes(model)})"
        )
    _check_trainable_dtype(model)
    _check_packed_weights(model, policy)
    _keep_quantisation_state(model)
    for block in blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    return model


def _repeated_classes(model: Module) -> str:
    lists = (module for module in model.modules() if isinstance(module, torch.nn.ModuleList) and len(module) > 1)
    return ", ".join(sorted({type(child).__name__ for modules in lists for child in modules})) or "none repeated"


def _check_trainable_dtype(model: Module) -> None:
    dtypes = {parameter.dtype for parameter in model.parameters() if parameter.requires_grad}
    if len(dtypes) > 1:
        raise ConfigError(
            f"trainable parameters have the dtypes {', '.join(sorted(map(str, dtypes)))}; fsdp reduces the gradients of a"
            " group together and needs one: load the model in float32, or train adapters in float32 over a frozen base"
        )


def _is_packed(parameter: Parameter) -> bool:
    return type(parameter).__name__ == "Params4bit"  # by name: bitsandbytes is an optional package


def _check_packed_weights(model: Module, policy: MixedPrecisionPolicy) -> None:
    """bitsandbytes keeps packed 4-bit weights in a tensor of a float dtype: casting its numbers destroys the bits."""
    for name, parameter in model.named_parameters():
        if not _is_packed(parameter):
            continue
        if parameter.is_floating_point() and policy.param_dtype not in (None, parameter.dtype):
            raise ConfigError(
                f"4-bit weight {name} is stored as {parameter.dtype} but this precision gathers weights as"
                f" {policy.param_dtype}; load it with bnb_4bit_quant_storage={str(policy.param_dtype).removeprefix('torch.')}"
            )


def _keep_quantisation_state(model: Module) -> None:
    """The scales of a 4-bit weight hang on the parameter, which sharding replaces; bitsandbytes then looks for them on the
    module (0.50.2, `fix_4bit_weight_quant_state_from_module`), where not every way of loading has put them.
    """
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if name == "weight" and _is_packed(parameter):
                module.quant_state = parameter.quant_state
