"""The families of tiny models, one entry each.

``ARCHITECTURES`` have golden files of pipeline results; ``MORE`` are compared with PyTorch tensor by tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.tiny.sizes import (
    BART,
    BEAM,
    FUNNEL,
    GPT,
    GROUPED,
    LEFT_OUT,
    LIMIT,
    NEWER,
    OPT,
    PROPHETNET,
    REFORMER,
    T5,
    XLNET,
)


@dataclass(frozen=True)
class Architecture:
    """What sets a family apart.

    Attributes:
        tokenizer: Directory in ``tests/data/tokenizers``.
        model_type: As in ``config.json``.
        config: Beside SIZES.
        extra_positions: Rows of the position table that no token can use (RoBERTa counts on from its padding id).
        gain: See ``build``, for the parity of tensors; less where activations grow from layer to layer.
        without: Names that its config refuses, or gives another meaning.
    """

    tokenizer: str
    model_type: str
    config: Mapping[str, Any] = field(default_factory=dict)
    extra_positions: int = 0
    without: tuple[str, ...] = ()
    gain: float = 1.0


ARCHITECTURES: dict[str, Architecture] = {
    "bert": Architecture("bert", "bert"),
    "distilbert": Architecture(
        "distilbert",
        "distilbert",
        {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4, "seq_classif_dropout": 0.0},
    ),
    "roberta": Architecture("roberta", "roberta", {"type_vocab_size": 1}, extra_positions=2),
    "xlm-roberta": Architecture("xlm-roberta", "xlm-roberta", {"type_vocab_size": 1}, extra_positions=2),
    "albert": Architecture("albert", "albert", {"embedding_size": 16}),
    "electra": Architecture("electra", "electra", {"embedding_size": 16}),
    "deberta-v2": Architecture(
        "deberta-v2",
        "deberta-v2",
        {
            "relative_attention": True,
            "max_relative_positions": -1,
            "pos_att_type": ["c2p", "p2c"],
            "position_biased_input": True,
            "type_vocab_size": 2,
            "conv_kernel_size": 3,
            "conv_act": "gelu",
        },
    ),
    "deberta-v3": Architecture(
        "deberta-v2",
        "deberta-v2",
        {
            "relative_attention": True,
            "max_relative_positions": -1,
            "position_buckets": 8,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "type_vocab_size": 0,
        },
    ),
    "mpnet": Architecture("mpnet", "mpnet", extra_positions=2),
    "modernbert": Architecture(
        "modernbert",
        "modernbert",
        {"local_attention": 16, "global_attn_every_n_layers": 2, "classifier_pooling": "mean"},
    ),
}

_DEBERTA = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "max_relative_positions": -1}
_XLM = {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "pad_index": 0, "dropout": 0.0, "attention_dropout": 0.0}
_GPT = GPT | {"n_inner": 64}
_BART = BART | {"decoder_start_token_id": 2, "forced_eos_token_id": 2}
_T5 = T5 | {"decoder_start_token_id": 1}

MORE: dict[str, Architecture] = {
    "camembert": Architecture("xlm-roberta", "camembert", {"type_vocab_size": 1}, extra_positions=2),
    "xlm": Architecture("bert", "xlm", _XLM),
    "flaubert": Architecture("bert", "flaubert", _XLM),
    "deberta": Architecture("roberta", "deberta", _DEBERTA | {"type_vocab_size": 0, "position_biased_input": False}),
    "longformer": Architecture("roberta", "longformer", {"attention_window": [8, 8]}, extra_positions=2),
    "big_bird": Architecture("bert", "big_bird", {"block_size": 4, "num_random_blocks": 1}),
    "funnel": Architecture("funnel", "funnel", FUNNEL, 0, ("num_hidden_layers", "max_position_embeddings")),
    "xlnet": Architecture("bert", "xlnet", XLNET, 0, ("max_position_embeddings",)),
    "reformer": Architecture("bert", "reformer", REFORMER),
    "convbert": Architecture("bert", "convbert", {"embedding_size": 32, "conv_kernel_size": 3}),
    "squeezebert": Architecture("bert", "squeezebert", {"embedding_size": 32}),
    "nystromformer": Architecture(
        "bert", "nystromformer", {"num_landmarks": 8, "segment_means_seq_len": 8, "conv_kernel_size": 3}
    ),
    "ernie": Architecture("bert", "ernie", {"use_task_id": True}),
    "mobilebert": Architecture(
        "bert",
        "mobilebert",
        {"embedding_size": 16, "intra_bottleneck_size": 32, "num_feedforward_networks": 2},
        gain=0.3,
    ),
    "roformer": Architecture("bert", "roformer", {"embedding_size": 32}),
    "megatron-bert": Architecture("bert", "megatron-bert"),
    "data2vec-text": Architecture("roberta", "data2vec-text", {"type_vocab_size": 1}, extra_positions=2),
    "ibert": Architecture("roberta", "ibert", {"type_vocab_size": 1}, extra_positions=2),
    "layoutlm": Architecture("bert", "layoutlm"),
    "rembert": Architecture("bert", "rembert", {"input_embedding_size": 16, "output_embedding_size": 16}),
    "yoso": Architecture("bert", "yoso", {"num_hash": 4, "type_vocab_size": 2}),
    "fnet": Architecture("bert", "fnet"),
    "splinter": Architecture("bert", "splinter"),
    "luke": Architecture("roberta", "luke", {"entity_vocab_size": 8, "entity_emb_size": 16}, extra_positions=2),
    "xmod": Architecture(
        "xlm-roberta", "xmod", {"languages": ["en_XX"], "default_language": "en_XX", "type_vocab_size": 1}, 2
    ),
    "xlm-roberta-xl": Architecture("xlm-roberta", "xlm-roberta-xl", {"type_vocab_size": 1}, extra_positions=2),
    "roberta-prelayernorm": Architecture("roberta", "roberta-prelayernorm", {"type_vocab_size": 1}, extra_positions=2),
    "roc_bert": Architecture("bert", "roc_bert", {"enable_pronunciation": False, "enable_shape": False}),
    "esm": Architecture("bert", "esm", {"position_embedding_type": "rotary", "token_dropout": False}),
    "eurobert": Architecture("bert", "eurobert", GROUPED),
    "gte": Architecture("bert", "gte", {"type_vocab_size": 2}),
    "nomic_bert": Architecture("bert", "nomic_bert"),
    "jina_embeddings_v3": Architecture("xlm-roberta", "jina_embeddings_v3", {"type_vocab_size": 1}),
    "bart": Architecture("roberta", "bart", _BART),
    "mbart": Architecture("xlm-roberta", "mbart", _BART),
    "plbart": Architecture("xlm-roberta", "plbart", _BART),
    "mvp": Architecture("roberta", "mvp", _BART),
    "led": Architecture(
        "roberta",
        "led",
        _BART
        | {
            "attention_window": [8, 8],
            "max_encoder_position_embeddings": LIMIT,
            "max_decoder_position_embeddings": LIMIT,
        },
        without=("max_position_embeddings",),
    ),
    "t5": Architecture("albert", "t5", _T5),
    "mt5": Architecture("albert", "mt5", _T5),
    "umt5": Architecture("albert", "umt5", _T5),
    "gpt2": Architecture("roberta", "gpt2", _GPT),
    "opt": Architecture("roberta", "opt", OPT),
    "llama": Architecture("roberta", "llama", GROUPED),
    "mistral": Architecture("roberta", "mistral", GROUPED | {"sliding_window": 16}),
    "qwen2": Architecture("roberta", "qwen2", GROUPED),
    "qwen3": Architecture("roberta", "qwen3", GROUPED),
    "gemma2": Architecture("roberta", "gemma2", GROUPED | {"sliding_window": 16}),
    "modernbert-decoder": Architecture("modernbert", "modernbert-decoder", {"local_attention": 16}),
    "bigbird_pegasus": Architecture("roberta", "bigbird_pegasus", _BART | {"attention_type": "original_full"}),
    "blenderbot": Architecture("roberta", "blenderbot", BART),
    "blenderbot-small": Architecture("roberta", "blenderbot-small", BART),
    "beam": Architecture("roberta", "beam", BEAM),
    "dpr": Architecture("bert", "dpr"),
    "bloom": Architecture("roberta", "bloom", {"n_layer": 2, "n_head": 4}),
    "codegen": Architecture("roberta", "codegen", GPT | {"rotary_dim": 4}),
    "ctrl": Architecture("roberta", "ctrl", {"n_embd": 32, "dff": 64, "n_layer": 2, "n_head": 4, "n_positions": LIMIT}),
    "falcon": Architecture("roberta", "falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "gemma3_text": Architecture("roberta", "gemma3_text", GROUPED | {"sliding_window": 16}),
    "gpt_neo": Architecture(
        "roberta",
        "gpt_neo",
        {"num_layers": 2, "num_heads": 4, "window_size": 16, "attention_types": [[["global", "local"], 1]]},
    ),
    "gpt_neox": Architecture("roberta", "gpt_neox"),
    "gptj": Architecture("roberta", "gptj", GPT | {"n_positions": LIMIT, "rotary_dim": 4}),
    "granite": Architecture("roberta", "granite", {"num_key_value_heads": 2}),
    "m2m_100": Architecture("xlm-roberta", "m2m_100", BART),
    "marian": Architecture("xlm-roberta", "marian", BART),
    "olmo2": Architecture("roberta", "olmo2", {"num_key_value_heads": 2}),
    "openai-gpt": Architecture("roberta", "openai-gpt", GPT | {"n_positions": LIMIT}),
    "pegasus": Architecture("albert", "pegasus", BART),
    "pegasus_x": Architecture("albert", "pegasus_x", BART | {"block_size": 8, "num_global_tokens": 4}),
    "phi": Architecture("roberta", "phi", {"num_key_value_heads": 2}),
    "phi3": Architecture("roberta", "phi3", {"num_key_value_heads": 2, "sliding_window": 16}),
    "phimoe": Architecture("roberta", "phimoe", {"num_key_value_heads": 2, "num_local_experts": 2}),
    "smollm3": Architecture("roberta", "smollm3", GROUPED | {"no_rope_layers": [1, 0]}),
    "stablelm": Architecture("roberta", "stablelm", {"num_key_value_heads": 2}),
    "starcoder2": Architecture("roberta", "starcoder2", {"num_key_value_heads": 2, "sliding_window": 16}),
    "prophetnet": Architecture("bert", "prophetnet", PROPHETNET, 0, ("num_hidden_layers", "num_attention_heads")),
    **{kind: Architecture("roberta", kind, sizes, 0, LEFT_OUT.get(kind, ())) for kind, sizes in NEWER.items()},
}
