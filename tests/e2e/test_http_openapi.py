"""The OpenAPI document: it is current and whole, and the server answers as it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import APIOperation, Case, GenerationMode, SerializationContext
from schemathesis.checks import not_a_server_error
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from scripts.generate_openapi import PATH, openapi
from soma_mcp.http.auth import is_public
from tests.e2e.http_server import Caller, http_server

DOCUMENT: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
OPERATIONS = [
    (method, path, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]
NAMES = [f"{method.upper()} {path}" for method, path, _ in OPERATIONS]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 40
SECONDS = 10


def test_the_document_is_current() -> None:
    assert PATH.read_text(encoding="utf-8") == openapi(), "run python -m scripts.generate_openapi"


def test_every_route_but_mcp_is_in_the_document() -> None:
    assert set(NAMES) == {
        *(f"GET {path}" for path in ("/", "/healthz", "/readyz", "/health", "/metrics", "/stats", "/range", "/export")),
        *(f"POST {path}" for path in ("/store", "/store_bulk", "/recall", "/recall_batch", "/recall_with_scores")),
        *(f"POST {path}" for path in ("/hybrid_recall_with_scores", "/recall_with_context", "/keyword_search")),
        *(
            "GET /recall",
            "GET /memories",
            "GET /memories/{id}",
            "DELETE /memories/{id}",
            "POST /forget",
            "POST /import",
        ),
    }


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMES)
def test_every_operation_names_its_errors_its_token_and_what_it_does(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    assert operation["description"].endswith(".")
    assert operation["security"] == ([] if is_public(path) else [{"token": []}, {}])
    shape = {"$ref": "#/components/schemas/ErrorBody"}
    for status in ("400", "401", "403", "404", "409", "413", "422", "429", "500"):
        assert operation["responses"][status]["content"]["application/json"]["schema"] == shape
    assert {"200", "503"} <= set(operation["responses"])


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMES)
def test_every_operation_has_examples_of_what_it_must_be_given(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    for parameter in operation.get("parameters", []):
        assert not parameter["required"] or parameter["schema"].get("examples"), parameter
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = content["schema"]
        if "$ref" in schema:
            schema = DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        shown = [schema, *schema.get("properties", {}).values()]
        shown += [each for found in shown for each in found.get("anyOf", [])]
        assert any(found.get("examples") for found in shown), schema


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    with http_server(tmp_path_factory.mktemp("openapi") / "home") as running:
        caller = running.caller()
        caller.store("the one memory", coord="1,2,3", thread="t", tags=["x"])
        yield caller
        assert "Traceback" not in running.log


def test_the_server_gives_out_the_document(api: Caller) -> None:
    assert api.get("/openapi.json") == DOCUMENT


def operations() -> dict[str, APIOperation[Any, Any, Any, Any]]:
    """What schemathesis reads from the document; without tokens, which would only be refused."""
    generation = GenerationConfig(with_security_parameters=False, deterministic=True)
    config = SchemathesisConfig(projects=ProjectsConfig(default=ProjectConfig(generation=generation)))
    schema = schemathesis.openapi.from_dict(DOCUMENT, config=config)
    found = [each.ok() for each in schema.get_all_operations() if isinstance(each, Ok)]
    return {operation.label: operation for operation in found}


READ = operations()


@schemathesis.serializer("application/x-ndjson")
def lines(_: SerializationContext, value: Any) -> bytes:
    """A body of an import: strings as they are, all else as a line of JSON."""
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else json.dumps(value).encode()


def tries() -> list[tuple[str, GenerationMode]]:
    """Every operation with what it takes, and those that can be given something wrong with that."""
    wrong = [(name, GenerationMode.NEGATIVE) for name, found in READ.items() if found.body or found.query]
    return [(name, GenerationMode.POSITIVE) for name in READ] + wrong


@pytest.mark.parametrize(("name", "mode"), tries())
def test_every_answer_is_one_that_the_document_has(api: Caller, name: str, mode: GenerationMode) -> None:
    @hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(case=READ[name].as_strategy(mode))
    def call(case: Case[Any]) -> None:
        case.call_and_validate(base_url=api.url, checks=CHECKS, timeout=SECONDS)

    call()
