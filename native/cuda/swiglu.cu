// swiglu.cu: SwiGLU (Shazeer 2020) of n elements and its gradient, f32 or bf16.
//
//   s = 1 / (1 + exp(-gate));   y = round(gate s) up, the rounding to the type of gate
//   dup = dy gate s;   dgate = dy up s (1 + gate (1 - s))
//
// A thread takes 16 bytes of each operand, element by element where these are not aligned; it has read everything before it writes, so a result may be
// an operand of the same place. exp(-gate) may overflow: s is 0 then.
// Bytes: every operand once. FLOPs: 6 (12) for an element. f32, each result rounded once.
//
// budget: pan_swiglu_f32 registers 40 shared 0
// budget: pan_swiglu_bf16 registers 40 shared 0
// budget: pan_swiglu_backward_f32 registers 48 shared 0
// budget: pan_swiglu_backward_bf16 registers 48 shared 0
#include "common.cuh"
#include "fast.cuh"

namespace swiglu {

constexpr int THREADS = 256;

template <typename T> struct alignas(16) Pack {
  static constexpr int SIZE = 16 / sizeof(T);
  T at[SIZE];
};

template <typename T> __device__ __forceinline__ bool aligned(const T *p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

__device__ __forceinline__ float sigmoid(float x) { return fast_reciprocal(1.0f + fast_exp(-x)); }

template <typename T> __device__ __forceinline__ T forward(T gate, T up) {
  float g = to_f32(gate);
  return from_f32<T>(to_f32(from_f32<T>(g * sigmoid(g))) * to_f32(up));
}

template <typename T> __device__ __forceinline__ void backward(T gate, T up, T dy, T &dgate, T &dup) {
  float g = to_f32(gate), d = to_f32(dy), s = sigmoid(g);
  dgate = from_f32<T>(d * to_f32(up) * s * (1.0f + g * (1.0f - s)));
  dup = from_f32<T>(d * (g * s));
}

template <typename T> __device__ __forceinline__ void run(const T *gate, const T *up, long long n, T *y) {
  constexpr int SIZE = Pack<T>::SIZE;
  const long long from = (blockIdx.x * (long long)THREADS + threadIdx.x) * SIZE;
  if (from + SIZE <= n && aligned(gate) && aligned(up) && aligned(y)) {
    const Pack<T> g = *reinterpret_cast<const Pack<T> *>(gate + from), u = *reinterpret_cast<const Pack<T> *>(up + from);
    Pack<T> out;
#pragma unroll
    for (int i = 0; i < SIZE; i++) out.at[i] = forward(g.at[i], u.at[i]);
    *reinterpret_cast<Pack<T> *>(y + from) = out;
  } else {
    for (long long i = from; i < n && i < from + SIZE; i++) y[i] = forward(gate[i], up[i]);
  }
}

template <typename T> __device__ __forceinline__ void run_backward(const T *gate, const T *up, const T *dy, long long n, T *dgate, T *dup) {
  constexpr int SIZE = Pack<T>::SIZE;
  const long long from = (blockIdx.x * (long long)THREADS + threadIdx.x) * SIZE;
  if (from + SIZE <= n && aligned(gate) && aligned(up) && aligned(dy) && aligned(dgate) && aligned(dup)) {
    const Pack<T> g = *reinterpret_cast<const Pack<T> *>(gate + from), u = *reinterpret_cast<const Pack<T> *>(up + from), d = *reinterpret_cast<const Pack<T> *>(dy + from);
    Pack<T> first, second;
#pragma unroll
    for (int i = 0; i < SIZE; i++) backward(g.at[i], u.at[i], d.at[i], first.at[i], second.at[i]);
    *reinterpret_cast<Pack<T> *>(dgate + from) = first;
    *reinterpret_cast<Pack<T> *>(dup + from) = second;
  } else {
    for (long long i = from; i < n && i < from + SIZE; i++) {
      T first, second;
      backward(gate[i], up[i], dy[i], first, second);
      dgate[i] = first;
      dup[i] = second;
    }
  }
}

}  // namespace swiglu

#define SWIGLU_KERNELS(NAME, T)                                                                                                                                        \
  extern "C" __global__ void __launch_bounds__(swiglu::THREADS) pan_swiglu_##NAME(const T *gate, const T *up, long long n, T *y) { swiglu::run(gate, up, n, y); }      \
  extern "C" __global__ void __launch_bounds__(swiglu::THREADS)                                                                                                        \
      pan_swiglu_backward_##NAME(const T *gate, const T *up, const T *dy, long long n, T *dgate, T *dup) {                                                             \
    swiglu::run_backward(gate, up, dy, n, dgate, dup);                                                                                                                 \
  }

SWIGLU_KERNELS(f32, float)
SWIGLU_KERNELS(bf16, bf16)
#undef SWIGLU_KERNELS
