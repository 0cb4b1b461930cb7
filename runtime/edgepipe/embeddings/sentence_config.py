"""What a sentence-transformers directory says about embedding a text: modules, prompts, and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepipe.arguments import is_whole
from edgepipe.bundle.integrity import read_json
from edgepipe.bundle.third_party import MODULES_NAME
from edgepipe.embeddings.modules import TOKEN_EMBEDDINGS, Module, Pooling, read_modules
from edgepipe.errors import BundleError, InputError

CONFIG_NAME = "config_sentence_transformers.json"
# The transformer's own settings, under the names that versions have given the file
# (Transformer.load_config in sentence_transformers/base/modules/transformer.py).
TRANSFORMER_NAMES = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)

# Prompts that every model has, empty unless its config says otherwise.
_PROMPTS = {"query": "", "document": ""}

# What the transformer's file may hand on to transformers, under newer and older names.
_ARGUMENTS = ("processor_kwargs", "tokenizer_args", "model_kwargs", "model_args", "config_kwargs", "config_args")


@dataclass(frozen=True, slots=True)
class SentenceConfig:
    """How texts become vectors.

    Attributes:
        directory: Where this was read.
        modules: The modules after the transformer; None where there is no ``modules.json``.
        prompts: Prompts by name.
        default_prompt_name: The prompt that goes before every text, None for none.
        max_seq_length: Longest text in tokens, None for the tokenizer's own limit.
        lower_case: Whether texts are lower-cased before anything else is done to them.
        truncate_dim: How many values of a vector are kept, None for all.
    """

    directory: Path
    modules: tuple[Module, ...] | None
    prompts: Mapping[str, str]
    default_prompt_name: str | None
    max_seq_length: int | None
    lower_case: bool
    truncate_dim: int | None

    def modules_for(self, pooling: tuple[str, ...] | None) -> tuple[Module, ...]:
        """The modules to apply: the directory's own, or in their place the pooling that the caller names.

        Raises:
            InputError: there are none, and no pooling was named.
        """
        if pooling is not None:
            return (Pooling(pooling),)
        if self.modules is None:
            raise InputError(
                f"{self.directory} has no {MODULES_NAME}, which says how the vectors of the tokens become one: pass "
                'pooling="mean" if that is how the model was trained, or export a sentence-transformers directory'
            )
        return self.modules

    def prompt(self, prompt: Any = None, name: Any = None) -> str:
        """The text to put before every text: given, by name, or the default; empty for none.

        Raises:
            InputError: both were given, one is no text, or there is no prompt of that name.
        """
        if prompt is not None and name is not None:
            raise InputError(f"pass prompt or prompt_name, not both; got {prompt!r} and {name!r}")
        if prompt is not None:
            if not isinstance(prompt, str):
                raise InputError(f"prompt must be a text, got {type(prompt).__name__} {prompt!r:.60}")
            return prompt
        if name is None:
            return "" if self.default_prompt_name is None else self.prompts.get(self.default_prompt_name, "")
        if not isinstance(name, str) or name not in self.prompts:
            raise InputError(f"there is no prompt named {name!r}; there is {', '.join(self.prompts)}")
        return self.prompts[name]


def read_sentence_config(directory: Path) -> SentenceConfig:
    """Read what there is; without any of the files, nothing but the defaults.

    Raises:
        BundleError: a file is damaged, or asks for something that edgepipe does not have.
    """
    own = _read_settings(directory / CONFIG_NAME)
    prompts = own.get("prompts") or {}
    if not isinstance(prompts, Mapping) or not all(isinstance(text, (str, type(None))) for text in prompts.values()):
        raise BundleError(f"{directory / CONFIG_NAME}: prompts must be texts by name, got {prompts!r:.80}")
    default = own.get("default_prompt_name")
    if not isinstance(default, (str, type(None))):
        raise BundleError(
            f"{directory / CONFIG_NAME}: default_prompt_name must be a prompt's name, got {default!r:.80}"
        )
    transformer = next((directory / name for name in TRANSFORMER_NAMES if (directory / name).is_file()), None)
    settings = {} if transformer is None else _read_settings(transformer)
    if transformer is not None:
        _require_mappings(transformer, settings)
        _require_plain(transformer, settings)
    return SentenceConfig(
        directory,
        read_modules(directory) if (directory / MODULES_NAME).is_file() else None,
        {**_PROMPTS, **{name: text or "" for name, text in prompts.items()}},
        default,
        _count(transformer, "max_seq_length", settings.get("max_seq_length", _tokenizer_limit(settings))),
        bool(settings.get("do_lower_case", False)),
        _count(directory / CONFIG_NAME, "truncate_dim", own.get("truncate_dim")),
    )


def _read_settings(path: Path) -> dict[str, Any]:
    settings: dict[str, Any] = read_json(path) if path.is_file() else {}
    return settings


def _require_mappings(path: Path, settings: Mapping[str, Any]) -> None:
    for name in _ARGUMENTS:
        if settings.get(name) and not isinstance(settings[name], Mapping):
            raise BundleError(f"{path}: {name} must be settings by name, got {settings[name]!r:.80}")


def _tokenizer_limit(settings: Mapping[str, Any]) -> Any:
    for name in ("processor_kwargs", "tokenizer_args"):
        if settings.get(name):
            return settings[name].get("model_max_length")
    return None


def _count(path: Path | None, name: str, value: Any) -> int | None:
    if value is not None and not is_whole(value, 1):
        raise BundleError(f"{path}: {name} must be a whole number of at least 1, got {value!r}")
    return value


def _require_plain(path: Path, settings: Mapping[str, Any]) -> None:
    """Refuse settings under which the reference does something else than to run the encoder on the tokens."""
    texts = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
    expected: dict[str, tuple[Any, ...]] = {
        "transformer_task": ("feature-extraction",),
        "module_output_name": (TOKEN_EMBEDDINGS,),
        "modality_config": (texts,),
        "processing_kwargs": ({}, None),
    }
    for name, values in expected.items():
        if name in settings and settings[name] not in values:
            raise BundleError(f"{path} has {name} {settings[name]!r}; edgepipe has {values[0]!r} only")
    for name in _ARGUMENTS:
        rest = sorted(set(settings.get(name) or {}) - {"model_max_length", "trust_remote_code"})
        if rest:
            raise BundleError(f"{path} sets {', '.join(rest)} in {name}, which edgepipe does not apply")
