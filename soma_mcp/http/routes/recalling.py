"""Asking: every form of recall, and the search for terms as they are written."""

from __future__ import annotations

import json
from collections import deque
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import JSONResponse

from soma_core.domain.query import Recall as Answer
from soma_core.domain.query import RecallQuery
from soma_core.domain.terms import Terms, keywords
from soma_core.domain.validation import check_json_characters, check_string, invalid
from soma_core.engine import Soma
from soma_mcp.http.answers import (
    Batches,
    KeywordResults,
    Recalled,
    Results,
    ScoredResults,
    match_hit,
    match_term,
    recalled,
    scored,
)
from soma_mcp.http.auth import require
from soma_mcp.http.reading import read_filters, recall_query, scope_of
from soma_mcp.http.routes import new_router
from soma_mcp.http.shapes import (
    HybridRecall,
    KeywordSearch,
    MaxTokens,
    Order,
    Question,
    Recall,
    RecallBatch,
    RecallWithContext,
    SinceCursor,
    TopK,
    TypeName,
)

router = new_router("recall")

CONTEXT_CHARACTERS = 10_000


async def _ask(request: Request, question: RecallQuery) -> Answer:
    require(request, "read")
    memory, scope = request.app.state.memory, scope_of(request)
    found: Answer = await request.app.state.gate.run(lambda: memory.call(Soma.recall, scope, question))
    return found


@router.post("/recall", response_model=Recalled)
async def recall(request: Request, body: Recall) -> JSONResponse:
    """The best memories for a question, by meaning and by words."""
    question = recall_query(body.query, body, hybrid=body.hybrid, order=body.order, max_tokens=body.max_tokens)
    return JSONResponse(recalled(await _ask(request, question)))


@router.get("/recall", response_model=Recalled)
async def recall_by_address(
    request: Request,
    query: Annotated[str, Query(examples=["How does Ana indent?"])],
    top_k: TopK = 5,
    type: TypeName | None = None,
    filters: Annotated[str | None, Query(description="As in POST, as JSON text")] = None,
    hybrid: bool | None = None,
    order: Order = "score",
    max_tokens: MaxTokens = None,
    fold: bool = False,
    recency: bool = True,
    since_cursor: SinceCursor = None,
) -> JSONResponse:
    """The same, for callers that can only send an address."""
    wanted = _parsed_filters(filters)
    asked = Question(top_k=top_k, type=type, filters=wanted, fold=fold, since_cursor=since_cursor, recency=recency)
    question = recall_query(query, asked, hybrid=hybrid, order=order, max_tokens=max_tokens)
    return JSONResponse(recalled(await _ask(request, question)))


def _parsed_filters(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise invalid("filters", "is no JSON; it must be a JSON object") from None
    if not isinstance(found, dict):
        raise invalid("filters", "must be a JSON object")
    return found


@router.post("/recall_batch", response_model=Batches)
async def recall_batch(request: Request, body: RecallBatch) -> JSONResponse:
    """One answer for each of several questions."""
    for number, query in enumerate(body.queries):
        check_string(f"queries[{number}]", query, max_chars=1_000_000)
    questions = [recall_query(query, body, hybrid=body.hybrid) for query in body.queries]
    answers = [await _ask(request, question) for question in questions]
    batches = [[match_hit(hit) for hit in answer.hits] for answer in answers]
    return JSONResponse({"batches": batches, "degraded": [list(answer.degraded) for answer in answers]})


@router.post("/recall_with_scores", response_model=ScoredResults)
async def recall_with_scores(request: Request, body: Recall) -> JSONResponse:
    """The best memories for a question, each with its payload apart from its score."""
    question = recall_query(body.query, body, hybrid=body.hybrid, order=body.order, max_tokens=body.max_tokens)
    return _scored(await _ask(request, question))


@router.post("/hybrid_recall_with_scores", response_model=ScoredResults)
async def hybrid_recall_with_scores(request: Request, body: HybridRecall) -> JSONResponse:
    """Recall by meaning and words; memories that hold the terms as they are written are lifted."""
    values = body.terms if body.terms is not None else keywords(body.query)
    terms = (
        Terms.parse(values, exact=body.exact, case_sensitive=body.case_sensitive, boost=body.boost) if values else None
    )
    return _scored(await _ask(request, recall_query(body.query, body, terms=terms)))


@router.post("/recall_with_context", response_model=Results)
async def recall_with_context(request: Request, body: RecallWithContext) -> JSONResponse:
    """Recall for a question and what surrounds it."""
    check_json_characters("context", around := " ".join(_strings(body.context)))
    words = f"{check_string('query', body.query, max_chars=1_000_000)} {around}"
    answer = await _ask(request, recall_query(words, body))
    return JSONResponse({"results": [match_hit(hit) for hit in answer.hits], "degraded": list(answer.degraded)})


@router.post("/keyword_search", response_model=KeywordResults)
async def keyword_search(request: Request, body: KeywordSearch) -> JSONResponse:
    """The newest memories whose text holds a term as it is written; looks through all texts of the namespace."""
    require(request, "read")
    check_string("term", body.term, max_chars=256)
    terms = Terms.parse([body.term], exact=body.exact, case_sensitive=body.case_sensitive)
    wanted, _ = read_filters(None, body.type)
    memory, scope = request.app.state.memory, scope_of(request)
    found = await request.app.state.gate.run(lambda: memory.call(Soma.containing, scope, terms, wanted, body.top_k))
    return JSONResponse({"results": [match_term(memory) for memory in found]})


def _scored(answer: Answer) -> JSONResponse:
    return JSONResponse({"results": [scored(hit) for hit in answer.hits], "degraded": list(answer.degraded)})


def _strings(context: object) -> list[str]:
    """Every string in a JSON value, as far as they are not too long together."""
    found: list[str] = []
    waiting, left = deque([context]), CONTEXT_CHARACTERS
    while waiting and left > 0:
        value = waiting.popleft()
        if isinstance(value, str):
            found.append(value[:left])
            left -= len(value)
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return found
