"""Models that are trained without an estimate before."""

from __future__ import annotations

import pytest

from kinnari.tasks.compose import compose
from kinnari.tasks.small_models import is_small


@pytest.mark.parametrize(("words", "memory", "small"), [
    (["model=smollm2_135m", "strategy=full"], 16, True),  # 135 million x 18 bytes: 2.3 GiB of 3.2
    (["model=smollm2_135m", "strategy=full"], 8, False),
    (["model=xglm7b", "strategy=full"], 80, False),
    (["model=xglm1_7b", "strategy=lora"], 80, True),  # 1.7 billion x 5 bytes: 8.1 GiB of 16
    (["model=xglm7b", "model.shrunk=true"], 1, True),
    (["model=tiny_causal"], 0.001, True),
    (["model=xglm7b", "model.parameters=null"], 1000, False),  # a folder of the user's: nothing is known before it is looked at
    (["model=xglm7b"], None, True),
])  # fmt: skip
def test_by_the_parameters_that_the_model_file_states(words, memory, small):
    assert is_small(compose(words), memory) is small
