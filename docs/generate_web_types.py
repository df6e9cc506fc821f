"""Writes the types of the UI's client, `apps/web/src/api/schema.gen.ts`, from the OpenAPI document of a running API.

    python docs/generate_web_types.py http://127.0.0.1:7717/openapi.json

Without an address it starts a stack of its own. The translation is openapi-typescript's, so that Node and
`apps/web/node_modules` (`make web`) must be there. A test compares.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

import httpx

from agentos_runtime.datadir import DataDir
from agentos_runtime.supervisor import read_status

WEB = Path(__file__).parents[1] / "apps" / "web"
TARGET = WEB / "src" / "api" / "schema.gen.ts"
GENERATOR = WEB / "node_modules" / "openapi-typescript" / "bin" / "cli.js"


_PROBLEM = {
    "description": "A problem.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def document_of_own_stack() -> dict[str, Any]:
    """The document of the API that this repository would run."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "agentos_cli"]
        place = ["--data-dir", directory]
        subprocess.run([*command, "up", "--detach", "--port", "0", *place], check=True, stdout=subprocess.DEVNULL)
        try:
            status = read_status(DataDir(Path(directory)))
            assert status is not None
            return read(f"{status['url']}/openapi.json")
        finally:
            subprocess.run([*command, "down", *place], check=True, stdout=subprocess.DEVNULL)


def read(url: str) -> dict[str, Any]:
    """The document at an address."""
    return cast("dict[str, Any]", httpx.get(url).raise_for_status().json())


def of_use(document: dict[str, Any]) -> dict[str, Any]:
    """The document without what the client takes from elsewhere: problems are one type, headers are set for all calls
    at once, and examples are for readers."""
    for operations in document["paths"].values():
        for operation in operations.values():
            good = {status: answer for status, answer in operation["responses"].items() if status.startswith("2")}
            operation["responses"] = {
                status: {"description": answer["description"], "content": answer.get("content", {})}
                for status, answer in good.items()
            } | {"default": _PROBLEM}
            asked = [parameter for parameter in operation.get("parameters", ()) if parameter["in"] != "header"]
            operation["parameters"] = asked
    return cast("dict[str, Any]", _without_examples(document))


def _without_examples(value: object) -> object:
    if isinstance(value, dict):
        named = "properties" in value and isinstance(value["properties"], dict)
        return {
            key: {name: _without_examples(each) for name, each in part.items()}
            if named and key == "properties"
            else _without_examples(part)
            for key, part in value.items()
            if key not in ("example", "examples")
        }
    return [_without_examples(each) for each in value] if isinstance(value, list) else value


def types(document: dict[str, Any]) -> str:
    """What the file should say.

    Raises:
        CalledProcessError: openapi-typescript failed.
    """
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "openapi.json"), Path(directory, "schema.ts")
        source.write_text(json.dumps(of_use(document)), encoding="utf-8")
        command = ["node", str(GENERATOR), str(source), "--output", str(target), "--default-non-nullable=false"]
        subprocess.run(command, cwd=WEB, check=True, capture_output=True)
        return target.read_text(encoding="utf-8")


if __name__ == "__main__":
    if not GENERATOR.exists():
        sys.exit("apps/web/node_modules is missing: run `make web` first.")
    found = read(sys.argv[1]) if len(sys.argv) > 1 else document_of_own_stack()
    TARGET.write_text(types(found), encoding="utf-8")
