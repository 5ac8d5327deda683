// fast.cuh: exponentials and reciprocals as the special function units make them, with an error of about two units in the last place.
#pragma once

// 2^x; 0 below 2^-126.
__device__ __forceinline__ float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// e^x; the rounding of the exponent adds |x| 2^-24 to the error.
__device__ __forceinline__ float fast_exp(float x) { return fast_exp2(x * 1.4426950408889634f); }

// 1 / x; 0 of an infinite x.
__device__ __forceinline__ float fast_reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
