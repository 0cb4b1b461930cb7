"""Train the embedded default, a small English sentiment classifier.

    python models/train_default.py --teacher DIR --data DIR --out DIR

The stages in order: read the data; choose the word pieces (`training/vocabulary.py`); copy some of the teacher's layers
(`training/student.py`); distil the teacher into them, on the training text and texts drawn from it
(`training/augmentation.py`, `training/distillation.py`); round to bfloat16; measure; write.
"""

import argparse
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import BertForSequenceClassification

from training.augmentation import Augmenter
from training.data import Example, read_examples
from training.distillation import Schedule, accuracy, compute_logits, distill, token_ids
from training.student import build_student, clip_embeddings, round_to_bfloat16, save_student, student_tokenizer
from training.vocabulary import base_pieces, select_pieces, whole_words


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the embedded default sentiment classifier.")
    parser.add_argument("--teacher", type=Path, required=True, help="a BERT sequence classifier, two labels")
    parser.add_argument("--data", type=Path, required=True, help="directory with train.tsv and dev.tsv")
    parser.add_argument("--out", type=Path, required=True, help="directory to write the checkpoint to")
    parser.add_argument("--vocabulary", type=int, default=8_960, help="pieces to keep (default: %(default)s)")
    parser.add_argument("--min-count", type=int, default=3, help="keep training pieces this frequent")
    parser.add_argument("--layers", type=int, nargs="+", default=[0, 2, 5], help="teacher layers to start from")
    parser.add_argument("--max-positions", type=int, default=512, help="longest sequence (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=Schedule.rounds, help="training rounds (default: %(default)s)")
    parser.add_argument("--drawn", type=int, default=Schedule.drawn, help="new texts a round (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=Schedule.learning_rate)
    parser.add_argument("--state-weight", type=float, default=Schedule.state_weight)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


def _pieces(teacher: Any, tokenizer: Tokenizer, examples: Sequence[Example], size: int, min_count: int) -> list[str]:
    """The pieces to keep, by the training text's counts and the teacher's opinion of single words."""
    counts: Counter[str] = Counter()
    for encoding in tokenizer.encode_batch([example.text for example in examples], add_special_tokens=False):
        counts.update(encoding.tokens)
    vocabulary = tokenizer.get_vocab()
    words = whole_words(vocabulary)
    logits = compute_logits(teacher, token_ids(tokenizer, [f"it was {word}" for word in words]))
    leaning = logits[:, 1] - logits[:, 0]
    leanings = dict(zip(words, (leaning - leaning.median()).tolist(), strict=True))
    return select_pieces(vocabulary, base_pieces(vocabulary, counts, min_count=min_count), leanings, size=size)


def _augmenter(teacher: Any, tokenizer: Tokenizer, examples: Sequence[Example]) -> Augmenter:
    """Draws texts from the examples; a word's neighbors are the ten nearest of the teacher's embeddings.

    The words come from the teacher's whole vocabulary, so that the student learns the ones it has to spell, too.
    """
    words = whole_words(tokenizer.get_vocab())
    rows = torch.tensor([tokenizer.token_to_id(word) for word in words])
    vectors = functional.normalize(teacher.bert.embeddings.word_embeddings.weight.detach()[rows])
    seen = {word for example in examples for word in example.text.split()}
    sources = [index for index, word in enumerate(words) if word in seen]
    nearest = (vectors[sources] @ vectors.T).topk(11).indices[:, 1:].tolist()
    neighbors = {words[source]: [words[other] for other in row] for source, row in zip(sources, nearest, strict=True)}
    return Augmenter([example.text.split() for example in examples], neighbors, words)


def main() -> None:
    """Run the stages and print what was measured."""
    options = _arguments()
    started = time.monotonic()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    random.seed(options.seed)

    train = read_examples(options.data / "train.tsv")
    dev = read_examples(options.data / "dev.tsv")
    teacher = BertForSequenceClassification.from_pretrained(options.teacher, dtype=torch.float32)
    teacher_tokenizer = Tokenizer.from_file(str(options.teacher / "tokenizer.json"))
    teacher_tokenizer.no_padding()
    teacher_tokenizer.no_truncation()
    print(f"{len(train)} sentences; teacher on dev: {accuracy(teacher, teacher_tokenizer, dev):.4f}", flush=True)

    pieces = _pieces(teacher, teacher_tokenizer, train, options.vocabulary, options.min_count)
    ids = teacher_tokenizer.get_vocab()
    old_ids = [ids[piece] for piece in pieces]
    tokenizer = student_tokenizer(options.teacher, pieces)
    augmenter = _augmenter(teacher, teacher_tokenizer, train)
    student = build_student(teacher, old_ids, options.layers, options.max_positions)
    schedule = Schedule(
        rounds=options.rounds,
        drawn=options.drawn,
        learning_rate=options.learning_rate,
        state_weight=options.state_weight,
    )
    distill(
        teacher,
        teacher_tokenizer,
        student,
        tokenizer,
        train,
        augmenter,
        schedule,
        seed=options.seed,
        after_step=lambda: clip_embeddings(student, schedule.embedding_limit),
        after_round=lambda number: print(
            f"round {number}: dev {accuracy(student, tokenizer, dev):.4f}, {(time.monotonic() - started) / 60:.1f} min",
            flush=True,
        ),
    )
    print(f"fp32 on dev: {accuracy(student, tokenizer, dev):.4f}")
    round_to_bfloat16(student)
    print(f"rounded to bfloat16, on dev: {accuracy(student, tokenizer, dev):.4f}")
    save_student(student, tokenizer, options.out)
    print(f"written to {options.out} after {(time.monotonic() - started) / 60:.1f} min")


if __name__ == "__main__":
    main()
