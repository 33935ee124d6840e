"""What a sparse model makes of questions and passages, where there is one. Its failures stop nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from soma_core.domain.errors import ModelMissing
from soma_core.ports.sparse import SparseModel, Weights

log = logging.getLogger(__name__)


class Learned:
    """The learned arm of indexing and of recall; without a model there is none."""

    def __init__(self, model: SparseModel | None) -> None:
        self._model = model

    def of_question(self, text: str, degraded: list[str]) -> Weights | None:
        """The question's words; None without a model. A model that is not loaded or fails is named in `degraded`."""
        if self._model is None:
            return None
        if not self._model.ready:
            degraded.append("learned: the sparse model is not loaded, the answer is without it")
            return None
        try:
            return self._model.weigh([text])[0]
        except Exception:
            log.exception("weighing the words of a question failed")
            degraded.append("learned: the sparse model failed, the answer is without it")
            return None

    def of_passages(self, texts: Sequence[str]) -> tuple[list[Weights | None], int]:
        """The words of each passage, None where there are none, and of how many the model should have had them."""
        if self._model is None:
            return [None] * len(texts), 0
        try:
            return [*self._model.weigh(texts)], 0
        except ModelMissing as error:
            log.warning("%d passages go without the words of the sparse model: %s", len(texts), error.message)
            return [None] * len(texts), len(texts)
        except Exception:
            log.exception("weighing the words of %d passages failed; trying them one by one", len(texts))
        found = [self._alone(self._model, text) for text in texts]
        return found, found.count(None)

    def _alone(self, model: SparseModel, text: str) -> Weights | None:
        try:
            return model.weigh([text])[0]
        except Exception:
            return None
