"""One file per instruction source; each begins with an example record and declares licence and languages."""

from datamodules.sources.alpaca import Alpaca
from datamodules.sources.alpaca_cleaned import AlpacaCleaned
from datamodules.sources.alpaca_zh import AlpacaZh
from datamodules.sources.answer_votes import AnswerVotes
from datamodules.sources.baike import Baike
from datamodules.sources.belle import Belle
from datamodules.sources.chatbot_data import ChatbotData
from datamodules.sources.chatterbot import ChatterBot
from datamodules.sources.chatterbot_ranked import ChatterBotRanked
from datamodules.sources.chinese_poetry import ChinesePoetry
from datamodules.sources.classical_modern import ClassicalModern
from datamodules.sources.counselgpt import CounselGPT
from datamodules.sources.couplets import Couplets
from datamodules.sources.dolly import Dolly
from datamodules.sources.evolve_instruct_ko import EvolveInstructKo
from datamodules.sources.generic_file import GenericFile
from datamodules.sources.guanaco import Guanaco
from datamodules.sources.hc3 import HC3
from datamodules.sources.hh_rlhf import HHRlhf
from datamodules.sources.hh_rlhf_pairs import HHRlhfPairs
from datamodules.sources.hulic import HuLiC
from datamodules.sources.klongklon import KlongKlon
from datamodules.sources.koalpaca import KoAlpaca
from datamodules.sources.kochatgpt import KoChatGPT
from datamodules.sources.korquad_chat import KorquadChat
from datamodules.sources.kowow import KoWoW
from datamodules.sources.kullm_v2 import KullmV2
from datamodules.sources.llamatune import LlamaTune
from datamodules.sources.longform import LongForm
from datamodules.sources.oasst1 import Oasst1
from datamodules.sources.oasst1_selected import Oasst1Selected
from datamodules.sources.oig_chip2 import OIGChip2
from datamodules.sources.oig_chip2_ko import OIGChip2Ko
from datamodules.sources.oig_infill_dbpedia import OIGInfillDBpedia
from datamodules.sources.opela import Opela
from datamodules.sources.openai_tldr import OpenAITLDR
from datamodules.sources.openassistant_guanaco import OpenAssistantGuanaco
from datamodules.sources.pantip import Pantip
from datamodules.sources.plain_text import PlainText
from datamodules.sources.preference_columns import PreferenceColumns
from datamodules.sources.preference_pairs import PreferencePairs
from datamodules.sources.ranked import RankedFileSource, RankedSource
from datamodules.sources.scored_answers import ScoredAnswers
from datamodules.sources.self_instruct import SelfInstruct
from datamodules.sources.sharegpt import ShareGPT
from datamodules.sources.sharegpt_ko import ShareGPTKo
from datamodules.sources.sharegpt_parallel import ShareGPTParallel
from datamodules.sources.source import FileSource, Source
from datamodules.sources.thai_wiki_qa import ThaiWikiQA
from datamodules.sources.wangchan_translated import WangchanTranslated
from datamodules.sources.weibo import Weibo
from datamodules.sources.zhidao import Zhidao

__all__ = [
    "HC3",
    "Alpaca",
    "AlpacaCleaned",
    "AlpacaZh",
    "AnswerVotes",
    "Baike",
    "Belle",
    "ChatbotData",
    "ChatterBot",
    "ChatterBotRanked",
    "ChinesePoetry",
    "ClassicalModern",
    "CounselGPT",
    "Couplets",
    "Dolly",
    "EvolveInstructKo",
    "FileSource",
    "GenericFile",
    "Guanaco",
    "HHRlhf",
    "HHRlhfPairs",
    "HuLiC",
    "KlongKlon",
    "KoAlpaca",
    "KoChatGPT",
    "KoWoW",
    "KorquadChat",
    "KullmV2",
    "LlamaTune",
    "LongForm",
    "OIGChip2",
    "OIGChip2Ko",
    "OIGInfillDBpedia",
    "Oasst1",
    "Oasst1Selected",
    "Opela",
    "OpenAITLDR",
    "OpenAssistantGuanaco",
    "Pantip",
    "PlainText",
    "PreferenceColumns",
    "PreferencePairs",
    "RankedFileSource",
    "RankedSource",
    "ScoredAnswers",
    "SelfInstruct",
    "ShareGPT",
    "ShareGPTKo",
    "ShareGPTParallel",
    "Source",
    "ThaiWikiQA",
    "WangchanTranslated",
    "Weibo",
    "Zhidao",
]
