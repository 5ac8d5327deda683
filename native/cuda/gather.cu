// gather.cu: rows of a weight in any format: y[i, :] = row index[i], or all rows in order where there is no index, which expands a weight of ggml's blocks.
//
// Shapes. y [rows, cols] F32 or BF16, each value rounded once; index I32 [rows]; row r of the matrix is stored as row stored_row(r, pair) (weight.cuh). An index outside
// [0, limit) is reported, and its row of y left as it is. A weight whose rows stand in order is expanded as one row of all its elements.
//
// Mapping. A warp takes a segment of a row: 512 elements of the formats without blocks, 1024 of ggml's (2048 of Q6_K's, whose blocks have an odd number of 2 bytes). Each lane
// makes 4 or 8 consecutive elements at a time, with 16-byte loads or stores (of the wider type) where addresses allow, one by one where not.
// ggml's blocks are no multiple of any load: the warp first copies the bytes of its segment to shared memory, in whole 16-byte pieces at 16-byte addresses, of
// which the first and last may hold neighbours' bytes, and decodes from there. Pieces that reach beyond the weight, and weights at odd addresses, are
// copied by the byte. The table of a nested absmax is loaded once per block, into shared memory.
//
// Bytes: those of the rows' codes and scales, 4 per row of index, and y. Numerics: weight.cuh; bit for bit the values of dequantize.
// (Shared memory in whole KB: so ptxas rounds it where other kernels of the module have theirs aligned to 1 KB.)
//
// budget: pan_gather_f32_f32 registers 32 shared 0
// budget: pan_gather_f32_bf16 registers 32 shared 0
// budget: pan_gather_f16_f32 registers 32 shared 0
// budget: pan_gather_f16_bf16 registers 32 shared 0
// budget: pan_gather_bf16_f32 registers 32 shared 0
// budget: pan_gather_bf16_bf16 registers 32 shared 0
// budget: pan_gather_q4_f32 registers 32 shared 1024
// budget: pan_gather_q4_bf16 registers 32 shared 1024
// budget: pan_gather_q4_0_f32 registers 40 shared 5120
// budget: pan_gather_q4_0_bf16 registers 40 shared 5120
// budget: pan_gather_q4_1_f32 registers 40 shared 6144
// budget: pan_gather_q4_1_bf16 registers 40 shared 6144
// budget: pan_gather_q5_0_f32 registers 40 shared 6144
// budget: pan_gather_q5_0_bf16 registers 40 shared 6144
// budget: pan_gather_q5_1_f32 registers 40 shared 7168
// budget: pan_gather_q5_1_bf16 registers 40 shared 7168
// budget: pan_gather_q8_0_f32 registers 40 shared 9216
// budget: pan_gather_q8_0_bf16 registers 40 shared 9216
// budget: pan_gather_q4_k_f32 registers 40 shared 5120
// budget: pan_gather_q4_k_bf16 registers 40 shared 5120
// budget: pan_gather_q5_k_f32 registers 40 shared 6144
// budget: pan_gather_q5_k_bf16 registers 40 shared 6144
// budget: pan_gather_q6_k_f32 registers 40 shared 14336
// budget: pan_gather_q6_k_bf16 registers 40 shared 14336
#include "weight.cuh"

namespace gathering {

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;
constexpr int SEGMENT = 512;

// What a warp has to do: a row of y, the row of the weight as it is stored, and the segment of both. False: nothing.
struct Item {
  long long row, stored, from;

  __device__ __forceinline__ bool find(const int *index, long long rows, long long cols, int segment, int limit, int pair, Report *report) {
    long long segments = (cols + segment - 1) / segment;
    long long item = blockIdx.x * static_cast<long long>(WARPS) + threadIdx.x / 32;
    row = item / segments;
    if (row >= rows) return false;
    from = (item - row * segments) * segment;
    long long source = row;
    if (index != nullptr) {
      int r = index[row];
      if (r < 0 || r >= limit) {
        if (from == 0 && threadIdx.x % 32 == 0) report_index(report, REPORT_INDEX, row, r, limit);
        return false;
      }
      source = r;
    }
    stored = weight::stored_row(source, pair);
    return true;
  }
};

// ---- f32, f16, bf16 ----------------------------------------------------------------------------------------------------

// At any address.
template <typename S> __device__ __forceinline__ float load_one(const uint8_t *p) {
  union {
    uint8_t bytes[sizeof(S)];
    S value;
  } u;
#pragma unroll
  for (int i = 0; i < static_cast<int>(sizeof(S)); i++) u.bytes[i] = p[i];
  return to_f32(u.value);
}

template <typename S, typename T>
__device__ __forceinline__ void run_plain(const uint8_t *data, const int *index, long long rows, long long cols, int limit, int pair, T *y, Report *report) {
  constexpr int COUNT = 16 / (sizeof(S) > sizeof(T) ? sizeof(S) : sizeof(T));
  struct alignas(COUNT * sizeof(S)) Pack {
    S at[COUNT];
  };
  Item item;
  if (!item.find(index, rows, cols, SEGMENT, limit, pair, report)) return;
  const uint8_t *from = data + (item.stored * cols + item.from) * static_cast<long long>(sizeof(S));
  T *to = y + item.row * cols + item.from;
  int lane = threadIdx.x % 32;
  int count = static_cast<int>(cols - item.from < SEGMENT ? cols - item.from : SEGMENT);
  if (count % COUNT == 0 && weight::aligned(from, sizeof(Pack)) && weight::aligned(to, COUNT * sizeof(T))) {
#pragma unroll
    for (int s = 0; s < SEGMENT / (32 * COUNT); s++) {
      int at = (s * 32 + lane) * COUNT;
      if (at >= count) break;
      Pack pack = *reinterpret_cast<const Pack *>(from + at * sizeof(S));
      float v[COUNT];
#pragma unroll
      for (int i = 0; i < COUNT; i++) v[i] = to_f32(pack.at[i]);
      weight::store_whole(to + at, v);
    }
  } else {
    for (int at = lane; at < count; at += 32) to[at] = from_f32<T>(load_one<S>(from + at * sizeof(S)));
  }
}

// ---- 4-bit codes -------------------------------------------------------------------------------------------------------

template <typename T>
__device__ __forceinline__ void run_q4(const uint8_t *packed, const float *levels, weight::Absmax absmax, int shift, const int *index, long long rows, long long cols, int limit, T *y,
                                       Report *report) {
  constexpr int COUNT = weight::PER_16<T>;
  __shared__ float code_levels[256];
  if (absmax.nested()) {
    code_levels[threadIdx.x] = absmax.code_levels[threadIdx.x];
    absmax.code_levels = code_levels;
    __syncthreads();
  }
  Item item;
  if (!item.find(index, rows, cols, SEGMENT, limit, 0, report)) return;
  int lane = threadIdx.x % 32;
  long long base = item.stored * cols + item.from;
  T *to = y + item.row * cols + item.from;
  int count = static_cast<int>(cols - item.from < SEGMENT ? cols - item.from : SEGMENT);
  using Codes = typename weight::CodesOf<COUNT>::Type;
  if (cols % COUNT == 0 && weight::aligned(packed, sizeof(Codes)) && weight::aligned(y, 16)) {
    float level = levels[lane % 16];
#pragma unroll
    for (int s = 0; s < SEGMENT / (32 * COUNT); s++) {
      int at = (s * 32 + lane) * COUNT;
      uint32_t codes = 0;
      float factor = 0.0f;
      if (at < count) {
        codes = *reinterpret_cast<const Codes *>(packed + (base + at) / 2);
        factor = absmax.at(base + at >> shift);
      }
      float v[COUNT];
#pragma unroll
      for (int i = 0; i < COUNT; i++) v[i] = __fmul_rn(weight::look_up(level, codes >> weight::code_bit(i)), factor);
      if (at < count) weight::store_whole(to + at, v);
    }
  } else {
    for (int at = lane; at < count; at += 32) {
      to[at] = from_f32<T>(__fmul_rn(levels[weight::code_of(packed, base + at)], absmax.at(base + at >> shift)));
    }
  }
}

// ---- ggml's blocks -----------------------------------------------------------------------------------------------------

__host__ __device__ constexpr int segment_of(weight::Format f) { return f == weight::Q6_K ? 2048 : 1024; }

// Bytes of a segment, and the up to 15 before it, in whole pieces.
template <weight::Format F> constexpr int STAGED = (segment_of(F) / weight::block_elements(F) * weight::block_bytes(F) + 15 + 15) / 16 * 16;

template <weight::Format F, typename T>
__device__ __forceinline__ void run_blocks(const uint8_t *data, long long bytes, const int *index, long long rows, long long cols, int limit, int pair, T *y, Report *report) {
  constexpr int COUNT = weight::PER_16<T>, ELEMENTS = weight::block_elements(F), BYTES = weight::block_bytes(F);
  __shared__ uint4 pieces[WARPS][STAGED<F> / 16];
  Item item;
  if (!item.find(index, rows, cols, segment_of(F), limit, pair, report)) return;
  int lane = threadIdx.x % 32;
  long long start = (item.stored * cols + item.from) / ELEMENTS * BYTES;
  unsigned count = static_cast<unsigned>(cols - item.from < segment_of(F) ? cols - item.from : segment_of(F));
  int length = count / ELEMENTS * BYTES;
  uint4 *staged = pieces[threadIdx.x / 32];
  int before = static_cast<int>(reinterpret_cast<uintptr_t>(data + start) % 16);
  if (before % 2 == 0) {
    const uint8_t *from = data + start - before;
    for (int p = lane * 16; p < before + length; p += 32 * 16) {
      if (start - before + p >= 0 && start - before + p + 16 <= bytes) {
        staged[p / 16] = __ldcs(reinterpret_cast<const uint4 *>(from + p));
      } else {
        for (int i = max(p, before); i < min(p + 16, before + length); i++) reinterpret_cast<uint8_t *>(staged)[i] = from[i];
      }
    }
  } else {
    before = 0;
    for (int i = lane; i < length; i += 32) reinterpret_cast<uint8_t *>(staged)[i] = data[start + i];
  }
  __syncwarp();
  const uint8_t *blocks = reinterpret_cast<const uint8_t *>(staged) + before;
  T *to = y + item.row * cols + item.from;
  if (weight::aligned(to, 16)) {
    for (unsigned at = lane * COUNT; at < count; at += 32 * COUNT) {
      float v[COUNT];
      weight::decode<F>(blocks + at / ELEMENTS * BYTES, at % ELEMENTS, v);
      weight::store_whole(to + at, v);
    }
  } else {
    for (unsigned at = lane * 4; at < count; at += 32 * 4) {
      float v[4];
      weight::decode<F>(blocks + at / ELEMENTS * BYTES, at % ELEMENTS, v);
#pragma unroll
      for (int i = 0; i < 4; i++) to[at + i] = from_f32<T>(v[i]);
    }
  }
}

}  // namespace gathering

#define PAN_PLAIN(name, S, T)                                                                                                                                             \
  extern "C" __global__ void __launch_bounds__(gathering::THREADS)                                                                                                        \
      pan_gather_##name(const uint8_t *data, const int *index, long long rows, long long cols, int limit, int pair, T *y, Report *report) {                               \
    gathering::run_plain<S>(data, index, rows, cols, limit, pair, y, report);                                                                                             \
  }
PAN_PLAIN(f32_f32, float, float)
PAN_PLAIN(f32_bf16, float, bf16)
PAN_PLAIN(f16_f32, half, float)
PAN_PLAIN(f16_bf16, half, bf16)
PAN_PLAIN(bf16_f32, bf16, float)
PAN_PLAIN(bf16_bf16, bf16, bf16)
#undef PAN_PLAIN

#define PAN_Q4(name, T)                                                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(gathering::THREADS)                                                                                                        \
      pan_gather_q4_##name(const uint8_t *packed, const float *levels, const void *absmax, const float *code_levels, const float *scale, float offset, int shift,         \
                           const int *index, long long rows, long long cols, int limit, T *y, Report *report) {                                                           \
    gathering::run_q4(packed, levels, {absmax, code_levels, scale, offset}, shift, index, rows, cols, limit, y, report);                                                  \
  }
PAN_Q4(f32, float)
PAN_Q4(bf16, bf16)
#undef PAN_Q4

#define PAN_BLOCKS(name, F, T)                                                                                                                                            \
  extern "C" __global__ void __launch_bounds__(gathering::THREADS)                                                                                                        \
      pan_gather_##name(const uint8_t *data, long long bytes, const int *index, long long rows, long long cols, int limit, int pair, T *y, Report *report) {              \
    gathering::run_blocks<weight::F>(data, bytes, index, rows, cols, limit, pair, y, report);                                                                             \
  }
PAN_BLOCKS(q4_0_f32, Q4_0, float)
PAN_BLOCKS(q4_0_bf16, Q4_0, bf16)
PAN_BLOCKS(q4_1_f32, Q4_1, float)
PAN_BLOCKS(q4_1_bf16, Q4_1, bf16)
PAN_BLOCKS(q5_0_f32, Q5_0, float)
PAN_BLOCKS(q5_0_bf16, Q5_0, bf16)
PAN_BLOCKS(q5_1_f32, Q5_1, float)
PAN_BLOCKS(q5_1_bf16, Q5_1, bf16)
PAN_BLOCKS(q8_0_f32, Q8_0, float)
PAN_BLOCKS(q8_0_bf16, Q8_0, bf16)
PAN_BLOCKS(q4_k_f32, Q4_K, float)
PAN_BLOCKS(q4_k_bf16, Q4_K, bf16)
PAN_BLOCKS(q5_k_f32, Q5_K, float)
PAN_BLOCKS(q5_k_bf16, Q5_K, bf16)
PAN_BLOCKS(q6_k_f32, Q6_K, float)
PAN_BLOCKS(q6_k_bf16, Q6_K, bf16)
#undef PAN_BLOCKS
