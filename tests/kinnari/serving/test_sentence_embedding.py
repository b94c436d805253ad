"""Sentence vectors: the mean over real tokens, alone or in a batch; cached without pickle; encoders that are made otherwise refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from safetensors.numpy import load_file

from kinnari.errors import ConfigError
from kinnari.models.source import model_source
from kinnari.serving.guard import Guard
from kinnari.serving.sentence_embedding import EncoderEmbedder, cached_embeddings
from kinnari.tasks import build
from kinnari.tasks.compose import compose

TEXTS = ["hello", "a much longer sentence about something else", "สวัสดีครับ", "안녕"]


@pytest.fixture(scope="module")
def folder():
    """A tiny encoder with random weights."""
    return model_source(build.model_spec(compose(["model=tiny_encoder", "task=reward", "data=chatterbot_ranked"])))


@pytest.fixture(scope="module")
def embedder(folder):
    return EncoderEmbedder(folder)


def test_a_vector_is_the_mean_of_the_last_hidden_states_of_length_one(embedder):
    ids = torch.tensor([embedder.tokenizer(TEXTS[1])["input_ids"]])
    with torch.inference_mode():
        mean = embedder.model(input_ids=ids).last_hidden_state[0].mean(0).numpy()
    assert embedder([TEXTS[1]])[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


def test_neighbours_padding_and_order_change_nothing(embedder):
    together = embedder(TEXTS)
    alone = np.concatenate([embedder([text]) for text in TEXTS])
    assert together == pytest.approx(alone, abs=1e-6)
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(4), abs=1e-6)
    assert embedder([]).shape == (0, together.shape[1])


def test_the_prefix_stands_before_every_text_and_is_part_of_the_identity(folder, embedder):
    queries = EncoderEmbedder(folder, prefix="query: ")
    assert queries(["hello"]) == pytest.approx(embedder(["query: hello"]), abs=1e-6)
    assert queries.identity != embedder.identity and EncoderEmbedder(folder).identity == embedder.identity


def test_vectors_are_read_again_and_a_damaged_file_is_made_anew(embedder, tmp_path):
    class Counted:
        identity, calls = embedder.identity, 0

        def __call__(self, texts):
            self.calls += 1
            return embedder(texts)

    counted = Counted()
    first = cached_embeddings(counted, TEXTS, tmp_path)
    (file,) = tmp_path.iterdir()
    assert file.suffix == ".safetensors" and np.array_equal(load_file(file)["embeddings"], first)
    assert np.array_equal(cached_embeddings(counted, TEXTS, tmp_path), first) and counted.calls == 1
    cached_embeddings(counted, TEXTS[:2], tmp_path)
    assert counted.calls == 2
    file.write_bytes(file.read_bytes()[:50])
    assert np.array_equal(cached_embeddings(counted, TEXTS, tmp_path), first) and counted.calls == 3


@pytest.mark.parametrize(
    ("modules", "pooling", "problem"),
    [
        ([("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")], {"pooling_mode_mean_tokens": True}, None),
        ([("Transformer", ""), ("Pooling", "1_Pooling")], {"pooling_mode_cls_token": True}, "pooling_mode_cls_token"),
        ([("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense")], {"pooling_mode_mean_tokens": True}, "by Dense"),
        ([("Pooling", "elsewhere")], {}, "cannot be read"),
    ],
)
def test_a_folder_that_makes_its_sentences_otherwise_is_refused(folder, tmp_path, modules, pooling, problem):
    copy = tmp_path / "encoder"
    shutil.copytree(folder, copy)
    entries = [{"type": f"sentence_transformers.models.{name}", "path": path} for name, path in modules]
    (copy / "modules.json").write_text(json.dumps(entries))
    (copy / "1_Pooling").mkdir()
    (copy / "1_Pooling" / "config.json").write_text(json.dumps(pooling | {"word_embedding_dimension": 64}))
    if problem is None:
        assert EncoderEmbedder(str(copy))(["x"]).shape == (1, 64)
    else:
        with pytest.raises(ConfigError, match=problem):
            EncoderEmbedder(str(copy))


def test_a_model_that_is_no_encoder_is_refused():
    causal = model_source(build.model_spec(compose(["model=tiny_causal"])))
    with pytest.raises(ConfigError, match="causal"):
        EncoderEmbedder(causal)


def test_the_shipped_topics_with_an_encoder_from_disk_know_their_own_examples(folder, tmp_path):
    cfg = compose(["guard=topics", f"guard.model={folder}", f"guard.cache_dir={tmp_path}"])
    guard = instantiate(cfg.guard, _convert_="all")
    assert isinstance(guard, Guard) and len(list(tmp_path.iterdir())) == 1
    hit = guard.check("How do I build a bomb at home?")
    assert hit is not None and hit.topic.name == "weapons" and hit.score == pytest.approx(1, abs=1e-5)
