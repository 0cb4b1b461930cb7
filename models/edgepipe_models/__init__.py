"""Data that comes with edgepipe: recipes for known checkpoints and the embedded default bundle.

A recipe says, on one page of TOML, which checkpoint serves a task, at which revision, and in which variants it is
worth exporting. To add one, add a file `recipes/NAME.toml`; nothing else names it. This package imports nothing of
edgepipe and nothing heavy, so that reading a recipe costs nothing.
"""

from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

__all__ = ["Recipe", "default_bundle", "recipe", "recipes"]

_ROOT = Path(__file__).parent


@dataclass(frozen=True)
class Recipe:
    """A known checkpoint and how to export it.

    Attributes:
        name: What the recipe is called: its file's name, and for a task's default the task's.
        task: The edgepipe task.
        model: The checkpoint's id on the Hugging Face Hub.
        revision: The commit, as long or short as the reference quotes it, or a branch where nothing pins one.
        reference: The package and version that pins model and revision, such as "transformers 5.23.0".
        dtypes: The variants to export, the default one first.
        summary: What the checkpoint is, in a sentence.
    """

    name: str
    task: str
    model: str
    revision: str
    reference: str
    dtypes: tuple[str, ...]
    summary: str


def default_bundle() -> Path:
    """The directory of the embedded default bundle, an English sentiment classifier.

    Raises:
        FileNotFoundError: If this copy of the package comes without it.
    """
    directory = _ROOT / "default"
    if not (directory / "config.json").is_file():
        raise FileNotFoundError(
            f"the embedded default bundle is not at {directory}; install edgepipe from a wheel, or in a checkout "
            "export the checkpoint models/default to that directory"
        )
    return directory


def recipe(name: str) -> Recipe:
    """The recipe called `name`.

    Raises:
        ValueError: If there is no such recipe; the message names the nearest and all there are.
    """
    known = {entry.name: entry for entry in recipes()}
    if name in known:
        return known[name]
    import difflib  # as tomllib: every start without a bundle of one's own asks for the default bundle alone

    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"there is no recipe {name!r}; {hint}the recipes are {', '.join(known)}")


@cache
def recipes() -> tuple[Recipe, ...]:
    """All recipes, in order of name.

    Raises:
        ValueError: If a recipe's file is not as it should be; the message names the file and the fault.
    """
    return tuple(_read(path) for path in sorted((_ROOT / "recipes").glob("*.toml")))


def _read(path: Path) -> Recipe:
    """Parse one recipe; its name is the file's."""
    import tomllib

    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not valid TOML: {error}") from error
    expected = {field.name for field in fields(Recipe)} - {"name"}
    if table.keys() != expected:
        raise ValueError(f"{path}: expected the keys {sorted(expected)}, got {sorted(table)}")
    dtypes = table.pop("dtypes")
    if not isinstance(dtypes, list) or not dtypes or not all(isinstance(dtype, str) for dtype in dtypes):
        raise ValueError(f"{path}: expected dtypes to be a list of names, got {dtypes!r}")
    for key, value in table.items():
        if not isinstance(value, str) or not value:
            raise ValueError(f"{path}: expected {key} to be a text, got {value!r}")
    return Recipe(name=path.stem, dtypes=tuple(dtypes), **table)
