"""A translation model on disk as an engine: NLLB, M2M100, mBART-50, MADLAD-400, Marian, mT5 or any other encoder-decoder.

How a family is told the languages is data, one yaml file in conf/translation:

    NLLB, M2M100, mBART-50   source_tag tokens EOS, and the first generated token is the tag of the target language
    MADLAD-400, mT5          a prefix in words: "<2th> ..." or "translate English to Thai: ..."
    Marian                   nothing: such a model knows one pair of languages
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from kinnari.errors import ConfigError
from kinnari.models.cache import file_sha256
from kinnari.models.load import load_model, load_tokenizer
from kinnari.models.spec import ModelSpec
from kinnari.models.vocabulary import check_vocabulary
from kinnari.text.batches import pad_rows
from kinnari.translation.languages import model_code
from kinnari.translation.passages import Unit, assemble, split
from kinnari.translation.translator import Progress, Translation, no_progress

# What a translation depends on, by the names of the arguments.
SHAPING = ("name", "codes", "source_tag", "target_tag", "prefix", "unit", "keep_code", "num_beams", "no_repeat_ngram_size",
           "max_source_tokens", "max_new_tokens")  # fmt: skip


class Seq2SeqTranslator:
    """Beam search over batches sorted by length; the same model, settings and texts give the same translations.

    Args:
        model: an encoder-decoder in eval mode; its own generation settings (decoder start, forbidden tokens) hold where none
            below replaces them.
        name: of the weights, part of the cache key; see `load_seq2seq`.
        codes: how the model calls languages, see `model_code`.
        source_tag, target_tag: tokens that name the languages, with `{code}`; None for models that take none.
        prefix: text before every source, with `{source}` and `{target}` as `codes` calls them.
        unit: what the model reads at once; most translation models were trained on sentences.
        keep_code: fenced code blocks are left as they are.
        max_source_tokens: longer stretches are cut at sentences, clauses, words.
        max_new_tokens: a translation that does not end before is a failure, never half a translation.
        batch_tokens: source tokens of a batch, padding counted; without influence on the result but for rounding.

    Raises:
        ConfigError: the model has fewer positions than that.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str,
        codes: str = "iso",
        source_tag: str | None = None,
        target_tag: str | None = None,
        prefix: str = "",
        unit: Unit = "line",
        keep_code: bool = True,
        num_beams: int = 4,
        no_repeat_ngram_size: int = 0,
        max_source_tokens: int = 256,
        max_new_tokens: int = 512,
        batch_tokens: int = 4096,
    ) -> None:
        for setting, value in {"num_beams": num_beams, "max_new_tokens": max_new_tokens, "batch_tokens": batch_tokens}.items():
            if value < 1:
                raise ConfigError(f"translation.engine.{setting}={value} must be at least 1.")
        if max_source_tokens < 8:
            raise ConfigError(f"translation.engine.max_source_tokens={max_source_tokens} leaves no room for a sentence; give at least 8.")
        _check_positions(model, max_source_tokens, max_new_tokens)
        self.model, self.tokenizer, self.batch_tokens = model, tokenizer, batch_tokens
        self.codes, self.source_tag, self.target_tag, self.prefix = codes, source_tag, target_tag, prefix
        self.unit, self.keep_code, self.max_source_tokens, self.max_new_tokens = unit, keep_code, max_source_tokens, max_new_tokens
        self.num_beams, self.no_repeat_ngram_size, self.name = num_beams, no_repeat_ngram_size, name

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything but the batch size and the device."""
        return {"engine": "seq2seq", **{name: vars(self)[name] for name in SHAPING}}

    def translate(self, texts: Sequence[str], source: str, target: str, on_progress: Progress = no_progress) -> list[Translation]:
        """Each stretch is translated once, however often it occurs; a text fails if one of its stretches does."""
        head = self._head(source, target)
        pieces = [split(text, self.unit, keep_code=self.keep_code, fits=self._fits(len(head))) for text in texts]
        wanted = list(dict.fromkeys(piece.text for text in pieces for piece in text if not piece.kept))
        ids = {text: [*head, *row, self._eos] for text, row in zip(wanted, self._tokens(wanted), strict=True)}
        config = self._generation_config(target)
        done: dict[str, Translation] = {}
        for batch in self._batches(ids):
            done |= zip(batch, self._answer([ids[text] for text in batch], config), strict=True)
            on_progress(len(texts) * len(done) // len(wanted))
        return [assemble(text, done, target) for text in pieces]

    @property
    def _eos(self) -> int:
        return int(self.tokenizer.eos_token_id)

    def _head(self, source: str, target: str) -> list[int]:
        """Token ids before every source."""
        if self.source_tag is not None:
            return [self._tag(self.source_tag, source)]
        if not self.prefix:
            return []
        names = {"source": model_code(source, self.codes), "target": model_code(target, self.codes)}
        return self._tokens([self.prefix.format(**names)])[0]

    def _tag(self, tag: str, code: str) -> int:
        written = tag.format(code=model_code(code, self.codes))
        token: Any = self.tokenizer.convert_tokens_to_ids(written)
        if token is None or token == self.tokenizer.unk_token_id:
            raise ConfigError(
                f"{self.name} does not know language {code!r}: its tokenizer has no token {written!r}. Choose a language of that model, "
                "or the translation= option of the model's family (nllb, m2m100, mbart50, madlad, marian, mt5)."
            )
        return int(token)

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        return self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"] if texts else []

    def _fits(self, head: int) -> Any:
        room = self.max_source_tokens - head - 1
        # No tokenizer writes more tokens than bytes and a word mark, so that most stretches need not be tokenised to be measured.
        return lambda text: len(text) * 4 < room or len(self._tokens([text])[0]) <= room

    def _batches(self, ids: Mapping[str, list[int]]) -> Iterator[list[str]]:
        """Longest first: out of memory shows at once. Equal lengths in the order of their text, whatever order they came in."""
        batch: list[str] = []
        for text in sorted(ids, key=lambda text: (-len(ids[text]), text)):
            if batch and len(ids[batch[0]]) * (len(batch) + 1) > self.batch_tokens:
                yield batch
                batch = []
            batch.append(text)
        if batch:
            yield batch

    def _generation_config(self, target: str) -> GenerationConfig:
        config = copy.deepcopy(self.model.generation_config)
        # A forced EOS at the end would make a cut translation look like a whole one.
        config.update(do_sample=False, num_beams=self.num_beams, no_repeat_ngram_size=self.no_repeat_ngram_size, use_cache=True,
                      max_new_tokens=self.max_new_tokens, max_length=None, forced_eos_token_id=None,
                      forced_bos_token_id=None if self.target_tag is None else self._tag(self.target_tag, target),
                      temperature=None, top_p=None, top_k=None)  # fmt: skip
        if config.decoder_start_token_id is None:
            config.decoder_start_token_id = self.model.config.decoder_start_token_id
        config.eos_token_id, config.pad_token_id = self._eos, self.tokenizer.pad_token_id
        return config

    def _answer(self, rows: list[list[int]], config: GenerationConfig) -> list[Translation]:
        try:
            generated = self._generate(rows, config)
        except torch.OutOfMemoryError:
            if len(rows) == 1:
                return [Translation(None, f"out of memory on {len(rows[0])} tokens; lower translation.engine.max_source_tokens")]
            half = len(rows) // 2
            return [*self._answer(rows[:half], config), *self._answer(rows[half:], config)]
        return [self._text(row) for row in generated]

    def _generate(self, rows: list[list[int]], config: GenerationConfig) -> list[list[int]]:
        """Ids int64 without the decoder's start token; transformers would fill settings left at None from the model's own ones."""
        model: Any = self.model
        ids, mask = pad_rows(rows, self.tokenizer.pad_token_id)
        own, model.generation_config = model.generation_config, config
        try:
            with torch.inference_mode():
                answers = model.generate(
                    input_ids=torch.from_numpy(ids).to(model.device),
                    attention_mask=torch.from_numpy(mask).to(model.device),
                    generation_config=config,
                )
        finally:
            model.generation_config = own
        return answers[:, 1:].tolist()

    def _text(self, row: list[int]) -> Translation:
        if self._eos not in row:
            return Translation(None, f"not finished within translation.engine.max_new_tokens={self.max_new_tokens}")
        said = row[: row.index(self._eos)]
        return Translation(str(self.tokenizer.decode(said, skip_special_tokens=True)).strip())


def _check_positions(model: PreTrainedModel, max_source_tokens: int, max_new_tokens: int) -> None:
    positions = model.config.to_dict().get("max_position_embeddings")
    most = max(max_source_tokens, max_new_tokens + 1)
    # M2M100 and NLLB compute their sinusoids as far as they are needed.
    if positions is not None and model.config.model_type not in ("m2m_100",) and most > positions:
        raise ConfigError(
            f"translation.engine.max_source_tokens={max_source_tokens} and max_new_tokens={max_new_tokens} need {most} positions, but the "
            f"model has {positions}. Lower both to less than {positions}."
        )


def load_seq2seq(
    path: str, *, accelerator: str = "cpu", dtype: str = "float32", trust_remote_code: bool = False, **settings: Any
) -> Seq2SeqTranslator:
    """The engine over the weights in a local folder or of a hub id; `settings` are those of `Seq2SeqTranslator`.

    Raises:
        ConfigError: no such model, or none of an encoder-decoder.
    """
    if dtype not in ("float32", "bfloat16", "float16"):
        raise ConfigError(f"translation.engine.dtype={dtype} is unknown. Choose one of float32, bfloat16, float16.")
    spec = ModelSpec(
        name="translation", architecture="seq2seq", path=path, package=None, toy=None, lora_targets=[], block_classes=[],
        max_length=settings.get("max_source_tokens", 256), dtype="auto", attention="auto", packing="none", pad_token=None,
        trust_remote_code=trust_remote_code, licence="that of the weights", notice=None,
    )  # fmt: skip
    tokenizer = load_tokenizer(spec)
    device = "cpu" if accelerator == "cpu" else "cuda"
    model = load_model(spec, dtype=getattr(torch, dtype), device=device)
    check_vocabulary(model, tokenizer)
    return Seq2SeqTranslator(model, tokenizer, name=weights_name(path, model), **settings)


def weights_name(path: str, model: PreTrainedModel) -> str:
    """A name that changes when the weights do: the hub id with its commit, or the folder's name with a hash of its files."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return f"{path}@{model.config.to_dict().get('_commit_hash') or 'unknown'}"
    files = sorted(file for file in folder.iterdir() if file.suffix in (".json", ".safetensors", ".bin", ".model", ".spm", ".txt"))
    digests = "".join(f"{file.name}:{file_sha256(file)}\n" for file in files)
    return f"{folder.resolve().name}@{hashlib.sha256(digests.encode()).hexdigest()[:16]}"
