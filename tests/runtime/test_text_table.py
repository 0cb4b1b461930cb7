import io
import sys
from pathlib import Path

import pytest

from edgepipe.errors import InputError
from edgepipe.text_table import list_facts, table, terminal_width
from tests.runtime.terminal import run_on_terminal


def test_columns_are_aligned_and_numbers_are_set_right() -> None:
    assert table(["name", "size"], [["fp32", "90.1 MB"], ["int8", "7 MB"], ["q4", "-"]]) == (
        "name     size\n----  -------\nfp32  90.1 MB\nint8     7 MB\nq4          -"
    )


def test_a_column_with_words_is_set_left_and_lines_have_no_blanks_at_their_ends() -> None:
    assert table(["parity"], [["passed"], ["7"]]) == "parity\n------\npassed\n7"


def test_align_goes_before_the_guess() -> None:
    assert table(["a", "bcd"], [["1", "x"]], align="lr") == "a  bcd\n-  ---\n1    x"


def test_no_rows_leave_the_headers() -> None:
    assert table(["a", "b"], []) == "a  b\n-  -"


def test_wide_and_combining_characters_keep_the_columns_in_line() -> None:
    lines = table(["text", "n"], [["你好", "x"], ["e\u0301", "y"]]).splitlines()
    assert lines[2:] == ["你好  x", "e\u0301     y"]


def test_line_breaks_in_a_cell_become_blanks() -> None:
    assert table(["a"], [["one\n two\t"]]).splitlines()[-1] == "one two"


@pytest.mark.parametrize(("rows", "align"), [([["1"]], None), ([["1", "2"]], "l"), ([["1", "2"]], "lc")])
def test_what_does_not_fit_is_refused(rows: list[list[str]], align: str | None) -> None:
    with pytest.raises(InputError):
        table(["a", "b"], rows, align)


RECIPES = [
    ["text-classification", "distilbert/distilbert-base-uncased-finetuned-sst-2-english", "fp32,int8"],
    ["summarization", "sshleifer/distilbart-cnn-12-6", "fp32"],
]


def test_a_table_that_fits_is_not_changed() -> None:
    rows = [["fp32", "90.1 MB"]]
    natural = table(["name", "size"], rows)
    assert table(["name", "size"], rows, width=len(natural.splitlines()[0])) == natural


@pytest.mark.parametrize("width", [40, 50, 60, 79])
def test_cells_are_broken_between_words_and_numbers_stay_whole(width: int) -> None:
    rows = [
        ["It starts slowly, but the ending is wonderful.", "POSITIVE", "0.9990", "3.1 ms"],
        ["I love this", "POSITIVE", "0.9998", "12.0 ms"],
    ]
    found = table(["text", "label", "score of that label", "time"], rows, width=width)
    assert max(map(len, found.splitlines())) <= width
    assert "12.0 ms" in found
    words = [word for row in rows for cell in row for word in cell.split()]
    assert sorted(word for word in found.split() if word in words) == sorted(words)


def test_a_header_over_numbers_is_broken_too() -> None:
    assert table(["dtype", "max difference"], [["fp32", "1.7e-06"]], width=18) == (
        "dtype         max\n       difference\n-----  ----------\nfp32      1.7e-06"
    )


def test_where_words_are_too_wide_each_row_is_a_list() -> None:
    found = table(["task", "model", "dtypes"], RECIPES, width=60)
    assert found == (
        f"task    {RECIPES[0][0]}\nmodel   {RECIPES[0][1]}\ndtypes  {RECIPES[0][2]}\n\n"
        f"task    {RECIPES[1][0]}\nmodel   {RECIPES[1][1]}\ndtypes  {RECIPES[1][2]}"
    )
    assert table(["task", "model"], [], width=3) == "task  model\n----  -----"


def test_wide_characters_count_twice_where_lines_are_broken() -> None:
    assert table(["a"], [["你好 世界"]], width=5) == "a\n----\n你好\n世界"


def test_facts_are_aligned() -> None:
    assert list_facts([("path", "a b"), ("max length", "")]) == "path        a b\nmax length"
    assert list_facts([]) == ""


def test_long_facts_are_broken_between_words() -> None:
    facts = [("versions", "edgepipe 0.1.0, torch 2.13.0, onnx 1.23.2"), ("path", "/a/path/that/is/far/too/long/for/it")]
    assert list_facts(facts, width=40) == (
        "versions  edgepipe 0.1.0, torch 2.13.0,\n          onnx 1.23.2\npath      /a/path/that/is/far/too/long/for/it"
    )


def test_facts_with_long_names_stand_below_them() -> None:
    facts = [("process start to first result", "one hundred and ten milliseconds"), ("  fastest", "9 ms")]
    assert list_facts(facts, width=40) == (
        "process start to first result\n    one hundred and ten milliseconds\n  fastest\n    9 ms"
    )


def test_what_is_no_terminal_has_no_width(tmp_path: Path) -> None:
    assert terminal_width(None) is None
    assert terminal_width(io.StringIO()) is None
    with (tmp_path / "file").open("w") as stream:
        assert terminal_width(stream) is None
    assert terminal_width(stream) is None, "it is closed"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("env", "expected"), [({}, 47), ({"COLUMNS": "33"}, 33), ({"COLUMNS": "many"}, 47)])
def test_the_width_is_the_terminals(env: dict[str, str], expected: int) -> None:
    program = "import sys; from edgepipe.text_table import terminal_width; print(terminal_width(sys.stdout))"
    shown = run_on_terminal([sys.executable, "-c", program], columns=47, env=env)
    assert (shown.status, shown.lines) == (0, [str(expected)])


def test_names_of_strangers_are_shown_and_not_obeyed() -> None:
    shown = "\\x1b[31mred\\x07"
    assert table(["a"], [["\x1b[31mred\x07"]]) == f"a\n{'-' * len(shown)}\n{shown}"
    assert list_facts([("label", "\x1b]0;title\x07")]) == "label  \\x1b]0;title\\x07"
