// common.cuh: what all CUDA kernels share. Conventions
//
//   - Entry points are `extern "C" __global__ void pan_<operation>_<types>(...)`; panacea.cu includes every file once, and the result is one fat binary.
//     Helpers of one file stand in a namespace of that file's name.
//   - Matrices are row-major and contiguous; sizes that are multiplied are 64 bits wide.
//   - Buffers are aligned as their elements only: kernels that load 16 bytes at once exist beside ones that do not, and the host chooses.
//   - Sums are taken in f32 in an order that depends on the shape alone, never with floating-point atomics.
//   - A bf16 result is rounded once, from f32, to nearest even.
#pragma once
#include <cuda_bf16.h>
#include <stdint.h>

typedef __nv_bfloat16 bf16;

// ---- elements --------------------------------------------------------------------------------------------------------

__device__ __forceinline__ float to_f32(float x) { return x; }
__device__ __forceinline__ float to_f32(bf16 x) { return __bfloat162float(x); }

template <typename T> __device__ __forceinline__ T from_f32(float x);
template <> __device__ __forceinline__ float from_f32<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 from_f32<bf16>(float x) { return __float2bfloat16_rn(x); }

// ---- sums over threads, in a fixed order -----------------------------------------------------------------------------

// Of a warp; every lane gets the result.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, offset);
  return x;
}
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, offset));
  return x;
}

// ---- wrong indices ---------------------------------------------------------------------------------------------------

// The first wrong index since the host has last looked (CudaContext.throwReportedErrors).
struct Report {
  int kind;  // 0: none
  int unused;
  long long at, value, limit;
};
enum { REPORT_INDEX = 1, REPORT_POSITION = 2, REPORT_TARGET = 3, REPORT_SEQUENCE = 4 };

// One thread calls this; of several wrong indices any one is reported.
__device__ __forceinline__ void report_index(Report *report, int kind, long long at, long long value, long long limit) {
  if (atomicCAS(&report->kind, 0, kind) == 0) {
    report->at = at;
    report->value = value;
    report->limit = limit;
  }
}
