"""Language codes of the model families, and scripts."""

from __future__ import annotations

import pytest

from kinnari.errors import ConfigError
from kinnari.translation.languages import LANGUAGES, model_code, script_share


@pytest.mark.parametrize(
    ("code", "convention", "expected"),
    [("th", "nllb", "tha_Thai"), ("zh", "nllb", "zho_Hans"), ("ko", "mbart50", "ko_KR"), ("ja", "iso", "ja"), ("th", "name", "Thai"),
     ("haw", "iso", "haw")],
)  # fmt: skip
def test_codes(code: str, convention: str, expected: str) -> None:
    assert model_code(code, convention) == expected


@pytest.mark.parametrize(("code", "convention"), [("xx", "nllb"), ("lo", "mbart50"), ("th_TH", "iso"), ("th", "flores")])
def test_what_a_model_does_not_know_is_refused(code: str, convention: str) -> None:
    with pytest.raises(ConfigError):
        model_code(code, convention)


def test_every_nllb_code_is_a_language_and_a_script() -> None:
    assert all(len(entry.nllb) == 8 and entry.nllb[3] == "_" for entry in LANGUAGES.values())


@pytest.mark.parametrize(
    ("text", "code", "share"),
    [
        ("สวัสดี", "th", 1.0),
        ("안녕 AI", "ko", 0.5),
        ("你好", "zh", 1.0),
        ("ひらがなカタカナ漢字ー", "ja", 1.0),
        ("你好", "ja", 1.0),
        ("Hello", "th", 0.0),
        ("Straße", "de", 1.0),
        ("привет", "ru", 1.0),
        ("42 + 1 🙂", "th", None),
    ],
)
def test_share_of_letters_in_the_script(text: str, code: str, share: float | None) -> None:
    assert script_share(text, code) == share
