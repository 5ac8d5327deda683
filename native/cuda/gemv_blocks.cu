// gemv_blocks.cu: y[m, N] = x[m, K] W^T (+ low rank) (+ y) for 1 to 8 rows of x and a weight in ggml's blocks, decoded on the way.
//
// Mathematics. A value of W is code * scale + minimum with an integer code of at most 8 bits (weight.cuh), so a group of 16 or 32 elements adds
//   scale * sum(code * x) + minimum * sum(x)
// to a sum. Codes are exact in bf16: both inner sums come from mma.m16n8k16 with the codes as A [16 rows of W, k] and x as B [k, 8 rows of x], without rounding of
// the weight; the rest is f32. Eight rows of x cost what one costs.
// x in F32 is cut into three bf16 parts, which add up to it exactly (8 + 8 + 8 of its 24 bits), each multiplied so: products exact, and chains of only 16 or 32 elements, after
// which sums are f32. Emulated (mma.cuh), the largest error of a row of 8192 is 7e-7 of the largest result on an A100, 4e-7 in single precision throughout.
//
// Shapes. W: N rows of K / elements blocks, stored contiguously at a 16-byte address, row n of the matrix as row stored_row(n) (weight.cuh); x, y row-major, each F32
// or BF16; low rank: s F32 [m, rank], factor F32 with strides (row, column).
//
// Mapping. Blocks of 8 warps, at most two per multiprocessor, each with tiles of 16 stored rows, b, b + grid, ...; K in chunks of 2048 (x in F32, and Q8_0: 1024). The chunk of x stands in shared memory
// while the block goes through its tiles; the tiles' bytes come by cp.async in 16-byte pieces, one tile ahead of the one computed. Where a row
// does not begin at a 16-byte address its first and last pieces hold neighbours' bytes. The warps share a chunk's columns, by units of 32, 64 or 128 elements whose codes
// share bytes; their sums are added in the order of the warps, the chunks' in ascending order: the order depends on K alone.
// Lane 4 g + t of a warp decodes rows g and g + 8, and of every 16 columns the four from 4 t on: which four of a fragment's k these are is free as long
// as A and B agree, so a lane's codes are four bytes, and its x 8 bytes, in one place. Rows lie 16 bytes beside a multiple of 128 in shared memory, so that the 8 rows of one load do
// not meet in a bank.
//
// Bytes: W once, x once per block (2 m K of them; from L2 but for the first), y. Per 512 values of W 55 to 95 warp instructions, 2 of them mma (4 with a minimum; F32: 3 times
// that), so that an A100, which reads 21 to 23 values of 4 bits per clock and multiprocessor, has slots for 30. Shared memory in the budget: 8 rows of x, 32 tiles per block.
//
// budget: pan_gemv_blocks_q4_0_f32 registers 72 shared 93472
// budget: pan_gemv_blocks_q4_0_bf16 registers 96 shared 95008
// budget: pan_gemv_blocks_q4_1_f32 registers 72 shared 93472
// budget: pan_gemv_blocks_q4_1_bf16 registers 96 shared 99104
// budget: pan_gemv_blocks_q5_0_f32 registers 72 shared 97568
// budget: pan_gemv_blocks_q5_0_bf16 registers 96 shared 103200
// budget: pan_gemv_blocks_q5_1_f32 registers 72 shared 97568
// budget: pan_gemv_blocks_q5_1_bf16 registers 96 shared 107296
// budget: pan_gemv_blocks_q8_0_f32 registers 72 shared 109856
// budget: pan_gemv_blocks_q8_0_bf16 registers 96 shared 76576
// budget: pan_gemv_blocks_q4_k_f32 registers 112 shared 93472
// budget: pan_gemv_blocks_q4_k_bf16 registers 112 shared 95008
// budget: pan_gemv_blocks_q5_k_f32 registers 112 shared 97568
// budget: pan_gemv_blocks_q5_k_bf16 registers 112 shared 103200
// budget: pan_gemv_blocks_q6_k_f32 registers 112 shared 101664
// budget: pan_gemv_blocks_q6_k_bf16 registers 112 shared 115488
#include "mma.cuh"
#include "weight.cuh"

namespace gemv_blocks {

using weight::Format;

constexpr int WARPS = 8;
constexpr int THREADS = 32 * WARPS;
constexpr int TILE = 16;   // rows of W
constexpr int TOKENS = 8;  // rows of x that a fragment has room for
constexpr int X_PAD = 16;  // elements between the rows of x in shared memory

// Elements whose codes share bytes.
__host__ __device__ constexpr int unit_of(Format f) { return weight::block_elements(f) == 256 ? 128 : 32; }
// Elements of a scale.
__host__ __device__ constexpr int group_of(Format f) { return f == weight::Q6_K ? 16 : 32; }
// Whether blocks stand at multiples of 4 bytes.
__host__ __device__ constexpr bool has_words(Format f) { return weight::block_bytes(f) % 4 == 0; }

template <typename X> constexpr int PLANES = sizeof(X) == 4 ? 3 : 1;
// Elements of a row that are in shared memory at a time.
template <Format F, typename X> constexpr int CHUNK = sizeof(X) == 4 || F == weight::Q8_0 ? 1024 : 2048;

__host__ __device__ constexpr int chunk_bytes(Format f, int elements) { return elements / weight::block_elements(f) * weight::block_bytes(f); }
// From one row of a tile to the next in shared memory: a chunk and what 16-byte pieces have around it, 16 bytes beside a multiple of 128.
__host__ __device__ constexpr int row_stride(int bytes) { return ((bytes + 14 + 15) / 16 * 16 - 16 + 127) / 128 * 128 + 16; }

// The low-rank term: scaling * sum over r of s[i, r] * factor[n * row + r * column]; s is null where there is none.
struct LowRank {
  const float *s, *factor;
  long long row, column;
  int rank;
  float scaling;
};

// ---- codes as fragments --------------------------------------------------------------------------------------------------

// Four codes as two registers of bf16 pairs, less their offset: exact.
template <Format F> __device__ __forceinline__ void fragment(uint32_t codes, uint32_t &first, uint32_t &second) {
  uint32_t pair[2] = {__byte_perm(codes, 0x43434343u, 0x4140), __byte_perm(codes, 0x43434343u, 0x4342)};
#pragma unroll
  for (int i = 0; i < 2; i++) {
    // 0x4300 | q is 128 + q for codes of 7 bits. The eighth bit of Q8_0's says whether 128 is to be subtracted or 256.
    uint32_t base = 0x43004300u | (weight::code_offset(F) << 16 | weight::code_offset(F));
    if constexpr (F == weight::Q8_0) {
      base = 0x43800000u | 0x4380u;
      base ^= pair[i] & 0x00800080u;
      pair[i] &= 0xFF7FFF7Fu;
    }
    __nv_bfloat162 difference = __hsub2(*reinterpret_cast<__nv_bfloat162 *>(&pair[i]), *reinterpret_cast<__nv_bfloat162 *>(&base));
    pair[i] = *reinterpret_cast<uint32_t *>(&difference);
  }
  first = pair[0];
  second = pair[1];
}

// ---- scales of a unit ----------------------------------------------------------------------------------------------------

// The value of element e is (code * scale(e / group) - minimum(e / group) * m) * d, where a unit has several scales, which are small integers; else code * d + m.
template <Format F> struct UnitScales {
  float d, m;

  __device__ __forceinline__ UnitScales(const uint8_t *block, unsigned) {
    d = weight::half_at(block);
    m = weight::has_minimum(F) ? weight::half_at(block + 2) : 0.0f;
  }
};

// Blocks stand at multiples of 16 bytes. d and m are factors of the sums over the unit.
struct FourScales {
  uint32_t scales, minima;
  float d, m;

  __device__ __forceinline__ FourScales(const uint8_t *block, unsigned half) {
    uint4 head = *reinterpret_cast<const uint4 *>(block);
    d = __half2float(__ushort_as_half(static_cast<unsigned short>(head.x)));
    m = __half2float(__ushort_as_half(static_cast<unsigned short>(head.x >> 16)));
    scales = half == 0 ? head.y & 0x3F3F3F3Fu : (head.w & 0x0F0F0F0Fu) | (head.y >> 2 & 0x30303030u);
    minima = half == 0 ? head.z & 0x3F3F3F3Fu : (head.w >> 4 & 0x0F0F0F0Fu) | (head.z >> 2 & 0x30303030u);
  }
  __device__ __forceinline__ float scale(int i) const { return weight::code_value<weight::Q4_K>(scales, i); }
  __device__ __forceinline__ float minimum(int i) const { return weight::code_value<weight::Q4_K>(minima, i); }
};
template <> struct UnitScales<weight::Q4_K> : FourScales {
  using FourScales::FourScales;
};
template <> struct UnitScales<weight::Q5_K> : FourScales {
  using FourScales::FourScales;
};
template <> struct UnitScales<weight::Q6_K> {
  uint32_t scales[2];
  float d;

  __device__ __forceinline__ UnitScales(const uint8_t *block, unsigned half) {
    for (int i = 0; i < 2; i++) scales[i] = weight::four_bytes<false>(block + 192 + 8 * half + 4 * i) ^ 0x80808080u;
    d = weight::half_at(block + 208);
  }
  __device__ __forceinline__ float scale(int i) const { return weight::code_value<weight::Q8_0>(scales[i / 4], i % 4); }
};

// ---- loading -------------------------------------------------------------------------------------------------------------

// x[row, from .. from + count) as planes of bf16, to shared[plane][row][CHUNK + X_PAD]; count is a multiple of 32.
template <Format F, typename X> __device__ __forceinline__ void load_x(const X *x, int m, long long K, long long from, int count, bf16 *shared) {
  constexpr int STRIDE = CHUNK<F, X> + X_PAD;
  constexpr int COUNT = weight::PER_16<X>;
  struct alignas(16) Pack {
    X at[COUNT];
  };
  bool aligned = weight::aligned(x, 16);
  for (int row = 0; row < m; row++) {
    const X *source = x + row * K + from;
    for (int i = threadIdx.x * COUNT; i < count; i += THREADS * COUNT) {
      Pack pack;
      if (aligned) {
        pack = *reinterpret_cast<const Pack *>(source + i);
      } else {
#pragma unroll
        for (int j = 0; j < COUNT; j++) pack.at[j] = source[i + j];
      }
      if constexpr (PLANES<X> == 1) {
        *reinterpret_cast<Pack *>(shared + row * STRIDE + i) = pack;
      } else {
        float rest[COUNT];
#pragma unroll
        for (int j = 0; j < COUNT; j++) rest[j] = pack.at[j];
#pragma unroll
        for (int plane = 0; plane < PLANES<X>; plane++) {
          uint32_t parts[COUNT];
#pragma unroll
          for (int j = 0; j < COUNT; j++) {
            parts[j] = __float_as_uint(rest[j]) & 0xFFFF0000u;
            rest[j] -= __uint_as_float(parts[j]);
          }
          *reinterpret_cast<uint2 *>(shared + (plane * m + row) * STRIDE + i) = {__byte_perm(parts[0], parts[1], 0x7632), __byte_perm(parts[2], parts[3], 0x7632)};
        }
      }
    }
  }
}

// ---- the kernel ----------------------------------------------------------------------------------------------------------

template <Format F, typename X>
__device__ __forceinline__ void run(const uint8_t *data, long long N, long long K, int pair, const X *x, int m, void *y, int y_bf16, int accumulate, LowRank low) {
  constexpr int ELEMENTS = weight::block_elements(F), BYTES = weight::block_bytes(F), UNIT = unit_of(F), GROUP = group_of(F);
  constexpr int STRIDE = row_stride(chunk_bytes(F, CHUNK<F, X>)), X_STRIDE = CHUNK<F, X> + X_PAD;
  extern __shared__ uint4 dynamic[];
  uint8_t *tiles = reinterpret_cast<uint8_t *>(dynamic);                        // [2][TILE][STRIDE]
  bf16 *xs = reinterpret_cast<bf16 *>(tiles + 2 * TILE * STRIDE);               // [PLANES][m][X_STRIDE], and a row of zeros for the rows that a fragment has beyond m
  float *parts = reinterpret_cast<float *>(xs + (PLANES<X> * m + 1) * X_STRIDE);  // [WARPS][TILE][TOKENS]
  float *sums = parts + WARPS * TILE * TOKENS;                                  // [tiles of the block][TILE][TOKENS]
  unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, t = lane % 4;
  int g = lane / 4;

  long long all_tiles = (N + TILE - 1) / TILE;
  int own = static_cast<int>((all_tiles - blockIdx.x + gridDim.x - 1) / gridDim.x);
  int chunks = static_cast<int>((K + CHUNK<F, X> - 1) / CHUNK<F, X>);
  long long row_bytes = K / ELEMENTS * BYTES, end = N * row_bytes;
  uint32_t shared_tiles = shared_address(tiles);

  // A warp per two rows of the tile.
  auto load_tile = [&](int step) {
    int chunk = step / own;
    long long first = (blockIdx.x + static_cast<long long>(step - chunk * own) * gridDim.x) * TILE;
    for (int i = warp; i < TILE; i += WARPS) {
      long long row = first + i < N ? first + i : N - 1;
      long long from = row * row_bytes + chunk * chunk_bytes(F, CHUNK<F, X>);
      long long row_end = (row + 1) * row_bytes, to = from + chunk_bytes(F, CHUNK<F, X>);
      to = to < row_end ? to : row_end;
      from = from / 16 * 16;
      uint32_t at = shared_tiles + (step % 2 * TILE + i) * STRIDE;
      for (int p = lane * 16; from + p < to; p += 32 * 16) {
        long long rest = end - from - p;
        cp_async(at + p, data + from + p, rest < 16 ? static_cast<int>(rest) : 16);
      }
    }
  };

  for (int i = threadIdx.x; i < X_STRIDE / 8; i += THREADS) reinterpret_cast<uint4 *>(xs + PLANES<X> * m * X_STRIDE)[i] = {};

  int steps = chunks * own;
  load_tile(0);
  cp_async_commit();
  for (int step = 0; step < steps; step++) {
    int chunk = step / own, tile = step - chunk * own;
    long long first = (blockIdx.x + static_cast<long long>(tile) * gridDim.x) * TILE;
    unsigned count = static_cast<unsigned>(K - static_cast<long long>(chunk) * CHUNK<F, X> < CHUNK<F, X> ? K - static_cast<long long>(chunk) * CHUNK<F, X> : CHUNK<F, X>);
    if (step + 1 < steps) load_tile(step + 1);
    cp_async_commit();
    if (tile == 0) load_x<F>(x, m, K, static_cast<long long>(chunk) * CHUNK<F, X>, count, xs);
    cp_async_wait<1>();
    __syncthreads();

    const uint8_t *rows[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      long long row = first + g + 8 * half < N ? first + g + 8 * half : N - 1;
      int before = static_cast<int>((row * row_bytes + chunk * chunk_bytes(F, CHUNK<F, X>)) % 16);
      rows[half] = tiles + (step % 2 * TILE + g + 8 * half) * STRIDE + before;
    }
    float acc[4] = {};
    const bf16 *x_at = xs + (g < m ? g : PLANES<X> * m) * X_STRIDE + 4 * t;
    int x_plane = g < m ? m * X_STRIDE : 0;
    for (unsigned unit = warp * UNIT; unit < count; unit += WARPS * UNIT) {
      const uint8_t *blocks[2] = {rows[0] + unit / ELEMENTS * BYTES, rows[1] + unit / ELEMENTS * BYTES};
      unsigned half_block = unit % ELEMENTS / UNIT;
      UnitScales<F> scales[2] = {{blocks[0], half_block}, {blocks[1], half_block}};
      float unit_sums[4] = {}, unit_minima[4] = {};
#pragma unroll
      for (unsigned e = 0; e < UNIT; e += GROUP) {
        float c[4] = {}, ones[4] = {};
#pragma unroll
        for (unsigned h = 0; h < GROUP; h += 16) {
          unsigned at = half_block * UNIT | e | h | 4 * t;
          uint32_t a[4];
          fragment<F>(weight::codes4<F, has_words(F)>(blocks[0], at), a[0], a[2]);
          fragment<F>(weight::codes4<F, has_words(F)>(blocks[1], at), a[1], a[3]);
#pragma unroll
          for (int plane = 0; plane < PLANES<X>; plane++) {
            uint2 b = *reinterpret_cast<const uint2 *>(x_at + plane * x_plane + unit + e + h);
            mma_bf16(c, a, b.x, b.y);
            if constexpr (weight::has_minimum(F)) {
              constexpr uint32_t ONE = 0x3F803F80u;
              mma_bf16(ones, {ONE, ONE, ONE, ONE}, b.x, b.y);
            }
          }
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const UnitScales<F> &s = scales[i / 2];
          if constexpr (UNIT == 32) {
            acc[i] += s.d * c[i];
            if constexpr (weight::has_minimum(F)) acc[i] += s.m * ones[i];
          } else {
            unit_sums[i] += s.scale(e / GROUP) * c[i];
            if constexpr (weight::has_minimum(F)) unit_minima[i] += s.minimum(e / GROUP) * ones[i];
          }
        }
      }
      if constexpr (UNIT > 32) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
          acc[i] += scales[i / 2].d * unit_sums[i];
          if constexpr (weight::has_minimum(F)) acc[i] -= scales[i / 2].m * unit_minima[i];
        }
      }
    }
    float2 *part = reinterpret_cast<float2 *>(parts + (warp * TILE + g) * TOKENS + 2 * t);
    part[0] = {acc[0], acc[1]};
    part[8 * TOKENS / 2] = {acc[2], acc[3]};
    __syncthreads();

    // The sums of the warps.
    if (threadIdx.x < TILE * TOKENS) {
      float *to = sums + tile * TILE * TOKENS + threadIdx.x;
      float sum = chunk == 0 ? 0.0f : *to;
#pragma unroll
      for (int w = 0; w < WARPS; w++) sum += parts[w * TILE * TOKENS + threadIdx.x];
      *to = sum;
    }
    if (chunk == chunks - 1) {
      __syncthreads();
      if (low.s != nullptr) {
        // A warp per two rows, its lanes along the rank.
#pragma unroll 1
        for (int row = warp; row < TILE; row += WARPS) {
          if (first + row >= N) break;
          const float *factor = low.factor + weight::matrix_row(first + row, pair) * low.row;
          float term[TOKENS] = {};
          for (int r = lane; r < low.rank; r += 32) {
            float f = factor[r * low.column];
#pragma unroll
            for (int token = 0; token < TOKENS; token++) {
              if (token < m) term[token] += low.s[token * low.rank + r] * f;
            }
          }
#pragma unroll
          for (int token = 0; token < TOKENS; token++) {
            float sum = warp_sum(term[token]);
            if (lane == token) sums[(tile * TILE + row) * TOKENS + token] += low.scaling * sum;
          }
        }
        __syncthreads();
      }
      // Row by row, so that a warp's results are neighbours in y.
      int row = threadIdx.x % TILE, token = threadIdx.x / TILE;
      if (token < m && first + row < N) {
        long long to = token * N + weight::matrix_row(first + row, pair);
        float sum = sums[(tile * TILE + row) * TOKENS + token];
        if (y_bf16) {
          bf16 *out = static_cast<bf16 *>(y) + to;
          *out = __float2bfloat16_rn(accumulate ? sum + to_f32(*out) : sum);
        } else {
          float *out = static_cast<float *>(y) + to;
          *out = accumulate ? sum + *out : sum;
        }
      }
    }
  }
}

}  // namespace gemv_blocks

#define PAN_KERNEL(name, F, X)                                                                                                                                            \
  extern "C" __global__ void __launch_bounds__(gemv_blocks::THREADS, 2)                                                                                                   \
      pan_gemv_blocks_##name(const uint8_t *data, long long N, long long K, int pair, const X *x, int m, void *y, int y_bf16, int accumulate, const float *s,                     \
                      const float *factor, long long factor_row, long long factor_column, int rank, float scaling) {                                                      \
    gemv_blocks::run<weight::F>(data, N, K, pair, x, m, y, y_bf16, accumulate, {s, factor, factor_row, factor_column, rank, scaling});                                    \
  }
PAN_KERNEL(q4_0_f32, Q4_0, float)
PAN_KERNEL(q4_0_bf16, Q4_0, bf16)
PAN_KERNEL(q4_1_f32, Q4_1, float)
PAN_KERNEL(q4_1_bf16, Q4_1, bf16)
PAN_KERNEL(q5_0_f32, Q5_0, float)
PAN_KERNEL(q5_0_bf16, Q5_0, bf16)
PAN_KERNEL(q5_1_f32, Q5_1, float)
PAN_KERNEL(q5_1_bf16, Q5_1, bf16)
PAN_KERNEL(q8_0_f32, Q8_0, float)
PAN_KERNEL(q8_0_bf16, Q8_0, bf16)
PAN_KERNEL(q4_k_f32, Q4_K, float)
PAN_KERNEL(q4_k_bf16, Q4_K, bf16)
PAN_KERNEL(q5_k_f32, Q5_K, float)
PAN_KERNEL(q5_k_bf16, Q5_K, bf16)
PAN_KERNEL(q6_k_f32, Q6_K, float)
PAN_KERNEL(q6_k_bf16, Q6_K, bf16)
#undef PAN_KERNEL
