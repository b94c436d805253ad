"""Which model a request means, by the name it gives.

one model, listed as smollm2_135m     smollm2, SmolLM2-135M-Instruct, smollm2_135m+RUN, default, or none: this one; gpt-9: no such model
two, listed as first and base         first, base; nothing else
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kinnari.errors import ConfigError
from kinnari.serving.api_errors import ApiError
from kinnari.serving.chat_model import ChatModel

ANY = "default"  # what clients write that must write something


class ModelNames:
    """The models of a service by name.

    Args:
        models: to be served.
        listed: how clients see them, in the same order; None for the models' own names. A name that does not change from run to run
            lets clients keep theirs.

    Raises:
        ConfigError: no model, or two of one name.
    """

    def __init__(self, models: Sequence[ChatModel], listed: Sequence[str] | None = None) -> None:
        self.listed = tuple(model.name for model in models) if listed is None else tuple(listed)
        if not self.listed or len(set(self.listed)) < len(self.listed):
            raise ConfigError(f"Models are served under their names, which must differ; there is {', '.join(self.listed) or 'none'}.")
        self.models = dict(zip(self.listed, models, strict=True))

    def find(self, name: str | None) -> tuple[str, ChatModel]:
        """The name that is listed, and its model.

        Args:
            name: of the request; None or empty where it gives none.

        Raises:
            ApiError: 404 for a name that no model has; 400 for none where there are several.
        """
        if name in self.models:
            return name, self.models[name]
        shown = ", ".join(f"`{one}`" for one in self.listed)
        if len(self.models) == 1:
            only, model = next(iter(self.models.items()))
            if not name or name in (ANY, model.name) or ("+" not in name and alike(name, only)):  # another run's adapter is not this one
                return only, model
        elif not name:
            raise ApiError(400, f"Several models are served; say in `model` which is meant: {shown}.", code="invalid_value", param="model")
        raise ApiError(404, f"The model `{name[:200]}` does not exist; there is {shown}.", code="model_not_found", param="model")


def alike(one: str, other: str) -> bool:
    """Whether one name begins as the other does, part by part, whatever its case and what stands between the parts; of a path or a hub
    id the last part is looked at.

    smollm2, HuggingFaceTB/SmolLM2-135M-Instruct and smollm2_135m are alike; smol and smollm2_360m are not like smollm2_135m.
    """
    first, second = _parts(one), _parts(other)
    common = min(len(first), len(second))
    return common > 0 and first[:common] == second[:common]


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[\W_]+", name.casefold().rstrip("/").rpartition("/")[2]) if part]
