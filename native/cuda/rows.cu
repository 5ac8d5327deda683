// rows.cu: y[index[i],:] = x[i,:] (+ y), rows of `cols` elements, x and y each f32 or bf16.
//
// Without atomics, and in a defined order when an index comes again: `pan_link_rows` gives each i the next greater one with the same index (or m), and
// marks those before which the index has come already; an index that y does not have is reported and marked SKIP. Then, in `pan_scatter_rows_*`, a
// block has an i. With accumulate the first i of an index adds up all its rows, in ascending order, in f32, and rounds once; else the last i of an index
// writes its row.
// A link's value is the next one, complemented where i is not the first. Each warp of pan_link_rows compares its index with all others, which pass
// through the shared memory of its block: 4 m bytes for 32 indices, m comparisons for each. A handful of rows (links = null, m <= 32) is compared by every warp of its block
// instead, with a vote.
// Bytes: x once, y once (twice with accumulate), 12 for a row. FLOPs: one for an element that is added.
//
// budget: pan_link_rows registers 32 shared 4096
// budget: pan_scatter_rows_f32_f32 registers 48 shared 0
// budget: pan_scatter_rows_f32_bf16 registers 48 shared 0
// budget: pan_scatter_rows_bf16_f32 registers 48 shared 0
// budget: pan_scatter_rows_bf16_bf16 registers 48 shared 0
#include <limits.h>

#include "common.cuh"

namespace rows {

constexpr int THREADS = 256, LINK_THREADS = 1024, SIZE = 4;
constexpr int SKIP = INT_MIN;

// SIZE elements: 16 bytes of f32.
template <typename T> struct alignas(SIZE * sizeof(T)) Pack {
  T at[SIZE];
};

template <typename T> __device__ __forceinline__ bool aligned(const T *p, int cols) { return cols % SIZE == 0 && reinterpret_cast<uintptr_t>(p) % sizeof(Pack<T>) == 0; }

// The link of i among at most 32 rows; every lane of every warp gets it. The next of i is then the bit after i in `same`.
__device__ __forceinline__ int link_of_few(const int *__restrict__ index, int m, int i, long long y_rows, unsigned &same, Report *report) {
  const int lane = threadIdx.x % 32, mine = index[i];
  same = __ballot_sync(0xFFFFFFFFu, lane < m && index[min(lane, m - 1)] == mine);
  if (mine < 0 || mine >= y_rows) {
    if (threadIdx.x == 0) report_index(report, REPORT_INDEX, i, mine, y_rows);
    return SKIP;
  }
  const unsigned later = same & (0xFFFFFFFEu << i);
  const int next = later == 0 ? m : __ffs(later) - 1;
  return (same & ((1u << i) - 1)) == 0 ? next : ~next;
}

template <typename X, typename Y>
__device__ __forceinline__ void run(const X *__restrict__ x, const int *__restrict__ index, const int *__restrict__ links, int m, int cols, Y *__restrict__ y, long long y_rows,
                                    int accumulate, Report *report) {
  const int i = blockIdx.x;
  unsigned same = 0;
  const int link = links == nullptr ? link_of_few(index, m, i, y_rows, same, report) : links[i];
  const int next = link < 0 ? ~link : link;
  if (link == SKIP || (accumulate ? link < 0 : next < m)) return;
  const long long to = (long long)index[i] * cols;
  const auto following = [&](int j) {
    if (links == nullptr) {
      const unsigned later = same & (0xFFFFFFFEu << j);
      return later == 0 ? m : __ffs(later) - 1;
    }
    const int after = links[j];
    return after < 0 ? ~after : after;
  };
  if (aligned(x, cols) && aligned(y, cols)) {
    for (int column = threadIdx.x * SIZE; column < cols; column += blockDim.x * SIZE) {
      const Pack<X> first = *reinterpret_cast<const Pack<X> *>(x + (long long)i * cols + column);
      Pack<Y> &out = *reinterpret_cast<Pack<Y> *>(y + to + column);
      float sum[SIZE];
#pragma unroll
      for (int k = 0; k < SIZE; k++) sum[k] = to_f32(first.at[k]);
      if (accumulate) {
        for (int j = next; j < m; j = following(j)) {
          const Pack<X> more = *reinterpret_cast<const Pack<X> *>(x + (long long)j * cols + column);
#pragma unroll
          for (int k = 0; k < SIZE; k++) sum[k] += to_f32(more.at[k]);
        }
        const Pack<Y> old = out;
#pragma unroll
        for (int k = 0; k < SIZE; k++) sum[k] += to_f32(old.at[k]);
      }
      Pack<Y> result;
#pragma unroll
      for (int k = 0; k < SIZE; k++) result.at[k] = from_f32<Y>(sum[k]);
      out = result;
    }
  } else {
    for (int column = threadIdx.x; column < cols; column += blockDim.x) {
      float sum = to_f32(x[(long long)i * cols + column]);
      if (accumulate) {
        for (int j = next; j < m; j = following(j)) sum += to_f32(x[(long long)j * cols + column]);
        sum += to_f32(y[to + column]);
      }
      y[to + column] = from_f32<Y>(sum);
    }
  }
}

}  // namespace rows

extern "C" __global__ void __launch_bounds__(rows::LINK_THREADS) pan_link_rows(const int *__restrict__ index, int m, long long y_rows, int *__restrict__ links, Report *report) {
  __shared__ int tile[rows::LINK_THREADS];
  const int i = blockIdx.x * (rows::LINK_THREADS / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
  const int mine = i < m ? index[i] : -1;
  int next = m, before = 0;
  for (int from = 0; from < m; from += rows::LINK_THREADS) {
    const int count = min(rows::LINK_THREADS, m - from);
    __syncthreads();
    if (threadIdx.x < count) tile[threadIdx.x] = index[from + threadIdx.x];
    __syncthreads();
#pragma unroll 4
    for (int k = lane; k < count; k += 32) {
      const bool same = tile[k] == mine;
      before |= same && from + k < i;
      next = same && from + k > i ? min(next, from + k) : next;
    }
  }
  next = __reduce_min_sync(0xFFFFFFFFu, next);
  const bool first = !__any_sync(0xFFFFFFFFu, before);
  if (i >= m || lane != 0) return;
  const bool wrong = mine < 0 || mine >= y_rows;
  if (wrong) report_index(report, REPORT_INDEX, i, mine, y_rows);
  links[i] = wrong ? rows::SKIP : first ? next : ~next;
}

#define SCATTER_KERNEL(NAME, X, Y)                                                                                                                                               \
  extern "C" __global__ void __launch_bounds__(rows::THREADS)                                                                                                                    \
      pan_scatter_rows_##NAME(const X *x, const int *index, const int *links, int m, int cols, Y *y, long long y_rows, int accumulate, Report *report) {                         \
    rows::run(x, index, links, m, cols, y, y_rows, accumulate, report);                                                                                                          \
  }

SCATTER_KERNEL(f32_f32, float, float)
SCATTER_KERNEL(f32_bf16, float, bf16)
SCATTER_KERNEL(bf16_f32, bf16, float)
SCATTER_KERNEL(bf16_bf16, bf16, bf16)
#undef SCATTER_KERNEL
