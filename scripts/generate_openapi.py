"""Write docs/openapi.json from the application; with --check, only say whether it is current."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from soma_core.settings import load_settings
from soma_mcp.http.app import create_api
from soma_mcp.http.metrics import Metrics
from soma_mcp.sharing import SharedSoma

PATH = Path(__file__).parents[1] / "docs" / "openapi.json"


def openapi() -> str:
    """The OpenAPI document of this version."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings({}, home=folder, disk_reserve="0")
        memory = SharedSoma(settings, stay=False)
        try:
            document = create_api(settings, memory, Metrics()).openapi()
        finally:
            memory.close()
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main(arguments: list[str]) -> int:
    """Write the document, or check it; 1 when it is not current."""
    text = openapi()
    if "--check" in arguments:
        if PATH.exists() and PATH.read_text(encoding="utf-8") == text:
            return 0
        print("docs/openapi.json is not current: python -m scripts.generate_openapi", file=sys.stderr)
        return 1
    PATH.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
