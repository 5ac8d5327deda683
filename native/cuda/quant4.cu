// quant4.cu: 4-bit codes and scales of n elements, bit for bit as bitsandbytes' CPU library makes them (Q4Codec.java).
//
// Mathematics. Of every block of B = 2^shift elements: absmax = max |x|; v = x * (1 / absmax), both rounded to f32; the code is that of the nearest level: with the levels in
// ascending order, the number of midpoints strictly below v, midpoints computed in f32. A reciprocal that overflows counts as 0, so that a block of zeros
// takes the code of 0. FP4 has two zeros, of which code 0 stands before code 8.
//
// Shapes. x F32 or BF16 [n]; packed U8 [(n + 1) / 2], element 2j in the high nibble of byte j, the partner of a last odd one being the code of 0; absmax F32 [ceil(n / B)].
//
// Mapping. A block of 256 threads takes 4096 elements, the largest B: 16 bytes at a time per lane, held in registers from the search for the largest to the coding, so
// that x is read once. The largest of up to 32 lanes' elements is found by shuffles; the largest of longer blocks through shared memory, from one value per warp
// and step. Bytes: 2 n or 4 n read, n/2 + 4 n/B written. About 30 operations per element for the 15 comparisons; it runs once per weight.
// (Shared memory in whole KB: so ptxas rounds it where other kernels of the module have theirs aligned to 1 KB.)
//
// budget: pan_quantize4_nf4_f32 registers 48 shared 1024
// budget: pan_quantize4_nf4_bf16 registers 40 shared 1024
// budget: pan_quantize4_fp4_f32 registers 64 shared 1024
// budget: pan_quantize4_fp4_bf16 registers 48 shared 1024
#include "weight.cuh"

namespace quantizing {

constexpr int THREADS = 256;
constexpr int TILE = 4096;

// The levels in ascending order.
template <bool FP4> struct Values;
template <> struct Values<false> {
  static constexpr float AT[16] = {-1.0f,
                                   -0.6961928009986877f,
                                   -0.5250730514526367f,
                                   -0.39491748809814453f,
                                   -0.28444138169288635f,
                                   -0.18477343022823334f,
                                   -0.09105003625154495f,
                                   0.0f,
                                   0.07958029955625534f,
                                   0.16093020141124725f,
                                   0.24611230194568634f,
                                   0.33791524171829224f,
                                   0.44070982933044434f,
                                   0.5626170039176941f,
                                   0.7229568362236023f,
                                   1.0f};
};
template <> struct Values<true> {
  static constexpr float AT[16] = {-1.0f, -8 / 12.0f,   -6 / 12.0f, -4 / 12.0f, -3 / 12.0f, -2 / 12.0f, -0.0625f / 12, 0.0f,
                                   0.0f,  0.0625f / 12, 2 / 12.0f,  3 / 12.0f,  4 / 12.0f,  6 / 12.0f,  8 / 12.0f,     1.0f};
};
// FP4's codes in that order, one per nibble; NF4's are 0 to 15.
constexpr unsigned long long FP4_CODES = 0x32547618'09EFCDABull;

template <bool FP4, int I> __device__ __forceinline__ constexpr float midpoint() {
  constexpr float m = (Values<FP4>::AT[I] + Values<FP4>::AT[I + 1]) / 2;
  return m;
}
template <bool FP4, int I = 0> __device__ __forceinline__ int midpoints_below(float v) {
  if constexpr (I == 15) return 0;
  else return (midpoint<FP4, I>() < v ? 1 : 0) + midpoints_below<FP4, I + 1>(v);
}
template <bool FP4> __device__ __forceinline__ uint32_t code(float v) {
  int below = midpoints_below<FP4>(v);
  return FP4 ? static_cast<uint32_t>(FP4_CODES >> 4 * below) & 15 : below;
}

template <typename T, int COUNT> __device__ __forceinline__ void load(const T *x, long long count, bool aligned, float (&v)[COUNT]) {
  if (aligned && count >= COUNT) {
    struct alignas(16) Pack {
      T at[COUNT];
    };
    uint4 bits = __ldcs(reinterpret_cast<const uint4 *>(x));
    Pack pack = *reinterpret_cast<const Pack *>(&bits);
#pragma unroll
    for (int i = 0; i < COUNT; i++) v[i] = to_f32(pack.at[i]);
  } else {
#pragma unroll
    for (int i = 0; i < COUNT; i++) v[i] = i < count ? to_f32(x[i]) : 0.0f;
  }
}

template <bool FP4, typename T> __device__ __forceinline__ void run(const T *x, long long n, int shift, uint8_t *packed, float *absmax) {
  constexpr int COUNT = weight::PER_16<T>;
  constexpr int STEPS = TILE / (THREADS * COUNT);
  constexpr int PER_WARP = 32 * COUNT;
  __shared__ float largest[TILE / PER_WARP];
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  long long base = static_cast<long long>(blockIdx.x) * TILE;
  bool load_aligned = weight::aligned(x, 16), store_aligned = weight::aligned(packed, COUNT / 2);
  float v[STEPS][COUNT], max[STEPS];
#pragma unroll
  for (int s = 0; s < STEPS; s++) {
    long long e = base + (s * THREADS + threadIdx.x) * COUNT;
    load(x + e, n - e, load_aligned, v[s]);
  }
  int lanes = (1 << shift) / COUNT < 32 ? (1 << shift) / COUNT : 32;
#pragma unroll
  for (int s = 0; s < STEPS; s++) {
    max[s] = 0.0f;
#pragma unroll
    for (int i = 0; i < COUNT; i++) max[s] = fmaxf(max[s], fabsf(v[s][i]));
    for (int offset = 1; offset < lanes; offset *= 2) max[s] = fmaxf(max[s], __shfl_xor_sync(0xFFFFFFFFu, max[s], offset));
  }
  int parts = (1 << shift) / PER_WARP;  // warps' steps per block of codes
  if (parts > 1) {
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
      if (lane == 0) largest[s * (THREADS / 32) + warp] = max[s];
    }
    __syncthreads();
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
      int first = (s * (THREADS / 32) + warp) & -parts;
      for (int i = 0; i < parts; i++) max[s] = fmaxf(max[s], largest[first + i]);
    }
  }
#pragma unroll
  for (int s = 0; s < STEPS; s++) {
    long long e = base + (s * THREADS + threadIdx.x) * COUNT;
    if (e >= n) continue;
    if ((e & ((1 << shift) - 1)) == 0) absmax[e >> shift] = max[s];
    float inverse = __frcp_rn(max[s]);
    if (isinf(inverse)) inverse = 0.0f;
    uint32_t codes = 0;
#pragma unroll
    for (int i = 0; i < COUNT; i++) codes |= code<FP4>(__fmul_rn(v[s][i], inverse)) << weight::code_bit(i);
    uint8_t *to = packed + e / 2;
    if (store_aligned && e + COUNT <= n) {
      if constexpr (COUNT == 8) *reinterpret_cast<uint32_t *>(to) = codes;
      else *reinterpret_cast<uint16_t *>(to) = static_cast<uint16_t>(codes);
    } else {
#pragma unroll
      for (int i = 0; i < COUNT; i += 2) {
        if (e + i < n) to[i / 2] = static_cast<uint8_t>(codes >> 4 * i);
      }
    }
  }
}

}  // namespace quantizing

extern "C" __global__ void __launch_bounds__(quantizing::THREADS) pan_quantize4_nf4_f32(const float *x, long long n, int shift, uint8_t *packed, float *absmax) {
  quantizing::run<false>(x, n, shift, packed, absmax);
}
extern "C" __global__ void __launch_bounds__(quantizing::THREADS) pan_quantize4_nf4_bf16(const bf16 *x, long long n, int shift, uint8_t *packed, float *absmax) {
  quantizing::run<false>(x, n, shift, packed, absmax);
}
extern "C" __global__ void __launch_bounds__(quantizing::THREADS) pan_quantize4_fp4_f32(const float *x, long long n, int shift, uint8_t *packed, float *absmax) {
  quantizing::run<true>(x, n, shift, packed, absmax);
}
extern "C" __global__ void __launch_bounds__(quantizing::THREADS) pan_quantize4_fp4_bf16(const bf16 *x, long long n, int shift, uint8_t *packed, float *absmax) {
  quantizing::run<true>(x, n, shift, packed, absmax);
}
