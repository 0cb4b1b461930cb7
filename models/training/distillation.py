"""Teaching a small classifier to answer as a larger one does."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional

from training.augmentation import Augmenter, detokenize
from training.data import Example, batches_by_length

__all__ = ["Schedule", "TrainingText", "accuracy", "compute_logits", "distill", "token_ids"]


@dataclass(frozen=True)
class Schedule:
    """How long and how hard to train.

    Attributes:
        rounds: Passes; each draws its texts anew.
        drawn: Augmented texts a round, besides every original.
        token_budget: Tokens in a batch, padding included.
        learning_rate: Its peak; it rises over the first 5 % of the steps and falls to zero.
        label_weight: Weight of the true label's cross-entropy, on original sentences.
        state_weight: Weight of the match of hidden states.
        layer_map: The teacher's layer whose averaged state each of the student's layers is to reproduce.
        embedding_limit: Largest absolute value of a word embedding.
    """

    rounds: int = 6
    drawn: int = 40_000
    token_budget: int = 1_536
    learning_rate: float = 2e-4
    label_weight: float = 0.5
    state_weight: float = 1.0
    layer_map: tuple[int, ...] = (2, 4, 6)
    embedding_limit: float = 0.35


@dataclass(frozen=True)
class TrainingText:
    """One text as the teacher reads it and as the student does; a true label where there is one, else -1."""

    teacher_text: str
    student_text: str
    label: int = -1


def pad(sequences: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    """Token ids and mask, int64 [batch, longest], padded with id 0."""
    ids = torch.zeros(len(sequences), max(map(len, sequences)), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        mask[row, : len(sequence)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def token_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """The ids of each text, with the special tokens."""
    return [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]


def compute_logits(model: nn.Module, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
    """The logits of each sequence of token ids, float32 [sequences, labels]."""
    model.eval()
    rows: list[torch.Tensor] = [torch.empty(0)] * len(sequences)
    with torch.inference_mode():
        for batch in batches_by_length([len(sequence) for sequence in sequences], 4096):
            logits = model(**pad([sequences[index] for index in batch])).logits
            for index, row in zip(batch, logits, strict=True):
                rows[index] = row
    return torch.stack(rows)


def accuracy(model: nn.Module, tokenizer: Tokenizer, examples: Sequence[Example]) -> float:
    """The share of examples whose highest logit is the label's."""
    predicted = compute_logits(model, token_ids(tokenizer, [example.text for example in examples])).argmax(dim=1)
    return float((predicted == torch.tensor([example.label for example in examples])).float().mean())


def _draw_texts(examples: Sequence[Example], augmenter: Augmenter, drawn: int, rng: Random) -> list[TrainingText]:
    """The originals (with their labels) and `drawn` new texts."""
    texts = [TrainingText(example.text, detokenize(example.text.split(), rng), example.label) for example in examples]
    for _ in range(drawn):
        words = augmenter.draw(rng)
        texts.append(TrainingText(" ".join(words), detokenize(words, rng)))
    return texts


def _average_states(output: Any, mask: torch.Tensor, layers: Sequence[int]) -> torch.Tensor:
    """Mean over the tokens of some layers' states, [layers, batch, hidden].

    Averages and not token by token, because teacher and student split words differently.
    """
    weights = mask.unsqueeze(-1).float()
    states = [(output.hidden_states[layer].float() * weights).sum(1) / weights.sum(1) for layer in layers]
    return torch.stack(states)


def distill(
    teacher: nn.Module,
    teacher_tokenizer: Tokenizer,
    student: nn.Module,
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    augmenter: Augmenter,
    schedule: Schedule,
    *,
    seed: int,
    after_step: Callable[[], None],
    after_round: Callable[[int], None],
) -> None:
    """Train `student` in place.

    The loss is the squared difference of the logits (Tang et al., arXiv:1903.12136, section 3.2), plus that of the
    averaged hidden states, relative to the teacher's variance (after TinyBERT, arXiv:1909.10351, equation 8), plus
    the true label's cross-entropy where there is one.

    Args:
        teacher: Labels the texts; unchanged.
        teacher_tokenizer: Its tokenizer.
        student: The model to train.
        tokenizer: The student's tokenizer.
        examples: The labelled sentences.
        augmenter: Draws the other texts.
        schedule: How long and how hard to train.
        seed: Fixes the texts and their order.
        after_step: Called after each step, to restrict the weights.
        after_round: Called with each finished round's number.
    """
    rng = Random(seed)
    teacher.eval()
    decayed = [parameter for parameter in student.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in student.parameters() if parameter.ndim == 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=schedule.learning_rate)
    student_layers = range(1, len(schedule.layer_map) + 1)
    for number in range(1, schedule.rounds + 1):
        texts = _draw_texts(examples, augmenter, schedule.drawn, rng)
        teacher_ids = token_ids(teacher_tokenizer, [text.teacher_text for text in texts])
        student_ids = token_ids(tokenizer, [text.student_text for text in texts])
        batches = list(batches_by_length([len(ids) for ids in student_ids], schedule.token_budget))
        rng.shuffle(batches)
        student.train()
        started, total = time.monotonic(), 0.0
        for step, batch in enumerate(batches, start=1):
            progress = (number - 1 + step / len(batches)) / schedule.rounds
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate * min(progress / 0.05, (1 - progress) / 0.95)
            teacher_inputs = pad([teacher_ids[index] for index in batch])
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                teacher_output = teacher(**teacher_inputs, output_hidden_states=True)
                teacher_states = _average_states(teacher_output, teacher_inputs["attention_mask"], schedule.layer_map)
            inputs = pad([student_ids[index] for index in batch])
            with torch.autocast("cpu", torch.bfloat16):
                output = student(**inputs, output_hidden_states=True)
                states = _average_states(output, inputs["attention_mask"], student_layers)
            logits = output.logits.float()
            loss = functional.mse_loss(logits, teacher_output.logits.float())
            loss = loss + schedule.state_weight * functional.mse_loss(states, teacher_states) / teacher_states.var()
            labels = torch.tensor([texts[index].label for index in batch])
            if bool((labels >= 0).any()):
                labelled = functional.cross_entropy(logits, labels, ignore_index=-1, reduction="sum")
                loss = loss + schedule.label_weight * labelled / len(batch)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            after_step()
            total += loss.item()
            if step % 200 == 0:
                seconds = time.monotonic() - started
                print(f"  {step}/{len(batches)}  loss {total / step:.3f}  {seconds:.0f} s", flush=True)
        after_round(number)
