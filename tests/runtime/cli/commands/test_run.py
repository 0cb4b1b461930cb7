"""``edgepipe run`` on what is no plain text: JSON inputs, and results with numpy's numbers."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edgepipe import pipeline
from edgepipe.cli.commands.run import (
    _count_lines,
    parse_inputs,
    render_result,
    split_model,
    write_results,
    write_texts,
)
from edgepipe.cli.main import cli, main
from edgepipe.cli.shared_options import parse_options
from edgepipe.errors import InputError, escape_controls
from edgepipe.tables.input_rows import inputs_of, rows_of_lines
from edgepipe.tables.table_file import TableFile
from edgepipe.tables.text_lines import read_lines
from tests.golden.prove_generation import built, loaded
from tests.runtime.small_bundle import write_bundle
from tests.runtime.terminal import run_on_terminal

FOREIGN = Path(__file__).parents[3] / "data" / "foreign"
ENTITY = {"entity": "B-PER", "score": np.float32(0.5), "word": "Zoë", "start": 0, "end": 3}


def echo(inputs: Iterator[Any]) -> Iterator[Any]:
    for item in inputs:
        yield [ENTITY, item]


def written(inputs: list[Any], *, as_json: bool) -> str:
    out = io.StringIO()
    write_results(echo, iter(inputs), out, as_json=as_json)
    return out.getvalue()


def test_scores_of_numpy_are_written() -> None:
    plain = {**ENTITY, "score": 0.5}
    assert json.loads(written(["Zoë"], as_json=True)) == {"input": "Zoë", "output": [plain, "Zoë"]}
    result, text = written(["Zoë"], as_json=False).rstrip("\n").split("\t")
    assert json.loads(result) == [plain, "Zoë"]
    assert text == "Zoë"
    assert "Zoë" in render_result([ENTITY])
    assert json.loads(render_result(np.arange(3))) == [0, 1, 2]


def test_inputs_that_are_no_text_are_written_as_json() -> None:
    line = written([{"question": "Wer?", "context": "Zoë"}], as_json=False)
    assert line.endswith('\t{"question": "Wer?", "context": "Zoë"}\n')


def test_a_text_of_several_lines_is_written_on_one() -> None:
    assert written(["two\nlines"], as_json=False).endswith('\t"two\\nlines"\n')


class TerminalOutput(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_no_label_or_text_is_obeyed_by_a_terminal() -> None:
    def label(inputs: Iterator[Any]) -> Iterator[Any]:
        for _ in inputs:
            yield [{"label": "bad\nnews\x1b[2J\t", "score": 0.5}]

    out = TerminalOutput()
    write_results(label, iter(["\x1b]0;title\x07"]), out, as_json=False)
    assert out.getvalue() == "bad\\nnews\\x1b[2J\\t 0.5000\t\\x1b]0;title\\x07\n"
    plain = io.StringIO()
    write_results(label, iter(["\x1b]0;title\x07"]), plain, as_json=False)
    assert plain.getvalue().endswith("\t\x1b]0;title\x07\n"), "a file gets the text as it is"


def test_json_inputs() -> None:
    lines = ['{"question": "a", "context": "b"}', "", '["two", "words"]', ' "text" ']
    assert list(parse_inputs(lines)) == [{"question": "a", "context": "b"}, ["two", "words"], "text"]


@pytest.mark.parametrize("line", ["plain text", "{'question': 1}", '{"question": ', "NaN,"])
def test_what_is_not_json(line: str) -> None:
    with pytest.raises(InputError, match=r"input 2 is not JSON .*--json-input"):
        list(parse_inputs(['"fine"', line]))


@pytest.mark.parametrize(
    ("arguments", "has_file", "model"),
    [
        (["great"], False, None),
        (["./nowhere", "a text"], False, "./nowhere"),
        (["./nowhere"], False, "./nowhere"),
        (["owner/name", "a text"], False, "owner/name"),
        (["owner/name"], True, "owner/name"),
        (["I love this"], False, None),
        (["I love/hate this", "and that"], False, None),
        (["Great!", "Awful."], False, None),
        (["Great!"], False, None),
        ([], True, None),
    ],
)
def test_the_bundle_is_told_from_the_texts(arguments: list[str], has_file: bool, model: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, texts = split_model(arguments, has_file=has_file)
    assert found == model
    assert texts == arguments[model is not None :]


@pytest.mark.parametrize(
    ("arguments", "has_file"),
    [(["bundel", "a text"], False), (["my-bundle.v2", "hi"], False), (["great", "bad"], False), (["bundel"], True)],
)
def test_a_mistyped_bundle_is_no_text(arguments: list[str], has_file: bool) -> None:
    with pytest.raises(
        InputError, match=rf"'{arguments[0]}' looks like a bundle's name, and there is no such dir.*path"
    ):
        split_model(arguments, has_file=has_file)


def test_a_hub_id_alone_is_not_taken_as_a_text_in_silence() -> None:
    with pytest.warns(UserWarning, match=r"'owner/name' is no directory .*embedded sentiment model; .* path"):
        assert split_model(["owner/name"]) == (None, ["owner/name"])


def test_the_name_of_a_file_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bundle").mkdir()
    (tmp_path / "data.csv").write_text("text\n", encoding="utf-8")
    for arguments in (["data.csv"], ["bundle", "data.csv"]):
        with pytest.raises(InputError, match=r"'data.csv' is a file, and no text; give it with --file"):
            split_model(arguments)


def test_a_directory_needs_no_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bundle").mkdir()
    assert split_model(["bundle", "a text"]) == ("bundle", ["a text"])


class Terminal(io.StringIO):
    """A terminal that remembers what it had at each flush."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def isatty(self) -> bool:
        return True

    def flush(self) -> None:
        self.seen.append(self.getvalue())


@pytest.fixture(scope="module")
def writer() -> Any:
    """Text generation over a model in PyTorch."""
    made = built("text-generation", "llama", "chats")
    return loaded("text-generation", *made, do_sample=False, max_new_tokens=6)


def test_text_shows_on_a_terminal_while_it_is_written(writer: Any) -> None:
    prompts = ["Where is it?", "And then", [{"role": "user", "content": "Hello"}]]
    texts = [writer(prompt)[0]["generated_text"] for prompt in prompts[:2]]
    answer = writer(prompts[2], return_full_text=False)[0]["generated_text"]
    terminal = Terminal()
    write_texts(writer, iter(prompts), terminal)
    assert terminal.getvalue() == escape_controls("".join(f"{text}\n" for text in [*texts, answer]))
    assert len(terminal.seen) > 6
    assert terminal.seen[0].startswith("Where is it?")


def test_text_is_written_whole_elsewhere(writer: Any) -> None:
    out = io.StringIO()
    write_texts(writer, iter(["Where is it?", "And then"]), out)
    assert out.getvalue() == "".join(f"{writer(text)[0]['generated_text']}\n" for text in ("Where is it?", "And then"))


def test_beams_are_written_whole_on_a_terminal_too() -> None:
    made = built("text-generation", "llama", "chats")
    beams = loaded("text-generation", *made, do_sample=False, max_new_tokens=4, num_beams=2, num_return_sequences=2)
    terminal = Terminal()
    write_texts(beams, iter(["Where?"]), terminal)
    assert terminal.getvalue().splitlines() == [entry["generated_text"] for entry in beams("Where?")]
    assert len(terminal.seen) == 1


def test_chats_are_written_as_json(writer: Any) -> None:
    chat = [{"role": "user", "content": "Hello"}]
    out = io.StringIO()
    write_texts(writer, iter([chat]), out)
    assert json.loads(out.getvalue()) == writer(chat)


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """The exit status of ``edgepipe`` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["edgepipe", *map(str, arguments)])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # so that it is put back
    with pytest.raises(SystemExit) as left:
        main()
    return int(str(left.value.code))


def test_a_task_that_takes_no_plain_texts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = FOREIGN / "optimum-question-answering"
    assert command(monkeypatch, "run", bundle, "Who was it?") == 2
    assert (
        'pass --json-input, and each input as e.g. \'{"question": "...", "context": "..."}\'' in capsys.readouterr().err
    )
    example = '{"question": "Who was it?", "context": "It was Anna."}'
    assert command(monkeypatch, "run", bundle, "--json-input", example) == 0
    assert json.loads(capsys.readouterr().out.split("\t")[0])["answer"] in "It was Anna."


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "edgepipe", "run", "I love this"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "Error: No space left on device\n")


def test_a_name_that_no_file_can_have_is_one_line() -> None:
    name = "a" * 1000
    command = [sys.executable, "-m", "edgepipe", "info", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"Error: {name} cannot be read: File name too long\n")


def test_a_warning_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = "It is a [MASK]."
    assert command(monkeypatch, "run", FOREIGN / "optimum-fill-mask", text, "-o", "targets=antidisestablishment") == 0
    said = capsys.readouterr()
    assert said.err.startswith("Warning: the vocabulary has no 'antidisestablishment'")
    assert said.err.count("\n") == 1
    assert said.out.endswith(f"\t{text}\n")


def test_json_is_one_object_a_line(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    result = CliRunner().invoke(cli, ["run", str(folder), "I love this", "Zoë", "--json"], catch_exceptions=False)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["input"] for line in lines] == ["I love this", "Zoë"]
    assert all(set(line) == {"input", "output"} for line in lines)
    assert set(lines[0]["output"]) == {"label", "score"}


def test_results_are_counted_with_an_estimate_where_they_go_to_a_file(tmp_path: Path) -> None:
    folder, texts = write_bundle(tmp_path / "bundle"), tmp_path / "texts.txt"
    texts.write_text("one\ntwo\nthree", encoding="utf-8")
    command = [sys.executable, "-m", "edgepipe", "run", str(folder), "-f", str(texts)]
    counted = run_on_terminal(command, piped=True)
    assert len(counted.output.splitlines()) == 3
    assert "3/3" in counted.lines[-1]
    assert run_on_terminal([*command, "--quiet"], piped=True).raw == ""
    shown = run_on_terminal(command)
    assert "/3" not in shown.raw, "results show themselves"
    assert len(shown.lines) == 3


@pytest.mark.filterwarnings("ignore:blank lines")
@pytest.mark.parametrize(("content", "lines"), [("", 0), ("a", 1), ("a\n", 1), ("a\n\nb", 2), ("a\n" * 5, 5)])
def test_lines_are_counted_as_they_are_read(tmp_path: Path, content: str, lines: int) -> None:
    file = tmp_path / "texts.txt"
    file.write_text(content, encoding="utf-8")
    assert len(list(inputs_of(rows_of_lines(read_lines(file))))) == lines == _count_lines(file)


TABLE = 'id,text,label\n1,"I love this, really",pos\n2,,neg\n3,"two\nlines",neg\n'


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file = tmp_path / "data.csv"
    file.write_text(TABLE, encoding="utf-8")
    return file


def test_a_table_is_read_by_its_column(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_bundle(table.parent / "bundle")
    assert command(monkeypatch, "run", bundle, "-f", table) == 0
    said = capsys.readouterr()
    assert [line.split("\t")[1] for line in said.out.splitlines()] == ["I love this, really", '"two\\nlines"']
    assert said.err.splitlines() == [
        f"Note: {table} is read by text; --column names others",
        "Warning: blank lines, or rows without a text, that were skipped: 1",
    ]
    assert command(monkeypatch, "run", bundle, "-f", table, "--column", "label", "--quiet") == 0
    said = capsys.readouterr()
    assert [line.split("\t")[1] for line in said.out.splitlines()] == ["pos", "neg", "neg"]
    assert said.err == ""


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--column", "txt"], 1, "has no column 'txt', it has id, text, label; did you mean 'text'?"),
        (["--output", "{}/out.xlsx"], 1, "out.xlsx must end in .csv, .jsonl, .parquet"),
        (["--output", "{}/data.csv"], 1, "data.csv is read as well"),
        (["--output", "{}/out.csv", "--json"], 2, "--output writes a table: leave --json out"),
        (["--column", "text", "--json-input"], 2, "leave --column and --output out"),
    ],
)
def test_a_table_that_cannot_be_followed(
    arguments: list[str],
    status: int,
    message: str,
    table: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = [argument.format(table.parent) for argument in arguments]
    assert command(monkeypatch, "run", write_bundle(table.parent / "bundle"), "-f", table, *filled) == status
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in table.parent.iterdir()) == ["bundle", "data.csv"]


def test_what_is_neither_lines_nor_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "data.json"
    file.write_text('[{"text": "good"}]', encoding="utf-8")
    assert command(monkeypatch, "run", "-f", file) == 1
    assert "data.json has no text a line, and is no table that is known here" in capsys.readouterr().err
    assert command(monkeypatch, "run", "--column", "text", "good") == 2
    assert "--column is for tables" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_rows_are_written_with_their_results(name: str, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, output = write_bundle(table.parent / "bundle"), table.parent / name
    assert command(monkeypatch, "run", bundle, "-f", table, "--output", output, "--batch-size", "2") == 0
    source, found = TableFile(table), TableFile(output)
    assert found.columns == ("id", "text", "label", "predicted_label", "score")
    results = iter(pipeline(model=bundle)([cells["text"] for _, cells in source.rows() if cells["text"]], batch_size=2))
    for (_, before), (_, after) in zip(source.rows(), found.rows(), strict=True):
        assert {column: after[column] for column in before} == before
        if before["text"]:
            result = next(results)
            assert (after["predicted_label"], float(after["score"])) == (result["label"], result["score"])
        else:
            assert not after["predicted_label"]
            assert not after["score"]


def test_lines_are_written_with_their_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, output = tmp_path / "texts.txt", tmp_path / "out.csv"
    file.write_text("good\n\nbad\n", encoding="utf-8")
    assert command(monkeypatch, "run", write_bundle(tmp_path / "bundle"), "-f", file, "--output", output) == 0
    assert [cells["text"] for _, cells in TableFile(output).rows()] == ["good", "", "bad"]


def test_questions_come_from_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text('{"q": "Who was it?", "context": "It was Anna."}\n', encoding="utf-8")
    bundle = FOREIGN / "optimum-question-answering"
    assert command(monkeypatch, "run", bundle, "-f", file, "--column", "question=q", "--column", "context=context") == 0
    assert json.loads(capsys.readouterr().out.split("\t")[0])["answer"] in "It was Anna."


def test_a_text_is_held_to_a_form_by_options() -> None:
    pairs = ('json_schema={"enum": ["yes", 1]}', 'choices=["yes", "no"]', "regex=[a-c]{2}", "do_sample=false")
    schema, choices, regex, greedy = (parse_options([pair]) for pair in pairs)
    for form, texts in (
        (schema, {'"yes"', "1"}),
        (choices, {"yes", "no"}),
        (regex, {a + b for a in "abc" for b in "abc"}),
    ):
        options = form | greedy | {"return_full_text": False}
        pipe = loaded("text-generation", *built("text-generation", "gpt2", "its own length"), **options)
        out = io.StringIO()
        write_texts(pipe, iter(["Hello"]), out)
        assert out.getvalue().rstrip("\n") in texts
