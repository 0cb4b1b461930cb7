"""Writes ``json_schema_suite.json``: the schemas of JSON Schema's own test suite for draft 2020-12.

::

    git clone https://github.com/json-schema-org/JSON-Schema-Test-Suite
    python -m tests.runtime.end_to_end.make_json_schema_suite JSON-Schema-Test-Suite

Only the schemas are taken, without the instances: here the instances are what a model writes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SOURCE = "https://github.com/json-schema-org/JSON-Schema-Test-Suite, tests/draft2020-12, the schemas alone"
LICENCE = "MIT, Copyright (c) 2012 Julian Berman"
SUITE = Path(__file__).with_name("json_schema_suite.json")
_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def main(folder: Path) -> None:
    """Read the suite in a clone."""
    commit = subprocess.run(["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    schemas = {}
    for path in sorted((folder / "tests" / "draft2020-12").glob("*.json")):
        for number, case in enumerate(json.loads(path.read_text(encoding="utf-8"))):
            schema = case["schema"]
            if isinstance(schema, dict) and schema.get("$schema") == _DRAFT:
                del schema["$schema"]  # the same everywhere
            schemas[f"{path.stem} {number}"] = schema
    head = {"source": SOURCE, "commit": commit.stdout.strip(), "licence": LICENCE}
    lines = [f"{json.dumps(name)}: {json.dumps(schema)}" for name, schema in schemas.items()]
    body = ",\n".join(lines)
    SUITE.write_text(json.dumps(head)[:-1] + ', "schemas": {\n' + body + "\n}}\n", encoding="utf-8")
    print(f"{len(schemas)} schemas, {SUITE.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
