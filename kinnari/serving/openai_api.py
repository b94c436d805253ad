"""OpenAI's HTTP interface over models in this process: `/v1/chat/completions`, `/v1/completions`, `/v1/models`, and `/health`.

    body --> checked --> one request per answer --> model.answer --> pieces --> one JSON object, or events as they come
             400, 413     404 unknown model          400, 429         503        a client that goes away frees its rows

Source: https://platform.openai.com/docs/api-reference, and what its `openai` package sends and reads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from kinnari.generation.settings import GenerationSettings
from kinnari.serving.access import json_body
from kinnari.serving.api_errors import ApiError, refusal
from kinnari.serving.api_replies import END_OF_STREAM, ReplyShape, data_event, model_card
from kinnari.serving.api_requests import ChatBody, TextBody, chat_requests, parsed
from kinnari.serving.chat_model import ChatModel, ChatRequest, Reply, RequestRefusedError
from kinnari.serving.live_pieces import LivePieces
from kinnari.serving.model_names import ModelNames

LOOK_S = 0.5  # how often it is looked whether a client that waits is still there
_GONE = Response(status_code=499)  # for a client that has left: nobody reads it
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class ApiSettings:
    """What the service allows.

    Args:
        settings: decoding where a request says nothing.
        most_new_tokens: a request may ask for.
        max_body_bytes: of any request, to the page too.
    """

    settings: GenerationSettings
    most_new_tokens: int = 2048
    max_body_bytes: int = 1_000_000


def api_routes(names: ModelNames, allowed: ApiSettings) -> APIRouter:
    """The routes."""
    routes, created = APIRouter(), int(time.time())

    @routes.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "models": list(names.listed)}

    @routes.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        return {"object": "list", "data": [model_card(name, created) for name in names.listed]}

    @routes.get("/v1/models/{name:path}")
    async def one_model(name: str) -> dict[str, Any]:
        return model_card(names.find(name)[0], created)

    @routes.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        return await _answered(request, parsed(ChatBody, await json_body(request)), names, allowed)

    @routes.post("/v1/completions")
    async def completions(request: Request) -> Response:
        return await _answered(request, parsed(TextBody, await json_body(request)), names, allowed)

    @routes.api_route("/v1/{rest:path}", methods=["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"])
    async def anything_else(rest: str, request: Request) -> Response:
        raise ApiError(404, f"{request.method} /v1/{rest} is not served here.", code="unknown_url")

    return routes


async def _answered(request: Request, body: ChatBody | TextBody, names: ModelNames, allowed: ApiSettings) -> Response:
    name, model = names.find(body.model)
    requests = chat_requests(body, allowed.settings, allowed.most_new_tokens)
    try:
        replies = await run_in_threadpool(_asked, model, requests)  # a long prompt takes its time to be tokenised
    except RequestRefusedError as problem:
        raise refusal(problem) from problem
    answer = _Answer(LivePieces(replies), ReplyShape(chat=isinstance(body, ChatBody), model=name), len(requests) // (body.n or 1))
    if not body.stream:
        texts = await _unless_gone(request, answer.texts())
        return _GONE if texts is None else JSONResponse(answer.shape.whole(texts, replies, answer.prompts))
    events = answer.events(body.include_usage)
    first = await _unless_gone(request, anext(events))  # a refusal before it has a status of its own
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # proxies would hold events back
    return _GONE if first is None else StreamingResponse(_after(first, events), media_type="text/event-stream", headers=headers)


async def _unless_gone(request: Request, awaited: Awaitable[_T]) -> _T | None:
    """What is awaited, or None where the client went away meanwhile; a model's refusal becomes an `ApiError`."""
    task = asyncio.ensure_future(awaited)
    try:
        while not (await asyncio.wait([task], timeout=LOOK_S))[0]:
            if await request.is_disconnected():
                return None
        return task.result()
    except RequestRefusedError as problem:
        raise refusal(problem) from problem
    finally:
        task.cancel()


def _asked(model: ChatModel, requests: Sequence[ChatRequest]) -> list[Reply]:
    """A reply for each request; if one is refused, none runs."""
    replies: list[Reply] = []
    try:
        for one in requests:
            replies.append(model.answer(one))
    except BaseException:
        for reply in replies:
            reply.cancel()
        raise
    return replies


async def _after(first: str, events: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for event in events:
        yield event


class _Answer:
    """The replies to one HTTP request on their way out; they are cancelled when it ends early."""

    def __init__(self, pieces: LivePieces, shape: ReplyShape, prompts: int) -> None:
        self.pieces, self.shape, self.prompts = pieces, shape, prompts

    async def events(self, include_usage: bool) -> AsyncIterator[str]:
        """Server-sent events; a refusal is raised before the first and an event after it."""
        begun = False
        try:
            async for number, piece in self.pieces:
                if not begun and self.shape.chat:
                    for i in range(len(self.pieces.replies)):
                        yield self.shape.opening(i)
                begun = True
                yield self.shape.closing(number, self.pieces.replies[number]) if piece is None else self.shape.piece(number, piece)
            if include_usage:
                yield self.shape.counted(self.pieces.replies, self.prompts)
            yield END_OF_STREAM
        except RequestRefusedError as problem:
            if not begun:
                raise
            yield data_event(refusal(problem).body())
        finally:
            self.pieces.cancel()

    async def texts(self) -> list[str]:
        """The whole answers."""
        texts = [""] * len(self.pieces.replies)
        try:
            async for number, piece in self.pieces:
                texts[number] += piece or ""
        finally:
            self.pieces.cancel()
        return texts
