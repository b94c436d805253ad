"""Conversations taken apart into texts, and built again from their translations.

    Message("user", "Sort this list", context="a b c")   ->   "Sort this list", "a b c"   ->   Message("user", "เรียงรายการนี้", ...)

Three things are built from an original and its translation, which belong together by `record_id` and never by position:
the translated conversation, a row with both side by side, and requests to translate in either direction.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation, Message
from kinnari.translation.languages import language

FIELDS = ("system", "user", "context", "assistant")
DIRECTIONS = ("forward", "backward")

# "Translate into X", asked in X. The Korean and English ones are those of ko-guanaco-jindo, src/preprocessing/data_gen.py, where each stood
# on the other's rows.
REQUESTS = {
    "en": "Translate the following into English.",
    "ko": "다음을 한국어로 번역해.",
    "th": "แปลข้อความต่อไปนี้เป็นภาษาไทย",
    "zh": "请把下面的内容翻译成中文。",
    "ja": "次の文章を日本語に翻訳してください。",
    "vi": "Hãy dịch đoạn sau sang tiếng Việt.",
}


def check_fields(fields: Sequence[str]) -> None:
    """Raises ConfigError for a field that no message has, or for none at all."""
    unknown = [field for field in fields if field not in FIELDS]
    if unknown or not fields:
        raise ConfigError(f"task.fields={list(fields)} must name one or more of {', '.join(FIELDS)}.")


def texts(conversation: Conversation, fields: Sequence[str]) -> list[str]:
    """The texts to translate, in the order of the messages; a message's content before its context."""
    return [text for message in conversation.messages for _, text in _parts(message, fields)]


def translated(conversation: Conversation, translations: Mapping[str, str], fields: Sequence[str], target: str) -> Conversation:
    """The conversation with those texts replaced; its language is the target's only if the answers are translated."""
    messages = tuple(dataclasses.replace(message, **_replaced(message, translations, fields)) for message in conversation.messages)
    spoken = target if "assistant" in fields else conversation.language
    return dataclasses.replace(conversation, messages=messages, record_id=f"{conversation.record_id}:{target}", language=spoken)


def messages_row(conversation: Conversation) -> dict[str, Any]:
    """A row of the messages layout, which `data=file` reads; `context` stands only in messages that have one."""
    names = {"record_id": conversation.record_id, "source": conversation.source, "language": conversation.language}
    return {**names, "licence": conversation.licence, "messages": [message_row(message) for message in conversation.messages]}


def message_row(message: Message) -> dict[str, Any]:
    """role and content, and what else the message says: its context, and whether it is trained as the `weight` of an endpoint's message."""
    row: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.context:
        row["context"] = message.context
    return row if message.trained is None else row | {"weight": int(message.trained)}


def joined_row(original: Conversation, translation: Conversation, source: str, target: str) -> dict[str, Any]:
    """Original and translation side by side; `direction` reads from the language of `messages` to that of `messages_translated`."""
    return {
        "record_id": original.record_id,
        "source": original.source,
        "licence": original.licence,
        "source_language": source,
        "target_language": target,
        "direction": f"{source}->{target}",
        "messages": [message_row(message) for message in original.messages],
        "messages_translated": [message_row(message) for message in translation.messages],
    }


def request_to_translate(target: str) -> str:
    """The instruction of a translation pair whose answer is in `target`."""
    return REQUESTS.get(target) or f"Translate the following into {language(target).name}."


def translation_pairs(
    original: Conversation,
    translations: Mapping[str, str],
    fields: Sequence[str],
    source: str,
    target: str,
    directions: Sequence[str] = DIRECTIONS,
) -> Iterator[tuple[str, Conversation]]:
    """(direction, conversation): one for each text and direction; the label is that of the answer's language, in both directions.

    forward    user: แปลข้อความต่อไปนี้เป็นภาษาไทย + the English text    assistant: the Thai text     en->th
    backward   user: Translate the following into English. + the Thai text    assistant: the English text    th->en
    """
    for number, text in enumerate(texts(original, fields)):
        sides = {"forward": (source, text, target, translations[text]), "backward": (target, translations[text], source, text)}
        for direction in directions:
            asked_in, question, answered_in, answer = sides[direction]
            if question.strip() == answer.strip():
                continue  # a name or a number teaches no language
            yield (
                f"{asked_in}->{answered_in}",
                Conversation(
                    messages=(Message("user", request_to_translate(answered_in), context=question), Message("assistant", answer)),
                    record_id=f"{original.record_id}:{number}:{asked_in}-{answered_in}",
                    source=original.source,
                    language=answered_in,
                    licence=original.licence,
                ),
            )


def digest(conversation: Conversation) -> bytes:
    """16 bytes of what a conversation says, whatever it is called."""
    said = [(m.role, m.content, m.context) for m in conversation.messages]
    return hashlib.blake2b(json.dumps(said).encode(), digest_size=16).digest()


def _replaced(message: Message, translations: Mapping[str, str], fields: Sequence[str]) -> Any:
    return {part: translations[text] for part, text in _parts(message, fields)}


def _parts(message: Message, fields: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(attribute, text) of what is translated of a message; blank texts need nothing."""
    if message.role in fields and message.content.strip():
        yield "content", message.content
    if "context" in fields and message.context.strip():
        yield "context", message.context
