"""Cleaning steps by name: what `_target_: kinnari.cleaning.NAME` of an option in conf/cleaning/ may be."""

from kinnari.cleaning.broken import BrokenText
from kinnari.cleaning.decontamination import Decontamination
from kinnari.cleaning.duplicates import ExactDuplicates, NearDuplicates
from kinnari.cleaning.languages import Languages
from kinnari.cleaning.phrases import CodeRows, Phrases
from kinnari.cleaning.presence import EndsWith, Length, MissingAnswer, QuestionIsAnswer, TurnCount
from kinnari.cleaning.repetition import Repetition
from kinnari.cleaning.scrub import Characters, Markup, PersonalData, Urls
from kinnari.cleaning.step import RowStep, SetStep, Step
from kinnari.cleaning.translated import FirstWord, Replace, RestoreCode, StrayPrefix, StripLeading

__all__ = [
    "BrokenText",
    "Characters",
    "CodeRows",
    "Decontamination",
    "EndsWith",
    "ExactDuplicates",
    "FirstWord",
    "Languages",
    "Length",
    "Markup",
    "MissingAnswer",
    "NearDuplicates",
    "PersonalData",
    "Phrases",
    "QuestionIsAnswer",
    "Repetition",
    "Replace",
    "RestoreCode",
    "RowStep",
    "SetStep",
    "Step",
    "StrayPrefix",
    "StripLeading",
    "TurnCount",
    "Urls",
]
