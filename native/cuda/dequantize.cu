// dequantize.cu: all values of a weight in 4-bit codes: y[n] = levels[code] * absmax, n = rows * cols elements of the flattened matrix. (ggml's blocks, and rows in
// another order, are expanded by the kernels of gather.cu, which then take every row.)
//
// Mathematics. value = round(levels[code] * absmax[i >> shift]), the product rounded to f32 and once more to bf16; a nested absmax is decoded on the way
// (weight.cuh). Bit for bit what bitsandbytes' dequantize_4bit gives.
//
// Mapping. Warps take chunks of 1024 elements in turn. Each lane makes 16 bytes of y at a time from the 4 (bf16) or 2 (f32) bytes of its codes, so that the loads of a
// warp are contiguous as well as its stores; all loads of a chunk are asked for before the first is used. The chunk's scales, at most 32, are loaded
// (and decoded) by one lane each and handed round by shuffles; so are the 16 levels, one of which every lane holds.
// As many blocks as are resident at once, each with many chunks: the table of a nested absmax (1 KB, in shared memory) is loaded once per block.
//
// Bytes: n/2 + 4 n/2^shift (nested: n/2^shift + 4 n/2^(shift + 8)) read, 2 n or 4 n written. Per element one shuffle, one multiplication, half a conversion.
// Where y or the codes are not aligned so, and at the end, the elements are moved one by one.
//
// budget: pan_dequantize_q4_f32 registers 40 shared 1024
// budget: pan_dequantize_q4_bf16 registers 40 shared 1024
#include "weight.cuh"

namespace dequantizing {

constexpr int THREADS = 256;
constexpr int CHUNK = 1024;

template <typename T> __device__ __forceinline__ void run(const uint8_t *packed, const float *levels, weight::Absmax absmax, int shift, T *y, long long n) {
  constexpr int COUNT = weight::PER_16<T>;
  constexpr int STEPS = CHUNK / (32 * COUNT);
  using Codes = typename weight::CodesOf<COUNT>::Type;
  __shared__ float code_levels[256];
  if (absmax.nested()) {
    code_levels[threadIdx.x] = absmax.code_levels[threadIdx.x];
    absmax.code_levels = code_levels;
    __syncthreads();
  }
  int lane = threadIdx.x % 32;
  float level = levels[lane % 16];
  bool aligned = weight::aligned(packed, sizeof(Codes)) && weight::aligned(y, 16);
  int scales = CHUNK >> shift > 0 ? CHUNK >> shift : 1;
  long long warps = static_cast<long long>(gridDim.x) * (THREADS / 32);
  for (long long base = (blockIdx.x * (THREADS / 32LL) + threadIdx.x / 32) * CHUNK; base < n; base += warps * CHUNK) {
    int count = static_cast<int>(n - base < CHUNK ? n - base : CHUNK);
    if (aligned && count == CHUNK) {
      const Codes *from = reinterpret_cast<const Codes *>(packed + base / 2) + lane;
      uint32_t codes[STEPS];
#pragma unroll
      for (int s = 0; s < STEPS; s++) codes[s] = __ldcs(from + s * 32);
      float scale = lane < scales ? absmax.at((base >> shift) + lane) : 0.0f;
#pragma unroll
      for (int s = 0; s < STEPS; s++) {
        int at = (s * 32 + lane) * COUNT;
        float factor = __shfl_sync(0xFFFFFFFFu, scale, at >> shift);
        float v[COUNT];
#pragma unroll
        for (int i = 0; i < COUNT; i++) v[i] = __fmul_rn(weight::look_up(level, codes[s] >> weight::code_bit(i)), factor);
        weight::store_whole(y + base + at, v);
      }
    } else {
      for (int at = lane; at < count; at += 32) {
        long long e = base + at;
        y[e] = from_f32<T>(__fmul_rn(levels[weight::code_of(packed, e)], absmax.at(e >> shift)));
      }
    }
  }
}

}  // namespace dequantizing

extern "C" __global__ void __launch_bounds__(dequantizing::THREADS, 6)
    pan_dequantize_q4_f32(const uint8_t *packed, const float *levels, const void *absmax, const float *code_levels, const float *scale, float offset, int shift, float *y, long long n) {
  dequantizing::run(packed, levels, {absmax, code_levels, scale, offset}, shift, y, n);
}
extern "C" __global__ void __launch_bounds__(dequantizing::THREADS, 6)
    pan_dequantize_q4_bf16(const uint8_t *packed, const float *levels, const void *absmax, const float *code_levels, const float *scale, float offset, int shift, bf16 *y, long long n) {
  dequantizing::run(packed, levels, {absmax, code_levels, scale, offset}, shift, y, n);
}
