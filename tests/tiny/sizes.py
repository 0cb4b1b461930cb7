"""How large tiny models are, under the names that the families of transformers give it."""

from __future__ import annotations

from typing import Any

# Longest input in tokens of every tiny model.
LIMIT = 64

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4}
BART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4}
XLNET = {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64}
REFORMER = {
    "attn_layers": ["local", "lsh"],
    "attention_head_size": 8,
    "feed_forward_size": 64,
    "local_attn_chunk_length": 8,
    "lsh_attn_chunk_length": 8,
    "axial_pos_shape": [8, 8],
    "axial_pos_embds_dim": [12, 20],
    "num_buckets": 4,
    "num_hashes": 2,
    "hash_seed": 7,
}
FUNNEL = {
    "d_model": 32,
    "n_head": 4,
    "d_head": 8,
    "d_inner": 64,
    "block_sizes": [1, 2, 1],
    "num_decoder_layers": 1,
    "architectures": ["FunnelModel"],
}
PROPHETNET = {
    "num_encoder_layers": 2,
    "num_decoder_layers": 2,
    "num_encoder_attention_heads": 4,
    "num_decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "ngram": 2,
    "num_buckets": 8,
    "relative_max_distance": 16,
}
OPT = {"ffn_dim": 64, "word_embed_proj_dim": 32}
# Fewer heads for keys and values than for queries.
GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
BEAM = GROUPED | {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "n_group": 1,
    "topk_group": 1,
    "sliding_window": 6,
    "layer_types": ["sliding_attention", "full_attention"],
    "mlp_layer_types": ["dense", "sparse"],
}

_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_LATENT = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
}
# Of model types that write and have other heads too.
NEWER: dict[str, dict[str, Any]] = {
    "apertus1p5_text": {"num_key_value_heads": 2},
    "deepseek_v3": _LATENT | {"q_lora_rank": 8},
    "dory": GROUPED | {"sliding_window": 6, "num_hidden_layers": 3, "n_input_layers": 1, "n_output_layers": 1},
    "exaone": GROUPED,
    "exaone4": GROUPED | {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 6},
    "gemma": GROUPED,
    "glm4": GROUPED,
    "gpt_oss": GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "granitemoe": GROUPED | {"num_local_experts": 4},
    "inkling2_loop_text": GROUPED
    | {
        "num_hidden_layers": 3,
        "n_layers_per_attn_res_block": 1,
        "loop_layer_index_start": 1,
        "loop_layer_index_end": 2,
        "loop_num_passes": 2,
        "loop_gate_rank": 4,
        "n_routed_experts": 2,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 32,
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 2,
        "swa_head_dim": 8,
        "sliding_window_size": 6,
        "d_rel": 4,
        "rel_extent": 16,
        "unpadded_vocab_size": 900,
    },
    "jetmoe": {"num_key_value_heads": 2, "kv_channels": 8, "num_local_experts": 4},
    "lara_mini": GROUPED
    | _EXPERTS
    | {
        "layer_types": ["linear_attention", "full_attention"],
        "shared_expert_intermediate_size": 32,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
    },
    "ministral3": GROUPED,
    "mixtral": GROUPED | {"num_local_experts": 4},
    "olmoe": GROUPED | {"num_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": GROUPED | _EXPERTS | {"shared_expert_intermediate_size": 32},
    "qwen3_moe": GROUPED | _EXPERTS,
    "sarvam_mla": _LATENT,
    "sarvam_moe": GROUPED
    | {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "first_k_dense_replace": 1},
}
# Names that a config refuses.
LEFT_OUT = {"lara_mini": ("intermediate_size",)}
