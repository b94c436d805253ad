"""A model behind an OpenAI-compatible endpoint (vLLM, llama.cpp, a hosted service): POST BASE_URL/chat/completions or /completions.

    prompts ─┬─ thread ── ask ── 429, 5xx, timeout, unreadable: wait, ask again (bounded) ── Completion
             ├─ thread ── ask ── "reduce your prompt": max_tokens x 0.8, ask again
             └─ ...                                                        results in the order of the prompts

The key comes from the environment variable that is named, and from nowhere else; it is in no log, error or result.
"""

from __future__ import annotations

import os
import queue
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx2

from kinnari.completion.completer import Completion, CompletionSettings, Prompt
from kinnari.completion.retrying import TRANSIENT_STATUS, Backoff, retry_after_s
from kinnari.errors import ConfigError
from kinnari.text.conversation import Message

TELL_EVERY_S = 1.0
FEWEST_TOKENS = 16  # an answer is not shortened below this to fit
ERROR_CHARACTERS = 300
_TOO_LONG = re.compile(
    r"reduce (the length of )?(your|the) (prompt|message)|context[ _-]?(length|window)|maximum model length|too long|too many tokens", re.I
)


class _Problem(Exception):
    """A request that brought no completion; `again` says whether the same one may do better later."""

    def __init__(self, text: str, *, again: bool = False, too_long: bool = False, wait_s: float | None = None) -> None:
        super().__init__(text)
        self.text, self.again, self.too_long, self.wait_s = text, again, too_long, wait_s


class EndpointCompleter:
    """Asks an endpoint, several prompts at a time.

    Args:
        base_url: up to and without `/chat/completions`, such as http://127.0.0.1:8000/v1.
        model: the name the endpoint knows the model by.
        api_key_env: environment variable with the key; where it is not set no key is sent (local servers need none).
        chat: ask for chat completions (a bare prompt becomes one user message), else for the continuation of bare text.
        parallel: requests under way at once.
        timeout_s: seconds without a byte from the server before a request counts as failed.
        backoff: when failed requests are repeated.

    Raises:
        ConfigError: an address that is no http(s) URL or holds credentials, or a value out of its range.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key_env: str = "OPENAI_API_KEY",
        *,
        chat: bool = True,
        parallel: int = 8,
        timeout_s: float = 120.0,
        backoff: Backoff = Backoff(),  # noqa: B008, frozen
    ) -> None:
        _check(base_url, model, parallel, timeout_s)
        self.name = model
        self.chat, self.parallel, self.backoff, self.api_key_env = chat, parallel, backoff, api_key_env
        self._url = base_url.rstrip("/") + ("/chat/completions" if chat else "/completions")
        key = os.environ.get(api_key_env, "").strip()
        self._secret = key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx2.Client(timeout=timeout_s, headers=headers, limits=httpx2.Limits(max_connections=parallel))
        self._tokens_field = "max_tokens"

    def complete(
        self, prompts: Sequence[Prompt], settings: CompletionSettings, on_progress: Callable[[int], None] = lambda done: None
    ) -> list[Completion]:
        """One completion per prompt, in the order of the prompts; `on_progress` is told how many are done, at least every second.

        Raises:
            ConfigError: a chat for a completer of bare text.
        """
        bodies = [self._body(prompt, settings) for prompt in prompts]
        stopping = threading.Event()
        pool = ThreadPoolExecutor(max_workers=max(1, min(self.parallel, len(bodies))))
        try:
            asked = [pool.submit(self._answer, body, settings.max_tokens, stopping) for body in bodies]
            _tell(asked, on_progress)
            return [future.result() for future in asked]
        finally:
            stopping.set()  # after an interrupt nobody waits for the backoff of others
            pool.shutdown(wait=True, cancel_futures=True)

    def _body(self, prompt: Prompt, settings: CompletionSettings) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.name, "temperature": settings.temperature, "top_p": settings.top_p}
        if self.chat:
            messages = [Message("user", prompt)] if isinstance(prompt, str) else prompt
            body["messages"] = [{"role": m.role, "content": _content(m)} for m in messages]
        elif isinstance(prompt, str):
            body["prompt"] = _sendable(prompt)
        else:
            raise ConfigError(f"{self.name} is asked to continue bare text (chat=false) and was given a chat; set chat=true.")
        given = {
            "stop": list(dict.fromkeys(settings.stop)),
            "frequency_penalty": settings.frequency_penalty,
            "presence_penalty": settings.presence_penalty,
            "logit_bias": {str(token): bias for token, bias in settings.logit_bias.items()},
        }
        body |= {name: value for name, value in given.items() if value}  # some servers refuse what they do not know
        return body if settings.seed is None else body | {"seed": settings.seed}

    def _answer(self, body: dict[str, Any], max_tokens: int, stopping: threading.Event) -> Completion:
        """One completion: repeats, shortens, and gives up with the last reason."""
        failures = 0
        while True:
            try:
                return self._ask(body | {self._tokens_field: max_tokens})
            except _Problem as problem:
                shorter = int(max_tokens * 0.8)
                if problem.too_long and shorter >= FEWEST_TOKENS:
                    max_tokens = shorter
                    continue
                failures += not problem.too_long
                if problem.too_long or not problem.again or failures >= self.backoff.attempts or stopping.is_set():
                    tries = f" ({failures} attempts)" if failures > 1 else ""
                    return Completion("", "failed", self._without_key(problem.text) + tries)
                stopping.wait(self.backoff.wait_s(failures, problem.wait_s))

    def _ask(self, body: dict[str, Any]) -> Completion:
        try:
            response = self._client.post(self._url, json=body)
        except httpx2.TimeoutException:
            raise _Problem("no answer in time", again=True) from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise _Problem(f"no connection: {type(error).__name__}: {error}", again=True) from None
        if response.status_code >= 400:
            raise self._refusal(response, body)
        if response.status_code != 200:
            raise _Problem(f"status {response.status_code} in place of an answer; give the address the endpoint redirects to")
        try:
            return _completion(response.json(), self.chat)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            raise _Problem(f"an answer that is no completion: {response.text[:ERROR_CHARACTERS]}", again=True) from None

    def _refusal(self, response: httpx2.Response, body: dict[str, Any]) -> _Problem:
        status, text = response.status_code, response.text
        shown = f"status {status}: {' '.join(text.split())[:ERROR_CHARACTERS]}"
        if status in (400, 413, 422):
            if "max_completion_tokens" in text and "max_completion_tokens" not in body:
                self._tokens_field = "max_completion_tokens"  # newer hosted models know max_tokens no more
                return _Problem(shown, again=True, wait_s=0.0)
            return _Problem(shown, too_long=bool(_TOO_LONG.search(text)))
        if status in (401, 403):
            known = "was refused" if self._secret else "is not set"
            return _Problem(f"{shown}; the key in the environment variable {self.api_key_env} {known}")
        return _Problem(shown, again=status in TRANSIENT_STATUS, wait_s=retry_after_s(response.headers))

    def _without_key(self, text: str) -> str:
        """Servers like to repeat the key they refuse, whole or half."""
        if not self._secret:
            return text
        text = text.replace(self._secret, "[key]")
        ends = {self._secret[:8], self._secret[-4:]} if len(self._secret) >= 16 else set()
        return re.sub(r"\S*\*\S*(" + "|".join(map(re.escape, ends)) + r")\S*", "[key]", text) if ends else text


def _tell(asked: Sequence[Future[Completion]], on_progress: Callable[[int], None]) -> None:
    """Wait for all, telling how many are done: after each, and every second, so that a display can show that work goes on."""
    finished: queue.SimpleQueue[Future[Completion]] = queue.SimpleQueue()
    for future in asked:
        future.add_done_callback(finished.put)
    done = 0
    while done < len(asked):
        try:
            finished.get(timeout=TELL_EVERY_S)
            done += 1
        except queue.Empty:
            pass
        on_progress(done)


def _completion(answer: Any, chat: bool) -> Completion:
    choice = answer["choices"][0]
    text = choice["message"]["content"] if chat else choice["text"]
    reason = choice.get("finish_reason")
    if reason == "content_filter" or text is None:
        return Completion("", "failed", f"the model gave no text (finish_reason {reason})")
    if not isinstance(text, str):
        raise TypeError("text")
    usage = answer.get("usage") or {}
    counts = [usage.get(name) if isinstance(usage, dict) else None for name in ("prompt_tokens", "completion_tokens")]
    read, written = (count if isinstance(count, int) and count >= 0 else None for count in counts)
    return Completion(text, "length" if reason == "length" else "stop", None, read, written)


def _content(message: Message) -> str:
    return _sendable(f"{message.content}\n\n{message.context}" if message.context else message.content)


def _sendable(text: str) -> str:
    """Lone surrogates cannot be sent as UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _check(base_url: str, model: str, parallel: int, timeout_s: float) -> None:
    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL as error:
        raise ConfigError(f"{base_url!r} is no address of an endpoint: {error}. Write http://HOST:PORT/v1.") from error
    if url.username or url.password or url.query:
        raise ConfigError("The address of an endpoint holds credentials or a query; addresses are written to files. Put the key "
                          "into the environment variable that api_key_env names.")  # fmt: skip
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(f"{base_url!r} is no address of an endpoint; write http://HOST:PORT/v1 or https://HOST/v1.")
    if not model:
        raise ConfigError(f"The endpoint {base_url} needs the name of a model; an endpoint may serve several.")
    if not all(isinstance(value, int | float) and value > 0 for value in (parallel, timeout_s)) or not isinstance(parallel, int):
        raise ConfigError(f"parallel={parallel} and timeout_s={timeout_s} must both be above 0, and parallel a whole number.")
