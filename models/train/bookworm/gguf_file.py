"""GGUF files, written with llama.cpp's own Python library (gguf-py in its source tree)."""

import os
import sys

import numpy

ARCHITECTURE = "qwen2"
NORMAL_TOKEN, CONTROL_TOKEN = 1, 3
TENSORS = {
    "embedding.weight": "token_embd.weight",
    "norm.weight": "output_norm.weight",
    "attention_norm.weight": "attn_norm.weight",
    "attention.query.weight": "attn_q.weight",
    "attention.query.bias": "attn_q.bias",
    "attention.key.weight": "attn_k.weight",
    "attention.key.bias": "attn_k.bias",
    "attention.value.weight": "attn_v.weight",
    "attention.value.bias": "attn_v.bias",
    "attention.output.weight": "attn_output.weight",
    "feed_forward_norm.weight": "ffn_norm.weight",
    "feed_forward.gate.weight": "ffn_gate.weight",
    "feed_forward.up.weight": "ffn_up.weight",
    "feed_forward.down.weight": "ffn_down.weight",
}


def load_library(llama_tree):
    """The module gguf, from the given llama.cpp source tree or an installed package."""
    if llama_tree:
        sys.path.insert(0, str(llama_tree / "gguf-py"))
    try:
        import gguf
    except ImportError as error:
        sys.exit(f"Python's gguf library is missing ({error}); give --llama DIR, the source tree of "
                 "llama.cpp (`make build` keeps it in ~/.cache/shadowattn), and install "
                 "python3-numpy, python3-yaml and python3-tqdm")
    return gguf


def tensor_name(parameter):
    """layers.3.attention.key.bias -> blk.3.attn_k.bias"""
    if parameter.startswith("layers."):
        _, layer, rest = parameter.split(".", 2)
        return f"blk.{layer}.{TENSORS[rest]}"
    return TENSORS[parameter]


def write(gguf, path, state, shape, tokenizer, about, kind):
    """state: parameters by name. about: name, description, licence. kind: f32, f16 or q8_0.

    Norms and biases stay F32. The file appears whole or not at all.
    """
    scratch = path.with_suffix(".new")
    writer = gguf.GGUFWriter(scratch, ARCHITECTURE)
    writer.add_name(about["name"])
    writer.add_description(about["description"])
    writer.add_license(about["licence"])
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_rope_freq_base(shape.rope_base)
    quantization = {"f32": gguf.GGMLQuantizationType.F32, "f16": gguf.GGMLQuantizationType.F16,
                    "q8_0": gguf.GGMLQuantizationType.Q8_0}[kind]
    writer.add_file_type({"f32": gguf.LlamaFileType.ALL_F32, "f16": gguf.LlamaFileType.MOSTLY_F16,
                          "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0}[kind])
    _add_tokenizer(writer, tokenizer)
    for name, tensor in state.items():
        values = numpy.ascontiguousarray(tensor.float().numpy())
        own = quantization if values.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(tensor_name(name), gguf.quants.quantize(values, own), raw_dtype=own)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(scratch, path)


def _add_tokenizer(writer, tokenizer):
    texts = tokenizer.token_texts()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(texts)
    writer.add_token_types([NORMAL_TOKEN] * (len(texts) - 1) + [CONTROL_TOKEN])
    writer.add_token_merges(tokenizer.merge_texts())
    writer.add_bos_token_id(tokenizer.end_of_text)
    writer.add_eos_token_id(tokenizer.end_of_text)
    writer.add_pad_token_id(tokenizer.end_of_text)
    writer.add_add_bos_token(True)
