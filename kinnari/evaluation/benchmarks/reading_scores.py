"""How right a generated answer is: exact match and F1 as CMRC 2018 publishes them, and system R's two scores under names of their own.

CMRC 2018 (ymcui/cmrc2018, cmrc2018_evaluate.py): both texts are lower-cased and stripped, its list of punctuation marks is left
out, Chinese characters are units of their own and what stands between them is split into words by nltk's word tokenizer. F1 is
made of the longest common SUBSTRING of units (a run without gaps; the script's `find_lcs` restarts at every mismatch):
precision = run / units of the prediction, recall = run / units of the answer. Exact match compares the texts without those marks.
The best over all gold answers counts.

    prediction 在北京大学    answer 北京的大学    longest run 北京 (2)    P 2/5, R 2/5, F1 0.4
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

# The script's list; its entry of two characters (……) never equals one character, and leaves … in place.
PUNCTUATION = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_CHINESE = re.compile("[\u4e00-\u9fa5]")

Tokenize = Callable[[str], Sequence[int]]


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1 where the prediction is one of the answers, punctuation and case aside, else 0."""
    return float(any(_bare(prediction) == _bare(answer) for answer in answers))


def character_f1(prediction: str, answers: Sequence[str]) -> float:
    """F1 in [0, 1] of the longest common run of units, the best over the answers; 0 where either side has no unit."""
    predicted = units(prediction)
    return max(_f1(_longest_run(predicted, gold := units(answer)), len(predicted), len(gold)) for answer in answers)


def units(text: str) -> list[str]:
    """Chinese characters one by one, other words whole, without punctuation of the script's list.

    >>> units("《Windows XP》发布于2001年。")
    ['windows', 'xp', '发', '布', '于', '2001', '年']
    """
    return list(_units(_bare(text)))


def legacy_exact_match(prediction: str, answers: Sequence[str]) -> float:
    """System R's: 1 where the prediction is one of the answers, character for character."""
    return float(prediction in answers)


def legacy_token_f1(prediction: str, answers: Sequence[str], tokenize: Tokenize) -> float:
    """System R's: F1 of the bags of the MODEL's tokens, the best over the answers; 1 where both are empty, 0 where one is.

    Args:
        tokenize: token ids of a text, without special tokens. So scores of models with other tokenizers cannot be compared.
    """
    predicted = Counter(tokenize(prediction))
    return max(_bag_f1(predicted, Counter(tokenize(answer))) for answer in answers)


def _bag_f1(predicted: Counter[int], gold: Counter[int]) -> float:
    if not predicted and not gold:
        return 1.0
    return _f1((predicted & gold).total(), predicted.total(), gold.total())


def _f1(common: int, predicted: int, gold: int) -> float:
    # Equal to 2PR / (P + R).
    return 2 * common / (predicted + gold) if common else 0.0


def _bare(text: str) -> str:
    return "".join(character for character in text.lower().strip() if character not in PUNCTUATION)


def _units(text: str) -> Iterator[str]:
    for part in re.split(f"({_CHINESE.pattern})", text):
        if _CHINESE.fullmatch(part):
            yield part
        elif part:
            yield from _word_tokenizer().tokenize(part)


@lru_cache(maxsize=1)
def _word_tokenizer():  # type: ignore[no-untyped-def]
    """nltk's word tokenizer without its sentence splitter, whose model would have to be downloaded. The only difference: a full stop
    in the middle of a Latin passage stays with its word."""
    from nltk.tokenize import NLTKWordTokenizer  # takes a second to import

    return NLTKWordTokenizer()


def _longest_run(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common run of two lists."""
    longest = 0
    ending = [0] * (len(second) + 1)  # of the runs that end at this unit of `first` and each of `second`
    for unit in first:
        ending = [0] + [ending[place] + 1 if unit == other else 0 for place, other in enumerate(second)]
        longest = max(longest, *ending)
    return longest
