"""The mask of a constraint as a logits processor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgepipe.errors import InputError
from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.logits.constraints.constraint import Constraint, ConstraintState
from edgepipe.generation.prompt import Prompt

# An input and its new tokens.
_Key = tuple[int, bytes]


class ConstraintLogitsProcessor:
    """Lets only those tokens follow with which a text can still fulfil a constraint, and the end where it does.

    Scores of tokens that may follow stay as they are, so that a model chooses among them as it would.

    Each text has a state, found by its tokens: so rows may leave, change places and go on twice, as beams do.
    """

    def __init__(self, constraint: Constraint, config: GenerationConfig, prompt: Prompt) -> None:
        self._constraint = constraint
        self._start = prompt.length
        self._ends = find_ends(constraint, config)
        # Those would end a text in its middle.
        self._never = [token for token in config.eos_token_id if constraint.table.shows(token)]
        self._has_beams = config.num_beams > 1
        self._length = 0
        # Of the texts without their last tokens, and of the texts; None for beams that nothing may follow.
        self._before: dict[_Key, ConstraintState | None] = {}
        self._states: dict[_Key, ConstraintState | None] = {}

    def __call__(self, ids: NDArray[np.int64], scores: NDArray[np.float32], inputs: NDArray[np.int64]) -> None:
        """Change `scores`."""
        length = ids.shape[1] - self._start
        if length != self._length:
            self._before, self._states, self._length = self._states, {}, length
        tokens = ids[:, self._start :].tobytes()
        width = len(tokens) // len(ids)
        keys: list[_Key] = [(item, tokens[row * width : (row + 1) * width]) for row, item in enumerate(inputs.tolist())]
        missing = dict.fromkeys(key for key in keys if key not in self._states)
        last = {_parent(key): key for key in missing}
        for key in missing:
            self._states[key] = self._advance(key, is_last=last[_parent(key)] is key)
        for key, row_scores in zip(keys, scores, strict=True):
            state = self._states[key]
            mask = None if state is None else state.mask()
            if mask is not None:
                mask.apply(row_scores, self._ends)
                for token in self._never:
                    row_scores[token : token + 1] = -np.inf  # there may be no score of it
            elif self._has_beams:
                row_scores.fill(-np.inf)
            else:
                raise InputError(
                    f"a text cannot go on as {self._constraint.option} wants it: the model has no token that could "
                    "follow, or the grammar has become too large; make it simpler, or take another model"
                )

    def _advance(self, key: _Key, *, is_last: bool) -> ConstraintState | None:
        """The state of a text, from that without its last token; None where the token may not follow.

        Raises:
            InputError: it may not, and there are no beams: where too few texts are left, other beams have such tokens.
        """
        tokens = np.frombuffer(key[1], np.int64)
        if not tokens.size:
            return self._constraint.begin()
        before = self._before.get(_parent(key))
        if before is None:  # of a beam that has come from nowhere there is no text
            found = self._constraint.replay(tokens.tolist())
        else:
            # Another group of beams may go on with the same text.
            found = before if is_last and not self._has_beams else before.copy()
            found = found if found.advance(int(tokens[-1])) else None
        if found is None and not self._has_beams:
            raise disallowed_token_error(self._constraint)
        return found


def disallowed_token_error(constraint: Constraint) -> InputError:
    """The error where other options leave no token that a constraint allows."""
    return InputError(
        f"another option has a token follow that {constraint.option} does not allow; leave out options that forbid, "
        "force or choose tokens, such as min_new_tokens and logits_processor"
    )


def find_ends(constraint: Constraint, config: GenerationConfig) -> tuple[int, ...]:
    """The tokens that end a text and show nothing in it.

    Raises:
        InputError: there are none.
    """
    ends = tuple(token for token in config.eos_token_id if not constraint.table.shows(token))
    if not ends:
        raise InputError(
            f"{constraint.option} needs a token that ends a text and does not show in it, and eos_token_id is "
            f"{list(config.eos_token_id)}; pass eos_token_id"
        )
    return ends


def _parent(key: _Key) -> _Key:
    """The key of a text without its last token."""
    return key[0], key[1][:-8]
