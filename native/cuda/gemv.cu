// gemv.cu: products of 1 to 8 rows of x with a weight that is decoded on the way.
//
//   y[r, j] = sum over i of x[r, i] W[j, i] (+ scaling * sum over q of s[r, q] factor[j, q]) (+ y[r, j]),   r < m <= 8, j < n, i < k
//
// Everything is f32 arithmetic: x (f32 or bf16) and W are widened, W of 4-bit codes is level[code] * scale[block], and y is rounded once.
//
// Weights. q4: element e = j k + i of the flattened matrix is in byte e/2, the even one in the high nibble; scale[e >> shift]; nested scales
// are nested_levels[code[b]] * nested_scale[b / 256] + offset. bf16, f32: row-major.
//
// Mapping. A warp takes COLUMNS rows of W (columns of y) from end to end: in one step each lane loads 16 bytes of each, 32 codes or 8 or 4
// numbers, one step ahead of their use; the lane's codes have one scale, since k is a multiple of 32. The 16 levels stand one in a lane
// (twice), and a code picks its own by a shuffle, whose lane number is taken modulo 32: shifting the code down is enough. x stands in shared
// memory as f32, so turned that a warp reads 512 consecutive bytes; what does not fit is read part by part. Blocks are as many as the GPU
// holds at once, and share out the groups of columns evenly; a block takes as many of its share in a turn as it has warps.
// The low-rank term is a few more elements of the sum. The lanes' sums are added at the end, all of a warp's results at once: 31 shuffles or
// fewer, in a fixed order.
//
// Bytes: n k / 2 (or 2, 4 a number), the scales, x once for each block (from L2 but for the first), y. FLOPs: 2 m n k. With one row a multiprocessor has one block,
// so that x is read least. Of 4-bit codes this serves x in f32, and what gemv_codes.cu and gemm_few_rows.cu cannot take: a decoded weight costs about 11 instructions here, of which
// an A100 has 5 in the time in which memory brings the weight. Dense weights are bound by memory.
// In flight: 16 to 32 bytes a lane and column: with 2 columns and 32 warps 32 to 64 KB a multiprocessor, where 2 TB/s * 600 ns / 108 = 11 KB.
//
// The kernels *_any take rows of any length and alignment: a byte or a number a lane at a time, x from global memory.
//
// budget: pan_gemv_q4_m1 registers 64 shared 139264
// budget: pan_gemv_q4_m1_wide registers 128 shared 139264
// budget: pan_gemv_q4_m2 registers 80 shared 69632
// budget: pan_gemv_q4_m4 registers 128 shared 139264
// budget: pan_gemv_q4_m8 registers 128 shared 139264
// budget: pan_gemv_dense_bf16_m1 registers 64 shared 139264
// budget: pan_gemv_dense_bf16_m2 registers 80 shared 69632
// budget: pan_gemv_dense_bf16_m4 registers 128 shared 139264
// budget: pan_gemv_dense_bf16_m8 registers 128 shared 139264
// budget: pan_gemv_dense_f32_m1 registers 64 shared 139264
// budget: pan_gemv_dense_f32_m2 registers 80 shared 69632
// budget: pan_gemv_dense_f32_m4 registers 128 shared 139264
// budget: pan_gemv_dense_f32_m8 registers 128 shared 139264
// budget: pan_gemv_q4_any registers 80 shared 0
// budget: pan_gemv_dense_bf16_any registers 80 shared 0
// budget: pan_gemv_dense_f32_any registers 80 shared 0
#include "common.cuh"

namespace gemv {

constexpr int MAX_ROWS = 8;

// x, y and the low-rank term. x_vector: x can be read 4 elements at a time.
struct Operands {
  int n, k, m;
  const void *x;
  int x_bf16, x_vector;
  void *y;
  int y_bf16, accumulate;
  const float *s, *factor;
  long long factor_row, factor_col;
  int rank;
  float scaling;

  __device__ __forceinline__ float x_at(long long i) const { return x_bf16 ? to_f32(static_cast<const bf16 *>(x)[i]) : static_cast<const float *>(x)[i]; }

  __device__ __forceinline__ float4 x_at_4(long long i) const {
    if (!x_vector) return make_float4(x_at(i), x_at(i + 1), x_at(i + 2), x_at(i + 3));
    if (!x_bf16) return *reinterpret_cast<const float4 *>(static_cast<const float *>(x) + i);
    uint2 pairs = *reinterpret_cast<const uint2 *>(static_cast<const bf16 *>(x) + i);
    return make_float4(__uint_as_float(pairs.x << 16), __uint_as_float(pairs.x & 0xFFFF0000u), __uint_as_float(pairs.y << 16), __uint_as_float(pairs.y & 0xFFFF0000u));
  }

  __device__ __forceinline__ void store(int row, int column, float sum) const {
    long long i = (long long)row * n + column;
    if (y_bf16) {
      bf16 *to = static_cast<bf16 *>(y) + i;
      *to = from_f32<bf16>(accumulate ? to_f32(*to) + sum : sum);
    } else {
      float *to = static_cast<float *>(y) + i;
      *to = accumulate ? *to + sum : sum;
    }
  }
};

// ---- weights ---------------------------------------------------------------------------------------------------------

// E: elements of 16 bytes. PITCH: float4 of x in shared memory from one quarter of a lane's elements to the next; the surplus over 32 lets
// the 8 threads that store neighbouring ones (and those that load them) meet 8 different groups of banks.
struct Q4 {
  static constexpr int E = 32, PITCH = 33;
  const uint8_t *packed;
  const void *absmax;
  const float *nested_levels;  // in shared memory; null: absmax are f32
  const float *nested_scale;
  float offset, level;  // level: that of the lane's number modulo 16
  int shift;

  struct Pack {
    uint4 codes;
    float scale;
  };

  __device__ __forceinline__ float scale(long long block) const {
    if (nested_scale == nullptr) return static_cast<const float *>(absmax)[block];
    return __fadd_rn(__fmul_rn(nested_levels[static_cast<const uint8_t *>(absmax)[block]], nested_scale[block / 256]), offset);
  }
  __device__ __forceinline__ Pack load(long long at) const { return {__ldcs(reinterpret_cast<const uint4 *>(packed + at / 2)), scale(at >> shift)}; }
  __device__ __forceinline__ Pack none() const { return {make_uint4(0, 0, 0, 0), 0.0f}; }
  // Elements 4 quarter to 4 quarter + 3, without the scale.
  __device__ __forceinline__ float4 values(const Pack &p, int quarter) const {
    uint32_t words[4] = {p.codes.x, p.codes.y, p.codes.z, p.codes.w};
    uint32_t codes = words[quarter / 2] >> 16 * (quarter % 2);
    return make_float4(__shfl_sync(~0u, level, codes >> 4), __shfl_sync(~0u, level, codes), __shfl_sync(~0u, level, codes >> 12), __shfl_sync(~0u, level, codes >> 8));
  }
  __device__ __forceinline__ float scaled(const Pack &p, float sum, float total) const { return fmaf(p.scale, sum, total); }
};

struct Bf16 {
  static constexpr int E = 8, PITCH = 36;
  const bf16 *data;
  typedef uint4 Pack;
  __device__ __forceinline__ Pack load(long long at) const { return __ldcs(reinterpret_cast<const uint4 *>(data + at)); }
  __device__ __forceinline__ Pack none() const { return make_uint4(0, 0, 0, 0); }
  __device__ __forceinline__ float4 values(const Pack &p, int quarter) const {
    uint32_t low = quarter == 0 ? p.x : p.z, high = quarter == 0 ? p.y : p.w;
    return make_float4(__uint_as_float(low << 16), __uint_as_float(low & 0xFFFF0000u), __uint_as_float(high << 16), __uint_as_float(high & 0xFFFF0000u));
  }
  __device__ __forceinline__ float scaled(const Pack &, float sum, float total) const { return total + sum; }
};

struct F32 {
  static constexpr int E = 4, PITCH = 32;
  const float *data;
  typedef float4 Pack;
  __device__ __forceinline__ Pack load(long long at) const { return __ldcs(reinterpret_cast<const float4 *>(data + at)); }
  __device__ __forceinline__ Pack none() const { return make_float4(0, 0, 0, 0); }
  __device__ __forceinline__ float4 values(const Pack &p, int) const { return p; }
  __device__ __forceinline__ float scaled(const Pack &, float sum, float total) const { return total + sum; }
};

// ---- sums ------------------------------------------------------------------------------------------------------------

// Adds V sums over the lanes at once: lane l gets the sum of number l * V / 32.
template <int V, int OFFSET = 16> __device__ __forceinline__ float sum_each(const float (&v)[V], int lane) {
  if constexpr (V == 1) {
    float sum = v[0];
#pragma unroll
    for (int offset = OFFSET; offset > 0; offset /= 2) sum += __shfl_xor_sync(~0u, sum, offset);
    return sum;
  } else {
    float half[V / 2];
    bool upper = lane & OFFSET;
#pragma unroll
    for (int i = 0; i < V / 2; i++) half[i] = (upper ? v[i + V / 2] : v[i]) + __shfl_xor_sync(~0u, upper ? v[i] : v[i + V / 2], OFFSET);
    return sum_each<V / 2, OFFSET / 2>(half, lane);
  }
}

// ---- whole steps of 16 bytes -----------------------------------------------------------------------------------------

// Elements [from, from + 4 count) of the rows of x, in the order in which the lanes read them; zero beyond k and beyond row m.
template <typename W, int M> __device__ __forceinline__ void stage(const Operands &o, float4 *shared, int steps_held, int from, int count) {
  constexpr int QUARTERS = W::E / 4;
#pragma unroll 1
  for (int row = 0; row < M; row++) {
#pragma unroll 2
    for (int i = threadIdx.x; i < count; i += blockDim.x) {  // two loads at a time: more would cost registers that the main loop needs
      int at = from + 4 * i, within = i % (32 * QUARTERS), step = i / (32 * QUARTERS);
      float4 v = row < o.m && at < o.k ? o.x_at_4((long long)row * o.k + at) : make_float4(0, 0, 0, 0);
      shared[(row * steps_held + step) * QUARTERS * W::PITCH + within % QUARTERS * W::PITCH + within / QUARTERS] = v;
    }
  }
}

// steps_held: steps of x that shared memory holds.
template <typename W, int M, int COLUMNS> __device__ __forceinline__ void run(const W &w, const Operands &o, int steps_held) {
  constexpr int QUARTERS = W::E / 4, STEP = 32 * W::E;
  extern __shared__ float4 shared[];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const int groups = (o.n - 1) / COLUMNS + 1, steps = (o.k - 1) / STEP + 1;
  const int first_turn = (int)((long long)groups * blockIdx.x / gridDim.x), end = (int)((long long)groups * (blockIdx.x + 1) / gridDim.x);
  for (int turn = first_turn; turn < end; turn += warps) {
    const int group = turn + warp;
    const bool live = group < end;
    long long row[COLUMNS];  // beyond the last, the last one again
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) row[c] = (long long)min(group * COLUMNS + c, o.n - 1) * o.k + lane * W::E;
    typename W::Pack next[COLUMNS];
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) next[c] = live && lane * W::E < o.k ? w.load(row[c]) : w.none();
    float total[M * COLUMNS];
#pragma unroll
    for (int i = 0; i < M * COLUMNS; i++) total[i] = 0;

    for (int first = 0; first < steps; first += steps_held) {
      const int last = min(first + steps_held, steps);
      if (turn == first_turn || steps > steps_held) {
        if (turn != first_turn || first > 0) __syncthreads();
        stage<W, M>(o, shared, steps_held, first * STEP, (last - first) * STEP / 4);
        __syncthreads();
      }
      if (!live) continue;
#pragma unroll 1
      for (int step = first; step < last; step++) {
        typename W::Pack now[COLUMNS];
        const int ahead = (step + 1) * STEP;
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) {
          now[c] = next[c];
          next[c] = ahead + lane * W::E < o.k ? w.load(row[c] + ahead) : w.none();
        }
        const float4 *x = shared + (step - first) * QUARTERS * W::PITCH + lane;
        float sum[M * COLUMNS];
#pragma unroll
        for (int i = 0; i < M * COLUMNS; i++) sum[i] = 0;
#pragma unroll
        for (int quarter = 0; quarter < QUARTERS; quarter++) {
          float4 v[COLUMNS];
#pragma unroll
          for (int c = 0; c < COLUMNS; c++) v[c] = w.values(now[c], quarter);
#pragma unroll
          for (int r = 0; r < M; r++) {
            float4 xs = x[r * steps_held * QUARTERS * W::PITCH + quarter * W::PITCH];
#pragma unroll
            for (int c = 0; c < COLUMNS; c++) {
              float &to = sum[r * COLUMNS + c];
              to = fmaf(xs.w, v[c].w, fmaf(xs.z, v[c].z, fmaf(xs.y, v[c].y, fmaf(xs.x, v[c].x, to))));
            }
          }
        }
#pragma unroll
        for (int i = 0; i < M * COLUMNS; i++) total[i] = w.scaled(now[i % COLUMNS], sum[i], total[i]);
      }
    }

    if (live) {
#pragma unroll 1
      for (int q = lane; q < o.rank; q += 32) {
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) {
          float factor = o.scaling * o.factor[min(group * COLUMNS + c, o.n - 1) * o.factor_row + q * o.factor_col];
#pragma unroll
          for (int r = 0; r < M; r++) {
            if (r < o.m) total[r * COLUMNS + c] = fmaf(factor, o.s[(long long)r * o.rank + q], total[r * COLUMNS + c]);
          }
        }
      }
    }
    const float mine = sum_each(total, lane);
    constexpr int LANES = 32 / (M * COLUMNS);  // that hold one result
    const int r = lane / LANES / COLUMNS, c = lane / LANES % COLUMNS;
    if constexpr (M == 1) {
      if (live && lane % LANES == 0 && group * COLUMNS + c < o.n) o.store(0, group * COLUMNS + c, mine);
    } else {
      // A turn's columns lie together: the block writes them row by row.
      __shared__ float results[M][16 * COLUMNS];
      __syncthreads();
      if (lane % LANES == 0) results[r][warp * COLUMNS + c] = mine;
      __syncthreads();
      const int columns = min(min(warps, end - turn) * COLUMNS, o.n - turn * COLUMNS);
      if (lane < columns && warp < o.m) o.store(warp, turn * COLUMNS + lane, results[warp][lane]);
    }
  }
}

// ---- any length and alignment ----------------------------------------------------------------------------------------

// One warp a column; `term` is called by all lanes together with a lane's index from 0 on, and adds to the sums.
template <typename Term> __device__ __forceinline__ void run_any(const Operands &o, const Term &term) {
  const int lane = threadIdx.x % 32;
  const long long column = (blockIdx.x * (long long)blockDim.x + threadIdx.x) / 32;
  if (column >= o.n) return;
  float total[MAX_ROWS];
#pragma unroll
  for (int r = 0; r < MAX_ROWS; r++) total[r] = 0;
  term(column * o.k, lane, total);
  for (int q = lane; q < o.rank; q += 32) {
    float factor = o.scaling * o.factor[column * o.factor_row + q * o.factor_col];
#pragma unroll
    for (int r = 0; r < MAX_ROWS; r++) {
      if (r < o.m) total[r] = fmaf(factor, o.s[(long long)r * o.rank + q], total[r]);
    }
  }
  float mine = sum_each(total, lane);
  if (lane % 4 == 0 && lane / 4 < o.m) o.store(lane / 4, (int)column, mine);
}

__device__ __forceinline__ void add_term(const Operands &o, int i, float v, float (&total)[MAX_ROWS]) {
#pragma unroll
  for (int r = 0; r < MAX_ROWS; r++) {
    if (r < o.m) total[r] = fmaf(o.x_at((long long)r * o.k + i), v, total[r]);
  }
}

template <typename T> __device__ __forceinline__ void run_any_dense(const T *data, const Operands &o) {
  run_any(o, [&](long long start, int lane, float(&total)[MAX_ROWS]) {
    for (int i = lane; i < o.k; i += 32) add_term(o, i, to_f32(data[start + i]), total);
  });
}

// A byte a lane: an even element and the odd one after it, of one block. The first or the last may belong to a neighbouring row.
__device__ __forceinline__ void run_any_q4(const Q4 &w, const Operands &o) {
  run_any(o, [&](long long start, int lane, float(&total)[MAX_ROWS]) {
    for (long long warp_at = start & ~1LL; warp_at < start + o.k; warp_at += 64) {
      long long at = warp_at + 2 * lane;
      bool inside = at < start + o.k;
      uint32_t codes = inside ? w.packed[at / 2] : 0;
      float scale = inside ? w.scale(at >> w.shift) : 0;
      float even = __shfl_sync(~0u, w.level, codes >> 4) * scale, odd = __shfl_sync(~0u, w.level, codes) * scale;
      if (inside && at >= start) add_term(o, (int)(at - start), even, total);
      if (at + 1 < start + o.k) add_term(o, (int)(at + 1 - start), odd, total);
    }
  });
}

}  // namespace gemv

#define GEMV_PARAMETERS                                                                                                                               \
  int n, int k, int m, const void *x, int x_bf16, int x_vector, void *y, int y_bf16, int accumulate, const float *s, const float *factor, long long factor_row, \
      long long factor_col, int rank, float scaling, int steps_held
#define GEMV_OPERANDS \
  { n, k, m, x, x_bf16, x_vector, y, y_bf16, accumulate, s, factor, factor_row, factor_col, rank, scaling }
#define GEMV_Q4_PARAMETERS \
  const uint8_t *packed, const float *levels, const void *absmax, const float *nested_levels, const float *nested_scale, float offset, int shift
#define GEMV_Q4(nested) \
  { packed, absmax, nested, nested_scale, offset, levels[threadIdx.x % 16], shift }

#define GEMV_Q4_KERNEL(NAME, M, COLUMNS, THREADS, BLOCKS)                                                                           \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) NAME(GEMV_Q4_PARAMETERS, GEMV_PARAMETERS) {                      \
    __shared__ float table[256]; /* of the nested scales: 32 lanes look up 32 of them */                                         \
    if (nested_scale != nullptr) {                                                                                               \
      if (threadIdx.x < 256) table[threadIdx.x] = nested_levels[threadIdx.x];                                                    \
      __syncthreads();                                                                                                           \
    }                                                                                                                            \
    gemv::run<gemv::Q4, M, COLUMNS>(GEMV_Q4(table), GEMV_OPERANDS, steps_held);                                                  \
  }
#define GEMV_KERNELS(M, THREADS, BLOCKS)                                                                                                          \
  GEMV_Q4_KERNEL(pan_gemv_q4_m##M, M, 2, THREADS, BLOCKS)                                                                                         \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) pan_gemv_dense_bf16_m##M(const bf16 *w, GEMV_PARAMETERS) {                       \
    gemv::run<gemv::Bf16, M, 2>({w}, GEMV_OPERANDS, steps_held);                                                                                  \
  }                                                                                                                                               \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) pan_gemv_dense_f32_m##M(const float *w, GEMV_PARAMETERS) {                       \
    gemv::run<gemv::F32, M, 2>({w}, GEMV_OPERANDS, steps_held);                                                                                   \
  }
// Threads of a block and resident blocks: also in CudaFewRows.
GEMV_KERNELS(1, 1024, 1)
GEMV_KERNELS(2, 384, 2)
GEMV_KERNELS(4, 512, 1)
GEMV_KERNELS(8, 512, 1)
GEMV_Q4_KERNEL(pan_gemv_q4_m1_wide, 1, 4, 512, 1)

extern "C" __global__ void __launch_bounds__(256, 3) pan_gemv_q4_any(GEMV_Q4_PARAMETERS, GEMV_PARAMETERS) {
  gemv::run_any_q4(GEMV_Q4(nested_levels), GEMV_OPERANDS);
}
extern "C" __global__ void __launch_bounds__(256, 3) pan_gemv_dense_bf16_any(const bf16 *w, GEMV_PARAMETERS) { gemv::run_any_dense(w, GEMV_OPERANDS); }
extern "C" __global__ void __launch_bounds__(256, 3) pan_gemv_dense_f32_any(const float *w, GEMV_PARAMETERS) { gemv::run_any_dense(w, GEMV_OPERANDS); }

#undef GEMV_KERNELS
#undef GEMV_Q4_KERNEL
#undef GEMV_Q4
#undef GEMV_Q4_PARAMETERS
#undef GEMV_OPERANDS
#undef GEMV_PARAMETERS
