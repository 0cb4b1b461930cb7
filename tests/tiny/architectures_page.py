"""The page of documentation about encoders' heads; :mod:`tests.tiny.coverage` measures and writes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgepipe_export.checkpoint.architectures import list_refusals
from edgepipe_export.checkpoint.unsupported import HEADS_WITHOUT_TASK
from tests.tiny import TABLES
from tests.tiny.calls import OPTIONS, describe
from tests.tiny.generation import OPTIONS as GENERATION_OPTIONS
from tests.tiny.generation import SEARCHES
from tests.tiny.measurement import Cell
from tests.tiny.parity import ABSOLUTE, BATCHES, LENGTHS, RELATIVE

_PAGE = """\
# Architectures

Made by `make coverage`, not by hand, with
{versions}.

One row an architecture, one column a head. A number is the largest difference of any output from PyTorch
(fp32, eager) for a tiny model with random weights, exported once and run at batch sizes
{batches} with padding and at lengths {lengths} (its limit) and one more, which is
refused where the model has a limit and compared where it has none. Bound:
{absolute:g} + {relative:g} of the reference, for every element. An empty cell: transformers has no such
head.

{table}

{notes}`deberta-v3` is `deberta-v2` with the settings of version 3. Architectures that are not listed are not
refused: an export compares every tensor with PyTorch before it writes anything.

## Heads and options

Every architecture of this page and of [models that generate](generation-models.md), with each head that transformers'
auto classes have for it. For each head the tensors are compared, and the pipeline's results with each option below.
The reference is `transformers.pipeline`, and the last one's code for question answering, which transformers 5 dropped.
The count is of such comparisons; an architecture that is refused counts as one.

{count}

{options}

## The most downloaded

The twenty text architectures with the most downloads of a month on the Hub, by the last full count by architecture that
was found (`huggingface/transformers-stats-space-data`, September 2022). Families that came later, such as Llama, Qwen,
Gemma, Mistral and ModernBERT, are in the table above and in [models that generate](generation-models.md).

{downloaded}

## New in transformers 5.24

{newest}

## Same numbers, other code

- `longformer` is computed as full attention with a mask: memory grows with the square of the length.
- `big_bird` has full attention, as in PyTorch from the first text of up to
  (5 + 2 `num_random_blocks`) `block_size` tokens on (704 by default).

## Refused

| architecture | it cannot be exported exactly, since |
|---|---|
{refused}

| class | no pipeline runs it |
|---|---|
{heads}
"""


# By rank; those without a row of their own with the reason.
MOST_DOWNLOADED = (
    *("bert", "roberta", "camembert", "xlm-roberta", "distilbert", "gpt2", "deberta", "t5", "bart", "albert", "marian"),
    *("electra", "gpt_neo", "mpnet", "deberta-v2", "gptj", "dpr", "layoutlmv2", "mbart", "longformer"),
)
NEWEST = (
    *("apertus1p5_text", "beam", "dory", "exaone", "inkling2_loop_text", "lara_mini", "sarvam_mla", "sarvam_moe"),
)
_NO_TEXT = {"layoutlmv2": "reads the picture of a page beside its text, which no task here has"}


def _summarize(names: Iterable[str], cells: Mapping[tuple[str, str], Cell]) -> str:
    """A row for each architecture: its heads, and what became of their comparisons."""
    lines = ["| architecture | measured |", "|---|---|"]
    for name in names:
        own = {head: cell for (other, head), cell in cells.items() if other == name}
        equal = [head for head, cell in own.items() if cell.calls and not any(cell.calls.values())]
        said = [f"{', '.join(equal)}: all comparisons equal"] if equal else []
        said += [f"{head}: refused, since {cell.refused}" for head, cell in own.items() if cell.refused is not None]
        said += [
            f"{head}: {sum(each is not None for each in cell.calls.values())} of {len(cell.calls)} comparisons differ"
            for head, cell in own.items()
            if any(cell.calls.values())
        ]
        lines.append(f"| {name} | {'; '.join(said) or _NO_TEXT.get(name, 'not measured')} |")
    return "\n".join(lines)


def render_architectures(
    cells: Mapping[tuple[str, str], Cell], different: Mapping[tuple[str, str, str], str], count: str, versions: str
) -> str:
    """The page.

    Args:
        cells: By architecture and head.
        different: Why what differs does, by architecture, head and option.
        count: The count of all comparisons, as a table of Markdown.
        versions: The versions of the packages.
    """
    reads = {pair: cell for pair, cell in cells.items() if pair[1] in TABLES}
    names = list(dict.fromkeys(name for name, _ in reads))
    rows = [f"| {name} | {' | '.join(_cell(cells.get((name, task))) for task in TABLES)} |" for name in names]
    header = [f"| architecture | {' | '.join(TABLES)} |", f"|---|{'---|' * len(TABLES)}"]
    notes = [
        f"- {name}, {task}, {option}: {reason}"
        for (name, task, option), reason in different.items()
        if (name, task) in cells
    ]
    asked = {task: [describe(options) for options in each] for task, each in OPTIONS.items()}
    asked["generation"] = [*SEARCHES, *GENERATION_OPTIONS]
    return _PAGE.format(
        versions=versions,
        batches=", ".join(map(str, BATCHES)),
        lengths=", ".join(map(str, LENGTHS)),
        absolute=ABSOLUTE,
        relative=RELATIVE,
        table="\n".join([*header, *rows]),
        notes="\n".join(["Different, with the reason:", "", *notes, "", ""]) if notes else "",
        count=count,
        downloaded=_summarize(MOST_DOWNLOADED, cells),
        newest=_summarize(NEWEST, cells),
        options="\n".join(
            f"- {task}: {'; '.join(f'`{each}`' for each in each_option)}" for task, each_option in asked.items()
        ),
        refused="\n".join(f"| {'any' if kind is None else kind} | {reason} |" for kind, reason in list_refusals()),
        heads="\n".join(f"| …{ending} | {reason} |" for ending, (_, reason) in HEADS_WITHOUT_TASK.items()),
    )


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return ""
    if cell.refused is not None:
        return "refused"
    return "**no**" if cell.calls.get("tensors") is not None or cell.largest is None else f"{cell.largest:.0e}"
