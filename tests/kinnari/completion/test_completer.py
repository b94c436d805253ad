"""Settings of a completion."""

import pytest

from kinnari.completion.completer import CompletionSettings
from kinnari.errors import ConfigError


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"max_tokens": 0}, "max_tokens=0 must be a whole number of at least 1"),
        ({"max_tokens": 1.5}, "max_tokens=1.5 must be"),
        ({"temperature": -1}, "temperature=-1 must be a number of at least 0"),
        ({"temperature": "hot"}, "temperature=hot must be"),
        ({"top_p": 0}, "top_p=0 must be a number above 0 and at most 1"),
        ({"top_p": True}, "top_p=True must be"),
    ],
)
def test_decoding_that_cannot_work_is_refused_before_a_request(setting, told):
    with pytest.raises(ConfigError, match=told):
        CompletionSettings(**setting)


def test_the_bounds_themselves_are_allowed():
    CompletionSettings(max_tokens=1, temperature=0, top_p=1)
