// norm.cu: RMSNorm (Zhang and Sennrich 2019) of the rows of x[M,N] with a weight w[N], its gradient, and the gradient of the weight.
//
//   inv = 1 / sqrt(mean(x^2) + eps);   y = round(x inv) w, the rounding to the type of x
//   x^ = x inv;   dx = inv (dy w - x^ mean(dy w x^)) (+ dx);   dw += sum over the rows of dy x^
//
// x, y, dy, dx are row-major, f32 or bf16; w, inv[M], dw are f32. All arithmetic is f32; a lane sums its elements in ascending order, then the lanes of a
// warp, then the warps of a row, so the order depends on the shape alone. A result is rounded once.
//
// Forward and backward, `pan_rms_norm_*` and `pan_rms_norm_backward_*`: blocks of 16 warps, `warps_per_row` (a power of two) of which share a row; a lane
// keeps up to 8 pieces of 16 bytes of it in registers, so every row is read once. A block works on `rows_per_block` rows, for which it reads the weight
// once, into shared memory. Rows up to 16 * 32 * 8 pieces whose pieces are aligned; all others take `pan_rms_norm_any_*`: a block for a row, which it
// reads twice, element by element.
// Bytes: x, y (x, dy, dx, and dx again with accumulate) once, the weight once per block. FLOPs: 4 (10) for an element.
//
// Gradient of the weight: `pan_rms_norm_weight_grad_*` gives a block of 8 warps 32 pieces of columns (lane = piece) and a range of rows, of which warp i
// takes rows i, i + 8, ...; the warps' sums are added in their order and stand in partial[range][N], which `pan_add_partials` adds to dw, range by
// range. Bytes: x and dy once, and 8 for a column and range of rows. FLOPs: 3 for an element.
//
// budget: pan_rms_norm_f32 registers 64 shared 65664
// budget: pan_rms_norm_bf16 registers 64 shared 131200
// budget: pan_rms_norm_any_f32 registers 40 shared 128
// budget: pan_rms_norm_any_bf16 registers 40 shared 128
// budget: pan_rms_norm_backward_f32 registers 128 shared 65664
// budget: pan_rms_norm_backward_bf16 registers 128 shared 131200
// budget: pan_rms_norm_backward_any_f32 registers 40 shared 128
// budget: pan_rms_norm_backward_any_bf16 registers 40 shared 128
// budget: pan_rms_norm_weight_grad_f32 registers 64 shared 4096
// budget: pan_rms_norm_weight_grad_bf16 registers 64 shared 8192
// budget: pan_rms_norm_weight_grad_any_f32 registers 64 shared 1024
// budget: pan_rms_norm_weight_grad_any_bf16 registers 64 shared 1024
// budget: pan_add_partials registers 40 shared 0
#include "common.cuh"

namespace norms {

constexpr int WARPS = 16, THREADS = 32 * WARPS, PIECES = 8;  // of a block; of a lane

// 16 bytes of a row.
template <typename T> struct alignas(16) Piece {
  static constexpr int SIZE = 16 / sizeof(T);
  T at[SIZE];
};

// The sum of a value over the warps of a row: `partial` has a place for each warp of the block, and is free again at the second call after this one.
__device__ __forceinline__ float row_sum(float x, float *partial, int warps_per_row) {
  x = warp_sum(x);
  if (warps_per_row == 1) return x;
  int warp = threadIdx.x / 32;
  if (threadIdx.x % 32 == 0) partial[warp] = x;
  __syncthreads();
  float sum = 0;
  int first = warp & -warps_per_row;
  for (int i = 0; i < warps_per_row; i++) sum += partial[first + i];
  return sum;
}

// The weight in shared memory, in floats of four: the first of every piece, then the second of every piece (bf16), so that lanes read side by side.
template <typename T> __device__ __forceinline__ void load_weight(const float *__restrict__ weight, float4 *shared, int pieces) {
  constexpr int QUADS = Piece<T>::SIZE / 4;
  for (int i = threadIdx.x; i < pieces * QUADS; i += THREADS) shared[i % QUADS * pieces + i / QUADS] = reinterpret_cast<const float4 *>(weight)[i];
}
template <typename T> __device__ __forceinline__ void weights_of(const float4 *shared, int pieces, int piece, float (&w)[Piece<T>::SIZE]) {
#pragma unroll
  for (int q = 0; q < Piece<T>::SIZE / 4; q++) reinterpret_cast<float4 &>(w[4 * q]) = shared[q * pieces + piece];
}

template <typename T>
__device__ __forceinline__ void forward(const T *__restrict__ x, const float *__restrict__ weight, float eps, int m, int n, int warps_per_row, int rows_per_block, T *__restrict__ y,
                                        float *__restrict__ inv) {
  extern __shared__ float4 shared[];
  constexpr int SIZE = Piece<T>::SIZE;
  const int pieces = n / SIZE, lanes = 32 * warps_per_row, lane = threadIdx.x % lanes, rows_at_once = WARPS / warps_per_row;
  float *partial = reinterpret_cast<float *>(shared + n / 4);
  for (int pass = 0; pass * rows_at_once < rows_per_block; pass++) {
    const int row = blockIdx.x * rows_per_block + pass * rows_at_once + threadIdx.x / lanes;
    const Piece<T> *in = reinterpret_cast<const Piece<T> *>(x) + (long long)row * pieces;
    Piece<T> kept[PIECES];
#pragma unroll
    for (int i = 0; i < PIECES; i++)
      if (row < m && lane + i * lanes < pieces) kept[i] = in[lane + i * lanes];
    if (pass == 0) {
      load_weight<T>(weight, shared, pieces);
      __syncthreads();
    }
    float squares = 0;
#pragma unroll
    for (int i = 0; i < PIECES; i++)
      if (row < m && lane + i * lanes < pieces)
#pragma unroll
        for (int j = 0; j < SIZE; j++) squares += to_f32(kept[i].at[j]) * to_f32(kept[i].at[j]);
    const float inverse = 1.0f / sqrtf(row_sum(squares, partial + pass % 2 * WARPS, warps_per_row) / n + eps);
    if (row >= m) continue;  // the whole row's warps; they all come to the next pass's barrier
    if (lane == 0) inv[row] = inverse;
    Piece<T> *out = reinterpret_cast<Piece<T> *>(y) + (long long)row * pieces;
#pragma unroll
    for (int i = 0; i < PIECES; i++)
      if (lane + i * lanes < pieces) {
        alignas(16) float w[SIZE];
        weights_of<T>(shared, pieces, lane + i * lanes, w);
        Piece<T> result;
#pragma unroll
        for (int j = 0; j < SIZE; j++) result.at[j] = from_f32<T>(to_f32(from_f32<T>(to_f32(kept[i].at[j]) * inverse)) * w[j]);
        out[lane + i * lanes] = result;
      }
  }
}

template <typename T>
__device__ __forceinline__ void backward(const T *__restrict__ x, const float *__restrict__ weight, const float *__restrict__ inv, const T *__restrict__ dy, int m, int n, int warps_per_row,
                                         int rows_per_block, T *__restrict__ dx, int accumulate) {
  extern __shared__ float4 shared[];
  constexpr int SIZE = Piece<T>::SIZE;
  const int pieces = n / SIZE, lanes = 32 * warps_per_row, lane = threadIdx.x % lanes, rows_at_once = WARPS / warps_per_row;
  float *partial = reinterpret_cast<float *>(shared + n / 4);
  for (int pass = 0; pass * rows_at_once < rows_per_block; pass++) {
    const int row = blockIdx.x * rows_per_block + pass * rows_at_once + threadIdx.x / lanes;
    const long long start = (long long)row * pieces;
    Piece<T> kept[PIECES], grad[PIECES];
#pragma unroll
    for (int i = 0; i < PIECES; i++)
      if (row < m && lane + i * lanes < pieces) {
        kept[i] = reinterpret_cast<const Piece<T> *>(x)[start + lane + i * lanes];
        grad[i] = reinterpret_cast<const Piece<T> *>(dy)[start + lane + i * lanes];
      }
    const float inverse = row < m ? inv[row] : 0.0f;
    if (pass == 0) {
      load_weight<T>(weight, shared, pieces);
      __syncthreads();
    }
    float sum = 0;
#pragma unroll
    for (int i = 0; i < PIECES; i++)
      if (row < m && lane + i * lanes < pieces) {
        alignas(16) float w[SIZE];
        weights_of<T>(shared, pieces, lane + i * lanes, w);
#pragma unroll
        for (int j = 0; j < SIZE; j++) sum += to_f32(grad[i].at[j]) * w[j] * (to_f32(kept[i].at[j]) * inverse);
      }
    const float mean = row_sum(sum, partial + pass % 2 * WARPS, warps_per_row) / n;
    if (row >= m) continue;
#pragma unroll
    for (int i = 0; i < PIECES; i++)
      if (lane + i * lanes < pieces) {
        alignas(16) float w[SIZE];
        weights_of<T>(shared, pieces, lane + i * lanes, w);
        Piece<T> &out = reinterpret_cast<Piece<T> *>(dx)[start + lane + i * lanes];
        Piece<T> result;
        if (accumulate) result = out;
#pragma unroll
        for (int j = 0; j < SIZE; j++) {
          float change = inverse * (to_f32(grad[i].at[j]) * w[j] - to_f32(kept[i].at[j]) * inverse * mean);
          result.at[j] = from_f32<T>(accumulate ? to_f32(result.at[j]) + change : change);
        }
        out = result;
      }
  }
}

// ---- rows of any length and alignment --------------------------------------------------------------------------------

constexpr int ANY_THREADS = 256;

template <typename T>
__device__ __forceinline__ void forward_any(const T *__restrict__ x, const float *__restrict__ weight, float eps, int n, T *__restrict__ y, float *__restrict__ inv) {
  __shared__ float partial[WARPS];
  const long long start = (long long)blockIdx.x * n;
  float squares = 0;
  for (int j = threadIdx.x; j < n; j += ANY_THREADS) squares += to_f32(x[start + j]) * to_f32(x[start + j]);
  const float inverse = 1.0f / sqrtf(row_sum(squares, partial, ANY_THREADS / 32) / n + eps);
  if (threadIdx.x == 0) inv[blockIdx.x] = inverse;
  for (int j = threadIdx.x; j < n; j += ANY_THREADS) y[start + j] = from_f32<T>(to_f32(from_f32<T>(to_f32(x[start + j]) * inverse)) * weight[j]);
}

template <typename T>
__device__ __forceinline__ void backward_any(const T *__restrict__ x, const float *__restrict__ weight, const float *__restrict__ inv, const T *__restrict__ dy, int n, T *__restrict__ dx,
                                             int accumulate) {
  __shared__ float partial[WARPS];
  const long long start = (long long)blockIdx.x * n;
  const float inverse = inv[blockIdx.x];
  float sum = 0;
  for (int j = threadIdx.x; j < n; j += ANY_THREADS) sum += to_f32(dy[start + j]) * weight[j] * (to_f32(x[start + j]) * inverse);
  const float mean = row_sum(sum, partial, ANY_THREADS / 32) / n;
  for (int j = threadIdx.x; j < n; j += ANY_THREADS) {
    float change = inverse * (to_f32(dy[start + j]) * weight[j] - to_f32(x[start + j]) * inverse * mean);
    dx[start + j] = from_f32<T>(accumulate ? to_f32(dx[start + j]) + change : change);
  }
}

// ---- gradient of the weight ------------------------------------------------------------------------------------------

constexpr int GRAD_WARPS = 8;

// SIZE elements at once: those of a piece, or one.
template <typename T, int SIZE>
__device__ __forceinline__ void weight_grad(const T *__restrict__ x, const float *__restrict__ inv, const T *__restrict__ dy, int m, int n, int rows_per_block, float *__restrict__ partial) {
  struct alignas(SIZE * sizeof(T)) Pack {
    T at[SIZE];
  };
  struct alignas(SIZE % 4 == 0 ? 16 : 4) Floats {
    float at[SIZE];
  };
  __shared__ Floats sums[GRAD_WARPS][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, piece = blockIdx.x * 32 + lane, pieces = n / SIZE;
  const long long last = min((long long)m, (blockIdx.y + 1LL) * rows_per_block);
  Floats sum = {};
  if (piece < pieces) {
#pragma unroll 4
    for (long long row = (long long)blockIdx.y * rows_per_block + warp; row < last; row += GRAD_WARPS) {
      const Pack a = reinterpret_cast<const Pack *>(x)[row * pieces + piece], b = reinterpret_cast<const Pack *>(dy)[row * pieces + piece];
      const float inverse = inv[row];
#pragma unroll
      for (int j = 0; j < SIZE; j++) sum.at[j] += to_f32(b.at[j]) * (to_f32(a.at[j]) * inverse);
    }
  }
  sums[warp][lane] = sum;
  __syncthreads();
  for (int i = threadIdx.x; i < 32 * SIZE; i += 32 * GRAD_WARPS) {
    int column = blockIdx.x * 32 * SIZE + i;
    if (column >= n) break;
    float total = 0;
#pragma unroll
    for (int w = 0; w < GRAD_WARPS; w++) total += sums[w][i / SIZE].at[i % SIZE];
    partial[(long long)blockIdx.y * n + column] = total;
  }
}

}  // namespace norms

#define NORM_KERNELS(NAME, T)                                                                                                                                                              \
  extern "C" __global__ void __launch_bounds__(norms::THREADS)                                                                                                                           \
      pan_rms_norm_##NAME(const T *x, const float *weight, float eps, int m, int n, int warps_per_row, int rows_per_block, T *y, float *inv) {                                             \
    norms::forward(x, weight, eps, m, n, warps_per_row, rows_per_block, y, inv);                                                                                                            \
  }                                                                                                                                                                                        \
  extern "C" __global__ void __launch_bounds__(norms::THREADS) pan_rms_norm_backward_##NAME(const T *x, const float *weight, const float *inv, const T *dy, int m, int n,                \
                                                                                              int warps_per_row, int rows_per_block, T *dx, int accumulate) {                              \
    norms::backward(x, weight, inv, dy, m, n, warps_per_row, rows_per_block, dx, accumulate);                                                                                               \
  }                                                                                                                                                                                        \
  extern "C" __global__ void __launch_bounds__(norms::ANY_THREADS) pan_rms_norm_any_##NAME(const T *x, const float *weight, float eps, int n, T *y, float *inv) {                           \
    norms::forward_any(x, weight, eps, n, y, inv);                                                                                                                                          \
  }                                                                                                                                                                                        \
  extern "C" __global__ void __launch_bounds__(norms::ANY_THREADS)                                                                                                                          \
      pan_rms_norm_backward_any_##NAME(const T *x, const float *weight, const float *inv, const T *dy, int n, T *dx, int accumulate) {                                                     \
    norms::backward_any(x, weight, inv, dy, n, dx, accumulate);                                                                                                                             \
  }                                                                                                                                                                                        \
  extern "C" __global__ void __launch_bounds__(32 * norms::GRAD_WARPS)                                                                                                                      \
      pan_rms_norm_weight_grad_##NAME(const T *x, const float *inv, const T *dy, int m, int n, int rows_per_block, float *partial) {                                                       \
    norms::weight_grad<T, norms::Piece<T>::SIZE>(x, inv, dy, m, n, rows_per_block, partial);                                                                                                 \
  }                                                                                                                                                                                        \
  extern "C" __global__ void __launch_bounds__(32 * norms::GRAD_WARPS)                                                                                                                      \
      pan_rms_norm_weight_grad_any_##NAME(const T *x, const float *inv, const T *dy, int m, int n, int rows_per_block, float *partial) {                                                   \
    norms::weight_grad<T, 1>(x, inv, dy, m, n, rows_per_block, partial);                                                                                                                    \
  }

NORM_KERNELS(f32, float)
NORM_KERNELS(bf16, bf16)
#undef NORM_KERNELS

// y[n] += the `parts` rows of partial[parts][n], row by row.
extern "C" __global__ void __launch_bounds__(256) pan_add_partials(const float *__restrict__ partial, int parts, int n, float *__restrict__ y) {
  int column = blockIdx.x * 256 + threadIdx.x;
  if (column >= n) return;
  float sum = 0;
#pragma unroll 8
  for (int i = 0; i < parts; i++) sum += partial[(long long)i * n + column];
  y[column] += sum;
}
