// rope.cu: rotary position embedding (Su et al. 2021, pairs half a head apart) in place on x[M, heads, D], f32 or bf16.
//
//   with (c, s) the cosine and sine [position of the row][j] of f32 tables [rows, D/2]:   (x_j, x_j+D/2) = (x_j c - x_j+D/2 s, x_j+D/2 c + x_j s)
//
// and s negated to turn back, which is the gradient. A warp has a row: its lanes share out the pieces of four elements of half a head, and the rest
// of them as many heads at once, so that a lane reads its cosines and sines once for all heads. Heads whose halves are not made of pieces, or that are
// not aligned, take one element at a time.
// Bytes: x read and written once, 4 D of the tables for a row. FLOPs: 3 for an element. f32, each result rounded once.
// A position that the tables do not have is reported, and its row stays as it is.
//
// budget: pan_rope_f32 registers 64 shared 0
// budget: pan_rope_bf16 registers 64 shared 0
// budget: pan_rope_any_f32 registers 40 shared 0
// budget: pan_rope_any_bf16 registers 40 shared 0
#include "common.cuh"

namespace rope {

constexpr int WARPS = 4;

template <typename T, int SIZE>
__device__ __forceinline__ void run(T *x, const int *__restrict__ positions, const float *__restrict__ cosines, const float *__restrict__ sines, long long table_rows, int m, int heads,
                                    int head_dim, int inverse, Report *report) {
  struct alignas(SIZE * sizeof(T)) Pack {
    T at[SIZE];
  };
  struct alignas(SIZE * sizeof(float)) Angles {
    float at[SIZE];
  };
  const int lane = threadIdx.x % 32, row = blockIdx.x * WARPS + threadIdx.x / 32;
  if (row >= m) return;
  const int position = positions[row];
  if (position < 0 || position >= table_rows) {
    if (lane == 0) report_index(report, REPORT_POSITION, row, position, table_rows);
    return;
  }
  const int pieces = head_dim / 2 / SIZE, across = min(pieces, 32), heads_at_once = 32 / across;
  Pack *of_row = reinterpret_cast<Pack *>(x) + (long long)row * heads * 2 * pieces;
  if (lane / across >= heads_at_once) return;
  for (int piece = lane % across; piece < pieces; piece += across) {
    const Angles c = reinterpret_cast<const Angles *>(cosines)[(long long)position * pieces + piece];
    Angles s = reinterpret_cast<const Angles *>(sines)[(long long)position * pieces + piece];
#pragma unroll
    for (int j = 0; j < SIZE; j++) s.at[j] = inverse ? -s.at[j] : s.at[j];
#pragma unroll 4
    for (int head = lane / across; head < heads; head += heads_at_once) {
      Pack &first = of_row[(long long)head * 2 * pieces + piece], &second = of_row[(long long)head * 2 * pieces + pieces + piece];
      Pack a = first, b = second;
#pragma unroll
      for (int j = 0; j < SIZE; j++) {
        float u = to_f32(a.at[j]), v = to_f32(b.at[j]);
        a.at[j] = from_f32<T>(u * c.at[j] - v * s.at[j]);
        b.at[j] = from_f32<T>(v * c.at[j] + u * s.at[j]);
      }
      first = a;
      second = b;
    }
  }
}

}  // namespace rope

#define ROPE_KERNEL(NAME, T, SIZE)                                                                                                                                                    \
  extern "C" __global__ void __launch_bounds__(32 * rope::WARPS)                                                                                                                      \
      pan_rope_##NAME(T *x, const int *positions, const float *cosines, const float *sines, long long table_rows, int m, int heads, int head_dim, int inverse, Report *report) {      \
    rope::run<T, SIZE>(x, positions, cosines, sines, table_rows, m, heads, head_dim, inverse, report);                                                                                \
  }

ROPE_KERNEL(f32, float, 4)
ROPE_KERNEL(bf16, bf16, 4)
ROPE_KERNEL(any_f32, float, 1)
ROPE_KERNEL(any_bf16, bf16, 1)
#undef ROPE_KERNEL
