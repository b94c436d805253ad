"""Small models to serve: of random weights, made to say something else to every prompt."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI
from transformers import PreTrainedModel

from kinnari.models.toy import byte_tokenizer
from kinnari.serving.engine import Engine
from kinnari.text.template import Template
from tests.kinnari.generation.test_sampler import toy

TOKENIZER = byte_tokenizer()
TEMPLATE = Template(
    name="plain", system="{content}\n", user="U:{content}\n", user_with_context=None, assistant_start="A:", after_eos="\n",
    default_system=None, bos=True,
)  # fmt: skip


def toy_model(model_type: str = "llama", **options) -> PreTrainedModel:
    """A model over bytes; its answers differ from prompt to prompt."""
    return toy(model_type, **options).eval()


def toy_engine(model: PreTrainedModel | None = None, *, name: str = "toy", **options) -> Engine:
    """An engine over a toy; the caller closes it."""
    return Engine(toy_model() if model is None else model, TOKENIZER, TEMPLATE, name=name, **options)


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """The address of a real server over `app`, in a thread."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", ws="none", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
