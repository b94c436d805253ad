"""What a checkpoint exports does not depend on the strategy that trained it, and is never empty."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kinnari.export.adapter import export_adapter
from kinnari.export.merged import export_merged
from tests.kinnari.strategies.conftest import SHARED
from tests.kinnari.strategies.toy import toy_model

TOKENIZER: Any = SimpleNamespace(save_pretrained=lambda folder: None)  # what is compared has no text in it


@pytest.fixture(scope="session")
def exported(single: Any, two_ranks: Any, checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """(strategy, tuning) -> folder with `adapter` (LoRA and QLoRA) and `merged`, written in this process from the strategy's checkpoint."""
    made: dict[tuple[str, str], Path] = {}

    def export(strategy: str, tuning: str) -> Path:
        if (strategy, tuning) not in made:
            made[strategy, tuning] = _export(checkpoints / f"{strategy}-{tuning}.ckpt", tuning, tmp_path_factory.mktemp("exported"))
        return made[strategy, tuning]

    return export


def _export(checkpoint: Path, tuning: str, folder: Path) -> Path:
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    model: Any = toy_model(tuning)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {f"model.{name}" for name in trained} == state.keys()
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(state[f"model.{name}"])
    if tuning != "full":
        export_adapter(model, TOKENIZER, folder / "adapter")
    export_merged(model, TOKENIZER, folder / "merged", dtype=torch.float32)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["lora", "qlora"])
@pytest.mark.parametrize("strategy", SHARED)
def test_every_strategy_exports_the_adapter_of_one_process(strategy: str, tuning: str, exported: Callable[[str, str], Path]) -> None:
    ours, alone = (weights(exported(name, tuning) / "adapter") for name in (strategy, "single"))
    assert ours.keys() == alone.keys()
    for name, value in alone.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-5, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["lora", "qlora"])
@pytest.mark.parametrize("strategy", ["single", *SHARED])
def test_no_adapter_is_empty(strategy: str, tuning: str, exported: Callable[[str, str], Path]) -> None:
    # alpaca-lora's patch of state_dict met a newer peft, and its adapters were files of 443 bytes
    folder = exported(strategy, tuning) / "adapter"
    found = weights(folder)
    # r = 3 on q_proj (32 -> 32) and up_proj (32 -> 27) of two blocks
    assert len(found) == 8 and sum(value.numel() for value in found.values()) == 2 * 3 * (32 + 32 + 32 + 27) == 738
    assert (folder / "adapter_model.safetensors").stat().st_size > 4 * 738
    assert all(value.abs().max() > 1e-3 for name, value in found.items() if "lora_B" in name)


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["full", "lora", "qlora"])
@pytest.mark.parametrize("strategy", SHARED)
def test_every_strategy_exports_the_merged_model_of_one_process(strategy: str, tuning: str, exported: Callable[[str, str], Path]) -> None:
    ours, alone, untrained = weights(exported(strategy, tuning) / "merged"), weights(exported("single", tuning) / "merged"), toy_model()
    assert ours.keys() == alone.keys() == untrained.state_dict().keys()
    for name, value in alone.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-5, msg=name)
    changed = [name for name, value in untrained.state_dict().items() if (ours[name] - value).abs().max() > 1e-4]
    assert set(changed) >= {f"model.layers.{i}.{layer}.weight" for i in range(2) for layer in ("self_attn.q_proj", "mlp.up_proj")}
