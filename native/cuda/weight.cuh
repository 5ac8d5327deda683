// weight.cuh: weights as numbers: the 4-bit codes of bitsandbytes, the blocks of ggml, and where the rows of a matrix lie.
//
// 4-bit codes. The matrix is flattened; element 2j is the high nibble of byte j; 2^shift elements share one absmax; value = levels[code] * absmax.
// A nested absmax is code_levels[c] * scale + offset, every operation rounded: bitsandbytes has no fused multiply-add, and decoded values
// must agree in every bit, so all of this is written in intrinsics that the compiler does not contract.
//
// ggml's blocks. A row is cols / elements blocks, one after another, without alignment beyond 2 bytes; numbers are little-endian, d and m (dmin) are
// IEEE half precision. "nibbles" are 16 bytes with element j in the low half of byte j and element 16 + j in the high one.
//   Q4_0  32   d, nibbles                                   (q - 8) * d
//   Q4_1  32   d, m, nibbles                                q * d + m
//   Q5_0  32   d, fifth bits (bit j: element j), nibbles    (q - 16) * d
//   Q5_1  32   d, m, fifth bits, nibbles                    q * d + m
//   Q8_0  32   d, 32 signed bytes                           q * d
//   Q4_K  256  d, dmin, 12 bytes of scales, 128 bytes       (d * scale) * q - dmin * minimum
//   Q5_K  256  d, dmin, 12 bytes of scales, 32 bytes of fifth bits, 128 bytes; the same
//   Q6_K  256  128 bytes, 64 bytes of two high bits, 16 signed scales, d     (d * scale) * (q - 32)
// Q4_K, Q5_K: group g of 32 elements has its low 4 bits in bytes 32 (g / 2) ..., in the low halves if g is even; the fifth bit of its element j is
// bit g of byte j. Scales and minima have 6 bits, whose upper two, for groups 4 to 7, stand above those of groups 0 to 3. Q6_K: group g
// is quarter q = g % 4 of half h = g / 4; its low 4 bits are in bytes 64 h + 32 (q % 2) ..., in the low halves if q < 2; its high bits are bits 2 q,
// 2 q + 1 of bytes 32 h ...; every 16 elements have a scale.
//
// Codes become numbers four at a time: codes4() gives them as four bytes without sign, and a byte q put into the mantissa of 2^23 is the f32 2^23 + q,
// so one PRMT and one exact subtraction stand for a conversion, whose throughput is a quarter or less of theirs.
#pragma once
#include <cuda_fp16.h>
#include "common.cuh"

__device__ __forceinline__ float to_f32(half x) { return __half2float(x); }

namespace weight {

// ---- 4-bit codes -------------------------------------------------------------------------------------------------------

// Scales of the blocks of codes: f32, or codes of 8 bits where code_levels is not null.
struct Absmax {
  const void *values;
  const float *code_levels;  // 256
  const float *scale;        // one per 256 blocks
  float offset;

  __device__ __forceinline__ bool nested() const { return code_levels != nullptr; }
  __device__ __forceinline__ float at(long long block) const {
    if (!nested()) return static_cast<const float *>(values)[block];
    int code = static_cast<const uint8_t *>(values)[block];
    return __fadd_rn(__fmul_rn(code_levels[code], scale[block >> 8]), offset);
  }
};

// The bit from which on the code of element i stands in a little-endian word of codes.
__device__ __forceinline__ constexpr int code_bit(int i) { return i / 2 * 8 + (i % 2 == 0 ? 4 : 0); }

// The word that COUNT codes fill.
template <int COUNT> struct CodesOf;
template <> struct CodesOf<4> {
  using Type = uint16_t;
};
template <> struct CodesOf<8> {
  using Type = uint32_t;
};

// The code of one element.
__device__ __forceinline__ int code_of(const uint8_t *packed, long long e) { return packed[e / 2] >> code_bit(static_cast<int>(e % 2)) & 15; }

// The level of the code in the lower four bits; all lanes together, level being levels[lane & 15], so that the fifth bit does not matter.
__device__ __forceinline__ float look_up(float level, uint32_t code) { return __shfl_sync(0xFFFFFFFFu, level, code); }

// ---- ggml's blocks -----------------------------------------------------------------------------------------------------

enum Format { Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K };

__host__ __device__ constexpr int block_elements(Format f) { return f >= Q4_K ? 256 : 32; }
__host__ __device__ constexpr int block_bytes(Format f) {
  return f == Q4_0 ? 18 : f == Q4_1 ? 20 : f == Q5_0 ? 22 : f == Q5_1 ? 24 : f == Q8_0 ? 34 : f == Q4_K ? 144 : f == Q5_K ? 176 : 210;
}
__host__ __device__ constexpr bool has_minimum(Format f) { return f == Q4_1 || f == Q5_1 || f == Q4_K || f == Q5_K; }
// What codes4() adds to the codes.
__host__ __device__ constexpr int code_offset(Format f) { return f == Q4_0 ? 8 : f == Q5_0 ? 16 : f == Q8_0 ? 128 : f == Q6_K ? 32 : 0; }

// Four bytes at an even address, or at a multiple of 4 if WORDS.
template <bool WORDS> __device__ __forceinline__ uint32_t four_bytes(const uint8_t *p) {
  if constexpr (WORDS) return *reinterpret_cast<const uint32_t *>(p);
  const uint16_t *halves = reinterpret_cast<const uint16_t *>(p);
  return halves[0] | static_cast<uint32_t>(halves[1]) << 16;
}
__device__ __forceinline__ float half_at(const uint8_t *p) { return __half2float(__ushort_as_half(*reinterpret_cast<const uint16_t *>(p))); }

// The codes of elements e to e + 3 of a block at an even address (if WORDS: a multiple of 4), e a multiple of 4, as bytes without sign.
template <Format F, bool WORDS = false> __device__ __forceinline__ uint32_t codes4(const uint8_t *block, int e) {
  constexpr uint32_t LOW = 0x0F0F0F0Fu;
  if constexpr (F == Q4_0 || F == Q4_1) {
    return four_bytes<WORDS>(block + (F == Q4_0 ? 2 : 4) + e % 16) >> e / 16 * 4 & LOW;
  } else if constexpr (F == Q5_0 || F == Q5_1) {
    constexpr int BITS = F == Q5_0 ? 2 : 4;
    uint32_t low = four_bytes<WORDS>(block + BITS + 4 + e % 16) >> e / 16 * 4 & LOW;
    // Four bits, from e % 8 on of one byte, each to bit 4 of a byte: the shifted copies of the product do not meet.
    uint32_t bits = block[BITS + e / 8] >> e % 8 & 15;
    return low | (bits * (1u << 4 | 1u << 11 | 1u << 18 | 1u << 25) & 0x10101010u);
  } else if constexpr (F == Q8_0) {
    return four_bytes<WORDS>(block + 2 + e) ^ 0x80808080u;
  } else if constexpr (F == Q4_K) {
    return four_bytes<WORDS>(block + 16 + e / 64 * 32 + e % 32) >> e / 32 % 2 * 4 & LOW;
  } else if constexpr (F == Q5_K) {
    uint32_t high = four_bytes<WORDS>(block + 16 + e % 32) >> e / 32 & 0x01010101u;
    return (four_bytes<WORDS>(block + 48 + e / 64 * 32 + e % 32) >> e / 32 % 2 * 4 & LOW) | high << 4;
  } else {
    int half = e / 128, quarter = e / 32 % 4;
    uint32_t low = four_bytes<WORDS>(block + 64 * half + quarter % 2 * 32 + e % 32) >> quarter / 2 * 4 & LOW;
    uint32_t high = four_bytes<WORDS>(block + 128 + 32 * half + e % 32) >> 2 * quarter & 0x03030303u;
    return low | high << 4;
  }
}

// The f32 of byte i of codes4(), less its offset.
template <Format F> __device__ __forceinline__ float code_value(uint32_t codes, int i) {
  return __uint_as_float(__byte_perm(codes, 0x4B000000u, 0x7440 + i)) - (8388608.0f + code_offset(F));
}
// The f32 of an integer below 2^23.
__device__ __forceinline__ float small_value(uint32_t x) { return __uint_as_float(0x4B000000u | x) - 8388608.0f; }

// value = code * scale + minimum (where the format has one).
struct Scale {
  float scale, minimum;
};

// That of the 16 or more elements around element e of a block.
template <Format F> __device__ __forceinline__ Scale scale_at(const uint8_t *block, int e) {
  if constexpr (F == Q4_K || F == Q5_K) {
    int group = e / 32, g = group % 4;
    const uint8_t *packed = block + 4;
    uint32_t low = packed[g], high = packed[g + 4], scale, minimum;
    if (group < 4) {
      scale = low & 63;
      minimum = high & 63;
    } else {
      uint32_t both = packed[g + 8];
      scale = (both & 15) | low >> 6 << 4;
      minimum = both >> 4 | high >> 6 << 4;
    }
    return {__fmul_rn(half_at(block), small_value(scale)), -__fmul_rn(half_at(block + 2), small_value(minimum))};
  } else if constexpr (F == Q6_K) {
    return {__fmul_rn(half_at(block + 208), small_value(block[192 + e / 16] ^ 0x80u) - 128.0f), 0.0f};
  } else {
    return {half_at(block), has_minimum(F) ? half_at(block + 2) : 0.0f};
  }
}

// Elements e to e + COUNT (4 or 8) of a block at an even address, e a multiple of COUNT; ggml's values bit for bit.
template <Format F, int COUNT> __device__ __forceinline__ void decode(const uint8_t *block, int e, float (&out)[COUNT]) {
  Scale s = scale_at<F>(block, e);
#pragma unroll
  for (int i = 0; i < COUNT; i += 4) {
    uint32_t codes = codes4<F>(block, e + i);
#pragma unroll
    for (int j = 0; j < 4; j++) {
      float v = __fmul_rn(code_value<F>(codes, j), s.scale);
      out[i + j] = has_minimum(F) ? __fadd_rn(v, s.minimum) : v;
    }
  }
}

// ---- rows --------------------------------------------------------------------------------------------------------------

// Where a row of the matrix is stored: llama.cpp has reordered the rows of every head of `pair` rows, so that the two of a rotated pair follow
// each other; 0: it has not.
__device__ __forceinline__ long long stored_row(long long row, int pair) {
  if (pair == 0) return row;
  int in_head = static_cast<int>(row % pair), half = pair / 2;
  return row - in_head + in_head % half * 2 + in_head / half;
}
// And the row that is stored there.
__device__ __forceinline__ long long matrix_row(long long stored, int pair) {
  if (pair == 0) return stored;
  int in_head = static_cast<int>(stored % pair);
  return stored - in_head + in_head % 2 * (pair / 2) + in_head / 2;
}

// ---- moving ------------------------------------------------------------------------------------------------------------

// Elements of 16 bytes.
template <typename T> constexpr int PER_16 = 16 / sizeof(T);

__device__ __forceinline__ bool aligned(const void *p, unsigned bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }

// 16 and 8 bytes at once, which the compiler else may take apart.
__device__ __forceinline__ void store_pieces(void *y, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(y)), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}
__device__ __forceinline__ void store_pieces(void *y, uint32_t a, uint32_t b) {
  asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(y)), "r"(a), "r"(b) : "memory");
}

// y[0 .. COUNT) = v, each rounded once, in one store; y is aligned to all of them.
template <int COUNT> __device__ __forceinline__ void store_whole(float *y, const float (&v)[COUNT]) {
  static_assert(COUNT == 4);
  store_pieces(y, __float_as_uint(v[0]), __float_as_uint(v[1]), __float_as_uint(v[2]), __float_as_uint(v[3]));
}
template <int COUNT> __device__ __forceinline__ void store_whole(bf16 *y, const float (&v)[COUNT]) {
  static_assert(COUNT == 4 || COUNT == 8);
  uint32_t pairs[COUNT / 2];
#pragma unroll
  for (int i = 0; i < COUNT; i += 2) {
    __nv_bfloat162 pair = __floats2bfloat162_rn(v[i], v[i + 1]);
    pairs[i / 2] = *reinterpret_cast<uint32_t *>(&pair);
  }
  if constexpr (COUNT == 8) store_pieces(y, pairs[0], pairs[1], pairs[2], pairs[3]);
  else store_pieces(y, pairs[0], pairs[1]);
}

}  // namespace weight
