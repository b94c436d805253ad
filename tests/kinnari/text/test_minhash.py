"""MinHash signatures and the groups made of them."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.text.conversation import normalise_question
from kinnari.text.minhash import EMPTY, LONGEST_RUN, jaccard, near_groups, rows_per_band, signature, signatures


def true_jaccard(a, b, ngram=5):
    def grams(text):
        text = normalise_question(text).replace(" ", "")
        return {text[i : i + ngram] for i in range(max(1, len(text) - ngram + 1))} - {""}

    one, other = grams(a), grams(b)
    return len(one & other) / len(one | other) if one | other else 1.0


def slow_groups(rows, threshold):
    """All pairs, and union by relabelling."""
    labels = list(range(len(rows)))
    for i in range(len(rows)):
        for j in range(i):
            if (rows[i] == rows[j]).mean() >= threshold and labels[i] != labels[j]:
                low, high = sorted((labels[i], labels[j]))
                labels = [low if label == high else label for label in labels]
    return labels


THAI = "ประเทศไทยมีเมืองหลวงชื่อกรุงเทพมหานคร ซึ่งเป็นเมืองที่ใหญ่ที่สุดและมีประชากรมากที่สุดในประเทศ " * 2
CHINESE = "中华人民共和国的首都是北京，它是全国的政治中心和文化中心，也是世界著名的古都之一，历史悠久，风景优美。" * 2


@pytest.mark.parametrize("text", [THAI, CHINESE, "The quick brown fox jumps over the lazy dog, and then it sleeps. " * 3])
@pytest.mark.parametrize("edits", [1, 5])
def test_equal_entries_estimate_the_jaccard_similarity_of_ngrams(text, edits):
    other = list(text)
    for i in range(edits):
        other[7 + 11 * i] = "x"

    estimate = jaccard(signature(text, num_perm=1024), signature("".join(other), num_perm=1024))

    assert estimate == pytest.approx(true_jaccard(text, "".join(other)), abs=0.06)  # four standard errors


def test_the_estimate_has_no_bias():
    def words(count):
        return "".join(chr(0x4E00 + int(c)) for c in generator.integers(0, 20000, size=count))

    generator = np.random.default_rng(0)
    errors = []
    for _ in range(200):
        shared, one, other = words(100), words(30), words(30)
        a, b = shared + one, shared + other
        errors.append(float(jaccard(signature(a), signature(b))) - true_jaccard(a, b))
    assert abs(np.mean(errors)) < 3 * 0.044 / np.sqrt(200)  # J about 0.63, 128 permutations
    assert np.std(errors) == pytest.approx(np.sqrt(0.63 * 0.37 / 128), rel=0.2)


def test_case_width_punctuation_and_spaces_do_not_count():
    assert np.array_equal(signature("Ｗhat is  AI ?"), signature("what isai"))
    assert not np.array_equal(signature("มา มา มา"), signature("ม้า ม้า ม้า"))


def test_short_and_empty_texts_have_signatures():
    assert (signature("") == EMPTY).all()
    assert np.array_equal(signature("你好"), signature("你好！"))
    assert jaccard(signature("你好"), signature("你")) == 0
    assert signature("a", num_perm=7, ngram=1).shape == (7,) and signature("").dtype == np.uint64


def test_a_signature_does_not_depend_on_the_block_size(monkeypatch):
    whole = signature(CHINESE * 5)
    monkeypatch.setattr("kinnari.text.minhash.GRAMS_AT_A_TIME", 7)
    assert np.array_equal(signature(CHINESE * 5), whole)


def test_another_seed_draws_other_permutations():
    assert not np.array_equal(signature(THAI), signature(THAI, seed=1))


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_has_a_signature(text):
    assert signature(text).shape == (128,)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([0.5, 0.8, 0.95]))
def test_groups_are_those_of_comparing_all_with_all(seed, threshold):
    generator = np.random.default_rng(seed)
    rows = generator.integers(0, 2**60, size=(40, 128)).astype(np.uint64)
    for i in range(10, 40):  # chains of copies with a few entries changed, clearly above or below the threshold
        rows[i] = rows[generator.integers(0, i)]
        changed = generator.random(128) < generator.choice([0, (1 - threshold) / 3, 0.7])
        rows[i, changed] = generator.integers(0, 2**60, size=int(changed.sum()))

    groups = near_groups(rows, threshold)

    assert groups.dtype == np.int64
    assert groups.tolist() == slow_groups(rows, threshold)


def test_a_group_is_named_by_its_first_member_whatever_stands_between():
    texts = [THAI, CHINESE, THAI + "ครับ", "short", CHINESE + "是的", "short!"]
    assert near_groups(signatures(texts), 0.8).tolist() == [0, 1, 0, 3, 1, 3]


def test_nothing_has_no_groups_and_a_threshold_outside_zero_to_one_is_refused():
    assert near_groups(np.zeros((0, 128), np.uint64), 0.8).tolist() == []
    with pytest.raises(ValueError, match="threshold=0"):
        near_groups(np.zeros((1, 128), np.uint64), 0)


@pytest.mark.parametrize(("threshold", "length"), [(0.8, 6), (0.5, 3), (0.9, 10), (1.0, 128)])
def test_bands_are_as_long_as_recall_allows(threshold, length):
    assert rows_per_band(128, threshold) == length
    assert 1 - (1 - threshold**length) ** (128 // length) >= 0.99


def test_many_copies_of_one_template_stay_cheap_and_their_near_duplicates_are_found():
    generator = np.random.default_rng(0)
    count = 20 * LONGEST_RUN
    rows = generator.integers(0, 2**60, size=(count, 128)).astype(np.uint64)
    rows[:, :86] = 5  # the template: two thirds alike, below the threshold, and whole bands of it
    rows[count // 2 :] = rows[: count // 2]
    changed = generator.random((count // 2, 128)) < 0.03
    rows[count // 2 :][changed] = 9
    began = time.monotonic()

    groups = near_groups(rows, 0.8)

    assert time.monotonic() - began < 10
    assert np.mean(groups[count // 2 :] == np.arange(count // 2)) > 0.95
    assert len(np.unique(groups)) >= count // 2  # and nothing else was joined
