// gemm_f32.cu: products of dense f32 matrices in single precision, without tensor cores (TF32 would lose 13 bits): what f32 training and the
// comparison with other frameworks run on.
//
//   nt: C[m, n] (+)= A[m, k] B[n, k]^T      nn: C[m, n] (+)= A[m, k] B[k, n]      tn: C[m, n] += alpha A[k, m]^T B[k, n]
//   and for nt and nn C += scaling S[m, rank] F^T with F[n, rank] of any strides: rank more steps of the same sums.
//
// Layouts: all row-major; C f32 or bf16. "Along": an operand whose neighbours in memory are neighbours in the reduced dimension (A of nt and nn,
// B of nt); "across": the other way.
//
// Mapping: a block of 256 threads makes a tile of 16 TM x 16 TN of C, with (TM, TN) = (8, 8), (4, 4), and (8, 1) and (1, 8) for low ranks and
// few rows. Its 8 warps are 4 x 2, the lanes of a warp 4 x 8, and a thread has TM x TN sums: rows and columns in runs of 4, so that every read
// of shared memory is one of 16 bytes without conflicts. 16 steps of both operands are in shared memory, kept [step][row]; the next 16 are on
// their way to registers meanwhile. An operand that runs along is transposed when it is stored: lanes have 8 rows x 4 quads of steps, and the
// row is XORed with 8 (step / 4), which puts the 32 stores of an instruction into 32 banks. C goes by way of shared memory too.
// Grid: (tiles of C, those of one column of tiles next to each other; parts of the reduced dimension). With more than one part each writes its
// sums to scratch memory, and pan_gemm_f32_join adds them in the order of the parts.
//
// FLOPs: 2 m n (k + rank). Bytes: per tile 64 (TM + TN) (k + rank), of which the caches serve all but one reading of A and B; C once, twice when
// it is added to. Numerics: every sum is a chain of fused multiply-adds in the order of k, parts in turn.
//
// budget: pan_gemm_f32_nt_128 registers 128 shared 32768
// budget: pan_gemm_f32_nn_128 registers 128 shared 32768
// budget: pan_gemm_f32_tn_128 registers 128 shared 32768
// budget: pan_gemm_f32_nt_64 registers 80 shared 16384
// budget: pan_gemm_f32_nn_64 registers 80 shared 16384
// budget: pan_gemm_f32_tn_64 registers 80 shared 16384
// budget: pan_gemm_f32_nt_16 registers 80 shared 18432
// budget: pan_gemm_f32_nn_16 registers 80 shared 18432
// budget: pan_gemm_f32_tn_16 registers 80 shared 18432
// budget: pan_gemm_f32_nt_16_rows registers 80 shared 18432
// budget: pan_gemm_f32_nn_16_rows registers 80 shared 18432
// budget: pan_gemm_f32_tn_16_rows registers 80 shared 18432
// budget: pan_gemm_f32_nt_64_scalar registers 80 shared 16384
// budget: pan_gemm_f32_nn_64_scalar registers 80 shared 16384
// budget: pan_gemm_f32_tn_64_scalar registers 80 shared 16384
// budget: pan_gemm_f32_nt_16_rows_scalar registers 80 shared 18432
// budget: pan_gemm_f32_nn_16_rows_scalar registers 80 shared 18432
// budget: pan_gemm_f32_tn_16_rows_scalar registers 80 shared 18432
// budget: pan_gemm_f32_join registers 40 shared 0
#include "common.cuh"
#include "mma.cuh"

namespace gemm_f32 {

constexpr int THREADS = 256;
constexpr int STEPS = 16;
constexpr int WARPS_M = 4, WARPS_N = 2, LANES_M = 4, LANES_N = 8;

// The number of this thread, of which the compiler does not know that it has it already: what follows from it is not computed before the loop
// over the tiles, which has no registers to keep it in.
__device__ __forceinline__ int thread_again() {
  int thread = threadIdx.x;
  asm volatile("" : "+r"(thread));
  return thread;
}

// Where the row of a step stands among the ROWS of it.
template <int ROWS, bool ALONG> __device__ __forceinline__ int swizzle(int step) { return ALONG ? 8 * (step / 4) & (ROWS - 1) : 0; }

// Brings tiles of an operand, ROWS x STEPS, through registers to shared memory; a thread has COUNT quads of neighbours.
template <int ROWS, bool ALONG, bool WIDE> struct Loader {
  static constexpr int QUADS = ROWS * STEPS / 4;
  static constexpr int COUNT = (QUADS + THREADS - 1) / THREADS;

  __device__ __forceinline__ static int row_of(int i) { return ALONG ? i / (STEPS / 4) : i % (ROWS / 4) * 4; }
  __device__ __forceinline__ static int step_of(int i) { return ALONG ? i % (STEPS / 4) * 4 : i / (ROWS / 4); }

  const float *tile;       // of the first row and step
  unsigned offset;         // of the thread's first quad in it
  long long next, stride;  // from its quad to the next one, from the tile to the next one
  int rows;                // rows from the first quad's on; where a quad begins at none, nothing is read
  int steps;               // steps from the first quad's on
  float4 quad[COUNT];

  // The tile from first_row on; from step begin to end.
  __device__ __forceinline__ Loader(const float *x, int all_rows, long long leading, int first_row, int begin, int end) {
    int row = first_row + row_of(threadIdx.x), step = begin + step_of(threadIdx.x);
    tile = x + (ALONG ? first_row * leading + begin : begin * leading + first_row);
    offset = ALONG ? row_of(threadIdx.x) * (unsigned)leading + step_of(threadIdx.x) : step_of(threadIdx.x) * (unsigned)leading + row_of(threadIdx.x);
    next = (ALONG ? THREADS / (STEPS / 4) : THREADS / (ROWS / 4)) * leading;
    stride = ALONG ? STEPS : STEPS * leading;
    rows = QUADS >= THREADS || threadIdx.x < QUADS ? all_rows - row : 0;
    steps = end - step;
  }

  __device__ __forceinline__ void load() {
#pragma unroll
    for (int l = 0; l < COUNT; l++) {
      const float *at = tile + l * next + offset;
      int rows_left = ALONG ? rows - l * THREADS / (STEPS / 4) : rows, steps_left = ALONG ? steps : steps - l * THREADS / (ROWS / 4);
      quad[l] = make_float4(0, 0, 0, 0);
      if (rows_left > 0 && steps_left > 0) {
        if (WIDE) {
          quad[l] = *reinterpret_cast<const float4 *>(at);
        } else {
          int count = ALONG ? steps_left : rows_left;
          quad[l].x = at[0];
          if (count > 1) quad[l].y = at[1];
          if (count > 2) quad[l].z = at[2];
          if (count > 3) quad[l].w = at[3];
        }
      }
    }
    tile += stride;
    steps -= STEPS;
  }

  __device__ __forceinline__ void store(float *shared) const {
#pragma unroll
    for (int l = 0; l < COUNT; l++) {
      int i = threadIdx.x + l * THREADS;
      if (QUADS % THREADS != 0 && i >= QUADS) return;
      float *to = shared + step_of(i) * ROWS + (row_of(i) ^ swizzle<ROWS, ALONG>(step_of(i)));
      if (ALONG) {
        to[0] = quad[l].x;
        to[ROWS] = quad[l].y;
        to[2 * ROWS] = quad[l].z;
        to[3 * ROWS] = quad[l].w;
      } else {
        store_shared(to, quad[l]);
      }
    }
  }
};

// Up to STEPS steps of a factor of the low-rank term, to where a Loader would put them.
template <int ROWS, bool ALONG>
__device__ __forceinline__ void fill(float *shared, const float *x, long long row_stride, long long step_stride, int first_row, int rows, int first_step, int end, float factor) {
  int thread = thread_again();
#pragma unroll
  for (int l = 0; l < ROWS * STEPS / THREADS; l++) {
    int i = thread + l * THREADS;
    int row = step_stride == 1 ? i / STEPS : i % ROWS;
    int step = step_stride == 1 ? i % STEPS : i / ROWS;
    bool there = first_row + row < rows && first_step + step < end;
    shared[step * ROWS + (row ^ swizzle<ROWS, ALONG>(step))] = there ? factor * x[(first_row + row) * row_stride + (first_step + step) * step_stride] : 0.0f;
  }
}

// One thread's T rows (or columns) of a tile, in runs of 4.
template <int T, int LANES, int WARPS, bool ALONG> struct Part {
  static constexpr int RUN = T < 4 ? T : 4;
  static constexpr int GROUP = LANES * RUN;
  static constexpr int ROWS = WARPS * LANES * T;
  int first;  // row of element 0

  __device__ __forceinline__ Part(int warp, int lane) : first(warp * LANES * T + lane * RUN) {}
  __device__ __forceinline__ int row(int i) const { return first + i / RUN * GROUP + i % RUN; }

  __device__ __forceinline__ void read(const float *shared, int step, float (&to)[T]) const {
    constexpr int WITHIN = T == RUN ? ROWS - 1 : GROUP - 1;
    int turn = swizzle<ROWS, ALONG>(step);
#pragma unroll
    for (int i = 0; i < T; i += RUN) {
      const float *at = shared + step * ROWS + (first ^ (turn & WITHIN)) + (i / RUN * GROUP ^ (turn & ~WITHIN));
      if (RUN == 4) {
        *reinterpret_cast<float4 *>(to + i) = *reinterpret_cast<const float4 *>(at);
      } else {
        to[i] = *at;
      }
    }
  }
};

struct Result {
  void *c;
  bool is_bf16, wide, accumulate;  // wide: quads of neighbours stand aligned
  float alpha;
};

template <typename C> __device__ __forceinline__ void put_quad(C *to, float4 v, bool accumulate) {
  struct alignas(4 * sizeof(C)) Quad {
    C at[4];
  };
  Quad q;
  if (accumulate) {
    q = *reinterpret_cast<const Quad *>(to);
    v.x += to_f32(q.at[0]), v.y += to_f32(q.at[1]), v.z += to_f32(q.at[2]), v.w += to_f32(q.at[3]);
  }
  q.at[0] = from_f32<C>(v.x), q.at[1] = from_f32<C>(v.y), q.at[2] = from_f32<C>(v.z), q.at[3] = from_f32<C>(v.w);
  *reinterpret_cast<Quad *>(to) = q;
}

// Writes some rows of a tile from shared memory, kept [row][COLS]: neighbouring threads write neighbours, quads at once where that may be.
template <typename C, int COLS, typename RowOf>
__device__ __forceinline__ void put(const float *shared, int thread, int rows, const RowOf &row_of, int first_col, int m, int n, const Result &r) {
  C *c = static_cast<C *>(r.c);
  if (r.wide) {
    for (int i = thread; i < rows * (COLS / 4); i += THREADS) {
      int row = row_of(i / (COLS / 4)), col = first_col + i % (COLS / 4) * 4;
      if (row < m && col < n) {
        float4 v = *reinterpret_cast<const float4 *>(shared + 4 * i);
        put_quad(c + (long long)row * n + col, make_float4(r.alpha * v.x, r.alpha * v.y, r.alpha * v.z, r.alpha * v.w), r.accumulate);
      }
    }
  } else {
    for (int i = thread; i < rows * COLS; i += THREADS) {
      int row = row_of(i / COLS), col = first_col + i % COLS;
      if (row < m && col < n) {
        C *to = c + (long long)row * n + col;
        *to = from_f32<C>(r.alpha * shared[i] + (r.accumulate ? to_f32(*to) : 0.0f));
      }
    }
  }
}

template <int TM, int TN, bool A_ALONG, bool B_ALONG, bool WIDE>
__device__ __forceinline__ void run(const float *a, const float *b, int m, int n, int k, int part, Result result, float *parts, const float *s, const float *factor, long long factor_row, long long factor_col, int rank, float scaling) {
  constexpr int ROWS = WARPS_M * LANES_M * TM, COLS = WARPS_N * LANES_N * TN;
  __shared__ alignas(16) float shared[2 * STEPS * (ROWS + COLS)];
  auto shared_a = [&](int buffer) { return shared + buffer * STEPS * ROWS; };
  auto shared_b = [&](int buffer) { return shared + 2 * STEPS * ROWS + buffer * STEPS * COLS; };

  int tiles_m = (m + ROWS - 1) / ROWS;
  int first_row = blockIdx.x % tiles_m * ROWS, first_col = blockIdx.x / tiles_m * COLS;
  int begin = blockIdx.y * part;
  int end = gridDim.y == 1 ? k : min(k, begin + part);
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  Part<TM, LANES_M, WARPS_M, A_ALONG> rows(warp / WARPS_N, lane / LANES_N);
  Part<TN, LANES_N, WARPS_N, B_ALONG> cols(warp % WARPS_N, lane % LANES_N);

  float sum[TM][TN] = {};
  auto multiply = [&](const float *tile_a, const float *tile_b) {
    float x[2][TM], y[2][TN];
    rows.read(tile_a, 0, x[0]);
    cols.read(tile_b, 0, y[0]);
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
      if (step + 1 < STEPS) {
        rows.read(tile_a, step + 1, x[(step + 1) % 2]);
        cols.read(tile_b, step + 1, y[(step + 1) % 2]);
      }
#pragma unroll
      for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j++) sum[i][j] = fmaf(x[step % 2][i], y[step % 2][j], sum[i][j]);
    }
  };

  Loader<ROWS, A_ALONG, WIDE> load_a(a, m, A_ALONG ? k : m, first_row, begin, end);
  Loader<COLS, B_ALONG, WIDE> load_b(b, n, B_ALONG ? k : n, first_col, begin, end);
  load_a.load();
  load_b.load();
  load_a.store(shared_a(0));
  load_b.store(shared_b(0));
  __syncthreads();
  // One body for the steps of k and then those of the low-rank term: the unrolled products are most of the code.
  int ranks = blockIdx.y == 0 ? rank : 0;
  for (int at = begin + STEPS, r = 0, buffer = 0;; at += STEPS) {
    load_a.load();
    load_b.load();
    multiply(shared_a(buffer), shared_b(buffer));
    buffer ^= 1;
    if (at < end) {
      load_a.store(shared_a(buffer));
      load_b.store(shared_b(buffer));
    } else if (r < ranks) {
      fill<ROWS, A_ALONG>(shared_a(buffer), s, rank, 1, first_row, m, r, rank, scaling);
      fill<COLS, B_ALONG>(shared_b(buffer), factor, factor_row, factor_col, first_col, n, r, rank, 1.0f);
      r += STEPS;
    } else {
      break;
    }
    __syncthreads();
  }

  if (gridDim.y > 1) {
    result = {parts + (long long)blockIdx.y * m * n, false, n % 4 == 0, false, 1.0f};
  }
  // By way of shared memory, a run of each thread's rows at a time.
  int thread = thread_again();
  Part<TM, LANES_M, WARPS_M, A_ALONG> own_rows(thread / 32 / WARPS_N, thread % 32 / LANES_N);
  Part<TN, LANES_N, WARPS_N, B_ALONG> own_cols(thread / 32 % WARPS_N, thread % LANES_N);
  constexpr int RUN_ROWS = WARPS_M * rows.GROUP;
  static_assert(RUN_ROWS * COLS <= 2 * STEPS * (ROWS + COLS), "the rows of a run take the operands' place");
#pragma unroll
  for (int run = 0; run < TM; run += rows.RUN) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < rows.RUN; i++)
#pragma unroll
      for (int j = 0; j < TN; j += cols.RUN) {
        float *to = shared + (own_rows.first / (LANES_M * TM) * rows.GROUP + own_rows.first % rows.GROUP + i) * COLS + own_cols.row(j);
        if (cols.RUN == 4) {
          store_shared(to, make_float4(sum[run + i][j], sum[run + i][j + 1], sum[run + i][j + 2], sum[run + i][j + 3]));
        } else {
          *to = sum[run + i][j];
        }
      }
    __syncthreads();
    auto row_of = [&](int row) { return first_row + row / rows.GROUP * (LANES_M * TM) + run / rows.RUN * rows.GROUP + row % rows.GROUP; };
    if (result.is_bf16) {
      put<bf16, COLS>(shared, thread, RUN_ROWS, row_of, first_col, m, n, result);
    } else {
      put<float, COLS>(shared, thread, RUN_ROWS, row_of, first_col, m, n, result);
    }
  }
}

// c (+)= alpha (the sum of the parts), count elements each.
template <typename C> __device__ __forceinline__ void join(const float *parts, int count_parts, long long count, float alpha, C *c, int accumulate) {
  long long from = blockIdx.x * 4LL * THREADS;
  if (count % 4 == 0 && reinterpret_cast<uintptr_t>(c) % (4 * sizeof(C)) == 0) {
    long long i = from + 4 * threadIdx.x;
    if (i < count) {
      float4 sum = make_float4(0, 0, 0, 0);
      for (int p = 0; p < count_parts; p++) {
        float4 x = *reinterpret_cast<const float4 *>(parts + p * count + i);
        sum.x += x.x, sum.y += x.y, sum.z += x.z, sum.w += x.w;
      }
      put_quad(c + i, make_float4(alpha * sum.x, alpha * sum.y, alpha * sum.z, alpha * sum.w), accumulate);
    }
  } else {
    for (long long i = from + threadIdx.x; i < count && i < from + 4 * THREADS; i += THREADS) {
      float sum = 0;
      for (int p = 0; p < count_parts; p++) sum += parts[p * count + i];
      c[i] = from_f32<C>(alpha * sum + (accumulate ? to_f32(c[i]) : 0.0f));
    }
  }
}

}  // namespace gemm_f32

#define GEMM_F32(NAME, BLOCKS, TM, TN, A_ALONG, B_ALONG, WIDE)                                                                                                                        \
  extern "C" __global__ void __launch_bounds__(gemm_f32::THREADS, BLOCKS)                                                                                                              \
      NAME(const float *a, const float *b, int m, int n, int k, int part, void *c, int c_is_bf16, int c_wide, int accumulate, float alpha, float *parts, \
           const float *s, const float *factor, long long factor_row, long long factor_col, int rank, float scaling) {                                   \
    gemm_f32::Result result = {c, c_is_bf16 != 0, c_wide != 0, accumulate != 0, alpha};                                                                        \
    gemm_f32::run<TM, TN, A_ALONG, B_ALONG, WIDE>(a, b, m, n, k, part, result, parts, s, factor, factor_row, factor_col, rank, scaling);                                   \
  }

GEMM_F32(pan_gemm_f32_nt_128, 2, 8, 8, true, true, true)
GEMM_F32(pan_gemm_f32_nn_128, 2, 8, 8, true, false, true)
GEMM_F32(pan_gemm_f32_tn_128, 2, 8, 8, false, false, true)
GEMM_F32(pan_gemm_f32_nt_64, 3, 4, 4, true, true, true)
GEMM_F32(pan_gemm_f32_nn_64, 3, 4, 4, true, false, true)
GEMM_F32(pan_gemm_f32_tn_64, 3, 4, 4, false, false, true)
GEMM_F32(pan_gemm_f32_nt_16, 3, 8, 1, true, true, true)
GEMM_F32(pan_gemm_f32_nn_16, 3, 8, 1, true, false, true)
GEMM_F32(pan_gemm_f32_tn_16, 3, 8, 1, false, false, true)
GEMM_F32(pan_gemm_f32_nt_16_rows, 3, 1, 8, true, true, true)
GEMM_F32(pan_gemm_f32_nn_16_rows, 3, 1, 8, true, false, true)
GEMM_F32(pan_gemm_f32_tn_16_rows, 3, 1, 8, false, false, true)
GEMM_F32(pan_gemm_f32_nt_64_scalar, 3, 4, 4, true, true, false)
GEMM_F32(pan_gemm_f32_nn_64_scalar, 3, 4, 4, true, false, false)
GEMM_F32(pan_gemm_f32_tn_64_scalar, 3, 4, 4, false, false, false)
GEMM_F32(pan_gemm_f32_nt_16_rows_scalar, 3, 1, 8, true, true, false)
GEMM_F32(pan_gemm_f32_nn_16_rows_scalar, 3, 1, 8, true, false, false)
GEMM_F32(pan_gemm_f32_tn_16_rows_scalar, 3, 1, 8, false, false, false)
#undef GEMM_F32

extern "C" __global__ void __launch_bounds__(gemm_f32::THREADS)
    pan_gemm_f32_join(const float *parts, int count_parts, long long count, float alpha, void *c, int c_is_bf16, int accumulate) {
  if (c_is_bf16) {
    gemm_f32::join(parts, count_parts, count, alpha, static_cast<bf16 *>(c), accumulate);
  } else {
    gemm_f32::join(parts, count_parts, count, alpha, static_cast<float *>(c), accumulate);
  }
}
