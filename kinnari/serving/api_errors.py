"""What goes wrong, in the shape of OpenAI's errors; never a stack trace.

{"error": {"message": "The model `gpt-9` does not exist ...", "type": "invalid_request_error", "param": "model", "code": "model_not_found"}}
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from kinnari.serving.chat_model import AnswerTimeoutError, ModelFailedError, PromptTooLongError, QueueFullError, RequestRefusedError

log = logging.getLogger(__name__)

RETRY_AFTER_S = 2


class ApiError(Exception):
    """A request that gets an error in place of an answer.

    Args:
        status: of HTTP.
        message: one paragraph: what is wrong, and what to do.
        code: for programs, such as context_length_exceeded.
        param: the field that is to blame.
    """

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param

    def body(self) -> dict[str, Any]:
        """The JSON object that is sent."""
        return {"error": {"message": self.message, "type": self._type(), "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """The whole answer to the client."""
        headers: dict[str, str] = {}
        if self.status in (429, 503):
            headers["Retry-After"] = str(RETRY_AFTER_S)
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        # What a client sent is told back, half of a surrogate pair perhaps, which is no UTF-8.
        body = json.dumps(self.body(), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        return Response(body, self.status, headers, media_type="application/json")

    def _type(self) -> str:
        known: Mapping[int, str] = {401: "authentication_error", 429: "rate_limit_error"}
        return known.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")


def refusal(problem: RequestRefusedError) -> ApiError:
    """How a refusal of the model is told."""
    text = str(problem)
    if isinstance(problem, QueueFullError):
        return ApiError(429, text, code="queue_full")
    if isinstance(problem, AnswerTimeoutError):
        return ApiError(503, text, code="timeout")
    if isinstance(problem, ModelFailedError):
        return ApiError(503, text, code="model_failed")
    if isinstance(problem, PromptTooLongError):
        return ApiError(400, text, code="context_length_exceeded", param="messages")
    return ApiError(400, text)


def install_error_handlers(app: FastAPI) -> None:
    """Every error of `app` becomes JSON of one shape."""

    async def api_error(request: Request, problem: Exception) -> Response:
        assert isinstance(problem, ApiError)
        return problem.response()

    async def http_error(request: Request, problem: Exception) -> Response:
        assert isinstance(problem, HTTPException)
        return ApiError(problem.status_code, str(problem.detail)).response()

    async def defect(request: Request, problem: Exception) -> Response:
        log.error("%s %s failed", request.method, request.url.path, exc_info=problem)
        return ApiError(500, "The server made a mistake; its log says more.", code="internal_error").response()

    app.add_exception_handler(ApiError, api_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, defect)
