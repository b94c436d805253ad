"""How long a chunk of logits may be, and which dtype its products have."""

import pytest
import torch

from kinnari.functional.chunked_logits import CHUNK_BYTES, chunk_buffers, default_chunk_size, matmul_dtype


def test_default_chunk_fits_its_budget():
    assert default_chunk_size(256_008) == 262
    assert default_chunk_size(256_008) * 256_008 * 4 <= CHUNK_BYTES
    assert default_chunk_size(256_008, softcap=30.0) == default_chunk_size(256_008, entropy=True) == 131
    assert default_chunk_size(256_008, softcap=30.0, entropy=True) == 87
    assert default_chunk_size(10**12) == 1


@pytest.mark.parametrize(("dtype", "buffers"), [(torch.float32, 1), (torch.float64, 1), (torch.bfloat16, 2)])
def test_a_second_buffer_is_only_there_where_the_products_are_in_16_bits(dtype, buffers):
    product, exact = chunk_buffers(torch.zeros(3, 2), torch.zeros(5, 2), dtype, chunk_size=7)
    assert product.shape == exact.shape == (3, 5)
    assert len({product.data_ptr(), exact.data_ptr()}) == buffers


def test_products_run_in_the_lower_dtype_or_in_that_of_autocast():
    low, full, double = torch.zeros(1, dtype=torch.bfloat16), torch.zeros(1), torch.zeros(1, dtype=torch.float64)
    assert matmul_dtype(low, full) == matmul_dtype(full, low) == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert matmul_dtype(full, full) == torch.bfloat16
        assert matmul_dtype(double, double) == torch.float64
