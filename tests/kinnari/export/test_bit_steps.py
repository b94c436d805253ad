"""Differences counted in representable numbers, and back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.export.bit_steps import after_steps, same_bits, starting_point, steps_between

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)
OTHERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.complex64)


@st.composite
def bit_patterns(draw, dtypes=FLOATS + OTHERS):
    """Two tensors of one dtype with any bits at all: NaN with payloads, infinities, subnormals and -0 among them."""
    dtype = draw(st.sampled_from(dtypes))
    width = torch.empty(0, dtype=dtype).element_size()
    count = draw(st.integers(0, 12))
    return [tensor_of(draw(st.binary(min_size=count * width, max_size=count * width)), dtype) for _ in range(2)]


def tensor_of(content: bytes, dtype: torch.dtype) -> torch.Tensor:
    return torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)


@given(bit_patterns())
@settings(max_examples=400, deadline=None)
def test_any_bits_come_back_from_any_other(pair):
    start, end = pair
    back = after_steps(start, steps_between(start, end))
    assert back.dtype == end.dtype
    assert same_bits(back, end)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_16_bit_number_comes_back_from_every_start_of_a_kind(dtype):
    every = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
    for start in (0.0, -0.0, 1.5, -3.0, float("inf"), float("nan"), 6e-8):
        origin = torch.full_like(every, start)
        assert same_bits(after_steps(origin, steps_between(origin, every)), every)


def test_float_subtraction_would_not_come_back():
    base, tuned = torch.tensor([1.0]), torch.tensor([1e-9])
    assert base + (tuned - base) != tuned
    assert same_bits(after_steps(base, steps_between(base, tuned)), tuned)


def test_a_step_is_the_next_representable_number():
    start = torch.tensor([1.0, -1.0, 0.0, 65504.0], dtype=torch.float16)
    end = torch.tensor([1.0 + 2**-10, -1.0 - 2**-10, 2**-24, float("inf")], dtype=torch.float16)
    assert steps_between(start, end).tolist() == [1, -1, 1, 1]
    # -2^-24, -0, +0, 2^-24: three steps
    assert steps_between(torch.tensor([-(2**-24)], dtype=torch.float16), torch.tensor([2**-24], dtype=torch.float16)).tolist() == [3]


@given(bit_patterns(dtypes=(torch.float32,)))
@settings(max_examples=100, deadline=None)
def test_larger_numbers_are_more_steps_away(pair):
    values = torch.cat(pair)
    values = values[~values.isnan()].sort().values
    steps = steps_between(torch.zeros_like(values), values)
    assert torch.equal(steps, steps.sort().values)


def test_chunks_do_not_show(monkeypatch):
    start, end = torch.randn(7, 11), torch.randn(7, 11)
    whole = steps_between(start, end)
    monkeypatch.setattr("kinnari.export.bit_steps._CHUNK", 5)
    assert torch.equal(steps_between(start, end), whole)
    assert same_bits(after_steps(start, whole), end)


def test_tensors_that_are_not_contiguous_are_read_in_their_own_order():
    start, end = torch.randn(4, 6).t(), torch.randn(6, 4)
    assert same_bits(after_steps(start, steps_between(start, end)), end)


def test_a_scalar_and_an_empty_tensor_have_differences():
    for start, end in ((torch.tensor(2.0), torch.tensor(3.0)), (torch.zeros(0, 3), torch.zeros(0, 3))):
        assert same_bits(after_steps(start, steps_between(start, end)), end)


# --- where steps start ----------------------------------------------------------------------------------------------------


def test_added_rows_start_at_zero_and_removed_rows_are_cut():
    base = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert starting_point(base, (3, 2), torch.float32).tolist() == [[1.0, 2.0], [3.0, 4.0], [0.0, 0.0]]
    assert starting_point(base, (1, 2), torch.float32).tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(("dtype", "to"), [(a, b) for a in FLOATS[:4] for b in FLOATS[:4] if a != b])
def test_the_base_is_rounded_to_the_tuned_dtype_and_its_nan_becomes_zero(dtype, to):
    start = starting_point(torch.tensor([1.0009765625, float("nan"), -0.0], dtype=dtype), (3,), to)
    expected = torch.tensor([torch.tensor(1.0009765625, dtype=dtype).item(), 0.0, -0.0]).to(to)
    assert same_bits(start, expected)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((2, 3), torch.float32), ((4,), torch.float32), ((2, 2, 1), torch.float32), ((2, 2), torch.int32)]
)
def test_other_columns_dimensions_or_integers_are_no_start(shape, dtype):
    assert starting_point(torch.ones(2, 2), shape, dtype) is None
