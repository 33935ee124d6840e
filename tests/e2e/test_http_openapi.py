"""The OpenAPI document: it is current, whole, and says what the server really does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.openapi.checks import JsonSchemaError
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from scripts.generate_openapi import PATH, openapi
from tests.e2e.http_server import Caller, http_server

DOCUMENT = json.loads(PATH.read_text(encoding="utf-8"))
print(dir(schemathesis.openapi.checks))
