"""Records on disk are those in memory: an independent tokenisation of the same conversations agrees in every token."""

import datasets
import numpy as np
import pytest

from kinnari.preparation import conversations
from kinnari.preparation.stored_records import Names
from kinnari.text.records import flatten
from kinnari.text.tokens import SegmentEncoder
from tests.kinnari.preparation.fakes import Fake, encoding, run


@pytest.fixture
def prepared(monkeypatch):
    monkeypatch.setattr(conversations, "BLOCK", 3)
    return run(Fake(count=11), Fake(name="long", count=3, answer="y" * 100), encoding=encoding(100), fraction=0.3)


def test_stored_records_are_those_of_memory(prepared):
    settings = encoding(100)
    for records in (prepared.train, prepared.held_out):
        table = prepared.table_of(records)
        tokens = [rows[0] for rows in settings(list(table), SegmentEncoder(settings.tokenizer))]
        flat = flatten(tokens, [c.record_id for c in table], [c.source for c in table], {})
        assert list(records.record_ids) == flat.record_ids and list(records.sources) == flat.sources
        assert records.lengths.tolist() == flat.lengths.tolist() and records.trained_counts.tolist() == flat.trained_counts.tolist()
        assert records.num_cut == flat.num_cut
        for i in range(len(records)):
            for ours, theirs in zip(records[i], flat[i], strict=True):
                assert ours.tolist() == theirs.tolist()


def test_what_is_stored_cannot_be_changed_by_accident(prepared):
    with pytest.raises(ValueError, match="read-only"):
        prepared.train[0][0][0] = 3


def test_the_folder_is_one_of_datasets(prepared):
    rows = datasets.load_from_disk(str(prepared.tokenised.folder))
    assert len(rows) == len(prepared.tokens) and rows.features["input_ids"].feature.dtype == "int32"
    i = int(prepared.train.members[2])
    assert rows[i]["input_ids"] == prepared.train[2][0].tolist() and rows[i]["record_id"] == prepared.train.record_ids[2]


def test_names_behave_like_a_list_of_them():
    names = Names(np.array([1, 0, 1], dtype=np.int32), ["a", "b"])
    assert list(names) == ["b", "a", "b"] and names[0] == "b" and names[1:] == ["a", "b"]
    assert names.count("b") == 2 and names.count("none") == 0 and names.counts() == {"a": 1, "b": 2}
    assert names.mask("b").tolist() == [True, False, True]


def test_ids_behave_like_a_list_of_them(prepared):
    ids = prepared.train.record_ids
    assert ids == list(ids) and ids[-1] == list(ids)[-1] and ids[1:3] == list(ids)[1:3] and ids != ["other"]
