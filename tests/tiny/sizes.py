"""How large tiny models are, under the names that the families of transformers give it."""

from __future__ import annotations

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
