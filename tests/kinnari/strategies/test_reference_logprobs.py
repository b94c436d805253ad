"""What the reference says about pairs, as a file: found by contents, complete after a kill, shared by ranks."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.strategies.reference_logprobs import (
    ReferencePairs,
    append_logprobs,
    contents_digest,
    read_logprobs,
    share_of_rank,
)
from kinnari.text.pair_batches import PairRecords
from kinnari.text.records import Tokens, flatten
from tests.kinnari.strategies.toy import toy_model


def records(count: int = 5, first: int = 5) -> PairRecords:
    rows = [Tokens(np.arange(first, first + 3 + i, dtype=np.int32), np.arange(3 + i) > 1) for i in range(count) for _ in (0, 1)]
    names = [f"a:{i}" for i in range(count) for _ in (0, 1)]
    return PairRecords(flatten(rows, names, ["a"] * len(rows), {}))


def test_what_is_written_is_read_to_the_last_bit(tmp_path):
    found = {"a:1": (float(torch.tensor(-1 / 3)), -2.0), 'b "\n:2': (-1e-30, -1e30)}
    append_logprobs(tmp_path / "new", 0, {"a:1": found["a:1"]})
    append_logprobs(tmp_path / "new", 1, {'b "\n:2': found['b "\n:2']})

    assert read_logprobs(tmp_path / "new") == found
    assert read_logprobs(tmp_path / "nothing") == {}


@given(cut=st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_a_file_cut_anywhere_gives_whole_lines_alone_and_can_be_gone_on_with(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("cut")
    found = {f"a:{i}": (-1.5 * i - 1, -2.25) for i in range(3)}
    append_logprobs(folder, 0, found)
    file = folder / "rank_0.jsonl"
    file.write_bytes(file.read_bytes()[:cut])

    left = read_logprobs(folder)
    assert left.items() <= found.items()
    append_logprobs(folder, 0, {name: pair for name, pair in found.items() if name not in left})
    assert read_logprobs(folder) == found


@pytest.mark.parametrize("line", ["", "{", '["a:0", -1.0]', '["a:0", NaN, -1.0]', '["a:0", "x", -1.0]', "[1, -1.0, -1.0]", "null", "5",
                                  '["a:0", true, -1.0]', '["a:0", -Infinity, -1.0]'])  # fmt: skip
def test_a_line_that_is_no_record_is_passed_over(tmp_path, line):
    (tmp_path / "rank_0.jsonl").write_text(f'{line}\n["b:0", -1.0, -2.0]\n')
    assert read_logprobs(tmp_path) == {"b:0": (-1.0, -2.0)}


def test_only_pairs_that_are_wanted_and_not_known_are_asked_about_longest_first():
    pairs = ReferencePairs([(records(5), [0, 1, 2, 4]), (records(0), [])], pad_id=0, micro_size=2)
    assert [batch["record_ids"] for batch in pairs.batches({"a:1": None})] == [["a:4", "a:2"], ["a:0"]]
    assert pairs.batches(dict.fromkeys(["a:0", "a:1", "a:2", "a:4"])) == []


@pytest.mark.parametrize(("batches", "world_size"), [(0, 2), (1, 4), (5, 2), (6, 3), (3, 1)])
def test_ranks_make_as_many_forwards_and_each_batch_counts_once(batches, world_size):
    shares = [list(share_of_rank(list(range(batches)), rank, world_size)) for rank in range(world_size)]  # type: ignore[arg-type]
    assert len({len(share) for share in shares}) == 1
    assert sorted(batch for share in shares for batch, counts in share if counts) == list(range(batches))


def test_the_name_changes_with_weights_tokens_and_precision_and_with_nothing_else():
    def digest(model=None, tables=None, precision="32-true") -> str:
        return contents_digest(model or toy_model(), tables or [records()], precision)

    changed = toy_model()
    next(changed.parameters()).data[0, 0] += 1e-3
    assert digest() == digest() and len(digest()) == 64
    others = [digest(changed), digest(tables=[records(4)]), digest(tables=[records(first=6)]), digest(precision="bf16-mixed")]
    assert len({digest(), *others}) == 5


def test_an_adapter_that_does_nothing_yet_has_the_name_of_any_other_such():
    one, other = toy_model("lora"), toy_model("lora")
    for name, parameter in [*one.named_parameters(), *other.named_parameters()]:
        if "lora_B" in name:
            parameter.data.zero_()
    drawn = next(p for n, p in other.named_parameters() if "lora_A" in n)
    drawn.data.add_(1.0)
    assert contents_digest(one, [records()], "") == contents_digest(other, [records()], "")
    next(p for n, p in other.named_parameters() if "lora_B" in n).data.add_(1.0)
    assert contents_digest(one, [records()], "") != contents_digest(other, [records()], "")


def test_lines_are_json(tmp_path):
    append_logprobs(tmp_path, 3, {"ก": (-1.0, -2.0)})
    assert json.loads((tmp_path / "rank_3.jsonl").read_text("utf-8")) == ["ก", -1.0, -2.0]
