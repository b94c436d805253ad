"""Languages as translation models name them, and as their texts look.

    th   Thai   tha_Thai (NLLB)   th_TH (mBART-50)   written in Thai letters

Codes: facebookresearch/flores (NLLB) and the model card of facebook/mbart-large-50. M2M100 and MADLAD-400 use ISO 639-1 codes. `width`
is characters for the same content, English = 1: rough, from parallel texts; only ever used with wide bounds.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from kinnari.errors import ConfigError


@dataclass(frozen=True)
class Language:
    """One language; `scripts` are the first words of the Unicode names of its letters."""

    name: str
    nllb: str
    mbart50: str | None = None
    scripts: tuple[str, ...] = ("LATIN",)
    width: float = 1.0
    spaced: bool = True  # whether a space stands between sentences


_CYRILLIC, _ARABIC, _DEVANAGARI = ("CYRILLIC",), ("ARABIC",), ("DEVANAGARI",)

LANGUAGES: dict[str, Language] = {
    "en": Language("English", "eng_Latn", "en_XX"),
    "th": Language("Thai", "tha_Thai", "th_TH", ("THAI",), 0.9),
    "ko": Language("Korean", "kor_Hang", "ko_KR", ("HANGUL",), 0.5),
    "zh": Language("Chinese", "zho_Hans", "zh_CN", ("CJK",), 0.32, spaced=False),
    "ja": Language("Japanese", "jpn_Jpan", "ja_XX", ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "CJK"), 0.45, spaced=False),
    "lo": Language("Lao", "lao_Laoo", None, ("LAO",), 0.95),
    "km": Language("Khmer", "khm_Khmr", "km_KH", ("KHMER",), 1.1),
    "my": Language("Burmese", "mya_Mymr", "my_MM", ("MYANMAR",), 1.2),
    "vi": Language("Vietnamese", "vie_Latn", "vi_VN"),
    "id": Language("Indonesian", "ind_Latn", "id_ID", width=1.1),
    "ms": Language("Malay", "zsm_Latn", width=1.1),
    "tl": Language("Tagalog", "tgl_Latn", "tl_XX", width=1.15),
    "jv": Language("Javanese", "jav_Latn"),
    "de": Language("German", "deu_Latn", "de_DE", width=1.15),
    "fr": Language("French", "fra_Latn", "fr_XX", width=1.15),
    "es": Language("Spanish", "spa_Latn", "es_XX", width=1.1),
    "pt": Language("Portuguese", "por_Latn", "pt_XX", width=1.1),
    "it": Language("Italian", "ita_Latn", "it_IT", width=1.1),
    "nl": Language("Dutch", "nld_Latn", "nl_XX", width=1.1),
    "pl": Language("Polish", "pol_Latn", "pl_PL"),
    "cs": Language("Czech", "ces_Latn", "cs_CZ"),
    "ro": Language("Romanian", "ron_Latn", "ro_RO", width=1.1),
    "hu": Language("Hungarian", "hun_Latn"),
    "sv": Language("Swedish", "swe_Latn", "sv_SE"),
    "da": Language("Danish", "dan_Latn"),
    "fi": Language("Finnish", "fin_Latn", "fi_FI"),
    "tr": Language("Turkish", "tur_Latn", "tr_TR"),
    "sw": Language("Swahili", "swh_Latn", "sw_KE"),
    "ru": Language("Russian", "rus_Cyrl", "ru_RU", _CYRILLIC, 1.05),
    "uk": Language("Ukrainian", "ukr_Cyrl", "uk_UA", _CYRILLIC),
    "bg": Language("Bulgarian", "bul_Cyrl", None, _CYRILLIC),
    "kk": Language("Kazakh", "kaz_Cyrl", "kk_KZ", _CYRILLIC),
    "mn": Language("Mongolian", "khk_Cyrl", "mn_MN", _CYRILLIC),
    "el": Language("Greek", "ell_Grek", None, ("GREEK",), 1.15),
    "ar": Language("Arabic", "arb_Arab", "ar_AR", _ARABIC, 0.85),
    "fa": Language("Persian", "pes_Arab", "fa_IR", _ARABIC, 0.9),
    "ur": Language("Urdu", "urd_Arab", "ur_PK", _ARABIC, 0.95),
    "he": Language("Hebrew", "heb_Hebr", "he_IL", ("HEBREW",), 0.8),
    "hi": Language("Hindi", "hin_Deva", "hi_IN", _DEVANAGARI),
    "mr": Language("Marathi", "mar_Deva", "mr_IN", _DEVANAGARI),
    "ne": Language("Nepali", "npi_Deva", "ne_NP", _DEVANAGARI),
    "bn": Language("Bengali", "ben_Beng", "bn_IN", ("BENGALI",)),
    "ta": Language("Tamil", "tam_Taml", "ta_IN", ("TAMIL",), 1.15),
    "te": Language("Telugu", "tel_Telu", "te_IN", ("TELUGU",)),
    "ka": Language("Georgian", "kat_Geor", "ka_GE", ("GEORGIAN",)),
    "hy": Language("Armenian", "hye_Armn", None, ("ARMENIAN",)),
}

_ISO = re.compile(r"[a-z]{2,3}")


def language(code: str) -> Language:
    """The entry of a code.

    Raises:
        ConfigError: there is none.
    """
    if code not in LANGUAGES:
        raise ConfigError(f"language {code!r} is not known to the translation layer. Choose an ISO 639-1 code of {', '.join(LANGUAGES)}.")
    return LANGUAGES[code]


def model_code(code: str, convention: str) -> str:
    """How a model calls a language: `iso` (th), `nllb` (tha_Thai), `mbart50` (th_TH) or `name` (Thai).

    Raises:
        ConfigError: the convention, or the language within it, is not known.
    """
    if convention == "iso":
        if not _ISO.fullmatch(code):
            raise ConfigError(f"language {code!r} is no ISO 639-1 code; write two small letters, such as th.")
        return code
    if convention not in ("nllb", "mbart50", "name"):
        raise ConfigError(f"translation.engine.codes={convention!r} is unknown. Choose one of iso, nllb, mbart50, name.")
    found = vars(language(code))[convention]
    if found is None:
        raise ConfigError(f"language {code!r} has no {convention} code: that model does not know it. Choose another engine or language.")
    return found


@lru_cache(maxsize=65536)
def script_of(character: str) -> str | None:
    """First word of the Unicode name of a letter (THAI, HANGUL, CJK, LATIN ...); None for what is no letter."""
    # Thai vowels above and below are marks, not letters; the consonants they stand on are counted anyway.
    return unicodedata.name(character, "UNKNOWN").split()[0] if character.isalpha() else None


def script_share(text: str, code: str) -> float | None:
    """Share of the letters of `text` that belong to the scripts of a language; None where the text has no letter."""
    scripts = language(code).scripts
    letters = [script for script in map(script_of, text) if script is not None]
    return sum(script in scripts for script in letters) / len(letters) if letters else None
