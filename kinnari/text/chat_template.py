"""The model's own chat template, with its answers really marked.

    rendered     <|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\n  Hello!  <|im_end|>  \n
    prompt       <|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\n
    trained                                                                 `--------------'

Chat templates are programs; few say which part of their output the model writes. So a conversation of the same roles is
rendered with marks in place of its messages: the text between the marks is the template's, and what follows the generation
prompt up to the control token that ends the turn is what the model writes. Each record is then rendered as it is, and must
be these pieces and its own words, to the letter; one that the template rewrites otherwise is refused.

Rendered by `apply_chat_template` in its sandbox; no code of a model repository runs.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from kinnari.errors import ConfigError
from kinnari.text.conversation import Message
from kinnari.text.template import Kind, Segment, trained_turns

INSTEAD = "Use model/template=chatml, llama2, gemma or another file of conf/model/template instead."
MOST_STRUCTURES = 1024
_MARK = re.compile("\ue000(\\d+)\ue001")


@dataclass(frozen=True)
class _Slot:
    """A piece of a rendered conversation: template text, or the words of message `turn` (kind "text" or "answer", no text).

    `written`: an answer, opening or ending that the model would write itself after the generation prompt.
    """

    kind: Kind
    text: str
    turn: int = -1
    written: bool = True


class ChatTemplate:
    """The chat template of a tokenizer, with the interface of `kinnari.text.template.Template`.

    A context follows the content of its message, an empty line between. A system message goes into the next user message
    where the template has no place for one. An earlier answer which the template writes otherwise than its generation prompt
    asks for (earlier thinking left out) is read, not trained.

    Args:
        tokenizer: has the template.
        name: recorded beside every result.
        arguments: values the template asks for, such as {"enable_thinking": False}.
        date: ISO date that a template asking for today's is given, so that training and every later answer see the same.

    Raises:
        ConfigError: no chat template, one that needs a date, or one whose answers cannot be told from its text.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, name: str = "own", arguments: Mapping[str, Any] | None = None, date: str | None = None
    ) -> None:
        if tokenizer.chat_template is None:
            model = tokenizer.name_or_path or "this model"
            raise ConfigError(f"model/template=own asks for the tokenizer's chat template, and that of {model} has none. {INSTEAD}")
        self.name, self.tokenizer, self.arguments = name, tokenizer, dict(arguments or {})
        own = tokenizer.get_chat_template()
        self._source = _with_date(own, date or "2000-01-01")
        names = {str(token) for token in (*tokenizer.all_special_tokens, *tokenizer.added_tokens_encoder)}
        alternatives = "|".join(re.escape(n) for n in sorted(names, key=len, reverse=True))
        self._end = re.compile(rf"\s*({alternatives})")
        self._structures: dict[tuple[tuple[str, ...], bool], tuple[_Slot, ...]] = {}
        self._takes_system = True
        pair = ("user", "assistant")
        self.answer_end: str = next(s.text for s in self._structure(pair, False) if s.kind == "eos").strip()
        if date is None and "strftime_now" in own:
            self._check_no_date(own, pair)
        self._takes_system = self._writes_system()

    @property
    def fingerprint(self) -> str:
        """What rendering depends on besides the tokenizer, in one line."""
        return json.dumps([self._source, self.arguments], sort_keys=True, default=str)

    def render(self, messages: Sequence[Message], loss_on: str = "answers") -> list[Segment]:
        """Segments of a whole conversation; their texts together are the template's rendering, to the letter.

        Raises:
            ConfigError: no message, a message or `loss_on` of an unknown kind, or the template rewrites the messages.
        """
        if not messages:
            raise ConfigError("A conversation needs at least one message to be rendered; it has none.")
        messages = self._prepared(messages)
        return self._segments(messages, False, trained_turns(messages, loss_on), loss_on == "everything")

    def render_prompt(self, messages: Sequence[Message]) -> list[Segment]:
        """Segments up to the place where the model answers: a prefix, token for token, of `render` of the answered one."""
        messages = self._prepared(messages)
        return self._segments(messages, True, trained_turns(messages, "answers"), False)

    # --- from messages to segments --------------------------------------------------------------------------------------

    def _prepared(self, messages: Sequence[Message]) -> list[Message]:
        """Contexts and, where the template takes none, system messages in the text of the user turns."""
        prepared: list[Message] = []
        waiting: list[str] = []
        for message in messages:
            if message.role == "system" and not self._takes_system:
                waiting.append(message.content)
                continue
            parts = [*waiting, message.content] if message.role == "user" else [message.content]
            waiting = [] if message.role == "user" else waiting
            parts += [message.context] if message.context else []
            prepared.append(Message(message.role, "\n\n".join(parts), trained=message.trained))
        if waiting:
            raise ConfigError(f"the chat template takes no system message, and no user turn follows to take this one in. {INSTEAD}")
        return prepared

    def _segments(self, messages: list[Message], prompt: bool, flags: list[bool], everything: bool) -> list[Segment]:
        slots: Sequence[_Slot] = self._structure(tuple(m.role for m in messages), prompt)
        rendered = self._render([{"role": m.role, "content": m.content} for m in messages], prompt)
        words = _match(slots, [m.content for m in messages], rendered)
        if words is None and not prompt:
            slots, words = _rewritten_answer(slots, [m.content for m in messages], rendered)
        if words is None:
            raise ConfigError(f"the chat template rewrites the words of this conversation, so its answers cannot be told apart. {INSTEAD}")
        segments = []
        for slot in slots:
            trained = everything if slot.turn < 0 else flags[slot.turn] and (slot.written or everything)
            text = slot.text or ("" if slot.turn < 0 else words[slot.turn])
            if text or slot.kind == "answer":
                segments.append(Segment(slot.kind, text, trained and slot.kind != "bos"))
        return segments

    # --- from roles to slots --------------------------------------------------------------------------------------------

    def _structure(self, roles: tuple[str, ...], prompt: bool) -> tuple[_Slot, ...]:
        """Slots of every conversation with these roles; found once."""
        if (roles, prompt) not in self._structures:
            if len(self._structures) >= MOST_STRUCTURES:
                self._structures.clear()
            self._structures[roles, prompt] = self._find_structure(roles, prompt)
        return self._structures[roles, prompt]

    def _find_structure(self, roles: tuple[str, ...], prompt: bool) -> tuple[_Slot, ...]:
        marked = self._render_marks(roles, prompt)
        found = list(_MARK.finditer(marked))
        if [int(m.group(1)) for m in found] != list(range(len(roles))):
            raise ConfigError(f"the chat template leaves out, repeats or moves messages of a conversation of {_count(roles)}. {INSTEAD}")
        slots: list[_Slot] = []
        at, answers = 0, [i for i, role in enumerate(roles) if role == "assistant"]
        for i, match in enumerate(found):
            asked = self._prompt_end(marked, roles, i, match.start()) if roles[i] == "assistant" else None
            if asked is None and not prompt and answers[-1:] == [i]:
                raise ConfigError(f"the chat template writes an answer otherwise than its own generation prompt begins it. {INSTEAD}")
            slots += _fixed("template", marked[at : match.start() if asked is None else max(at, asked)])
            if asked is not None:
                slots += _fixed("opening", marked[max(at, asked) : match.start()], i)
            slots.append(_Slot("answer" if roles[i] == "assistant" else "text", "", i, asked is not None or roles[i] != "assistant"))
            at = match.end()
            if roles[i] == "assistant":
                ending = self._end.match(marked, at)
                if ending is None:
                    raise ConfigError(f"the chat template ends answers without a control token, so a model would never stop. {INSTEAD}")
                slots.append(_Slot("eos", ending.group(), i, asked is not None))
                at = ending.end()
        slots += _fixed("template", marked[at:])
        return tuple(self._with_bos(slots))

    def _prompt_end(self, marked: str, roles: tuple[str, ...], answer: int, most: int) -> int | None:
        """Where the generation prompt of that answer ends in the rendering; None if the rendering begins otherwise."""
        try:
            asked = self._render_marks(roles[:answer], True)
        except ConfigError:
            return None
        return len(asked) if len(asked) <= most and marked.startswith(asked) else None

    def _with_bos(self, slots: list[_Slot]) -> list[_Slot]:
        bos = self.tokenizer.bos_token
        if not bos or not slots or slots[0].kind != "template" or not slots[0].text.startswith(bos):
            return slots
        return [_Slot("bos", bos), *_fixed("template", slots[0].text[len(bos) :]), *slots[1:]]

    def _writes_system(self) -> bool:
        """Whether a system message has a place of its own."""
        try:
            self._structure(("system", "user", "assistant"), False)
        except ConfigError:
            return False
        return True

    # --- the template itself --------------------------------------------------------------------------------------------

    def _check_no_date(self, own: str, roles: tuple[str, ...]) -> None:
        if self._render_marks(roles, False) == self._render_marks(roles, False, _with_date(own, "2001-02-03")):
            return
        raise ConfigError(
            "The model's chat template writes today's date, so the same record would be another one tomorrow. "
            "Set model.template.date to a day such as 2026-01-31, which training and every answer then use."
        )

    def _render_marks(self, roles: tuple[str, ...], prompt: bool, source: str | None = None) -> str:
        return self._render([{"role": role, "content": f"\ue000{i}\ue001"} for i, role in enumerate(roles)], prompt, source)

    def _render(self, messages: list[dict[str, str]], prompt: bool, source: str | None = None) -> str:
        try:
            rendered = self.tokenizer.apply_chat_template(
                messages, chat_template=source or self._source, tokenize=False, add_generation_prompt=prompt, **self.arguments
            )
        except (TemplateError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
            raise ConfigError(f"the chat template cannot write this conversation ({error}). {INSTEAD}") from error
        assert isinstance(rendered, str)
        return rendered


def _fixed(kind: Kind, text: str, turn: int = -1) -> list[_Slot]:
    return [_Slot(kind, text, turn)] if text else []


def _match(slots: Sequence[_Slot], contents: Sequence[str], rendered: str) -> list[str] | None:
    """The words of each message as they stand in `rendered` (some templates trim them); None if it is not made of `slots`."""
    if rendered == "".join([slot.text or contents[slot.turn] for slot in slots]):
        return list(contents)
    words = list(contents)
    at = 0
    for i, slot in enumerate(slots):
        if slot.text:
            if not rendered.startswith(slot.text, at):
                return None
            at += len(slot.text)
            continue
        following = next((s.text for s in slots[i + 1 :]), "")
        content = contents[slot.turn]
        trimmed = (content, content.strip(), content.lstrip(), content.rstrip(), content.strip("\n"), content.lstrip("\n"))
        fitting = [text for text in trimmed if rendered.startswith(text + following, at)]
        if not fitting:
            return None
        words[slot.turn] = max(fitting, key=len)
        at += len(words[slot.turn])
    return words if at == len(rendered) else None


def _rewritten_answer(slots: Sequence[_Slot], contents: Sequence[str], rendered: str) -> tuple[Sequence[_Slot], list[str] | None]:
    """Slots and words where the template lays out the last answer anew, its thinking on lines of its own; words None if not."""
    last = max((i for i, slot in enumerate(slots) if slot.kind == "answer"), default=None)
    if last is None:
        return slots, None
    before = [s for s in slots[:last] if not (s.kind == "opening" and s.turn == slots[last].turn)]
    tail = "".join([slot.text or contents[slot.turn] for slot in slots[last + 1 :]])
    head = "".join([slot.text or contents[slot.turn] for slot in before])
    answer = rendered[len(head) : len(rendered) - len(tail)]
    same_words = "".join(contents[slots[last].turn].split()) == "".join(answer.split())
    if not same_words or rendered != head + answer + tail:
        return slots, None
    words = list(contents)
    words[slots[last].turn] = answer
    return [*before, *slots[last:]], words


def _with_date(source: str, date: str) -> str:
    """The template with a `strftime_now` that knows one day alone; a macro hides the sandbox's own function."""
    if "strftime_now" not in source:
        return source
    try:
        day = datetime.date.fromisoformat(date)
    except ValueError:
        raise ConfigError(f"model.template.date={date} is no date; write it as year-month-day, such as 2026-01-31.") from None
    formats = {f: day.strftime(f) for f in re.findall(r"strftime_now\(\s*[\"']([^\"']*)[\"']", source)}
    known = json.dumps(formats, ensure_ascii=False)
    # jinja takes one newline after a block away
    return f"{{% macro strftime_now(format) %}}{{{{ {known}.get(format, {json.dumps(day.isoformat())}) }}}}{{% endmacro %}}\n{source}"


def _count(roles: Sequence[str]) -> str:
    return ", ".join(roles[:3]) + (f" and {len(roles) - 3} more" if len(roles) > 3 else "")
