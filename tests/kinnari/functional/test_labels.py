import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinnari.functional.labels import IGNORED, count_trained, first_tokens_untrained, perplexity, shift_targets


class TestShiftTargets:
    def test_position_predicts_the_next_token(self):
        labels = torch.tensor([[-100, -100, 7, 8, 2], [-100, 5, 2, -100, -100]])
        expected = torch.tensor([[-100, 7, 8, 2, -100], [5, 2, -100, -100, -100]])
        assert torch.equal(shift_targets(labels), expected)

    def test_labels_are_left_alone(self):
        labels = torch.tensor([[-100, 3]])
        shift_targets(labels)
        assert labels.tolist() == [[-100, 3]]

    def test_record_never_predicts_the_first_token_of_the_next(self):
        labels = torch.tensor([[-100, 5, 6, 7, 8]])
        segments = torch.tensor([[0, 0, 0, 1, 1]])
        assert shift_targets(labels, segments).tolist() == [[5, 6, -100, 8, -100]]

    def test_shape_mismatch_is_named(self):
        with pytest.raises(ValueError, match="segment_ids"):
            shift_targets(torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, 2, dtype=torch.int64))

    @given(st.lists(st.lists(st.sampled_from([IGNORED, 3, 4]), min_size=1, max_size=6), min_size=1, max_size=5))
    def test_packed_records_have_the_targets_of_their_separate_rows(self, records):
        # the collator's promise: nothing stands before a record's first token
        records = [[IGNORED, *record[1:]] for record in records]
        labels = torch.tensor([[token for record in records for token in record]])
        segments = torch.tensor([[index for index, record in enumerate(records) for _ in record]])
        apart = [token for record in records for token in shift_targets(torch.tensor([record]))[0].tolist()]
        assert shift_targets(labels, segments)[0].tolist() == apart
        assert shift_targets(labels)[0].tolist() == apart
        assert first_tokens_untrained(labels, segments)
        assert count_trained(labels) == count_trained(shift_targets(labels, segments))


class TestFirstTokens:
    def test_label_on_the_first_token_is_noticed(self):
        assert not first_tokens_untrained(torch.tensor([[4, 5]]))
        assert first_tokens_untrained(torch.tensor([[-100, 5]]))

    def test_label_on_the_first_token_of_a_later_record_is_noticed(self):
        labels = torch.tensor([[-100, 5, 6]])
        assert not first_tokens_untrained(labels, torch.tensor([[0, 0, 1]]))
        assert first_tokens_untrained(labels, torch.tensor([[0, 0, 0]]))


class TestPerplexity:
    def test_uniform_guess_over_four_words_is_four(self):
        assert perplexity(3 * math.log(4), 3) == pytest.approx(4.0)

    def test_overflow_is_infinite(self):
        assert perplexity(1e6, 1) == math.inf

    def test_mean_over_nothing_is_refused(self):
        with pytest.raises(ValueError, match="count=0"):
            perplexity(0.0, 0)
