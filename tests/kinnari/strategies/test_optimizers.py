import io
import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from kinnari.errors import ConfigError
from kinnari.strategies.optimizers import build_optimizer, build_scheduler, decay_groups

CONF = Path(__file__).parents[3] / "conf"
NAMES = ("adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit", "adafactor", "lion")


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(9, 4)
        self.norm = nn.LayerNorm(4)
        self.projection = nn.Linear(4, 4)
        self.lora_A = nn.Linear(4, 2, bias=False)
        self.head = nn.Linear(4, 9, bias=False)
        self.head.weight = self.embedding.weight


def names_of(model, group):
    names = {parameter: name for name, parameter in model.named_parameters()}
    return [names[parameter] for parameter in group["params"]]


class TestDecayGroups:
    def test_matrices_decay_and_vectors_do_not(self):
        model = Block()
        decayed, kept = decay_groups(model, 0.1)
        assert names_of(model, decayed) == ["embedding.weight", "projection.weight", "lora_A.weight"]
        assert names_of(model, kept) == ["norm.weight", "norm.bias", "projection.bias"]
        assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)

    def test_frozen_parameters_are_left_out(self):
        model = Block().requires_grad_(False)
        model.lora_A.requires_grad_(True)
        (group,) = decay_groups(model)
        assert names_of(model, group) == ["lora_A.weight"]

    def test_groups_without_a_number_take_the_optimizers(self):
        optimizer = build_optimizer(decay_groups(Block()), name="adamw", lr=1e-3, weight_decay=0.3)
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]

    def test_matrix_partitioned_by_zero3_is_still_a_matrix(self):
        model = nn.Linear(4, 4, bias=False)
        model.weight.ds_shape = torch.Size([4, 4])
        model.weight.data = torch.empty(0)
        (group,) = decay_groups(model)
        assert "weight_decay" not in group

    def test_model_with_nothing_trainable_is_refused(self):
        with pytest.raises(ConfigError, match="no parameter is trainable"):
            decay_groups(Block().requires_grad_(False))


@pytest.mark.parametrize("name", NAMES)
class TestEveryOptimizer:
    def test_lowers_a_quadratic_on_the_cpu(self, name):
        torch.manual_seed(0)
        weight = nn.Parameter(torch.randn(96, 96))  # above 4096 elements, so that 8-bit state really is used
        optimizer = build_optimizer([weight], name=name, lr=0.02)
        before = weight.detach().square().sum().item()
        for _ in range(20):
            optimizer.zero_grad()
            weight.square().sum().backward()
            optimizer.step()
        assert weight.detach().square().sum().item() < 0.7 * before

    def test_state_resumes_on_the_same_curve(self, name):
        def run(optimizer, weight, steps, seed):
            generator = torch.Generator().manual_seed(seed)
            for _ in range(steps):
                weight.grad = torch.randn(weight.shape, generator=generator)
                optimizer.step()

        whole, first = (nn.Parameter(torch.ones(96, 96)) for _ in range(2))
        straight, stopped = (build_optimizer([weight], name=name, lr=0.01) for weight in (whole, first))
        for optimizer, weight in ((straight, whole), (stopped, first)):
            run(optimizer, weight, 3, seed=0)
        file = io.BytesIO()
        torch.save(stopped.state_dict(), file)
        file.seek(0)
        resumed_weight = nn.Parameter(first.detach().clone())
        resumed = build_optimizer([resumed_weight], name=name, lr=0.01)
        resumed.load_state_dict(torch.load(file, weights_only=True))
        run(straight, whole, 2, seed=1)
        run(resumed, resumed_weight, 2, seed=1)
        assert torch.equal(whole, resumed_weight)

    def test_config_builds_it(self, name):
        from hydra.utils import instantiate
        from omegaconf import OmegaConf

        config = OmegaConf.load(CONF / "optimizer" / f"{name}.yaml")
        assert config.name == name and isinstance(config.lr, float)
        optimizer = instantiate(config)(decay_groups(Block()))
        assert optimizer.param_groups[0]["lr"] == config.lr
        assert optimizer.param_groups[0]["weight_decay"] == config.weight_decay


class TestBuildOptimizer:
    def test_adamw_is_fused(self):
        assert build_optimizer([nn.Parameter(torch.ones(2))], name="adamw", lr=1.0).defaults["fused"]

    def test_eight_bit_state_takes_a_byte(self):
        weight = nn.Parameter(torch.ones(96, 96))
        optimizer = build_optimizer([weight], name="adamw_8bit", lr=1e-3)
        weight.grad = torch.ones_like(weight)
        optimizer.step()
        assert optimizer.state[weight]["state1"].dtype == torch.uint8

    def test_paging_on_the_cpu_is_announced_as_no_paging(self, caplog):
        with caplog.at_level(logging.WARNING):
            build_optimizer([nn.Parameter(torch.ones(2))], name="paged_adamw_8bit", lr=1e-3)
        assert "pages nothing" in caplog.text

    def test_device_without_kernels_is_refused(self):
        with pytest.raises(ConfigError, match="AdamW8bit has no kernels for meta"):
            build_optimizer([nn.Parameter(torch.ones(2, device="meta"))], name="adamw_8bit", lr=1e-3)

    def test_unknown_name_lists_the_known(self):
        with pytest.raises(ConfigError, match=r"'adam'.*adamw, adamw_8bit"):
            build_optimizer([nn.Parameter(torch.ones(2))], name="adam", lr=1e-3)

    @pytest.mark.parametrize("settings", [{"lr": -1.0}, {"lr": 1.0, "weight_decay": -0.1}, {"lr": 1.0, "betas": (0.9, 1.0)}])
    def test_numbers_out_of_range_are_refused(self, settings):
        with pytest.raises(ConfigError, match="optimizer"):
            build_optimizer([nn.Parameter(torch.ones(2))], name="adamw", **settings)


def an_optimizer():
    return build_optimizer([nn.Parameter(torch.ones(2))], name="adamw", lr=0.5)


class TestBuildScheduler:
    def test_rate_follows_the_schedule(self):
        optimizer = an_optimizer()
        scheduler = build_scheduler(optimizer, name="linear", total_steps=4, warmup_steps=2)
        rates = []
        for _ in range(4):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        assert rates == [0.0, 0.25, 0.5, 0.25]

    def test_state_holds_plain_values_and_resumes(self):
        scheduler = build_scheduler(an_optimizer(), name="cosine", total_steps=10, warmup_ratio=0.2, floor=0.1)
        for _ in range(5):
            scheduler.optimizer.step()
            scheduler.step()
        file = io.BytesIO()
        torch.save(scheduler.state_dict(), file)
        file.seek(0)
        state = torch.load(file, weights_only=True)
        assert all(isinstance(value, int | float | list | bool | None) for value in state.values())
        resumed = build_scheduler(an_optimizer(), name="cosine", total_steps=10, warmup_ratio=0.2, floor=0.1)
        resumed.load_state_dict(state)
        for each in (scheduler, resumed):
            each.optimizer.step()
            each.step()
        assert resumed.get_last_lr() == scheduler.get_last_lr()

    @pytest.mark.parametrize("name", ["cosine", "linear", "constant", "warmup_decay", "one_cycle", "inverse_sqrt"])
    def test_config_builds_it(self, name):
        from hydra.utils import instantiate
        from omegaconf import OmegaConf

        config = OmegaConf.load(CONF / "scheduler" / f"{name}.yaml")
        scheduler = instantiate(config)(an_optimizer(), total_steps=100)
        assert config.name == name
        assert 0.0 <= scheduler.get_last_lr()[0] < 0.5

    def test_setting_of_another_schedule_is_refused(self):
        with pytest.raises(ConfigError, match="div_factor"):
            build_scheduler(an_optimizer(), name="linear", total_steps=4, div_factor=3.0)

    def test_unknown_name_lists_the_known(self):
        with pytest.raises(ConfigError, match=r"'poly'.*cosine"):
            build_scheduler(an_optimizer(), name="poly", total_steps=4)

    def test_two_warmups_are_refused(self):
        with pytest.raises(ConfigError, match=r"warmup_ratio=0.1 and warmup_steps=3"):
            build_scheduler(an_optimizer(), name="cosine", total_steps=40, warmup_ratio=0.1, warmup_steps=3)
