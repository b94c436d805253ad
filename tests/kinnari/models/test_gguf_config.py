"""What transformers' reader leaves out is taken from the file: here the parts that no round trip shows."""

import math

import gguf
import numpy as np
import pytest
from transformers import LlamaConfig

from kinnari.errors import ConfigError
from kinnari.models.gguf_config import complete_config, llama3_divisors

ROPE = {"rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def test_llama3_divides_short_waves_by_one_and_long_ones_by_the_factor():
    found = llama3_divisors(ROPE, 128)
    wavelengths = [2 * math.pi * 10000 ** (2 * index / 128) for index in range(64)]
    for wavelength, divisor in zip(wavelengths, found, strict=True):
        if wavelength < 8192 / 4:
            assert divisor == 1
        elif wavelength > 8192 / 1:
            assert divisor == pytest.approx(8)
        else:
            share = (8192 / wavelength - 1) / (4 - 1)
            assert divisor == pytest.approx(1 / ((1 - share) / 8 + share), rel=1e-5)
    assert (np.diff(found) >= 0).all()


def file_with(divisors, path):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_rope_freq_base(10000.0)
    writer.add_tensor("rope_freqs.weight", divisors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return gguf.GGUFReader(path)


def test_the_llama3_scaling_is_recognised_by_its_divisors(tmp_path):
    config = LlamaConfig()
    complete_config(config, file_with(llama3_divisors(ROPE, 128), tmp_path / "a.gguf"))
    assert config.rope_parameters == {**ROPE, "rope_type": "llama3"}


def test_divisors_of_no_published_scaling_are_refused(tmp_path):
    strange = llama3_divisors({**ROPE, "original_max_position_embeddings": 4096}, 128)
    with pytest.raises(ConfigError, match=r"rope_freqs\.weight.*llama3"):
        complete_config(LlamaConfig(), file_with(strange, tmp_path / "a.gguf"))


def test_a_float32_becomes_the_decimal_it_was(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_layer_norm_rms_eps(1e-5)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    config = LlamaConfig(rms_norm_eps=1.0)
    complete_config(config, gguf.GGUFReader(tmp_path / "a.gguf"))
    assert config.rms_norm_eps == 1e-5, "not 9.999999747378752e-06"
