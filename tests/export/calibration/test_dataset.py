"""Files to measure on: every form, for every task, and what is wrong with them in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgepipe import Tokenizer
from edgepipe.bundle.tasks import TASKS, generates
from edgepipe.errors import InputError
from edgepipe_export.calibration.dataset import Dataset, Words
from edgepipe_export.evaluation.tasks import TASK_EVALUATIONS, read_dataset
from tests.tiny import TOKENIZERS

LABELS = ("negative", "positive")
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_pretrained(TOKENIZERS / "bert")


def read(folder: Path, name: str, content: str | bytes, task: str = "text-classification") -> Dataset:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    labels = TAGS if task == "token-classification" else LABELS
    return read_dataset(path, task, labels, Tokenizer.from_pretrained(TOKENIZERS / "bert"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'text,label\n"Good, really.",positive\nBad.,negative\n'),
        ("a.csv", 'id,Sentence,LABEL\r\n1,"Good, really.",Positive\r\n2,Bad.,NEGATIVE\r\n'),
        ("a.tsv", "Good, really.\t1\nBad.\t0\n"),
        ("a.tsv", "label\ttext\npositive\tGood, really.\nnegative\tBad.\n"),
        ("a.jsonl", '{"text": "Good, really.", "label": 1}\n\n{"text": "Bad.", "label": 0}\n'),
        ("a.jsonl", "\ufeff" + '{"text": "Good, really.", "label": "positive"}\n{"text": "Bad.", "label": "negative"}'),
    ],
)
def test_texts_with_labels(name: str, content: str, tmp_path: Path) -> None:
    found = read(tmp_path, name, content)
    assert found == Dataset(("Good, really.", "Bad."), ("positive", "negative"), name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "Good, really.\n\nBad.\n"),
        ("a.csv", 'text\n"Good, really."\nBad.\n'),
        ("a.tsv", "Good, really.\nBad.\n"),
        ("a.jsonl", '"Good, really."\n{"text": "Bad."}\n'),
        ("a.conll", "Good,\nreally.\n\n-DOCSTART-\n\nBad.\n"),
    ],
)
@pytest.mark.parametrize("task", ["text-classification", "feature-extraction", "text-generation", "fill-mask"])
def test_texts_without_labels(name: str, content: str, task: str, tmp_path: Path) -> None:
    found = read(tmp_path, name, content, task)
    assert found.gold is None
    expected = ("Good, [MASK]", "[MASK] [MASK]") if task == "fill-mask" else ("Good, really.", "Bad.")
    assert found.inputs[:1] == expected[:1]
    assert len(found.inputs) == 2


def test_lines_are_counted_as_editors_do(tmp_path: Path) -> None:
    assert read(tmp_path, "a.txt", "one\u2028two\x0cthree\nfour").inputs == ("one\u2028two\x0cthree", "four")
    assert read(tmp_path, "a.csv", 'text\n"one\ntwo"\nthree').inputs == ("one\ntwo", "three")


def test_pairs(tmp_path: Path) -> None:
    found = read(tmp_path, "a.tsv", "one\ttwo\t1\nthree\tfour\t0\n")
    assert found.inputs == ({"text": "one", "text_pair": "two"}, {"text": "three", "text_pair": "four"})
    assert found.gold == ("positive", "negative")


def test_words_with_tags(tmp_path: Path) -> None:
    expected = Dataset(
        ("Anna Lee left", "She sings"),
        (Words((0, 5, 9), ("B-PER", "I-PER", "O")), Words((0, 4), ("O", "O"))),
        "a.conll",
    )
    wikiann = "en:Anna\tB-PER\nen:Lee\tI-PER\nen:left\tO\n\nen:She\tO\nen:sings\tO\n\n"
    assert read(tmp_path, "a.conll", wikiann, "token-classification") == expected
    conll = "-DOCSTART- -X- O O\n\nAnna NNP B-NP B-PER\nLee NNP I-NP I-PER\nleft VBD O O\n\nShe P O O\nsings V O O\n"
    assert read(tmp_path, "a.conll", conll, "token-classification") == expected
    records = [
        {"tokens": ["Anna", "Lee", "left"], "ner_tags": ["B-PER", "I-PER", "O"]},
        {"tokens": ["She", "sings"], "ner_tags": ["O", "O"]},
    ]
    lines = "\n".join(map(json.dumps, records))
    assert read(tmp_path, "a.jsonl", lines, "token-classification").gold == expected.gold


def test_questions_with_answers(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [
        {"question": "Who?", "context": "Anna left.", "answers": {"text": ["Anna"], "answer_start": [0]}},
        {"question": "Why?", "context": "Anna left.", "answers": {"text": [], "answer_start": []}},
        {"question": "What?", "context": "Anna left.", "answers": [{"text": "left"}, {"text": "left."}]},
    ]
    found = read(tmp_path, "a.jsonl", "\n".join(map(json.dumps, records)), "question-answering")
    assert found.inputs[0] == {"question": "Who?", "context": "Anna left."}
    assert found.gold == (("Anna",), (), ("left", "left."))
    assert found.options == {"handle_impossible_answer": True}


def test_candidate_labels_are_those_of_the_file(tmp_path: Path) -> None:
    found = read(tmp_path, "a.tsv", "It rains.\tweather\nGoal!\tsport\n", "zero-shot-classification")
    assert found.gold == ("weather", "sport")
    assert found.options == {"candidate_labels": ["sport", "weather"]}


def test_pairs_with_a_similarity(tmp_path: Path) -> None:
    found = read(tmp_path, "a.csv", "sentence1,sentence2,score\none,two,4.5\nthree,four,1\n", "feature-extraction")
    assert found.inputs == ("one", "two", "three", "four")
    assert found.gold == (4.5, None, 1.0, None)
    assert found.group_size == 2


def test_every_task_reads_files() -> None:
    assert TASK_EVALUATIONS.keys() == {task for task in TASKS if not generates(task)}


def test_texts_are_cut_to_the_limit(tokenizer: Tokenizer) -> None:
    long = Dataset(("word " * 50, {"text": "word " * 50, "text_pair": "other"}), None, "a.txt")
    fitted = long.truncate(tokenizer, 8)
    assert len(tokenizer(fitted.inputs[0])["input_ids"]) <= 8
    assert fitted.inputs[1] == long.inputs[1]
    assert long.truncate(tokenizer, None) == long


@pytest.mark.parametrize(
    ("name", "content", "task", "message"),
    [
        ("a.txt", "", "text-classification", r"a\.txt is empty.*at least one text"),
        ("a.csv", "text,label\n", "text-classification", "empty"),
        ("a.tsv", "Good.\t2\n", "text-classification", r"a\.tsv, line 1, has the label 2; the model has negative, pos"),
        ("a.tsv", "review\tstars\nGood.\t1\n", "text-classification", "label stars.*no known column name"),
        ("a.csv", "text,label\nA.,positive\nB.,neutral\n", "text-classification", "line 3, has the label neutral"),
        ("a.csv", "review,stars\nA.,5\n", "text-classification", "columns review, stars.*name one of them text"),
        ("a.csv", "text,label\nA.\n", "text-classification", "line 2, has 1 columns, and the first line has 2"),
        ("a.csv", 'text\n"A', "text-classification", "is not CSV"),
        ("a.tsv", "a\tb\tc\td\n", "text-classification", "4 columns.*give them names"),
        ("a.jsonl", '{"text": "A."}\n{"text": ', "text-classification", "line 2, is not JSON"),
        ("a.jsonl", "[1]\n", "text-classification", "line 1, must be an object"),
        ("a.jsonl", '{"body": "A."}', "text-classification", "needs the columns text; a.jsonl has body"),
        ("a.jsonl", '{"text": "A."}\n{"label": 1}', "text-classification", r"line 2, lacks it"),
        ("a.jsonl", '{"text": 5}', "text-classification", "text must be a text, got 5"),
        ("a.txt", "A.\n", "question-answering", "needs the columns question, context"),
        ("a.jsonl", '{"question": "?", "context": "c", "answers": 3}', "question-answering", "answers must be"),
        ("a.conll", "Anna\tB-PER\nKraków\tB-GPE\n", "token-classification", "has the label B-GPE; the model has O,"),
        ("a.conll", "Anna\tB-PER\nLee\n", "token-classification", "line 2, has a word without a tag"),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["O", "O"]}', "token-classification", "1 words and 2 tags"),
        ("a.csv", "text,text_pair,score\na,b,high\n", "feature-extraction", "score must be a number"),
        ("a.txt", b"one\ntwo\ncaf\xe9\n", "text-classification", "not UTF-8: byte 0xe9 on line 3"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(name: str, content: str | bytes, task: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, name, content, task)


TAGGED = ("a.conll", "Anna\tB-PER\n", "token-classification")
LABELLED = ("a.tsv", "Good.\t1\n", "text-classification")
ASKED = ("a.jsonl", '{"question": "?", "context": "c", "answers": "c", "text": "t"}', "question-answering")
PAIRED = ("a.csv", "sentence1,sentence2,score\none,two,4.5\n", "sentence-similarity")
SUMMARIZED = ("a.csv", "text,summary\none,two\n", "text2text-generation")


@pytest.mark.parametrize(
    ("file", "task"),
    [
        (TAGGED, "text-classification"),
        (ASKED, "text-classification"),
        (PAIRED, "text-classification"),
        (SUMMARIZED, "text-classification"),
        (LABELLED, "token-classification"),
        (LABELLED, "question-answering"),
        (TAGGED, "zero-shot-classification"),
        (TAGGED, "feature-extraction"),
        (ASKED, "sentence-similarity"),
    ],
)
def test_a_file_of_another_task(file: tuple[str, str, str], task: str, tmp_path: Path) -> None:
    name, content, other = file
    with pytest.raises(
        InputError, match=rf"{name} is for {other} \(it has .*the checkpoint is for {task}; give a file"
    ):
        read(tmp_path, name, content, task)


@pytest.mark.parametrize("task", ["fill-mask", "feature-extraction", "text-generation"])
def test_texts_with_labels_do_where_a_label_is_no_answer(task: str, tmp_path: Path) -> None:
    found = read(tmp_path, *LABELLED[:2], task)
    assert (len(found.inputs), found.gold) == (1, None)


@pytest.mark.parametrize("task", ["text-generation", "text2text-generation", "summarization"])
def test_targets_say_how_many_tokens_follow_a_text(task: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    targets = ("a good one", "it is really very bad, and long")
    found = read(tmp_path, "a.tsv", "text\tsummary\n" + "".join(f"one\t{target}\n" for target in targets), task)
    mean = sum(len(tokenizer(target)["input_ids"]) for target in targets) / 2
    assert (found.inputs, found.gold, found.options) == (("one", "one"), None, {"max_new_tokens": round(mean)})
    assert found.digest != Dataset(found.inputs, None, "a.tsv").digest, "times of other requests are others"
    empty = read(tmp_path, "b.jsonl", '{"text": "one", "target": ""}', task)
    assert empty.options["max_new_tokens"] >= 1


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_dataset(tmp_path / "none.txt", "text-classification", LABELS, None)
