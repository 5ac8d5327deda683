// attention.cuh: what the attention kernels on tensor cores share.
//
// Packed rows. The query heads of one key/value head see the same keys, so a block of threads works on rows of several heads at once: packed row
// p = query * group + head within the group, for group = heads / kvHeads. In [rows, heads, D] a packed row lies at query * heads * D + head * D
// from the group's first head. Packed row p sees keys 0 to keys - queries + p / group; a tile of M packed rows spans about M / group queries, so
// that the keys of a group are read once for all its heads, and the diagonal cuts few rows.
//
// Shared memory. A tile is rows of D bf16; the 16-byte chunk c of row r stands at chunk c ^ (r & 7), so that the 8 rows that a matrix of
// ldmatrix takes lie in different banks, as do the rows of copies into and out of it. Addresses are those of ldmatrix: 32 bits.
#pragma once
#include "fast.cuh"
#include "mma.cuh"

namespace attention {

constexpr int THREADS = 128;  // of every kernel with tiles: 4 warps
constexpr int WARPS = THREADS / 32;
constexpr float LOG2_E = 1.4426950408889634f;

// Keeps the compiler from computing all that follows from an address before a loop and holding it in registers.
__device__ __forceinline__ uint32_t anew(uint32_t address) {
  asm volatile("" : "+r"(address));
  return address;
}

// The thread within its warp, from a register of its own: what is computed from it is not kept from where the same was computed from threadIdx.
__device__ __forceinline__ unsigned lane_id() {
  unsigned lane;
  asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
  return lane;
}

// ---- the table of sequences ------------------------------------------------------------------------------------------

// A sequence, and which of its blocks; block -1: none.
struct Part {
  int query, queries, key, keys, block;
};

// An entry: first query row, queries, first key row, keys; whether it lies within the rows.
__device__ __forceinline__ bool entry(const int *__restrict__ table, int at, int queryRows, int keyRows, int4 &s) {
  const int *from = table + 4 * (long long)at;
  s = reinterpret_cast<uintptr_t>(table) % 16 == 0 ? *reinterpret_cast<const int4 *>(from) : make_int4(from[0], from[1], from[2], from[3]);
  return s.x >= 0 && s.y >= 0 && s.x <= queryRows && s.y <= queryRows - s.x && s.z >= 0 && s.w >= s.y && s.z <= keyRows && s.w <= keyRows - s.z;
}
__device__ __forceinline__ Part part_of(const int4 &s, int lane, int block) {
  return Part{__shfl_sync(0xFFFFFFFFu, s.x, lane), __shfl_sync(0xFFFFFFFFu, s.y, lane), __shfl_sync(0xFFFFFFFFu, s.z, lane), __shfl_sync(0xFFFFFFFFu, s.w, lane), block};
}

// The part number `wanted` of all blocks of all sequences, of which each has `blocks(queries, keys)`. A warp looks at 32 sequences at once. The
// warp with `reporter` looks at the whole table and reports entries that are not within the rows; these have no blocks.
template <typename Blocks>
__device__ __forceinline__ Part find(const int *__restrict__ table, int count, int queryRows, int keyRows, int wanted, bool reporter, Report *report, Blocks blocks) {
  int lane = threadIdx.x & 31;
  Part found{0, 0, 0, 0, -1};
  int before = 0;
  for (int from = 0; from < count; from += 32) {
    int4 s = make_int4(0, 0, 0, 0);
    int n = 0;
    if (from + lane < count) {
      if (entry(table, from + lane, queryRows, keyRows, s)) {
        n = blocks(s.y, s.w);
      } else if (reporter) {
        bool queries = s.x >= 0 && s.y >= 0 && s.x <= queryRows && s.y <= queryRows - s.x;
        report_index(report, REPORT_SEQUENCE, from + lane, s.w, queries ? keyRows : queryRows);
      }
    }
    int upTo = n;
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) {
      int left = __shfl_up_sync(0xFFFFFFFFu, upTo, offset);
      if (lane >= offset) upTo += left;
    }
    int first = before + upTo - n;
    unsigned owners = __ballot_sync(0xFFFFFFFFu, wanted >= first && wanted < first + n);
    if (owners != 0) {
      int owner = __ffs(owners) - 1;
      found = part_of(s, owner, wanted - __shfl_sync(0xFFFFFFFFu, first, owner));
      if (!reporter) break;
    }
    before += __shfl_sync(0xFFFFFFFFu, upTo, 31);
  }
  return found;
}

// The sequence that a query row belongs to, as block 0; block -1: none.
__device__ __forceinline__ Part find_row(const int *__restrict__ table, int count, int queryRows, int keyRows, int row) {
  int lane = threadIdx.x & 31;
  for (int from = 0; from < count; from += 32) {
    int4 s = make_int4(0, 0, 0, 0);
    bool is = from + lane < count && entry(table, from + lane, queryRows, keyRows, s) && row >= s.x && row - s.x < s.y;
    unsigned owners = __ballot_sync(0xFFFFFFFFu, is);
    if (owners != 0) return part_of(s, __ffs(owners) - 1, 0);
  }
  return Part{0, 0, 0, 0, -1};
}

// ---- tiles in shared memory ------------------------------------------------------------------------------------------

template <int D> struct Tile {
  static constexpr int ROW = 2 * D;       // bytes
  static constexpr int CHUNKS = D / 8;    // of 16 bytes in a row
  static constexpr int STEPS = D / 16;    // of a product over D
  static constexpr unsigned ROWS_AT_ONCE = THREADS / CHUNKS;

  // Where a lane's row of ldmatrix lies for 16 rows and columns; XOR with 32 j: 16 j columns on. Plain: the fragment of A, or of B for products over the
  // columns (mma_rows). Transposed: of B for products over the rows (mma_columns).
  __device__ static __forceinline__ uint32_t lane() {
    int lane = threadIdx.x & 31, row = lane & 15;
    return row * ROW + (((lane >> 4) ^ (row & 7)) << 4);
  }
  __device__ static __forceinline__ uint32_t chunk(int row, int c) { return row * ROW + ((c ^ (row & 7)) << 4); }

  // ROWS rows that lie `stride` elements apart, of which the first `there` are there; the others become zero.
  template <int ROWS> __device__ static __forceinline__ void load(uint32_t tile, const bf16 *from, unsigned stride, int there) {
    unsigned row = threadIdx.x / CHUNKS, c = threadIdx.x % CHUNKS;
    const bf16 *at = from + (row * (unsigned long long)stride + c * 8);
    uint32_t to = tile + chunk(row, c);
    int left = there - (int)row;
#pragma unroll
    for (int i = 0; i < ROWS; i += (int)ROWS_AT_ONCE) {
      cp_async(to + i * ROW, at, i < left ? 16 : 0);
      at += (unsigned long long)ROWS_AT_ONCE * stride;
    }
  }
};

// A packed row on its way through a sequence, some rows at a time.
struct Cursor {
  int query, head;
  __device__ __forceinline__ Cursor(int p, int group) : query(p / group), head(p % group) {}
  __device__ __forceinline__ void advance(const Cursor &by, int group) {
    query += by.query;
    head += by.head;
    if (head >= group) {
      head -= group;
      query++;
    }
  }
  // In [rows, heads, D] from the group's first head on.
  template <int D> __device__ __forceinline__ long long at(int stride) const { return (long long)query * stride + head * D; }
};

// Copies packed rows into tiles, ROWS of them at each `load` until `next`.
template <int D> struct PackedCopy {
  using T = Tile<D>;
  Cursor start, step;
  int stride, group;
  __device__ __forceinline__ PackedCopy(int p, int stride, int group)
      : start(p + (int)(threadIdx.x / T::CHUNKS), group), step(T::ROWS_AT_ONCE, group), stride(stride), group(group) {}

  // From the row where this stands on, of which the first `there` are there; the others become zero. `from`: packed row 0.
  template <int ROWS> __device__ __forceinline__ void load(uint32_t tile, const bf16 *from, int there) const {
    unsigned thread = threadIdx.x / 32 * 32 + lane_id(), row = thread / T::CHUNKS, c = thread % T::CHUNKS;
    Cursor at = start;
#pragma unroll
    for (int r = 0; r < ROWS; r += (int)T::ROWS_AT_ONCE) {
      cp_async(tile + T::chunk(row, c) + r * T::ROW, from + at.at<D>(stride) + c * 8, (int)row + r < there ? 16 : 0);
      at.advance(step, group);
    }
  }
};

// c0, c1 += a times the rows 0 to 7, 8 to 15 of what ldmatrix has read.
__device__ __forceinline__ void mma_rows(float (&c0)[4], float (&c1)[4], const uint32_t (&a)[4], const uint32_t (&b)[4]) {
  mma_bf16(c0, a, b[0], b[2]);
  mma_bf16(c1, a, b[1], b[3]);
}
// c0, c1 += a times the columns 0 to 7, 8 to 15 of what ldmatrix_trans has read.
__device__ __forceinline__ void mma_columns(float (&c0)[4], float (&c1)[4], const uint32_t (&a)[4], const uint32_t (&b)[4]) {
  mma_bf16(c0, a, b[0], b[1]);
  mma_bf16(c1, a, b[2], b[3]);
}

// Sums of a [16, 16] product as the fragment of A of the next one.
__device__ __forceinline__ void to_fragment(uint32_t (&a)[4], const float (&left)[4], const float (&right)[4]) {
  a[0] = pack_bf16(left[0], left[1]);
  a[1] = pack_bf16(left[2], left[3]);
  a[2] = pack_bf16(right[0], right[1]);
  a[3] = pack_bf16(right[2], right[3]);
}

// Puts a warp's [16 M, D] sums times factors of their rows into its rows of a tile, whose first is `tile`. Others must not use these rows.
template <int D, int M, typename Factor> __device__ __forceinline__ void put(uint32_t tile, const float (&sums)[M][D / 8][4], Factor factor) {
  int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  __syncwarp();
#pragma unroll
  for (int m = 0; m < M; m++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float f = factor(m, half);
      uint32_t row = tile + (m * 16 + half * 8 + g) * Tile<D>::ROW + 4 * t;
#pragma unroll
      for (int j = 0; j < D / 8; j++) {
        uint32_t two = pack_bf16(sums[m][j][2 * half] * f, sums[m][j][2 * half + 1] * f);
        asm volatile("st.shared.b32 [%0], %1;" ::"r"(row + ((j ^ g) << 4)), "r"(two) : "memory");
      }
    }
  }
  __syncwarp();
}

__device__ __forceinline__ uint4 load_shared(uint32_t address) {
  uint4 x;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];" : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "r"(address) : "memory");
  return x;
}

// Writes a warp's 16 M rows of a tile; row r goes to `to(r)` for r < there.
template <int D, int M> __device__ __forceinline__ void store_packed(uint32_t tile, bf16 *to, int p, int there, int stride, int group) {
  constexpr int AT_ONCE = 32 / Tile<D>::CHUNKS;
  int lane = lane_id(), row = lane / Tile<D>::CHUNKS, c = lane % Tile<D>::CHUNKS;
  Cursor at(p + row, group), step(AT_ONCE, group);
#pragma unroll 4
  for (int r = row; r < 16 * M; r += AT_ONCE) {
    uint4 x = load_shared(tile + Tile<D>::chunk(r, c));
    if (r < there) *reinterpret_cast<uint4 *>(to + at.at<D>(stride) + c * 8) = x;
    at.advance(step, group);
  }
}

}  // namespace attention
