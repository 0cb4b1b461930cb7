"""The rooms of the two packages, and which of them a room may import.

A room is a folder directly in a package, or a file there. To add one: a line here, a line in docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Mapping

# What every room of the runtime may import.
FOUNDATION = "errors arguments numerics forks caller_warnings"

# A room may import what stands behind it, and itself. A name with a dot is one module of a room.
RUNTIME = {
    "errors": "",
    "arguments": "errors",
    "numerics": "",
    "forks": "",
    "caller_warnings": "",
    "text_table": "",
    "bundle": "",
    "backend": "bundle.layout bundle.integrity bundle.containment",
    "tokenization": "bundle.integrity bundle.folder_state bundle.containment",
    "models": "bundle backend",
    "embeddings": "bundle models",
    "generation": "tokenization",
    "pipelines": "bundle backend tokenization models embeddings generation",
    "tables": "bundle.strict_json pipelines",
    "checking": "text_table bundle backend models embeddings pipelines",
    "factory": "bundle backend tokenization models pipelines checking",
    "serve": "bundle backend tokenization generation pipelines factory",
    "mapping": "bundle backend pipelines factory tables",
    "ray": "bundle backend pipelines factory tables mapping serve",
    "benchmarking": "text_table bundle backend tokenization models generation pipelines factory",
    "cli": (
        "text_table bundle backend tokenization models generation pipelines checking factory tables benchmarking serve "
        "mapping ray"
    ),
}
EXPORTER = {
    "requirements": "",
    "checkpoint": "requirements",
    "tracing": "checkpoint",
    "quantization": "tracing",
    "calibration": "",
    "output": "requirements calibration checkpoint quantization",
    "evaluation": "calibration checkpoint tracing quantization output",
    "probes": "calibration quantization output evaluation",
    "selection": "calibration quantization evaluation output",
    "reporting": "requirements evaluation selection",
    "exporter": "requirements calibration checkpoint tracing quantization output evaluation probes selection",
    "verifier": "requirements calibration checkpoint quantization output evaluation probes",
    "auditor": "checkpoint quantization evaluation exporter verifier",
}


def may_import(table: Mapping[str, str], room: str, target: str) -> bool:
    """Whether a module of `room` may import the module `target`, both of the package that the table is for."""
    parts = target.split(".")[1:]
    if not parts or parts[0] == room:
        return True
    allowed = table[room].split()
    if table is RUNTIME and room not in FOUNDATION.split():
        allowed += FOUNDATION.split()
    return parts[0] in allowed or ".".join(parts[:2]) in allowed


def arrows(table: Mapping[str, str]) -> set[tuple[str, str]]:
    """The arrows to draw: those of the table that do not follow from others, without those to the foundation."""
    direct = {room: {name.split(".")[0] for name in allowed.split()} for room, allowed in table.items()}

    def reach(room: str) -> set[str]:
        return direct[room].union(*map(reach, direct[room]))

    return {
        (room, other)
        for room, others in direct.items()
        for other in others
        if not any(other in reach(between) for between in others - {other})
    }
