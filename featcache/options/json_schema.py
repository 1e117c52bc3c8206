"""The JSON schema of an options file, for editors."""

from __future__ import annotations

from typing import Any

from featcache.options.run_options import Options


def options_schema() -> dict[str, Any]:
    """The JSON schema of an options file, for editors."""
    schema = Options.model_json_schema()
    schema["properties"]["$schema"] = {"type": "string", "description": "Where editors find this schema."}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "featcache options"}
