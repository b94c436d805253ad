"""Translation: engines, a memory on disk around them, checks of what they say, and the sets built from it."""

from kinnari.translation.cached import CachedTranslator
from kinnari.translation.completer import CompleterTranslator
from kinnari.translation.seq2seq import Seq2SeqTranslator, load_seq2seq
from kinnari.translation.table import TableTranslator
from kinnari.translation.translator import Translation, Translator

__all__ = [
    "CachedTranslator",
    "CompleterTranslator",
    "Seq2SeqTranslator",
    "TableTranslator",
    "Translation",
    "Translator",
    "load_seq2seq",
]
