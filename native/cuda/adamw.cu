// adamw.cu: one step of AdamW (Loshchilov and Hutter 2019, in PyTorch's order) over n parameters p with gradients g and moments m, v, all f32; and
// the same with moments of 8 bits (Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization").
//
//   h = g grad_scale;   m = beta1 m + (1 - beta1) h;   v = beta2 v + (1 - beta2) h^2
//   p = p (1 - lr decay) - lr (m / c1) / (sqrt(v) / c2 + eps),   c1 = 1 - beta1^t, c2 = sqrt(1 - beta2^t)
//
// The factors that all elements share are rounded from double by the host. A thread takes 4 elements, by 16 bytes where the addresses allow. What is fused is
// written out, so that the compiler fuses the same on both ways, and a parameter's bits do not depend on where it lies.
// Bytes: 28 for an element. FLOPs: 14. f32.
//
// 8 bits: m = m_levels[code] m_absmax[i / 256], and v likewise, are decoded, updated and coded again;
//   p = (p - lr c2/c1 (m / (sqrt(v) + c2 eps))) (1 - lr decay), with the moments as they were before they are coded;
//   absmax = max |m| of the 256;   code = the nearest level to m / absmax, of two equally near the even one, of none that changes the sign.
// An element whose h^2 is not finite keeps its p, and its moments become 0. Every operation is rounded by itself, none is fused: the bits are those of
// ReferenceAdamW8bit. A warp has a block of 256: lane l the elements 4 l .. and 128 + 4 l .. . The middles between the levels stand in shared memory
// in the order of a binary search tree, level by level, so that the lanes of a warp find few bank conflicts: 8 steps, of which all but the last go right
// at the middle itself, too, because only even codes win ties.
// Bytes: 16 for an element, 16 for 256, 2048 for a thread block of up to 32 such. FLOPs: 20, and 16 comparisons.
//
// budget: pan_adamw registers 48 shared 0
// budget: pan_adamw8bit registers 80 shared 4096
#include "common.cuh"

namespace adamw {

constexpr int THREADS = 256;

struct Step {
  float grad_scale, beta1, rest1, beta2, rest2, rate, correction1, correction2, eps, keep;
};

__device__ __forceinline__ bool aligned(const void *p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

__device__ __forceinline__ void update(const Step &s, float &p, float g, float &m, float &v) {
  const float h = __fmul_rn(g, s.grad_scale);
  m = __fmaf_rn(s.beta1, m, __fmul_rn(s.rest1, h));
  v = __fmaf_rn(s.beta2, v, __fmul_rn(s.rest2, __fmul_rn(h, h)));
  p = __fmaf_rn(p, s.keep, -__fdiv_rn(__fmul_rn(s.rate, __fdiv_rn(m, s.correction1)), __fadd_rn(__fdiv_rn(__fsqrt_rn(v), s.correction2), s.eps)));
}

}  // namespace adamw

extern "C" __global__ void __launch_bounds__(adamw::THREADS) pan_adamw(float *p, const float *g, float *m, float *v, long long n, float grad_scale, float beta1, float rest1, float beta2,
                                                                       float rest2, float rate, float correction1, float correction2, float eps, float keep) {
  const adamw::Step step = {grad_scale, beta1, rest1, beta2, rest2, rate, correction1, correction2, eps, keep};
  const long long from = (blockIdx.x * (long long)adamw::THREADS + threadIdx.x) * 4;
  if (from + 4 <= n && adamw::aligned(p) && adamw::aligned(g) && adamw::aligned(m) && adamw::aligned(v)) {
    float4 &to_p = *reinterpret_cast<float4 *>(p + from), &to_m = *reinterpret_cast<float4 *>(m + from), &to_v = *reinterpret_cast<float4 *>(v + from);
    const float4 grad = *reinterpret_cast<const float4 *>(g + from);
    float4 new_p = to_p, new_m = to_m, new_v = to_v;
    adamw::update(step, new_p.x, grad.x, new_m.x, new_v.x);
    adamw::update(step, new_p.y, grad.y, new_m.y, new_v.y);
    adamw::update(step, new_p.z, grad.z, new_m.z, new_v.z);
    adamw::update(step, new_p.w, grad.w, new_m.w, new_v.w);
    to_p = new_p;
    to_m = new_m;
    to_v = new_v;
  } else {
    for (long long i = from; i < n && i < from + 4; i++) adamw::update(step, p[i], g[i], m[i], v[i]);
  }
}

// ---- moments of 8 bits -----------------------------------------------------------------------------------------------

namespace adamw8bit {

constexpr int THREADS = 256, WARPS = THREADS / 32, BLOCK = 256, PER_LANE = BLOCK / 32;

// A map: its levels, and the middles between neighbours as a search tree, node 1 the root, 2 i and 2 i + 1 the children of i.
struct Map {
  float levels[256], middles[256];
};

__device__ __forceinline__ void load(Map &map, const float *__restrict__ levels) {
  map.levels[threadIdx.x] = levels[threadIdx.x];
  __syncthreads();
  const int node = threadIdx.x;
  if (node == 0) return;
  // At depth d, the k-th there: the middle after code k 2^(8-d) + 2^(7-d) - 1.
  const int d = 31 - __clz(node), k = node - (1 << d), code = (k << (8 - d)) + (1 << (7 - d)) - 1;
  map.middles[node] = __fmul_rn(__fadd_rn(map.levels[code], map.levels[code + 1]), 0.5f);
}

__device__ __forceinline__ int encode(const Map &map, float x) {
  int node = 1;
#pragma unroll
  for (int depth = 0; depth < 7; depth++) node = 2 * node + (x >= map.middles[node]);
  node = 2 * node + (x > map.middles[node]);
  const int code = node - 256;
  const bool negative = __float_as_int(x) < 0, level_negative = map.levels[code] < 0;
  if (negative && !level_negative && code > 0) return code - 1;
  return !negative && level_negative && code < 255 ? code + 1 : code;
}

// The reciprocal of a block's largest, or 0 if that is too small to have one.
__device__ __forceinline__ float reciprocal(float absmax) { return absmax >= 0x1p-126f ? __frcp_rn(absmax) : 0.0f; }

struct Step {
  float grad_scale, beta1, rest1, beta2, rest2, step_size, eps, keep;
};

// The elements of a lane: j < 4: 4 lane + j, else 128 + 4 lane + j - 4, of a block of `count`.
__device__ __forceinline__ int element(int j) { return j / 4 * 128 + threadIdx.x % 32 * 4 + j % 4; }

__device__ __forceinline__ void load(float (&x)[PER_LANE], const float *from, int count, bool whole) {
  if (whole) {
#pragma unroll
    for (int j = 0; j < PER_LANE; j += 4) reinterpret_cast<float4 &>(x[j]) = *reinterpret_cast<const float4 *>(from + element(j));
  } else {
#pragma unroll
    for (int j = 0; j < PER_LANE; j++) x[j] = element(j) < count ? from[element(j)] : 0.0f;
  }
}

__device__ __forceinline__ void load(unsigned (&codes)[PER_LANE], const uint8_t *from, int count, bool whole) {
#pragma unroll
  for (int j = 0; j < PER_LANE; j += 4) {
    if (whole) {
      const unsigned four = *reinterpret_cast<const unsigned *>(from + element(j));
#pragma unroll
      for (int i = 0; i < 4; i++) codes[j + i] = four >> (8 * i) & 0xFF;
    } else {
#pragma unroll
      for (int i = 0; i < 4; i++) codes[j + i] = element(j + i) < count ? from[element(j + i)] : 0;
    }
  }
}

// Codes the new moments of a block and stores codes and absmax. Those of a lane beyond `count` are 0.
__device__ __forceinline__ void store(const Map &map, const float (&x)[PER_LANE], uint8_t *codes, float *absmax, int count, bool whole) {
  unsigned largest = 0;  // as integers: these are ordered as the numbers, and what is not a number is the largest
#pragma unroll
  for (int j = 0; j < PER_LANE; j++) largest = max(largest, __float_as_uint(x[j]) & 0x7FFFFFFFu);
  largest = __reduce_max_sync(0xFFFFFFFFu, largest);
  if (threadIdx.x % 32 == 0) *absmax = __uint_as_float(largest);
  const float inverse = reciprocal(__uint_as_float(largest));
#pragma unroll
  for (int j = 0; j < PER_LANE; j += 4) {
    unsigned four = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) four |= (unsigned)encode(map, __fmul_rn(x[j + i], inverse)) << (8 * i);
    if (whole) {
      *reinterpret_cast<unsigned *>(codes + element(j)) = four;
    } else {
#pragma unroll
      for (int i = 0; i < 4; i++)
        if (element(j + i) < count) codes[element(j + i)] = (uint8_t)(four >> (8 * i));
    }
  }
}

}  // namespace adamw8bit

extern "C" __global__ void __launch_bounds__(adamw8bit::THREADS)
    pan_adamw8bit(float *p, const float *__restrict__ g, uint8_t *m_codes, uint8_t *v_codes, float *m_absmax, float *v_absmax, const float *__restrict__ m_levels,
                  const float *__restrict__ v_levels, long long n, float grad_scale, float beta1, float rest1, float beta2, float rest2, float step_size, float eps, float keep) {
  using namespace adamw8bit;
  __shared__ Map m_map, v_map;
  load(m_map, m_levels);
  load(v_map, v_levels);
  __syncthreads();
  const long long blocks = (n + BLOCK - 1) / BLOCK;
  const bool all_aligned = (reinterpret_cast<uintptr_t>(p) | reinterpret_cast<uintptr_t>(g)) % 16 == 0 && (reinterpret_cast<uintptr_t>(m_codes) | reinterpret_cast<uintptr_t>(v_codes)) % 4 == 0;
  for (long long block = blockIdx.x * (long long)WARPS + threadIdx.x / 32; block < blocks; block += (long long)gridDim.x * WARPS) {
    const long long from = block * BLOCK;
    const int count = (int)min((long long)BLOCK, n - from);
    const bool whole = all_aligned && count == BLOCK;
    alignas(16) float parameter[PER_LANE], m[PER_LANE], v[PER_LANE];
    unsigned m_code[PER_LANE], v_code[PER_LANE];
    load(parameter, p + from, count, whole);
    load(v, g + from, count, whole);
    load(m_code, m_codes + from, count, whole);
    load(v_code, v_codes + from, count, whole);
    const float old_m = m_absmax[block], old_v = v_absmax[block];
    __syncwarp();  // all lanes have the old absmax before one writes the new
#pragma unroll
    for (int j = 0; j < PER_LANE; j++) {
      const float h = __fmul_rn(v[j], grad_scale), square = __fmul_rn(h, h);
      m[j] = __fadd_rn(__fmul_rn(beta1, __fmul_rn(m_map.levels[m_code[j]], old_m)), __fmul_rn(rest1, h));
      v[j] = __fadd_rn(__fmul_rn(beta2, __fmul_rn(v_map.levels[v_code[j]], old_v)), __fmul_rn(rest2, square));
      const float changed = __fmul_rn(__fsub_rn(parameter[j], __fmul_rn(step_size, __fdiv_rn(m[j], __fadd_rn(__fsqrt_rn(v[j]), eps)))), keep);
      const bool counts = element(j) < count && square < INFINITY;
      parameter[j] = counts ? changed : parameter[j];
      m[j] = counts ? m[j] : 0.0f;
      v[j] = counts ? v[j] : 0.0f;
    }
    if (whole) {
#pragma unroll
      for (int j = 0; j < PER_LANE; j += 4) *reinterpret_cast<float4 *>(p + from + element(j)) = reinterpret_cast<float4 &>(parameter[j]);
    } else {
#pragma unroll
      for (int j = 0; j < PER_LANE; j++)
        if (element(j) < count) p[from + element(j)] = parameter[j];
    }
    store(m_map, m, m_codes + from, m_absmax + block, count, whole);
    store(v_map, v, v_codes + from, v_absmax + block, count, whole);
  }
}
