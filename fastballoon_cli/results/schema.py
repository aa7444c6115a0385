"""The JSON Schema of a Result, made of the types that Result files are read with.

``python -m fastballoon_cli.results.schema > docs/schema/result.json`` writes it anew.
"""

import inspect
import json
import re
import sys
from typing import Any

import msgspec

from fastballoon_cli.results.documents import DOCUMENTS, ManyDocument, VmFailure
from fastballoon_cli.results.model import SCHEMA_VERSION, SEVERAL

__all__ = ["result_schema"]

_IVARS = re.compile(r"^:ivar ([^:]+): (.+?)$(?=\n:|\n*\Z)", re.MULTILINE | re.DOTALL)


def result_schema() -> dict[str, Any]:
    """Return the JSON Schema that every Result keeps to. Later versions may add fields."""
    types = [*dict.fromkeys(DOCUMENTS.values()), ManyDocument, VmFailure]
    _, parts = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    # No type says that each of them is a whole Result, this very schema.
    parts["ManyDocument"]["properties"]["vms"]["items"] = {"anyOf": [{"$ref": "#"}, {"$ref": "#/$defs/VmFailure"}]}
    several = {"required": ["vms"]}
    one = {"not": several}
    kinds = {"schema_version": {"const": SCHEMA_VERSION}, "operation": {"enum": list(DOCUMENTS)}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A Result of fastballoon",
        "type": "object",
        "properties": kinds,
        "required": list(kinds),
        "allOf": [
            *(
                {
                    "if": {"properties": {"operation": {"const": operation}}, **(one if operation in SEVERAL else {})},
                    "then": {"$ref": f"#/$defs/{kind.__name__}"},
                }
                for operation, kind in DOCUMENTS.items()
            ),
            {
                "if": {"properties": {"operation": {"enum": list(SEVERAL)}}, **several},
                "then": {"$ref": "#/$defs/ManyDocument"},
            },
        ],
        "$defs": {name: _described(part) for name, part in parts.items()},
    }


def _described(part: dict[str, Any]) -> dict[str, Any]:
    """Move what a docstring says of each field to that field."""
    text = inspect.cleandoc(part.get("description", "")).replace("``", "`").replace("None", "null")
    properties = {name: _without_empty_default(one) for name, one in part["properties"].items()}
    for names, said in _IVARS.findall(text):
        for name in names.split(", "):
            properties[name]["description"] = " ".join(said.split())
    about = " ".join(text.partition("\n\n:ivar")[0].split())
    return {**part, "description": about, "properties": properties}


def _without_empty_default(field: dict[str, Any]) -> dict[str, Any]:
    """Leave out an empty default, which msgspec writes from 0.23 on: the schema is the same with all."""
    return {key: value for key, value in field.items() if (key, value) not in [("default", {}), ("default", [])]}


if __name__ == "__main__":
    json.dump(result_schema(), sys.stdout, indent=1)
    sys.stdout.write("\n")
