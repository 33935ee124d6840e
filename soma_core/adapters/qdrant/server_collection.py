"""The one collection on a Qdrant server: made where there is none, checked where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qdrant_client import QdrantClient, models

from soma_core.adapters.qdrant.points import AT, DENSE, LABELS, LEARNED, MEMORY, SCOPE, VERSION, WORDS
from soma_core.adapters.qdrant.server_requests import TENANT
from soma_core.domain.errors import InvalidInput, ModelMismatch, Unavailable

FIELDS: Mapping[str, Any] = {
    TENANT: models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    MEMORY: models.PayloadSchemaType.UUID,
    VERSION: models.PayloadSchemaType.INTEGER,
    SCOPE: models.PayloadSchemaType.KEYWORD,
    LABELS: models.PayloadSchemaType.KEYWORD,
    AT: models.PayloadSchemaType.DATETIME,
}
"""Every field that a filter uses: a server may be told to refuse filters on others."""


def prepare_collection(client: QdrantClient, name: str, dimensions: int | None, seconds: int, *, learned: bool) -> None:
    """Make the collection or check that it is Soma's, for vectors of these dimensions; index the fields.

    Every new collection has room for the learned arm, which costs nothing empty; `learned` says that it must be there.
    Raises `ModelMismatch` for other dimensions, `InvalidInput` for a collection of something else.
    """
    if not client.collection_exists(name):
        if dimensions is None:
            raise Unavailable(
                f"the collection {name!r} is gone and cannot be made without the model that it was built with"
            )
        _create(client, name, dimensions, seconds)
    info = client.get_collection(name)
    _check(name, info.config.params, dimensions)
    if learned and LEARNED not in (info.config.params.sparse_vectors or {}):
        raise InvalidInput(
            f"SOMA_SPARSE_MODEL: the collection {name!r} was made by a version of Soma that knew no such model: name "
            "another collection",
            fields=("SOMA_SPARSE_MODEL", "QDRANT_COLLECTION"),
        )
    for field in FIELDS.keys() - info.payload_schema.keys():
        client.create_payload_index(name, field, FIELDS[field], timeout=seconds)


def _create(client: QdrantClient, name: str, dimensions: int, seconds: int) -> None:
    """A graph for each tenant and none over all; vectors as Edge keeps them, so that both rank alike."""
    quantised = models.TurboQuantQuantizationConfig(bits=models.TurboQuantBitSize.BITS4, always_ram=True)
    dense = models.VectorParams(
        size=dimensions,
        distance=models.Distance.COSINE,
        datatype=models.Datatype.FLOAT16,
        quantization_config=models.TurboQuantization(turbo=quantised),
    )
    try:
        client.create_collection(
            name,
            vectors_config={DENSE: dense},
            sparse_vectors_config={
                WORDS: models.SparseVectorParams(modifier=models.Modifier.IDF),
                LEARNED: models.SparseVectorParams(),
            },
            hnsw_config=models.HnswConfigDiff(m=0, payload_m=16),
            timeout=seconds,
        )
    except Exception:
        if not client.collection_exists(name):  # otherwise another process was quicker
            raise


def _check(name: str, params: models.CollectionParams, dimensions: int | None) -> None:
    found = _dimensions(params)
    if found is None:
        raise InvalidInput(
            f"QDRANT_COLLECTION: the collection {name!r} on the Qdrant server is not Soma's: name another",
            fields=("QDRANT_COLLECTION",),
        )
    if dimensions not in (None, found):
        raise ModelMismatch(
            f"the collection {name!r} holds vectors of {found} dimensions, but SOMA_EMBEDDING_MODEL gives "
            f"{dimensions}: set it back, or run `soma reindex` to rebuild the index from the records with that model",
            fields=("SOMA_EMBEDDING_MODEL", "QDRANT_COLLECTION"),
        )


def _dimensions(params: models.CollectionParams) -> int | None:
    dense = params.vectors.get(DENSE) if isinstance(params.vectors, dict) else None
    words = (params.sparse_vectors or {}).get(WORDS)
    if dense is None or dense.distance != models.Distance.COSINE:
        return None
    return dense.size if words and words.modifier == models.Modifier.IDF else None
