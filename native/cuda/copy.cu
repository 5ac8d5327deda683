// copy.cu: y = x (+ y), n elements, converted between f32 and bf16.
//
// Each thread takes 4 consecutive elements, in one load and one store where the addresses allow; it has read them before it writes, so y may be x. Bytes: what x and y hold, and y once more
// when it is added to; no arithmetic to speak of. The sum is rounded once.
//
// budget: pan_copy_f32_f32 registers 32 shared 0
// budget: pan_copy_f32_bf16 registers 32 shared 0
// budget: pan_copy_bf16_f32 registers 32 shared 0
// budget: pan_copy_bf16_bf16 registers 32 shared 0
#include "common.cuh"

namespace copying {

constexpr int PER_THREAD = 4;

template <typename T> struct alignas(PER_THREAD * sizeof(T)) Pack {
  T at[PER_THREAD];
};

template <typename T> __device__ __forceinline__ bool aligned(const T *p) { return reinterpret_cast<uintptr_t>(p) % sizeof(Pack<T>) == 0; }

template <typename X, typename Y> __device__ __forceinline__ void run(const X *x, Y *y, long long n, int accumulate) {
  long long from = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * PER_THREAD;
  if (from + PER_THREAD <= n && aligned(x) && aligned(y)) {
    Pack<X> in = *reinterpret_cast<const Pack<X> *>(x + from);
    Pack<Y> out;
    if (accumulate) out = *reinterpret_cast<const Pack<Y> *>(y + from);
#pragma unroll
    for (int i = 0; i < PER_THREAD; i++) out.at[i] = from_f32<Y>(to_f32(in.at[i]) + (accumulate ? to_f32(out.at[i]) : 0.0f));
    *reinterpret_cast<Pack<Y> *>(y + from) = out;
  } else {
    for (long long i = from; i < n && i < from + PER_THREAD; i++) y[i] = from_f32<Y>(to_f32(x[i]) + (accumulate ? to_f32(y[i]) : 0.0f));
  }
}

}  // namespace copying

extern "C" __global__ void pan_copy_f32_f32(const float *x, float *y, long long n, int accumulate) { copying::run(x, y, n, accumulate); }
extern "C" __global__ void pan_copy_f32_bf16(const float *x, bf16 *y, long long n, int accumulate) { copying::run(x, y, n, accumulate); }
extern "C" __global__ void pan_copy_bf16_f32(const bf16 *x, float *y, long long n, int accumulate) { copying::run(x, y, n, accumulate); }
extern "C" __global__ void pan_copy_bf16_bf16(const bf16 *x, bf16 *y, long long n, int accumulate) { copying::run(x, y, n, accumulate); }
