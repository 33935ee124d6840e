"""Which generation of the index a process that starts serves from."""

from __future__ import annotations

from dataclasses import replace

from soma_core.domain.errors import ModelMismatch
from soma_core.domain.generations import Generation, Generations
from soma_core.ports.records import RecordStore


def serving_generation(records: RecordStore, wanted: Generation, *, accept_model: bool, in_place: bool) -> Generation:
    """The generation that serves: as it was recorded, or the first, as it is `wanted`. Raises `ModelMismatch`.

    Another language or sparse model is taken `in_place`, where one process follows the records from the beginning.
    """
    while (found := records.generations()) is None:
        records.change_generations(None, Generations(wanted))
    serving = found.serving
    if serving.model_id == wanted.model_id:
        now = replace(wanted, number=serving.number)
        if not accept_model and now != serving:
            if not in_place and serving.language:
                _check_same(serving, wanted)
            records.change_generations(found, replace(found, serving=now))
        return serving if accept_model and serving.language else now
    if not accept_model:
        raise ModelMismatch(
            f"the index was built with the model {serving.model_id}, but SOMA_EMBEDDING_MODEL gives {wanted.model_id}: "
            "set it back, or run `soma reindex` to rebuild the index from the records with the new model",
            fields=("SOMA_EMBEDDING_MODEL",),
        )
    if serving.language:
        return serving
    return replace(serving, language=wanted.language, sparse_model_id=wanted.sparse_model_id)


def _check_same(serving: Generation, wanted: Generation) -> None:
    """What an index that many processes share was built with is changed for all of them at once."""
    for setting, built, told in (
        ("SOMA_LANGUAGE", serving.language, wanted.language),
        ("SOMA_SPARSE_MODEL", serving.sparse_model_id, wanted.sparse_model_id),
    ):
        if built != told:
            raise ModelMismatch(
                f"{setting}: the index that workers write was built with {built or 'none'}, and here it is "
                f"{told or 'none'}: set it back, or run `soma reindex` to build another index for all",
                fields=(setting,),
            )
