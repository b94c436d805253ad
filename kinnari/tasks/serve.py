"""task=serve: the chat page and the OpenAI-compatible service in one process."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from omegaconf import DictConfig

from kinnari.errors import ConfigError
from kinnari.serving.chat_model import ChatModel
from kinnari.serving.page_texts import TEXTS
from kinnari.tasks import build
from kinnari.tasks.devices import check_packages
from kinnari.tasks.serving import check_timeout, engine, guard_of, guarded, other_config, served_name

log = logging.getLogger(__name__)

GRACE_S = 3  # that answers have to end when the server does; then their askers are told
CLOSE_S = 3  # that open connections have after it
READERS = ("reply", "answer-", "AnyIO worker")  # threads that end once the models do, by their names


def serve(cfg: DictConfig) -> dict[str, Any]:
    """Serve until SIGINT or SIGTERM.

    Returns:
        address, and the names of the models.

    Raises:
        ConfigError: a package is missing, the address cannot be used, or a setting is out of its range.
    """
    check_packages(cfg)  # where a notebook runs the task without its rules
    check_settings(cfg)
    second = other_config(cfg)
    names = _names(cfg, second)
    key = os.environ.get(cfg.serve.api_key_env, "").strip() if cfg.serve.api_key_env else ""
    listening = bound(str(cfg.serve.host), int(cfg.serve.port))  # before weights are read
    with ExitStack() as until_the_end:
        until_the_end.callback(_let_readers_end)
        until_the_end.callback(listening.close)
        limits = {name: cfg.serve[name] for name in ("max_running", "max_waiting", "timeout_s", "cache_tokens")}
        guard = guard_of(cfg)
        models: list[ChatModel] = []
        for config, name in zip([cfg] if second is None else [cfg, second], names, strict=True):
            models.append(engine(config, name, **limits))
            until_the_end.callback(models[-1].close)
        models = guarded(guard, models)
        address, listed = address_of(listening), _listed(cfg, names)
        _warn_of_open_doors(str(cfg.serve.host), key, cfg.serve.api_key_env)
        _run(
            _application(cfg, models, listed, key), listening, lambda: _tell(address, listed, page=cfg.serve.page),
            [partial(model.close) for model in models],
        )  # fmt: skip
    return {"address": address, "models": [model.name for model in models]}


def check_settings(cfg: DictConfig) -> None:
    """Refuses what would only be found after the weights are read."""
    build.generation_settings(cfg)
    serve = cfg.serve
    for name, lowest in {"port": 0, "max_running": 1, "max_waiting": 0, "max_tokens": 1, "max_body_bytes": 1000, "history": 0}.items():
        value = serve[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
            raise ConfigError(f"serve.{name}={value} must be a whole number of at least {lowest}.")
    check_timeout("serve.timeout_s", serve.timeout_s)
    if serve.cache_tokens is not None and (not isinstance(serve.cache_tokens, int) or serve.cache_tokens < 2):
        raise ConfigError(f"serve.cache_tokens={serve.cache_tokens} must be a whole number of at least 2, or null for no limit.")
    if serve.language not in ("auto", *TEXTS):
        raise ConfigError(f"serve.language={serve.language}: the page is not written in it; choose one of auto, {', '.join(TEXTS)}.")
    if serve.port > 65535:
        raise ConfigError(f"serve.port={serve.port} is no port; the highest is 65535, and 0 takes any that is free.")


def _names(cfg: DictConfig, second: DictConfig | None) -> list[str]:
    names = [cfg.serve.name or served_name(cfg)] + ([] if second is None else [cfg.serve.other.name or served_name(second)])
    if len(set(names)) < len(names):
        raise ConfigError(f"Both models would be served as {names[0]}. Name them apart with serve.name and serve.other.name.")
    return names


def _listed(cfg: DictConfig, names: Sequence[str]) -> list[str]:
    """How the API lists the models. The only one has a name that is the same for every run, so that clients can keep it."""
    return [cfg.serve.name or str(cfg.model.name)] if len(names) == 1 else list(names)


def bound(host: str, port: int) -> socket.socket:
    """A socket at this address, which takes no connections yet.

    Raises:
        ConfigError: no such address here, or another program has it.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
    except OSError as problem:
        raise ConfigError(f"serve.host={host} is no address of this machine ({problem.strerror}); 127.0.0.1 always is.") from problem
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as problem:
        listening.close()
        raise ConfigError(
            f"serve.host={host} serve.port={port} cannot be used: {problem.strerror}. Another server may be running there; choose another "
            "port, or 0 for any that is free."
        ) from problem
    return listening


def address_of(listening: socket.socket) -> str:
    """What to write into a browser on this machine."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _application(cfg: DictConfig, models: Sequence[ChatModel], listed: Sequence[str], key: str) -> Any:
    from kinnari.serving.access import LOOPBACK
    from kinnari.serving.app import build_app
    from kinnari.serving.openai_api import ApiSettings

    settings = build.generation_settings(cfg)
    allowed = ApiSettings(
        settings=settings, most_new_tokens=max(cfg.serve.max_tokens, settings.max_new_tokens), max_body_bytes=cfg.serve.max_body_bytes
    )
    hosts = cfg.serve.allowed_hosts
    if hosts is None and is_loopback(str(cfg.serve.host)):
        hosts = [*LOOPBACK, str(cfg.serve.host)]
    page = partial(_mount_page, cfg=cfg, models=models) if cfg.serve.page else None
    return build_app(models, allowed, listed=listed, page=page, api_key=key, hosts=hosts)


def _mount_page(app: Any, cfg: DictConfig, models: Sequence[ChatModel]) -> None:
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    from kinnari.serving.page import build_page, mount_page

    page = build_page(
        models,
        settings=build.generation_settings(cfg),
        feedback=Path(cfg.serve.feedback).expanduser(),
        history=cfg.serve.history,
        language=cfg.serve.language,
        system=cfg.serve.system,
        most_new_tokens=cfg.serve.max_tokens,
    )
    mount_page(app, page)


def _run(app: Any, listening: socket.socket, when_ready: Callable[[], None], endings: Sequence[Callable[[], None]]) -> None:
    """Until somebody asks for the end; a second time ends at once.

    Args:
        endings: of the models, which tell those who still wait then.
    """
    import uvicorn

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """uvicorn 0.54 raises what it caught once more at its end, which would kill the process before models are closed."""
            before = {number: signal.signal(number, self._end) for number in (signal.SIGINT, signal.SIGTERM)}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            when_ready()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            late = asyncio.get_running_loop().call_later(GRACE_S, self._end_answers)
            await super().shutdown(sockets=sockets)
            late.cancel()

        def _end_answers(self) -> None:
            for end in endings:
                threading.Thread(target=end, daemon=True).start()

        def _end(self, number: int, frame: FrameType | None) -> None:
            self.force_exit = self.should_exit
            self.should_exit = True

    logging.getLogger("uvicorn.error").addFilter(_no_cut)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE_S + CLOSE_S, server_header=False, ws="none"
    )
    Server(config).run(sockets=[listening])


def _let_readers_end() -> None:
    """A thread that the end of Python meets within torch (where the guard reads a last sentence) would abort the process."""
    end = time.monotonic() + CLOSE_S
    for thread in threading.enumerate():
        if thread.name.startswith(READERS):
            thread.join(max(0.0, end - time.monotonic()))


def _no_cut(record: logging.LogRecord) -> bool:
    """Not a stack trace for every connection that is cut at the end, such as that of a page that is open."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def _tell(address: str, names: Sequence[str], *, page: bool) -> None:
    """The last line before requests come: it begins with what to open."""
    api = f"API {address}/v1 (model {', '.join(names)})"
    log.info("Ready: %s. Ctrl-C ends it.", f"chat page {address}  {api}" if page else api)


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine reach an address."""
    return host in ("localhost", "::1") or host.startswith("127.")


def _warn_of_open_doors(host: str, key: str, variable: str | None) -> None:
    if not is_loopback(host) and not key:
        log.warning(
            "serve.host=%s: everybody who reaches this machine can use the model, and no key is wanted. Put one into the environment "
            "variable %s, or serve on 127.0.0.1.", host, variable or "that serve.api_key_env names",
        )  # fmt: skip
