"""When to ask an endpoint again, and how long to wait before: exponential backoff with jitter, within bounds.

attempt   1    2    3    4    5    6
waits       <=1  <=2  <=4  <=8  <=16    seconds, each drawn from [half, whole]; never less than the server's Retry-After
"""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

from kinnari.errors import ConfigError

TRANSIENT_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """How often and how patiently a request is repeated.

    Args:
        attempts: requests for one prompt, the first included.
        first_s: the longest wait after the first failure, seconds; doubles with each further one.
        longest_s: no wait is longer, whatever the server asks for.

    Raises:
        ConfigError: a value is out of its range.
    """

    attempts: int = 6
    first_s: float = 1.0
    longest_s: float = 60.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ConfigError(f"attempts={self.attempts} would never ask; it must be 1 or more (6 is usual).")
        if self.first_s < 0 or self.longest_s < self.first_s:
            raise ConfigError(
                f"A backoff from {self.first_s} to {self.longest_s} seconds is none; the first wait must be 0 or more and "
                "the longest no shorter than it."
            )

    def wait_s(self, failures: int, asked_s: float | None = None) -> float:
        """Seconds to wait after `failures` (1, 2, ...) failed requests; `asked_s` is what the server asked for."""
        drawn = min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 60)) * random.uniform(0.5, 1.0)
        return drawn if asked_s is None else min(self.longest_s, max(asked_s, drawn))


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks for, in either of its forms (RFC 9110, 10.2.3); None without a readable one."""
    value = headers.get("retry-after", "").strip()
    if value.replace(".", "", 1).isdigit():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
        return max(0.0, moment.timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
