"""Steps that edit texts: characters nobody sees, addresses, markup, personal data. Code blocks are left as they are.

Characters     "ก\\u200bา\\x00"                          -> "กา"
Urls           "ดู https://pantip.com/topic/1 ครับ"       -> "ดู [URL] ครับ"
Markup         "<p>Tom &amp; Jerry</p>"                 -> "Tom & Jerry"
PersonalData   "mail me: a.b@example.com"               -> "mail me: [EMAIL]"
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kinnari.cleaning.step import RowStep
from kinnari.cleaning.texts import ALL, check_where, edit, until_stable
from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation

_LINE_ENDS = re.compile(r"\r\n?|[\x85\u2028\u2029]")
# Control characters but tab and line feed, lone surrogates, byte order marks, directional marks and overrides, characters that
# are none (U+FFFE and its like), and the blank that joins or breaks words unseen.
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufdd0-\ufdef\ufff9-\ufffb\ufffe\uffff\ud800-\udfff]"
)
# Thai, Chinese and Japanese stand next to an address without a space; they are not part of it.
_URL = re.compile(
    r"(?i)(?<![a-z0-9])(?:https?://|ftp://|www\.)[^\s<>\"'`\u0e00-\u0e7f\u3000-\u9fff\uac00-\ud7a3\uff00-\uffef]+(?<![.,;:!?)\]}*])"
)
_CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]+`)", re.DOTALL)
# (opening, closing) of what goes with its content.
_DROPPED = (("<script", "</script>"), ("<style", "</style>"), ("<!--", "-->"))
_BREAK = re.compile(r"(?i)<(?:br|/p|/div|/li|/h[1-6]|/tr)\b[^<>]{0,200}>")
_TAG = re.compile(
    r"(?i)</?(?:a|abbr|article|b|big|blockquote|body|br|center|cite|code|dd|del|div|dl|dt|em|figure|font|footer|form|h[1-6]|head|header"
    r"|hr|html|i|iframe|img|input|ins|li|link|main|mark|meta|nav|ol|option|p|pre|s|script|section|select|small|span|strike|strong"
    r"|style|sub|sup|table|tbody|td|tfoot|th|thead|title|tr|tt|u|ul|video|spoil|spoiler)(?:\s[^<>]{0,2000})?/?>"
    r"|\[/?(?:spoil|spoiler)(?:=[^\[\]\n]{0,200})?\](?:[ ]?คลิกเพื่อดูข้อความที่ซ่อนไว้)?"
)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_EMAIL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,3}\.[A-Za-z]{2,24}\b")
# With a country code, or beginning with 0 and divided as numbers are written; bare digits may be anything.
_PHONE = re.compile(r"(?<![\w.+-])(?:\+\d{1,3}[ -]?(?:\(?\d{1,4}\)?[ -]?){2,4}\d{2,4}|\(?0\d{1,3}\)?[ -]\d{3,4}[ -]\d{3,4})(?![\w-]|\.\d)")


@dataclass(frozen=True)
class Characters(RowStep):
    """Brings texts into Unicode normal form and takes out characters that nobody sees.

    Out go NUL and other control characters, lone surrogates, byte order and directional marks, zero-width spaces, soft hyphens;
    line ends become line feeds. Zero-width joiners stay: Hindi, Persian and family emoji are spelt with them.

    Args:
        form: NFC composes what looks alike; NFKC also folds full-width letters and other looks, which Japanese texts mean; null leaves it.
        where: the parts edited.
    """

    form: Literal["NFC", "NFKC"] | None = "NFC"
    where: tuple[str, ...] = ALL

    def __post_init__(self) -> None:
        """Refuse unknown forms and parts."""
        super().__post_init__()
        check_where(self.where, self)
        if self.form not in ("NFC", "NFKC", None):
            raise ConfigError(f"Characters: form={self.form!r} must be NFC, NFKC or null.")

    def __call__(self, conversation: Conversation) -> Conversation | str:
        """The conversation with clean characters."""
        return edit(conversation, self.where, until_stable(self._clean))

    def _clean(self, text: str) -> str:
        if text.isascii() and text.isprintable():
            return text
        text = _UNSEEN.sub("", _LINE_ENDS.sub("\n", text))
        return unicodedata.normalize(self.form, text) if self.form else text


@dataclass(frozen=True)
class Urls(RowStep):
    """Replaces web addresses outside code.

    Args:
        replacement: what stands in their place; empty removes them.
        where: the parts edited.
    """

    replacement: str = "[URL]"
    where: tuple[str, ...] = ALL

    def __post_init__(self) -> None:
        """Refuse a replacement that would be replaced itself."""
        super().__post_init__()
        check_where(self.where, self)
        if _URL.search(self.replacement):
            raise ConfigError(f"Urls: replacement={self.replacement!r} is an address itself. Give one like [URL], or ''.")

    def __call__(self, conversation: Conversation) -> Conversation | str:
        """The conversation without addresses."""
        return edit(conversation, self.where, until_stable(lambda text: _outside_code(text, self._scrub)))

    def _scrub(self, text: str) -> str:
        # The test spares most texts the expression.
        return _URL.sub(lambda _: self.replacement, text) if re.search(r"(?i)://|www\.", text) else text


@dataclass(frozen=True)
class Markup(RowStep):
    """Takes out HTML tags with known names, comments, forum spoiler tags, and turns entities into characters; outside code.

    `a < b > c` and `<human>` stay as they are: no HTML element has these names. The text between spoiler tags stays.

    Args:
        where: the parts edited.
    """

    where: tuple[str, ...] = ALL

    def __post_init__(self) -> None:
        """Refuse unknown parts."""
        super().__post_init__()
        check_where(self.where, self)

    def __call__(self, conversation: Conversation) -> Conversation | str:
        """The conversation without markup."""
        return edit(conversation, self.where, until_stable(lambda text: _outside_code(text, _without_markup)))


@dataclass(frozen=True)
class PersonalData(RowStep):
    """Replaces e-mail addresses and telephone numbers that are written as such: with +country code, or 0xx-xxx-xxxx.

    A courtesy, not anonymisation: names, postal addresses and numbers in other spellings stay.

    Args:
        email, phone: what stands in their place; null leaves them.
        where: the parts edited.
    """

    email: str | None = "[EMAIL]"
    phone: str | None = "[PHONE]"
    where: tuple[str, ...] = ALL

    def __post_init__(self) -> None:
        """Refuse replacements that would be replaced themselves."""
        super().__post_init__()
        check_where(self.where, self)
        if any(r and (_EMAIL.search(r) or _PHONE.search(r)) for r in (self.email, self.phone)):
            raise ConfigError(f"PersonalData: email={self.email!r}, phone={self.phone!r} must not be an address or a number themselves.")

    def __call__(self, conversation: Conversation) -> Conversation | str:
        """The conversation without such addresses and numbers."""
        return edit(conversation, self.where, until_stable(self._scrub))

    def _scrub(self, text: str) -> str:
        if self.email is not None and "@" in text:
            email = self.email
            text = _EMAIL.sub(lambda _: email, text)
        if self.phone is not None:
            phone = self.phone
            text = _PHONE.sub(lambda _: phone, text)
        return text


def _without_markup(text: str) -> str:
    if "<" in text:
        for opening, closing in _DROPPED:
            text = _drop_spans(text, opening, closing)
    if "<" in text or "[" in text:
        text = _TAG.sub("", _BREAK.sub("\n", text))
    return _without_entities(text) if "&" in text else text


def _drop_spans(text: str, opening: str, closing: str) -> str:
    """Without each stretch from `opening` to the next `closing`; one that is never closed stays. Linear in the length."""
    # Lower case of some letters is longer (İ): places are only comparable where it is not.
    lowered = text.lower() if len(text.lower()) == len(text) else text
    kept, position = [], 0
    while (start := lowered.find(opening, position)) >= 0 and (end := lowered.find(closing, start + len(opening))) >= 0:
        kept.append(text[position:start])
        position = end + len(closing)
    return "".join([*kept, text[position:]])


def _without_entities(text: str) -> str:
    plain = _ENTITY.sub(lambda m: html.unescape(m[0]), text)
    # A text that writes about markup: its &lt;b&gt; would be taken for a tag.
    return _ENTITY.sub(_unless_markup, text) if _TAG.search(plain) or _BREAK.search(plain) or "<!--" in plain else plain


def _unless_markup(match: re.Match[str]) -> str:
    character = html.unescape(match[0])
    return match[0] if character in "<>&[]" else character


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    if "`" not in text:
        return change(text)
    return "".join(part if i % 2 else change(part) for i, part in enumerate(_CODE.split(text)))
