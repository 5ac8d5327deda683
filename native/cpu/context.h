// context.h: what every kernel file shares: the thread pool, per-worker scratch memory, errors, and the table of a tier.
//
// A kernel is split in two. api.cpp holds the C functions of panacea.h: they check the arguments and hand over to the
// tier of the context. The kernels themselves live in <family>.inc.h files, which tier_<name>.cpp includes once per
// instruction set with that set's compiler flags. Nothing but those files is compiled with such flags, and they
// use no inline function of the standard library: one that the linker shared would raise SIGILL on an older CPU.
#pragma once
#include "panacea.h"
#include <cstddef>
#include <cstdint>

namespace pan {

// Sets the calling thread's error text (printf-like) and returns `code`.
int32_t fail(int32_t code, const char *format, ...) __attribute__((format(printf, 2, 3)));

// One task of a parallel loop; `worker` is in [0, threads).
typedef void (*Task)(void *arg, int64_t task, int32_t worker);

struct Pool;  // pool.cpp

// Runs task(arg, i, worker) for i in [0, count) on the pool and returns when all are done. Tasks are handed out one by
// one in ascending order, so a kernel must give the same result whichever worker runs which task.
void parallel(pan_context *ctx, int64_t count, Task task, void *arg);

// Scratch memory of a worker, 64-byte aligned, at least `bytes`, its content undefined, kept until the next larger
// request of the same worker. Worker -1 is memory shared by the call (packed operands). NULL when there is none:
// ask before the parallel loop, for all workers.
void *scratch(pan_context *ctx, int32_t worker, size_t bytes);

int32_t thread_count(const pan_context *ctx);

// The kernels of one instruction-set tier; the signatures are those of panacea.h.
struct Tier {
  const char *name;
#define PAN_KERNEL(name) decltype(&pan_##name) name;
#include "kernels.def"
#undef PAN_KERNEL
};

// How the moments of 8-bit AdamW are decoded and coded; see dynamic_map.cpp.
struct DynamicMap {
  static constexpr int32_t first_bin = 0x3400, last_bin = 0x3f80, bins = last_bin - first_bin + 1;  // upper halves of 2^-23 ... 1
  float levels[256];
  uint32_t codes[2 * bins];
};
struct DynamicMaps {
  DynamicMap m, v;
};

// Makes the map of 256 levels unless `map` is that already. False if they are not ascending, or too close to each other.
bool make_dynamic_map(const float *levels, DynamicMap *map);

extern const Tier tier_portable;
#if defined(__x86_64__)
extern const Tier tier_avx2, tier_avx512, tier_avx512bf16;
#endif

}  // namespace pan

struct pan_context {
  const pan::Tier *tier;
  pan::Pool *pool;
  pan::DynamicMaps *maps;  // NULL until they are needed
};
