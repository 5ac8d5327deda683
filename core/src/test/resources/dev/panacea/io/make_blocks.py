"""Makes blocks.gguf: one tensor per block type, and beside it (NAME.expected, F32) what the Python package gguf 0.19.0 decodes it to.

pip install gguf numpy; python make_blocks.py
"""
import numpy as np
from gguf import GGMLQuantizationType as T, GGUFWriter, quants

rng = np.random.default_rng(7)
SHAPE = (2, 256)
HALVES = {T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0]}

writer = GGUFWriter("blocks.gguf", "llama")
for kind in [T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K, T.IQ4_NL]:
    if kind in HALVES:  # the package only decodes these: random bytes with sensible scales
        elements, size = {T.IQ4_NL: (32, 18)}.get(kind, (256, None))
        size = size or {T.Q2_K: 84, T.Q3_K: 110, T.Q4_K: 144, T.Q5_K: 176, T.Q6_K: 210}[kind]
        blocks = rng.integers(0, 256, (SHAPE[0], SHAPE[1] // elements, size), dtype=np.uint8)
        for place in HALVES[kind]:
            scale = (rng.standard_normal(blocks.shape[:2]) * 0.01).astype(np.float16)
            blocks[:, :, place : place + 2] = scale[..., None].view(np.uint8)
        data = blocks.reshape(SHAPE[0], -1)
    elif kind == T.F16:
        data = rng.standard_normal(SHAPE).astype(np.float16)
    else:
        data = quants.quantize((rng.standard_normal(SHAPE) * 0.05).astype(np.float32), kind)
    expected = data.astype(np.float32) if kind == T.F16 else quants.dequantize(data, kind)
    writer.add_tensor(kind.name, data, raw_dtype=None if kind == T.F16 else kind)
    writer.add_tensor(kind.name + ".expected", expected.astype(np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
