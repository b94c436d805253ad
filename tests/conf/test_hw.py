"""Every hardware profile answers the same questions, with the vendors' numbers."""

from __future__ import annotations

import re

import pytest

from kinnari.tasks.compose import compose
from kinnari.tasks.config_errors import groups

PROFILES = groups()["hw"]
KEYS = [
    "name", "accelerator", "devices", "num_nodes", "gpus_per_node", "cpus_per_gpu", "precision", "device", "memory_gib", "peak_tflops",
    "bandwidth_gb_s", "interconnect_gb_s", "host_gb_s", "watts", "bf16", "tf32", "attention",
]  # fmt: skip


@pytest.fixture(scope="module")
def profiles():
    return {name: compose([f"hw={name}"]).hw for name in PROFILES}


def test_the_profiles_of_the_issue_exist():
    assert set(PROFILES) >= {"cpu", "cpux2", "v100x1", "v100x4", "v100x8", "a100x4", "a100x8", "h100x8", "rtx4090", "t4"}


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_has_every_key_and_its_own_name(profiles, name):
    assert sorted(profiles[name]) == sorted(KEYS)
    assert profiles[name].name == name


@pytest.mark.parametrize("name", PROFILES)
def test_the_name_says_how_many_devices_there_are(profiles, name):
    count = re.fullmatch(r"(?:cpu|[a-z]\d+)x(\d)", name)
    assert profiles[name].devices == (int(count.group(1)) if count else 1)
    assert profiles[name].num_nodes == 1


@pytest.mark.parametrize("name", PROFILES)
def test_precision_and_kernels_fit_the_device(profiles, name):
    hw = profiles[name]
    assert hw.bf16 or not hw.precision.startswith("bf16")
    assert "sdpa" in hw.attention and "eager" in hw.attention
    assert ("flash_attention_2" in hw.attention) == (hw.accelerator == "gpu" and hw.bf16)


@pytest.mark.parametrize("name", PROFILES)
def test_a_cluster_is_asked_for_the_gpus_that_are_used(profiles, name):
    hw = profiles[name]
    assert hw.gpus_per_node == (hw.devices if hw.accelerator == "gpu" else None)


@pytest.mark.parametrize(
    ("name", "memory_gib", "peak_tflops", "bandwidth_gb_s", "watts", "precision"),
    [
        ("v100x4", 32, 125, 900, 300, "16-mixed"),
        ("t4", 16, 65, 320, 70, "16-mixed"),
        ("a100x8", 80, 312, 2039, 400, "bf16-mixed"),
        ("h100x8", 80, 989, 3350, 700, "bf16-mixed"),
        ("rtx4090", 24, 165.2, 1008, 450, "bf16-mixed"),
    ],
)
def test_the_numbers_are_those_of_the_datasheets(profiles, name, memory_gib, peak_tflops, bandwidth_gb_s, watts, precision):
    hw = profiles[name]
    found = (hw.memory_gib, hw.peak_tflops, hw.bandwidth_gb_s, hw.watts, hw.precision)
    assert found == (memory_gib, peak_tflops, bandwidth_gb_s, watts, precision)
