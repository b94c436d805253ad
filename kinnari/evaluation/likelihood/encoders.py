"""What each kind of model is shown of a candidate.

causal              header + before + label + after, in one piece
causal, as a chat   the template's user turn with header + before, then its assistant turn, which begins with label + after
encoder-decoder     encoder: header + before (or the rendered chat); decoder: label + after
GLM                 [CLS] header + before [MASK] after <eot>  <sop> label        its own form: a blank that is filled
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from kinnari.errors import ConfigError
from kinnari.evaluation.likelihood.encoding import Encoded, Piece, cut_left, encode, with_first_token
from kinnari.models.glm.inputs import BlankTokens
from kinnari.text.conversation import Message
from kinnari.text.pieces import PieceTokenizer
from kinnari.text.seq2seq_tokens import source_segments
from kinnari.text.template import Renderer
from kinnari.text.tokens import SegmentEncoder


class Encoder(Protocol):
    """Tokens of the candidates of many questions; each question's are cut alike."""

    def __call__(self, questions: Sequence[Sequence[Piece]]) -> list[list[Encoded]]: ...


class CausalEncoder:
    """For causal models.

    Args:
        most: tokens of the longest text; longer ones lose their beginning. None for no limit.
        behind_another: the first token counts too, where it tells candidates apart: BOS or EOS then stands before it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, most: int | None, *, behind_another: bool = True) -> None:
        self.tokenizer, self.most, self.behind_another = tokenizer, most, behind_another

    def __call__(self, questions: Sequence[Sequence[Piece]]) -> list[list[Encoded]]:
        found = _grouped(questions, encode(self.tokenizer, [piece for pieces in questions for piece in pieces]))
        if self.behind_another:
            found = [with_first_token(self.tokenizer, candidates) for candidates in found]
        return [cut_left(candidates, self.most, pieces[0].name) for pieces, candidates in zip(questions, found, strict=True)]


class ChatEncoder:
    """For causal models that are asked through their template."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: Renderer, most: int | None) -> None:
        self.segments, self.template, self.most = SegmentEncoder(tokenizer), template, most

    def __call__(self, questions: Sequence[Sequence[Piece]]) -> list[list[Encoded]]:
        return [cut_left(self._candidates(pieces), self.most, pieces[0].name) for pieces in questions]

    def _candidates(self, pieces: Sequence[Piece]) -> list[Encoded]:
        rendered = [_answered(self.template, piece.before, piece.label.lstrip() + piece.after) for piece in pieces]
        labels = [_answered(self.template, piece.before, piece.label.strip()) for piece in pieces]
        rows, upto = self.segments.encode_rows(rendered), self.segments.encode_rows(labels)
        found = []
        for i, piece in enumerate(pieces):
            ids, start = rows.row(i)[0].tolist(), int(rows.boundaries[i])
            stop = min(len(upto.row(i)[0]), len(ids))
            if stop <= start:
                raise ConfigError(f"{piece.name}: the label {piece.label!r} has no token. Give every candidate a label.")
            lead = int(rendered[i][0].kind == "bos")
            found.append(Encoded(tuple(ids), start, stop, lead))
        return found


def _answered(template: Renderer, question: str, answer: str) -> list[Any]:
    """The segments of a chat up to the end of the answer, without the EOS behind it."""
    segments = template.render([Message("user", question), Message("assistant", answer)])
    last = max(i for i, segment in enumerate(segments) if segment.kind == "answer")
    return list(segments[: last + 1])


class Seq2SeqEncoder:
    """For encoder-decoders: the decoder's first token, then the label and what follows it; no EOS."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: Renderer | None, most: int | None, decoder_start: int) -> None:
        self.tokenizer, self.template, self.most, self.decoder_start = tokenizer, template, most, decoder_start
        self.segments = None if template is None else SegmentEncoder(tokenizer)

    def __call__(self, questions: Sequence[Sequence[Piece]]) -> list[list[Encoded]]:
        flat = [piece for pieces in questions for piece in pieces]
        said = encode(self.tokenizer, [replace(piece, before="", label=piece.label.lstrip()) for piece in flat], special=False)
        texts = list(dict.fromkeys(piece.before for piece in flat))
        sources = dict(zip(texts, (self._cut(ids) for ids in self._sources(texts)), strict=True))
        found = []
        for piece, target in zip(flat, said, strict=True):
            source, cut = sources[piece.before]
            found.append(Encoded((self.decoder_start, *target.ids), target.start + 1, target.stop + 1, 1, source, cut))
        return _grouped(questions, found)

    def _sources(self, texts: list[str]) -> list[list[int]]:
        if self.segments is None or self.template is None:
            return list(self.tokenizer(texts, padding=False, truncation=False, verbose=False)["input_ids"])
        rows = self.segments.encode_rows([source_segments(self.template, [Message("user", text)]) for text in texts])
        return [rows.row(i)[0].tolist() for i in range(len(texts))]

    def _cut(self, ids: Sequence[int]) -> tuple[tuple[int, ...], int]:
        surplus = 0 if self.most is None else max(0, len(ids) - self.most)
        lead = int(bool(ids) and ids[0] == self.tokenizer.bos_token_id)
        return (*ids[:lead], *ids[lead + surplus :]), surplus


class BlankEncoder:
    """For GLM-chinese."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: Renderer | None, most: int, blanks: BlankTokens) -> None:
        self.tokenizer, self.template, self.most, self.blanks = tokenizer, template, most, blanks
        self.blank = str(tokenizer.convert_ids_to_tokens(blanks.masks[0]))
        self.segments = None if template is None else SegmentEncoder(tokenizer)
        self.pieces = PieceTokenizer(tokenizer)

    def __call__(self, questions: Sequence[Sequence[Piece]]) -> list[list[Encoded]]:
        flat = [piece for pieces in questions for piece in pieces]
        labels = self.pieces.free_text([piece.label for piece in flat])
        contexts = list(dict.fromkeys((piece.before, piece.after) for piece in flat))
        known = dict(zip(contexts, self._contexts(contexts), strict=True))
        found = []
        for piece, label in zip(flat, labels, strict=True):
            if not label:
                raise ConfigError(f"{piece.name}: the label {piece.label!r} has no token. Give every candidate a label.")
            source, cut = self._cut(known[piece.before, piece.after], len(label), piece.name)
            found.append(Encoded((self.blanks.sop, *label), 1, 1 + len(label), 1, source, cut))
        return _grouped(questions, found)

    def _contexts(self, contexts: list[tuple[str, str]]) -> list[list[int]]:
        if self.segments is None or self.template is None:
            texts = [before + self.blank + after for before, after in contexts]
            return list(self.tokenizer(texts, padding=False, truncation=False, verbose=False)["input_ids"])
        rows = self.segments.encode_rows([self.template.render_prompt([Message("user", before)]) for before, _ in contexts])
        prompts = [rows.row(i)[0].tolist() for i in range(len(contexts))]
        return [ids[:-1] if ids[-1] == self.blanks.sop else ids for ids in prompts]

    def _cut(self, ids: Sequence[int], label: int, name: str) -> tuple[tuple[int, ...], int]:
        blank = next((i for i, token in enumerate(ids) if token in self.blanks.masks), None)
        if blank is None:
            raise ConfigError(f"{name}: template {self.template and self.template.name} writes no blank; GLM needs model/template=glm.")
        surplus = max(0, len(ids) + label + 1 - self.most)
        lead = int(ids[0] == self.tokenizer.cls_token_id)
        if surplus > blank - lead:
            raise ConfigError(
                f"{name}: {surplus} tokens more than the model has positions ({self.most}), only {blank - lead} of them before the "
                "blank. Take a prompt with the label behind the text."
            )
        return (*ids[:lead], *ids[lead + surplus :]), surplus


def _grouped(questions: Sequence[Sequence[Piece]], flat: Sequence[Encoded]) -> list[list[Encoded]]:
    rest = iter(flat)
    return [[next(rest) for _ in pieces] for pieces in questions]


def positions_of(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> int | None:
    """Tokens of the longest text: `max_length`, but not more than the model was made for; None where nothing sets a limit."""
    own = config.get_text_config(decoder=True)
    known = (
        None
        if config.is_encoder_decoder
        else own.to_dict().get(own.attribute_map.get("max_position_embeddings", "max_position_embeddings"))
    )
    limits = [max_length, known if isinstance(known, int) else None]
    if known is None and tokenizer.model_max_length < 10**9:  # transformers writes 1e30 where a tokenizer names none
        limits.append(int(tokenizer.model_max_length))
    return min((limit for limit in limits if limit is not None), default=None)
