"""chrF and chrF++: n-grams of characters, which need no words and so read every script."""

from __future__ import annotations

from collections.abc import Sequence

from kinnari.errors import ConfigError


def chrf(answers: Sequence[str], references: Sequence[str], word_order: int = 0) -> float:
    """Corpus chrF2 in [0, 100]: counts of all answers are summed before precision and recall are taken, so that a long answer
    weighs more than a short one. Spaces do not count.

    Source: Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation"; sacrebleu with its defaults (signature
    `nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no`), whose figures are those that are published.

    Args:
        word_order: 2 is chrF++, which counts words and pairs of them too. A word is what stands between spaces, so in Thai,
            Chinese or Japanese that is a phrase: plain chrF (0) says more there.

    Raises:
        ConfigError: another word order.
    """
    from sacrebleu.metrics.chrf import CHRF

    if word_order not in (0, 2):
        raise ConfigError(f"chrf_word_order={word_order} is unknown; 0 is chrF and 2 is chrF++.")
    return float(CHRF(word_order=word_order).corpus_score(list(answers), [list(references)]).score)
