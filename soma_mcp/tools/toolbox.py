"""What every tool is given, and how a function becomes a tool."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from anyio import to_thread
from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult, ToolAnnotations

from soma_core.domain.errors import SomaError
from soma_core.domain.memory import Scope, uuid7
from soma_core.domain.validation import MAX_NAME, check_string
from soma_core.engine import Soma
from soma_mcp.tools.results import refusal

if TYPE_CHECKING:
    from soma_mcp.sharing.shared import Method  # a bridge and a remote command do without the engine's drivers

P = ParamSpec("P")
T = TypeVar("T")


class ReachedMemory(Protocol):
    """The methods of Soma for an event loop: those of a shared folder, or of a server."""

    async def call(self, method: Method[P, T], scope: Scope, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method of the engine, wherever it is."""


MemorySystem = Soma | ReachedMemory


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The memory that tools work on, and the namespace that this server is bound to."""

    memory: Callable[[], MemorySystem]
    """Gives the memory; waits for it to be open."""
    namespace: str
    caller: str = "mcp"

    async def call(self, method: Method[P, T], scope: Scope, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method of the memory without holding up the event loop."""
        memory = self.memory()
        if isinstance(memory, Soma):
            return await to_thread.run_sync(partial(method, memory, scope, *args, **kwargs))
        return await memory.call(method, scope, *args, **kwargs)

    def scope(self, key: object = None) -> Scope:
        """Where a call happens; `key` identifies a mutating one across resends."""
        request_id = check_string("key", key, max_chars=MAX_NAME) if key is not None else str(uuid7())
        return Scope(self.namespace, self.caller, request_id)


def make_tool(
    function: Callable[..., Awaitable[CallToolResult]], *, read_only: bool, destructive: bool = False
) -> Tool:
    """A tool that answers Soma's errors as results, with a schema that says no more than it must."""

    @functools.wraps(function)
    async def guarded(*args: Any, **kwargs: Any) -> CallToolResult:
        try:
            return await function(*args, **kwargs)
        except SomaError as error:
            return refusal(error)

    hints = ToolAnnotations(
        read_only_hint=read_only, destructive_hint=destructive, idempotent_hint=read_only, open_world_hint=False
    )
    tool = Tool.from_function(guarded, annotations=hints)
    tool.parameters = _slim(tool.parameters) | {"additionalProperties": False}
    output = tool.fn_metadata.output_schema or {}
    tool.fn_metadata.output_schema = _flat(output, output.get("$defs", {}))
    return tool


def _flat(schema: Any, definitions: dict[str, Any]) -> Any:
    """A JSON schema without references, titles and alternatives of null: clients check every answer against it."""
    if isinstance(schema, list):
        return [_flat(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _flat(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    kept = {key: value for key, value in schema.items() if key != "$defs" and not _is_title(key, value)}
    types = [branch.get("type") for branch in kept.get("anyOf", ()) if set(branch) == {"type"}]
    if types and len(types) == len(kept["anyOf"]):
        del kept["anyOf"]
        kept["type"] = types
    return {key: _flat(value, definitions) for key, value in kept.items()}


def _is_title(key: str, value: object) -> bool:
    return key in ("title", "description") and isinstance(value, str)


def _slim(schema: Any) -> Any:
    """A JSON schema without titles, null branches and null defaults: models are billed for each."""
    if isinstance(schema, list):
        return [_slim(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if not (key == "default" and value is None)}
    if isinstance(kept.get("title"), str):  # a title, not a field of that name
        del kept["title"]
    branches = [branch for branch in kept.get("anyOf", ()) if branch != {"type": "null"}]
    if len(branches) == 1:
        del kept["anyOf"]
        kept = branches[0] | kept
    return {key: _slim(value) for key, value in kept.items()}
