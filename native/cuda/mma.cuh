// mma.cuh: the instructions of the matrix kernels that C++ has no words for, from sm_80 on.
//
// Fragments of mma.m16n8k16 in lane = 4 g + t (PTX ISA); every 32-bit register holds two bf16, the first in the low half:
//   A [16, 16], register i of 4:  row g + 8 (i & 1), columns 2 t and 2 t + 1, + 8 (i >> 1)
//   B [16, 8],  register i of 2:  k = 2 t and 2 t + 1, + 8 i; column g
//   C [16, 8],  float i of 4:     row g + 8 (i >> 1), column 2 t + (i & 1)
//
// Numerics. Products of bf16 are exact. Tensor cores do not round sums: they cut the terms of 8 steps of k (Hopper: 16) and the sum so far to 24 (25) binary places below
// the largest, and the new sum to f32, towards zero (MMA-Sim, arXiv 2511.10909). Relative to the largest result, emulated: normally distributed operands, a chain of
// 2048 steps 4e-6 (Hopper 3e-6), 8192 1.4e-5 (1.1e-5), 14336 3e-5 (2e-5), in order and rounded 1e-6 to 6e-6; operands of one sign, 8192 steps, 8e-5 (4e-5). One rounding
// to bf16 is 2e-3. So bf16 results have nothing to fear, and f32 arithmetic is not done here with long chains.
#pragma once
#include <stdint.h>

#include "common.cuh"

// ---- shared memory ---------------------------------------------------------------------------------------------------

// The address that ldmatrix and cp.async take.
__device__ __forceinline__ uint32_t shared_address(const void *shared) { return static_cast<uint32_t>(__cvta_generic_to_shared(shared)); }

// 16 bytes in one store: as a plain assignment nvcc takes some of them apart, and the parts of neighbouring lanes meet in a bank.
__device__ __forceinline__ void store_shared(float *to, float4 v) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(to)), "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w) : "memory");
}

// Four matrices of 8 x 8 bf16: lane 8 i + r gives the address of row r of matrix i (16 bytes, aligned so), and register i of lane 4 g + t
// gets elements 2 t, 2 t + 1 of row g of matrix i: A's fragment from row-major A, B's from row-major B^T.
__device__ __forceinline__ void ldmatrix(uint32_t (&to)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}
// The same transposed: register i of lane 4 g + t gets elements g of rows 2 t and 2 t + 1 of matrix i: B's fragment from row-major B.
__device__ __forceinline__ void ldmatrix_trans(uint32_t (&to)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}

// ---- tensor cores ----------------------------------------------------------------------------------------------------

// c += a b, [16, 8] += [16, 16] [16, 8].
__device__ __forceinline__ void mma_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Two f32 as one register of a fragment; the first in the low half.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<uint32_t *>(&pair);
}

// ---- copies from global to shared memory that do not pass through registers -------------------------------------------

// 16 bytes, both addresses aligned so. bytes of them (0..16) are read, the rest is zero; with 0 nothing is read, whatever global is.
__device__ __forceinline__ void cp_async(uint32_t shared, const void *global, int bytes) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared), "l"(__cvta_generic_to_global(global)), "r"(bytes) : "memory");
}
// 16 bytes.
__device__ __forceinline__ void cp_async(uint32_t shared, const void *global) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(shared), "l"(__cvta_generic_to_global(global)) : "memory");
}
// Closes this thread's group of the copies asked for since the last one; a group may be empty.
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most PENDING of this thread's groups are under way. Others' copies: a barrier has to follow.
template <int PENDING> __device__ __forceinline__ void cp_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory"); }
