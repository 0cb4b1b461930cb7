"""What a tokenizer's files say: ``tokenizer.json`` as a `tokenizers.Tokenizer`, and the settings beside it.

The stages, in order: read ``tokenizer_config.json`` and ``special_tokens_map.json``; parse ``tokenizer.json``;
take the settings; add the special tokens that the settings name and ``tokenizer.json`` does not have. This is what
transformers does on loading, less the rebuilding of tokenizers from their vocabulary: ``save_pretrained`` has
already written the result of that.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as RustTokenizer

from edgepipe.bundle.integrity import file_exists, parse_json, read_bytes, read_json, read_text
from edgepipe.errors import BundleError, convert_panics, first_line, is_from_rust
from edgepipe.tokenization.truncation import require_faultless_release

SPECIAL_TOKEN_NAMES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)

# What save_pretrained leaves out where it is the default of the tokenizer's class, which nobody knows here.
CLASS_SETTINGS = (
    "model_input_names",
    "model_max_length",
    "padding_side",
    "truncation_side",
    "clean_up_tokenization_spaces",
    "split_special_tokens",
)

# Above this, `model_max_length` is transformers' way to write "no limit".
_NO_LIMIT = int(1e20)

# save_pretrained leaves out what a transformers class fixes. A bundle's files say it all the same; for directories
# that were written by other tools these are the classes (of 5.23) that differ from the common defaults.
_CLASSES_WITH_TOKEN_TYPES = frozenset(
    {
        "BertTokenizer",
        "ConvBertTokenizer",
        "DPRContextEncoderTokenizer",
        "DPRQuestionEncoderTokenizer",
        "DebertaTokenizer",
        "DebertaV2Tokenizer",
        "SqueezeBertTokenizer",
    }
)
_CLASSES_PADDED_LEFT = frozenset(
    {"CodeLlamaTokenizer", "CohereTokenizer", "GemmaTokenizer", "LlamaTokenizer", "XLNetTokenizer"}
)

# The most bytes of a tokenizer.json; those of a million tokens have some 60 MB.
LONGEST_TOKENIZER = 128_000_000

_TOKEN_FIELDS = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")


@dataclass(frozen=True)
class TokenizerSettings:
    """The part of a tokenizer that ``tokenizer.json`` does not hold.

    Attributes:
        special_tokens: Token by name ("pad_token", ...), standard names first, then those of the model alone.
        extra_special_tokens: Special tokens without a name.
        model_max_length: Longest sequence in tokens, special tokens included; None where there is no limit.
        padding_side: "right" or "left".
        truncation_side: "right" or "left".
        model_input_names: The arrays a call returns by default; the first is what `pad` measures.
        clean_up_tokenization_spaces: Whether `decode` takes out blanks before punctuation.
        clean_up_bpe: Whether it does so for byte-pair tokenizers too, which transformers skips by default.
        split_special_tokens: Whether special tokens written in a text are split like any other text.
        chat_template: The Jinja program that writes a chat as a prompt, or several by name; None where there is none.
        response_template: Whether what the model answers has parts that transformers takes apart.
    """

    special_tokens: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    extra_special_tokens: tuple[str, ...] = ()
    model_max_length: int | None = None
    padding_side: str = "right"
    truncation_side: str = "right"
    model_input_names: tuple[str, ...] = ("input_ids", "attention_mask")
    clean_up_tokenization_spaces: bool = False
    clean_up_bpe: bool = False
    split_special_tokens: bool = False
    chat_template: str | Mapping[str, str] | None = None
    response_template: bool = False


def load_tokenizer_files(directory: Path, overrides: Mapping[str, Any]) -> tuple[RustTokenizer, TokenizerSettings]:
    """Read a tokenizer directory.

    Args:
        directory: Holds ``tokenizer.json`` and, usually, ``tokenizer_config.json``.
        overrides: Entries that replace those of ``tokenizer_config.json``.

    Returns:
        The backend, without truncation and padding of its own, and the settings.

    Raises:
        BundleError: A file is missing or is not what its name says.
        DependencyError: This release of tokenizers cuts texts wrongly.
    """
    require_faultless_release()
    path = directory / "tokenizer.json"
    if not file_exists(path):
        if not directory.is_dir():
            raise BundleError(f"{directory} is not a directory: a tokenizer is loaded from that of a bundle.")
        raise BundleError(
            f"{directory} has no tokenizer.json: expected a directory written by edgepipe export or by "
            "transformers' save_pretrained; export the checkpoint again to get one."
        )
    config = _read_settings(directory / "tokenizer_config.json")
    if "added_tokens_decoder" not in config:
        config = {**config, **_read_settings(directory / "special_tokens_map.json")}
    templates = _chat_templates(directory)
    config = {**config, **({"chat_template": templates} if templates else {}), **overrides}
    content = read_bytes(path, LONGEST_TOKENIZER)
    try:
        with convert_panics("the file"):
            # Not as text: Python keeps four bytes for each of its characters where one of them is rare, and tokenizers
            # a copy of its own beside that.
            backend = RustTokenizer.from_buffer(content)
        if backend.post_processor is not None:
            _check_template(parse_json(backend.post_processor.__getstate__()))
    except Exception as error:
        ours = (BundleError, ValueError, KeyError, IndexError, AttributeError)
        if not (is_from_rust(error) or isinstance(error, ours)):  # what a signal's handler raised
            raise
        raise BundleError(
            f"{path} cannot be read as a tokenizer ({first_line(error)}): the file is damaged, or was written by "
            "a newer version of tokenizers; fetch or export it again, or upgrade tokenizers."
        ) from error
    try:
        settings, tokens = _settings(config, backend)
        with convert_panics("the file"):
            _add_missing_tokens(backend, config.get("added_tokens_decoder") or {}, tokens)
    except (TypeError, ValueError, AttributeError, KeyError, OverflowError) as error:
        raise BundleError(
            f"{directory / 'tokenizer_config.json'} holds a value that cannot be used: {first_line(error)}."
        ) from error
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = settings.split_special_tokens
    return backend, settings


def _chat_templates(directory: Path) -> str | dict[str, str] | None:
    """The chat templates that are files of their own; they go before those in ``tokenizer_config.json``."""
    files = {path.stem: path for path in sorted(directory.glob("additional_chat_templates/*.jinja"))}
    if (default := directory / "chat_template.jinja").is_file():
        files["default"] = default
    templates = {name: read_text(path) for name, path in files.items()}
    return templates["default"] if list(templates) == ["default"] else templates or None


def _template_setting(value: Any) -> str | Mapping[str, str] | None:
    """The chat template of a config; transformers writes several as a list of names and templates."""
    if isinstance(value, list):
        return MappingProxyType({str(entry["name"]): str(entry["template"]) for entry in value})
    if value is None or isinstance(value, str):
        return value
    return MappingProxyType({str(name): str(template) for name, template in value.items()})


def _read_settings(path: Path) -> dict[str, Any]:
    settings: dict[str, Any] = read_json(path) if file_exists(path) else {}
    return settings


def _settings(config: Mapping[str, Any], backend: RustTokenizer) -> tuple[TokenizerSettings, list[AddedToken | str]]:
    """The settings, and their special tokens as they were written (`AddedToken` keeps its blanks' handling)."""
    tokenizer_class = str(config.get("tokenizer_class") or "").removesuffix("Fast")
    extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    padding, truncation = backend.padding or {}, backend.truncation or {}
    if padding:
        config = {"pad_token": padding["pad_token"], **config}
    named = {
        key: config.get(key)
        for key in (*SPECIAL_TOKEN_NAMES, *(key for key in config if key.endswith("_token")))
        if isinstance(config.get(key), (str, dict))
    }
    if isinstance(extra, Mapping):
        named, extra = {**named, **extra}, []
    special = {key: _as_token(value) for key, value in named.items()}
    extra_tokens = [_as_token(value) for value in extra]

    default_side = "left" if tokenizer_class in _CLASSES_PADDED_LEFT else "right"
    names = config.get("model_input_names") or (
        ("input_ids", "token_type_ids", "attention_mask")
        if tokenizer_class in _CLASSES_WITH_TOKEN_TYPES
        else ("input_ids", "attention_mask")
    )
    settings = TokenizerSettings(
        special_tokens=MappingProxyType({key: _content(token) for key, token in special.items()}),
        extra_special_tokens=tuple(_content(token) for token in extra_tokens),
        model_max_length=_max_length(config.get("model_max_length", config.get("max_len"))),
        padding_side=_side(config, "padding_side", padding.get("direction", default_side)),
        truncation_side=_side(config, "truncation_side", truncation.get("direction", "right")),
        model_input_names=tuple(str(name) for name in names),
        clean_up_tokenization_spaces=bool(config.get("clean_up_tokenization_spaces", False)),
        clean_up_bpe=bool(config.get("clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", False)),
        split_special_tokens=bool(config.get("split_special_tokens", False)),
        chat_template=_template_setting(config.get("chat_template")),
        response_template=bool(config.get("response_template")),
    )
    return settings, [*special.values(), *extra_tokens]


def _add_missing_tokens(
    backend: RustTokenizer, declared: Mapping[str, Any], special: Iterable[AddedToken | str]
) -> None:
    present = backend.get_added_tokens_decoder()
    # A token declared with other handling of blanks replaces the one of tokenizer.json, hence the whole repr.
    known = {repr(token) for token in present.values()}
    in_order = sorted(declared.items(), key=lambda item: int(item[0]))
    declared_tokens = [_as_token(token, special=False) for _, token in in_order]
    missing = [token for token in declared_tokens if repr(token) not in known]
    names = {token.content for token in present.values()} | {_content(token) for token in missing}
    for token in special:
        if _content(token) not in names:
            missing.append(AddedToken(token, special=True) if isinstance(token, str) else token)
            names.add(_content(token))
    if missing:
        backend.add_tokens(missing)


def _check_template(post_processor: Any) -> None:
    """Refuse a template that names a token it does not define: tokenizers would panic at the first text."""
    if post_processor.get("type") == "Sequence":
        for part in post_processor["processors"]:
            _check_template(part)
    elif post_processor.get("type") == "TemplateProcessing":
        for piece in (*post_processor["single"], *post_processor["pair"]):
            token = piece.get("SpecialToken", {}).get("id")
            if token is not None and token not in post_processor["special_tokens"]:
                raise ValueError(f"its post_processor does not define the token {token!r}")


def _as_token(value: Any, special: bool = True) -> AddedToken | str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and isinstance(value.get("content"), str):
        fields = {key: flag for key, flag in value.items() if key in _TOKEN_FIELDS}
        return AddedToken(**{"special": special, **fields})
    raise TypeError(f"a token must be text or an object with a content, not {value!r}")


def _content(token: AddedToken | str) -> str:
    return token if isinstance(token, str) else str(token.content)


def _max_length(value: Any) -> int | None:
    if value is None or value > _NO_LIMIT:
        return None
    if value < 0 or value != int(value):
        raise ValueError(f"model_max_length is {value!r}, expected a number of tokens")
    return int(value)


def _side(config: Mapping[str, Any], key: str, default: str) -> str:
    side = config.get(key, default)
    if side not in ("right", "left"):
        raise ValueError(f"{key} is {side!r}, expected 'right' or 'left'")
    return str(side)
