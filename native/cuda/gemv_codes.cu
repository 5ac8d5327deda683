// gemv_codes.cu: products of one or two rows of bf16 x with a weight of 4-bit codes, on the tensor cores: the linear layers of decoding.
//
//   y[r, j] = sum over i of x[r, i] W[j, i] (+ scaling * sum over q of s[r, q] factor[j, q]) (+ y[r, j]),   r < m <= 2, j < n, i < k
//
// Weights as in gemv.cu: element e = j k + i in byte e/2, the even one in the high nibble, W = level[code] * scale[e >> shift]. k is a multiple
// of 64 (of 32 with blocks of 32), x and the codes are aligned to 16 bytes.
//
// Numerics as in gemm_few_rows.cu: bf16(LEVEL_SCALE * level) times x on the tensor cores, sums in f32; the sum over 32 elements is multiplied by its
// scale in f32. The order of the sums depends on the shape and on the number of multiprocessors. The low-rank term is f32.
//
// Mapping. A unit of work is a tile of 16 rows of W by 128 elements of k, 1024 bytes, of one warp. Lane (g, t) = 4 g + t loads 16 bytes, 32
// elements, of each of rows g and g + 8, straight into registers, and looks up each byte in a table of pairs of bf16: the register that
// mma.m16n8k16 wants as A, if the mma's 16 elements of k are taken as four of each lane's 32. A sum over the four lanes would mix blocks of
// different scales; but B has 8 columns, and x needs only one or two. So x of lane t's elements stands in column t (of the second row: 4 + t), and
// the rest of B is zero: column c of the result is the sum over the 32 elements of lane c alone. In 8 mma a unit is done, for one row of x or two.
//   The table has 256 entries at a distance of 256 bytes, each 32 times, once for every bank: so the address of a lane's copy is the code's byte
// above the byte 4 * lane, which one PRMT puts together, and no two lanes ever meet in a bank.
//   Blocks, one for a multiprocessor, have equal shares of the rows (multiples of 8), and take them in turns of up to 128; the warps share the units of a
// turn evenly, whatever rows they belong to; sums of parts of a tile are put together in shared memory, in the order of the warps.
// Scales are decoded to f32 in shared memory, a turn ahead. Codes are loaded two units ahead, also across turns.
//
// Bytes: n k / 2 and the scales once, x once for each multiprocessor. FLOPs: 2 m n k; 8 times (4 times) as many on the tensor cores.
//
// budget: pan_gemv_codes registers 128 shared 166912
#include "common.cuh"
#include "mma.cuh"

namespace gemv_codes {

constexpr int THREADS = 512, WARPS = THREADS / 32;
constexpr int TILE = 16, CHUNK = 128, SEGMENT = 32;  // rows; elements of k of a unit, and of a lane
constexpr int TABLE_BYTES = 256 * 256;
constexpr int X_PITCH = 2 * SEGMENT + 16;  // bytes of a segment of x in shared memory: four of them are read at once
constexpr float LEVEL_SCALE = 159.0f / 256.0f;

struct Operands {
  const uint8_t *packed;
  const void *absmax;
  const float *nested_levels;  // in shared memory
  const float *nested_scale;   // null: absmax are f32
  float offset;
  int shift, n, k, m;
  const bf16 *x;
  void *y;
  int y_bf16, accumulate;
  const float *s, *factor;
  long long factor_row, factor_col;
  int rank;
  float scaling;
  int block_rows, turn_rows, scale_pitch;
};

// The codes of a lane in a unit: of rows g and g + 8.
struct Codes {
  uint4 row[2];
};

struct Kernel {
  const Operands &o;
  char *table;
  char *xs;         // [m][segments] of X_PITCH
  float *scales;    // [2][turn_rows][scale_pitch]
  float *low_rank;  // [3][turn_rows][2]
  float *parts;     // [2][turn_rows / TILE + WARPS][2][TILE]
  float *outer;     // the scales of the scales, from the one of the block's first row on
  long long first_outer;
  const int lane, warp, g, t, chunks, first_row, rows, turns;
  // The next unit to load: its turn, what is left of the warp's units there, its place.
  int next_turn, next_left, next_chunk, next_row;
  const uint8_t *next;
  const long long below, to_next_tile;  // bytes to the row of codes 8 further, and from a tile's end to the next one's beginning

  __device__ __forceinline__ Kernel(const Operands &o, char *shared)
      : o(o), table(shared), xs(shared + TABLE_BYTES), lane(threadIdx.x % 32), warp(threadIdx.x / 32), g(lane / 4), t(lane % 4), chunks((o.k - 1) / CHUNK + 1),
        first_row(blockIdx.x * o.block_rows), rows(min(o.block_rows, o.n - first_row)),
        turns((rows - 1) / o.turn_rows + 1), next_turn(-1), next(o.packed), below(4LL * o.k),
        to_next_tile(TILE / 2 * (long long)o.k - chunks * (CHUNK / 2)) {
    scales = reinterpret_cast<float *>(xs + o.m * chunks * (CHUNK / SEGMENT) * X_PITCH);
    low_rank = scales + 2 * o.turn_rows * o.scale_pitch;
    parts = low_rank + 3 * 2 * o.turn_rows;
    outer = parts + 2 * (o.turn_rows / TILE + WARPS) * 2 * TILE;
    first_outer = ((long long)first_row * o.k >> o.shift) / 256;
    next_units();
  }

  __device__ __forceinline__ int rows_of(int turn) const { return min(o.turn_rows, rows - turn * o.turn_rows); }
  __device__ __forceinline__ int units_of(int turn) const { return ((rows_of(turn) - 1) / TILE + 1) * chunks; }
  // The first unit of a warp among those of a turn; without units it has none to begin with.
  __device__ __forceinline__ static int first_unit(int units, int warp) {
    const int warps = min(WARPS, units);
    return warp < warps ? units * warp / warps : units;
  }

  // ---- codes -----------------------------------------------------------------------------------------------------------

  // To the warp's first unit of the next turn. It has an even number of them, the last empty if need be, so that they stand in two sets of registers by turns.
  __device__ __forceinline__ void next_units() {
    next_left = next_chunk = next_row = 0;
    if (++next_turn >= turns) return;
    const int units = units_of(next_turn), from = first_unit(units, warp);
    next_left = first_unit(units, warp + 1) - from;
    next_chunk = from % chunks;
    next_row = next_turn * o.turn_rows + from / chunks * TILE + g;
    next = o.packed + ((long long)(first_row + next_row) * o.k + next_chunk * CHUNK + t * SEGMENT) / 2;
  }

  // second: of the two sets.
  __device__ __forceinline__ void load(Codes &codes, bool second) {
    const bool inside = next_left > 0 && next_chunk * CHUNK + t * SEGMENT < o.k;
    codes.row[0] = codes.row[1] = make_uint4(0, 0, 0, 0);
    if (inside && next_row < rows) codes.row[0] = __ldcs(reinterpret_cast<const uint4 *>(next));
    if (inside && next_row + 8 < rows) codes.row[1] = __ldcs(reinterpret_cast<const uint4 *>(next + below));
    next += CHUNK / 2;
    next_left--;
    if (++next_chunk == chunks) {
      next_chunk = 0;
      next_row += TILE;
      next += to_next_tile;
    }
    if (second && next_left <= 0) next_units();
  }

  // ---- what the block shares -------------------------------------------------------------------------------------------

  __device__ __forceinline__ void fetch_x() const {
    const int pieces = chunks * (CHUNK / 8);
    for (int row = 0; row < o.m; row++) {
      for (int i = threadIdx.x; i < pieces; i += THREADS) {
        const uint32_t to = shared_address(xs) + (row * chunks * (CHUNK / SEGMENT) + i / 4) * X_PITCH + i % 4 * 16;
        const bool inside = 8 * i < o.k;
        cp_async(to, o.x + (inside ? (long long)row * o.k + 8 * i : 0), inside ? 16 : 0);
      }
    }
    cp_async_commit();
  }

  // What the table and the scales are made of. A barrier has to follow.
  __device__ __forceinline__ void fetch_levels(const float *levels, float *shared_levels, const float *nested_levels, float *nested) const {
    if (threadIdx.x < 16) shared_levels[threadIdx.x] = levels[threadIdx.x];
    if (o.nested_scale == nullptr) return;
    if (threadIdx.x < 256) nested[threadIdx.x] = nested_levels[threadIdx.x];
    const int count = (int)(((((long long)(first_row + rows) * o.k - 1) >> o.shift) / 256) - first_outer) + 1;
    for (int i = threadIdx.x; i < count; i += THREADS) outer[i] = o.nested_scale[first_outer + i];
  }

  // Two threads an entry; the 16 bytes that neighbours write at once are in different banks.
  __device__ __forceinline__ void fill(const float *levels) const {
    const int code = threadIdx.x / 2, half = threadIdx.x % 2;
    const uint32_t pair = pack_bf16(LEVEL_SCALE * levels[code / 16], LEVEL_SCALE * levels[code % 16]);
#pragma unroll
    for (int i = 0; i < 4; i++) *reinterpret_cast<uint4 *>(table + 256 * code + 64 * half + 16 * ((i + code) % 4)) = make_uint4(pair, pair, pair, pair);
  }

  __device__ __forceinline__ float scale(long long block) const {
    if (o.nested_scale == nullptr) return static_cast<const float *>(o.absmax)[block];
    return __fadd_rn(__fmul_rn(o.nested_levels[static_cast<const uint8_t *>(o.absmax)[block]], outer[block / 256 - first_outer]), o.offset);
  }

  // The scales of a turn's rows, zero beyond them, and their low-rank terms. A warp has 8 rows.
  __device__ __forceinline__ void prepare(int turn) const {
    const int count = rows_of(turn), padded = (count + TILE - 1) / TILE * TILE;
    float *to = scales + turn % 2 * o.turn_rows * o.scale_pitch;
    for (int row = warp; row < padded; row += WARPS) {
      const long long start = (long long)(first_row + turn * o.turn_rows + row) * o.k, first = start >> o.shift;
      const int blocks = row < count ? (int)(((start + o.k - 1) >> o.shift) - first) + 1 : 0;
#pragma unroll 4
      for (int block = lane; block < o.scale_pitch; block += 32) to[row * o.scale_pitch + block] = block < blocks ? scale(first + block) : 0.0f;
    }
    if (o.rank == 0) return;
    // A lane has a quarter of a row's factors, so that 8 rows are under way in a warp.
    for (int row = 8 * warp + g; row < (count + 7) / 8 * 8; row += 8 * WARPS) {
      float sum[2] = {0, 0};
      const float *factor = o.factor + (first_row + turn * o.turn_rows + min(row, count - 1)) * o.factor_row;
#pragma unroll 4
      for (int q = t; q < o.rank; q += 4) {
        const float f = factor[q * o.factor_col];
        sum[0] = fmaf(f, o.s[q], sum[0]);
        if (o.m > 1) sum[1] = fmaf(f, o.s[o.rank + q], sum[1]);
      }
#pragma unroll
      for (int r = 0; r < 2; r++) {
        sum[r] += __shfl_xor_sync(~0u, sum[r], 1);
        sum[r] += __shfl_xor_sync(~0u, sum[r], 2);
        if (t == 0 && row < count) low_rank[(turn % 3 * o.turn_rows + row) * 2 + r] = o.scaling * sum[r];
      }
    }
  }

  // ---- units -----------------------------------------------------------------------------------------------------------

  // Lanes that hold a column of x get 16 bytes of it; the others keep what they have: zero.
  __device__ __forceinline__ static void load_x(uint4 &x, uint32_t address, int active) {
    asm volatile("{.reg .pred p; setp.ne.s32 p, %5, 0; @p ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];}" : "+r"(x.x), "+r"(x.y), "+r"(x.z), "+r"(x.w) : "r"(address), "r"(active));
  }

  // sums += the unit's: of rows g and g + 8, of segments 2 (t % 2) and the one after it, of row t / 2 of x. row_scales, in_block: of these two rows of W, where their scales
  // are, and the place in the first of these blocks of segment 2 (t % 2) of the row.
  __device__ __forceinline__ void multiply(const Codes &codes, uint32_t x_address, int active, uint4 (&x)[4], const float *const (&row_scales)[2], const int (&in_block)[2], int at,
                                           float (&sums)[2]) const {
    const uint32_t copy = 4 * lane;
#pragma unroll
    for (int i = 0; i < 4; i++) load_x(x[i], x_address + 16 * i, active);
    float result[2][4] = {};
#pragma unroll
    for (int word = 0; word < 4; word++) {
      const uint32_t words[2] = {word == 0 ? codes.row[0].x : word == 1 ? codes.row[0].y : word == 2 ? codes.row[0].z : codes.row[0].w,
                                 word == 0 ? codes.row[1].x : word == 1 ? codes.row[1].y : word == 2 ? codes.row[1].z : codes.row[1].w};
#pragma unroll
      for (int pair = 0; pair < 2; pair++) {
        uint32_t a[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {  // register i: row g + 8 (i % 2), the pair's byte i / 2
          const uint32_t entry = __byte_perm(words[i % 2], copy, 0x7704 | (2 * pair + i / 2) << 4);
          a[i] = *reinterpret_cast<const uint32_t *>(table + entry);
        }
        mma_bf16(result[pair], a, pair == 0 ? x[word].x : x[word].z, pair == 0 ? x[word].y : x[word].w);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int place = in_block[half] + at;
      const float first = row_scales[half][place >> o.shift];
      const float second = o.shift == 5 ? row_scales[half][(place + SEGMENT) >> 5] : first;
      sums[half] = fmaf(first, result[0][2 * half] + result[1][2 * half], sums[half]);
      sums[half] = fmaf(second, result[0][2 * half + 1] + result[1][2 * half + 1], sums[half]);
    }
  }

  // Parts of the sums of a turn: of a warp's part of a tile at place tile + warp, which no two parts share, since either grows from one to the next.
  __device__ __forceinline__ float *part(int turn, int place) const { return parts + (turn % 2 * (o.turn_rows / TILE + WARPS) + place) * (2 * TILE); }

  __device__ __forceinline__ void compute(int turn, Codes (&ahead)[2], uint4 (&x)[4]) {
    const int units = units_of(turn), from = first_unit(units, warp), to = first_unit(units, warp + 1);
    const int active = t == g % 4 && g / 4 < o.m;
    const uint32_t x_start = shared_address(xs) + (g / 4 * chunks * (CHUNK / SEGMENT) + t) * X_PITCH;
    int tile = from / chunks, chunk = from % chunks;
    float sums[2];
    const float *row_scales[2];
    int in_block[2];
    const auto begin = [&]() {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int row = tile * TILE + 8 * half + g;
        row_scales[half] = scales + (turn % 2 * o.turn_rows + row) * o.scale_pitch;
        in_block[half] = (int)((uint32_t)(first_row + turn * o.turn_rows + row) * (uint32_t)o.k & ((1u << o.shift) - 1)) + t % 2 * (2 * SEGMENT);
        sums[half] = 0;
      }
    };
    const auto end = [&]() {
      float *place = part(turn, tile + warp) + t / 2 * TILE + g;
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const float sum = sums[half] + __shfl_xor_sync(~0u, sums[half], 1);
        if (t % 2 == 0) place[8 * half] = sum;
      }
    };
    if (from == to) {
      load(ahead[0], false);
      load(ahead[1], true);
      return;
    }
    begin();
#pragma unroll 1
    for (int unit = from; unit < to; unit += 2) {
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const bool empty = i == 1 && unit + 1 == to;
        if (!empty) multiply(ahead[i], x_start + chunk * (CHUNK / SEGMENT * X_PITCH), active, x, row_scales, in_block, chunk * CHUNK, sums);
        load(ahead[i], i == 1);
        if (!empty && ++chunk == chunks) {
          end();
          chunk = 0;
          tile++;
          begin();
        }
      }
    }
    if (chunk > 0) end();
  }

  // A warp has 8 rows of the turn: a turn has 128 at most.
  __device__ __forceinline__ void finish(int turn) const {
    const int row = 8 * warp + lane;
    if (lane >= 8 || row >= rows_of(turn)) return;
    const int units = units_of(turn), warps = min(WARPS, units), tile = row / TILE;
    // The last warps whose first unit is not beyond the tile's first, and its last one.
    const int first = ((tile * chunks + 1) * warps - 1) / units, last = ((tile + 1) * chunks * warps - 1) / units;
    for (int r = 0; r < o.m; r++) {
      float sum = 0;
      for (int w = first; w <= last; w++) sum += part(turn, tile + w)[r * TILE + row % TILE];
      sum *= 1.0f / LEVEL_SCALE;
      if (o.rank > 0) sum += low_rank[(turn % 3 * o.turn_rows + row) * 2 + r];
      const long long at = (long long)r * o.n + first_row + turn * o.turn_rows + row;
      if (o.y_bf16) {
        bf16 *to = static_cast<bf16 *>(o.y) + at;
        *to = from_f32<bf16>(o.accumulate ? to_f32(*to) + sum : sum);
      } else {
        float *to = static_cast<float *>(o.y) + at;
        *to = o.accumulate ? *to + sum : sum;
      }
    }
  }

  __device__ __forceinline__ void run(const float *levels, float *shared_levels, const float *nested_levels, float *nested) {
    if (rows <= 0) return;
    fetch_x();
    Codes ahead[2];
    load(ahead[0], false);
    load(ahead[1], true);
    fetch_levels(levels, shared_levels, nested_levels, nested);
    __syncthreads();
    fill(shared_levels);
    prepare(0);
    cp_async_wait<0>();
    __syncthreads();
    uint4 x[4] = {};
    for (int turn = 0; turn < turns; turn++) {
      if (turn + 1 < turns) prepare(turn + 1);
      compute(turn, ahead, x);
      __syncthreads();
      finish(turn);
    }
  }
};

}  // namespace gemv_codes

extern "C" __global__ void __launch_bounds__(gemv_codes::THREADS, 1)
    pan_gemv_codes(const uint8_t *packed, const float *levels, const void *absmax, const float *nested_levels, const float *nested_scale, float offset, int shift, int n, int k, int m,
                   const bf16 *x, void *y, int y_bf16, int accumulate, const float *s, const float *factor, long long factor_row, long long factor_col, int rank, float scaling,
                   int block_rows, int turn_rows, int scale_pitch) {
  extern __shared__ float4 shared[];
  __shared__ float shared_levels[16], nested[256];
  gemv_codes::Operands o = {packed, absmax, nested, nested_scale, offset, shift, n, k, m, x, y, y_bf16, accumulate,
                            s, factor, factor_row, factor_col, rank, scaling, block_rows, turn_rows, scale_pitch};
  gemv_codes::Kernel(o, reinterpret_cast<char *>(shared)).run(levels, shared_levels, nested_levels, nested);
}
