"""One model spread over the devices of one process, its blocks one after the other: naive model parallelism, by accelerate's hooks."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.hooks import AlignDevicesHook, remove_hook_from_module
from torch import nn
from transformers import PreTrainedModel

from kinnari.errors import ConfigError

log = logging.getLogger(__name__)

POLICIES = ("auto", "balanced", "sequential")
HOST = "cpu"


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where the parts of one model go.

    Attributes:
        device_map: "auto" and "balanced" give each GPU about as much, "sequential" fills the first before the next; or a map
            from module names to GPU numbers, such as {model.embed_tokens: 0, model.layers.0: 0, model.layers.1: 1}.
        max_memory: GPU number (or "cpu") -> most bytes of weights there, an int or a text such as "20GiB". What does not fit on the
            GPUs goes to host memory if "cpu" is named, for inference alone.

    Raises:
        ConfigError: another word, an empty map, or a place that is neither a GPU number nor "cpu".
    """

    device_map: str | Mapping[str, int | str]
    max_memory: Mapping[int | str, int | str]

    def __post_init__(self) -> None:
        if isinstance(self.device_map, str):
            if self.device_map not in POLICIES:
                raise ConfigError(
                    f"strategy.parallel.device_map={self.device_map} is unknown. Choose one of {', '.join(POLICIES)}, null, or a map from "
                    "module names to GPU numbers."
                )
            places = list(self.max_memory)
        else:
            places = [*self.device_map.values(), *self.max_memory]
        if not places:
            raise ConfigError("strategy.parallel.device_map places nothing: it is empty. Set it to auto.")
        wrong = [place for place in places if place != HOST and (not isinstance(place, int) or isinstance(place, bool) or place < 0)]
        if wrong:
            raise ConfigError(
                f"strategy.parallel.device_map or max_memory names the device {wrong[0]!r}; name GPUs by number (0, 1, ...) and host "
                "memory `cpu`."
            )

    @property
    def offloads(self) -> bool:
        """Whether parts may go to host memory and visit a GPU for each forward."""
        return HOST in self.max_memory or (not isinstance(self.device_map, str) and HOST in self.device_map.values())

    def arguments(self) -> dict[str, Any]:
        """Of `from_pretrained`."""
        device_map = self.device_map if isinstance(self.device_map, str) else dict(self.device_map)
        return {"device_map": device_map, "max_memory": dict(self.max_memory)}


def free_memory(devices: int) -> dict[int, int]:
    """GPU number -> bytes free there, of the first `devices` GPUs.

    Raises:
        ConfigError: this machine has fewer.
    """
    there = torch.cuda.device_count()
    if there < devices:
        raise ConfigError(f"hw.devices={devices} GPUs for strategy.parallel.device_map, but this process sees {there}. Lower hw.devices.")
    return {index: torch.cuda.mem_get_info(index)[0] for index in range(devices)}


def is_spread(model: nn.Module) -> bool:
    """Whether a transformers model lies in `module` whose parts accelerate placed on several devices, so that nobody may move it."""
    maps = (vars(module).get("hf_device_map") for module in model.modules() if isinstance(module, PreTrainedModel))
    return any(found is not None and len(set(found.values())) > 1 for found in maps)


def places_of(model: PreTrainedModel) -> dict[str, Any]:
    """Module name -> device, as accelerate dispatched it; empty where it did not."""
    return dict(vars(model).get("hf_device_map") or {})


def check_nothing_on_disk(model: PreTrainedModel, placement: Placement) -> None:
    """Raises ConfigError where the weights did not fit: transformers then leaves the rest in its files and reads it at every forward."""
    left = [name for name, device in places_of(model).items() if device == "disk"]
    if left:
        raise ConfigError(
            f"The weights do not fit into {dict(placement.max_memory)}: {len(left)} parts are left over ({left[0] or 'all of it'}). "
            "Raise strategy.parallel.max_memory, use more GPUs (hw.devices) or fewer bits (strategy=qlora); for task=generate alone, name "
            "host memory too: strategy.parallel.max_memory='{0: 20GiB, cpu: 60GiB}'."
        )


def release_head(model: PreTrainedModel) -> None:
    """Takes accelerate's hook off the output head and puts a plain one there that brings the hidden states to the head's device.

    accelerate replaces the head's `forward`, and `kinnari.models.head` must replace the head. With the plain hook everything else
    about the head is as in any model: its weight lies where its input arrives. Heads in host memory keep accelerate's hook.
    """
    head = model.get_output_embeddings()
    hook = None if head is None else vars(head).get("_hf_hook")
    if head is None or hook is None or (isinstance(hook, AlignDevicesHook) and hook.offload):
        return
    remove_hook_from_module(head)
    vars(head).pop("forward", None)  # accelerate 1.x puts the old method back as an attribute of the object

    def bring_here(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(x.to(head.weight.device) if isinstance(x, torch.Tensor) else x for x in arguments)

    head.register_forward_pre_hook(bring_here)


def tell_places(model: PreTrainedModel, name: str) -> None:
    """Logs how many modules of the map each device holds, and its bytes of weights."""
    devices = list(dict.fromkeys(places_of(model).values()))
    held = {str(device): 0 for device in devices}
    for parameter in model.parameters():
        key = str(parameter.device.index) if parameter.device.type == "cuda" else HOST
        held[key] = held.get(key, 0) + parameter.numel() * parameter.element_size()
    log.info("%s is spread over %s.", name, ", ".join(f"{device}: {size / 2**30:.2f} GiB" for device, size in held.items()))
