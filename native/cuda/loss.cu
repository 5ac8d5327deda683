// loss.cu: cross-entropy of the rows of logits[rows, vocab] (f32), and its gradient.
//
//   m = max_j x_j, s = sum_j exp(x_j - m);   loss = (m - x_target) + log s;   gradient_j = (exp(x_j - m) / s - [j = target]) * scale
//
// A block has a row. Every thread keeps the largest of its elements and the sum of exponentials relative to it, four elements at a time, so the row is
// read once for the loss; warps and then the block put these pairs together in their order. A second pass writes the gradient, f32 or bf16, which may take the
// place of the logits. It finds the first `kept` groups of four elements in shared memory, where the first pass has left them: a row of up to 41,000 elements (sm_90: 58,000)
// is read once. Of longer rows it reads the rest again, backwards, what was read last first: that is in L2, a third (sm_90: nearly half) of every row being kept, and a row for each
// multiprocessor under way. Rows start anywhere: what comes before the first 16-byte boundary, and after the last, is taken by
// single elements; so is all of a row whose gradient has other boundaries.
// Bytes: logits once for the loss, once or up to 1.7 times with the gradient, the gradient once. FLOPs: about 10 (15) for an element.
// f32; exponents are differences to the maximum, exact where they matter, so large logits cost no precision. Gradients are rounded once.
// A target outside the vocabulary is reported; its row has the loss 0 and the gradient 0.
//
// budget: pan_cross_entropy registers 40 shared 1024
// budget: pan_cross_entropy_grad_f32 registers 48 shared 232448
// budget: pan_cross_entropy_grad_bf16 registers 48 shared 232448
#include <float.h>

#include "common.cuh"
#include "fast.cuh"

namespace loss {

constexpr int MAX_THREADS = 1024;

// The largest of some numbers, and the sum of exp(number - largest).
struct Sum {
  float largest, sum;
};

__device__ __forceinline__ Sum together(Sum a, Sum b) {
  const float largest = fmaxf(a.largest, b.largest);
  return {largest, a.sum * fast_exp(a.largest - largest) + b.sum * fast_exp(b.largest - largest)};
}

__device__ __forceinline__ void add(Sum &sum, float x) {
  const float largest = fmaxf(sum.largest, x);
  sum.sum = sum.sum * fast_exp(sum.largest - largest) + fast_exp(x - largest);
  sum.largest = largest;
}

__device__ __forceinline__ void add(Sum &sum, float4 x) {
  const float largest = fmaxf(sum.largest, fmaxf(fmaxf(x.x, x.y), fmaxf(x.z, x.w)));
  sum.sum = sum.sum * fast_exp(sum.largest - largest) + ((fast_exp(x.x - largest) + fast_exp(x.y - largest)) + (fast_exp(x.z - largest) + fast_exp(x.w - largest)));
  sum.largest = largest;
}

// Elements of a row before its first 16-byte boundary.
__device__ __forceinline__ int before_boundary(const float *row, int vocab) { return min(vocab, (int)(-(reinterpret_cast<uintptr_t>(row) / 4) & 3)); }

// Of the whole row; all threads get it. The first `kept` groups of four elements from the boundary on are left in `copy`, each where its thread will look for it.
__device__ __forceinline__ Sum row_sum(const float *row, int vocab, float4 *copy, int kept) {
  __shared__ Sum sums[MAX_THREADS / 32];
  Sum sum = {-FLT_MAX, 0};
  const int head = before_boundary(row, vocab), quads = (vocab - head) / 4;
  if (threadIdx.x < head) add(sum, row[threadIdx.x]);
  const float4 *whole = reinterpret_cast<const float4 *>(row + head);
  int i = threadIdx.x;
  if (copy != nullptr) {
#pragma unroll 4
    for (; i < min(kept, quads); i += blockDim.x) {
      const float4 x = whole[i];
      copy[i] = x;
      add(sum, x);
    }
  }
#pragma unroll 4
  for (; i < quads; i += blockDim.x) add(sum, whole[i]);
  for (i = head + 4 * quads + threadIdx.x; i < vocab; i += blockDim.x) add(sum, row[i]);
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    // The lower lane's pair first on both sides, so that all lanes have the same bits.
    const Sum other = {__shfl_xor_sync(0xFFFFFFFFu, sum.largest, offset), __shfl_xor_sync(0xFFFFFFFFu, sum.sum, offset)};
    sum = threadIdx.x & offset ? together(other, sum) : together(sum, other);
  }
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  sum = sums[0];
  for (int warp = 1; warp < blockDim.x / 32; warp++) sum = together(sum, sums[warp]);
  return sum;
}

template <typename G> struct alignas(4 * sizeof(G)) Quad {
  G at[4];
};

// The gradient of elements index, index + 1, ...
struct Gradient {
  float largest, factor, scale;
  int target;
  __device__ __forceinline__ float of(float x, int index) const { return fast_exp(x - largest) * factor - (index == target ? scale : 0.0f); }
};

template <typename G>
__device__ __forceinline__ void write(const float *row, int vocab, const float4 *copy, int kept, const Gradient &g, G *gradient) {
  const int head = before_boundary(row, vocab);
  const int quads = reinterpret_cast<uintptr_t>(gradient + head) % sizeof(Quad<G>) == 0 ? (vocab - head) / 4 : 0;
  if (threadIdx.x < head) gradient[threadIdx.x] = from_f32<G>(g.of(row[threadIdx.x], threadIdx.x));
  for (int i = head + 4 * quads + threadIdx.x; i < vocab; i += blockDim.x) gradient[i] = from_f32<G>(g.of(row[i], i));
  const auto write_quad = [&](float4 x, int i) {
    const int index = head + 4 * i;
    Quad<G> result;
    result.at[0] = from_f32<G>(g.of(x.x, index));
    result.at[1] = from_f32<G>(g.of(x.y, index + 1));
    result.at[2] = from_f32<G>(g.of(x.z, index + 2));
    result.at[3] = from_f32<G>(g.of(x.w, index + 3));
    reinterpret_cast<Quad<G> *>(gradient + head)[i] = result;
  };
  // kept is a multiple of the block's threads, or the whole row: in both passes a thread has the same groups.
  const int first = threadIdx.x, step = blockDim.x;
  int i = first + (quads - first + step - 1) / step * step - step;  // the thread's last
#pragma unroll 4
  for (; i >= kept; i -= step) write_quad(reinterpret_cast<const float4 *>(row + head)[i], i);
#pragma unroll 4
  for (; i >= 0; i -= step) write_quad(copy[i], i);
}

// Whether the row's target is one; if not, it is reported and the row's loss is 0.
__device__ __forceinline__ bool has_target(const int *targets, int vocab, float *losses, Report *report, int &target) {
  target = targets[blockIdx.x];
  if (target >= 0 && target < vocab) return true;
  if (threadIdx.x == 0) {
    report_index(report, REPORT_TARGET, blockIdx.x, target, vocab);
    losses[blockIdx.x] = 0;
  }
  return false;
}

template <typename G>
__device__ __forceinline__ void run(const float *logits, const int *targets, int vocab, float scale, float *losses, G *gradient, int kept, Report *report) {
  extern __shared__ float4 shared[];
  const float *row = logits + (long long)blockIdx.x * vocab;
  G *of_row = gradient + (long long)blockIdx.x * vocab;
  int target;
  if (!has_target(targets, vocab, losses, report, target)) {
    for (int i = threadIdx.x; i < vocab; i += blockDim.x) of_row[i] = from_f32<G>(0.0f);
    return;
  }
  const float score = threadIdx.x == 0 ? row[target] : 0.0f;  // before the gradient takes its place: there is a barrier in row_sum
  const Sum sum = row_sum(row, vocab, shared, kept);
  if (threadIdx.x == 0) losses[blockIdx.x] = (sum.largest - score) + logf(sum.sum);
  write(row, vocab, shared, kept, {sum.largest, scale / sum.sum, scale, target}, of_row);
}

}  // namespace loss

extern "C" __global__ void __launch_bounds__(loss::MAX_THREADS)
    pan_cross_entropy(const float *__restrict__ logits, const int *__restrict__ targets, int vocab, float *__restrict__ losses, Report *report) {
  int target;
  if (!loss::has_target(targets, vocab, losses, report, target)) return;
  const float *row = logits + (long long)blockIdx.x * vocab;
  const loss::Sum sum = loss::row_sum(row, vocab, nullptr, 0);
  if (threadIdx.x == 0) losses[blockIdx.x] = (sum.largest - row[target]) + logf(sum.sum);
}
extern "C" __global__ void __launch_bounds__(loss::MAX_THREADS)
    pan_cross_entropy_grad_f32(const float *logits, const int *targets, int vocab, float scale, float *losses, float *gradient, int kept, Report *report) {
  loss::run(logits, targets, vocab, scale, losses, gradient, kept, report);
}
extern "C" __global__ void __launch_bounds__(loss::MAX_THREADS)
    pan_cross_entropy_grad_bf16(const float *logits, const int *targets, int vocab, float scale, float *losses, bf16 *gradient, int kept, Report *report) {
  loss::run(logits, targets, vocab, scale, losses, gradient, kept, report);
}
