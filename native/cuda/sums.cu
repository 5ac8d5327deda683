// sums.cu: the sum of the squares of n elements, f32 or bf16, in double precision.
//
// Two launches: `blocks` blocks, a number that depends on n alone, each with a range of elements, of which thread i takes the packs of 4 i, i + 256, ...;
// threads, warps, and in pan_sum_partials the blocks' sums are added in a fixed order. So the result depends on n and the elements, not on addresses:
// where packs are not aligned, their elements are read one by one.
// Bytes: x once. FLOPs: 2 for an element, double.
//
// budget: pan_sum_of_squares_f32 registers 40 shared 64
// budget: pan_sum_of_squares_bf16 registers 40 shared 64
// budget: pan_sum_partials registers 40 shared 64
#include "common.cuh"

namespace sums {

constexpr int THREADS = 256, SIZE = 4;

template <typename T> struct alignas(SIZE * sizeof(T)) Pack {
  T at[SIZE];
};

// Of the block; thread 0 gets it.
__device__ __forceinline__ double block_sum(double x) {
  __shared__ double partial[THREADS / 32];
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, offset);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
  __syncthreads();
  double sum = 0;
  for (int i = 0; i < THREADS / 32; i++) sum += partial[i];
  return sum;
}

template <typename T> __device__ __forceinline__ void squares(const T *__restrict__ x, long long n, long long per_block, double *__restrict__ partial) {
  const long long from = blockIdx.x * per_block, to = min(n, from + per_block);
  const bool aligned = reinterpret_cast<uintptr_t>(x) % sizeof(Pack<T>) == 0;  // per_block is a multiple of SIZE
  double sum = 0;
#pragma unroll 4
  for (long long i = from + threadIdx.x * SIZE; i < to; i += THREADS * SIZE) {
    T in[SIZE];
    if (aligned && i + SIZE <= to) {
      reinterpret_cast<Pack<T> &>(in) = *reinterpret_cast<const Pack<T> *>(x + i);
    } else {
#pragma unroll
      for (int j = 0; j < SIZE; j++) in[j] = i + j < to ? x[i + j] : from_f32<T>(0.0f);
    }
#pragma unroll
    for (int j = 0; j < SIZE; j++) {
      const double value = to_f32(in[j]);
      sum += value * value;
    }
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

}  // namespace sums

extern "C" __global__ void __launch_bounds__(sums::THREADS) pan_sum_of_squares_f32(const float *x, long long n, long long per_block, double *partial) {
  sums::squares(x, n, per_block, partial);
}
extern "C" __global__ void __launch_bounds__(sums::THREADS) pan_sum_of_squares_bf16(const bf16 *x, long long n, long long per_block, double *partial) {
  sums::squares(x, n, per_block, partial);
}
// *sum = the sum of partial[parts]; one block.
extern "C" __global__ void __launch_bounds__(sums::THREADS) pan_sum_partials(const double *__restrict__ partial, int parts, double *__restrict__ sum) {
  double total = 0;
  for (int i = threadIdx.x; i < parts; i += sums::THREADS) total += partial[i];
  total = sums::block_sum(total);
  if (threadIdx.x == 0) *sum = total;
}
