// probe.inc.h: what the machine can do at most, to measure the other kernels against. The caller takes the time.
//
//   probe_arithmetic  multiply-adds between registers: f32 FMA, or VDPBF16PS on the tier that computes with it. More accumulators than latency
//                     times units (4 x 2; VDPBF16PS: 6 x 2), so that no instruction waits for another. Every accumulator swings between two values
//                     for ever: it neither grows nor becomes denormal, and its bits change at every step, as those of real data do.
//   probe_read        a contiguous part of the memory per task, each read as four streams side by side, so that the prefetchers have several
//                     pages open. The words are added modulo 2^64, which is the same in any order and on every tier.
//
// Tasks are a quarter of a thread's share: a thread that the system holds up leaves its rest to the others.

static constexpr int64_t kProbeTasks = 4;

#if PAN_LEVEL >= 2
typedef VF Sum;
static constexpr int kProbeSums = 24;  // of 32 registers
#elif PAN_LEVEL == 1
typedef VF Sum;
static constexpr int kProbeSums = 12;  // of 16
#else
typedef float Sum __attribute__((vector_size(16)));  // a register of every 64-bit CPU: of a VF's two halves the compiler would keep none in one
static constexpr int kProbeSums = 12;                // of 16 or 32
#endif
static constexpr int kSumWidth = int(sizeof(Sum) / sizeof(float));

PAN_INLINE Sum multiply_add(Sum a, Sum b, Sum c) {
#if PAN_LEVEL >= 1
  return vfma(a, b, c);
#else
  return a * b + c;
#endif
}

PAN_INLINE float add_up(const Sum *sums) {
  float total = 0;
  for (int i = 0; i < kProbeSums; i++)
    for (int j = 0; j < kSumWidth; j++) total += sums[i][j];
  return total;
}

// Keeps the compiler from seeing through a number.
PAN_INLINE void opaque(float &x) {
#if defined(__x86_64__)
  __asm__ volatile("" : "+x"(x));
#else
  __asm__ volatile("" : "+m"(x));
#endif
}

// x = 1.7 - x, again and again.
static float swing_f32(int64_t loops) {
  float minus = -1.f, middle = 1.7f;
  opaque(minus);
  opaque(middle);
  Sum sums[kProbeSums], factor = Sum{} + minus, addend = Sum{} + middle;
  for (int i = 0; i < kProbeSums; i++) sums[i] = Sum{} + (0.3f + 0.01f * float(i));
  for (int64_t l = 0; l < loops; l++)
#pragma GCC unroll 24
    for (int i = 0; i < kProbeSums; i++) sums[i] = multiply_add(sums[i], factor, addend);
  return add_up(sums);
}

#if PAN_LEVEL >= 3
// x += a b and x -= a b in turn.
static float swing_bf16(int64_t loops) {
  VF sums[kProbeSums];
  for (int i = 0; i < kProbeSums; i++) sums[i] = vset(0.3f + 0.01f * float(i));
  float up = as_float(0x3f993fa6), down = as_float(0xbf99bfa6), factor = as_float(0x3f733f8c);  // pairs of bf16 near 1
  opaque(up);
  opaque(down);
  opaque(factor);
  VF plus = vset(up), minus = vset(down), other = vset(factor);
  for (int64_t l = 0; l < loops; l++) {
#pragma GCC unroll 24
    for (int i = 0; i < kProbeSums; i++) sums[i] = _mm512_dpbf16_ps(sums[i], (__m512bh)plus, (__m512bh)other);
#pragma GCC unroll 24
    for (int i = 0; i < kProbeSums; i++) sums[i] = _mm512_dpbf16_ps(sums[i], (__m512bh)minus, (__m512bh)other);
  }
  return add_up(sums);
}
#endif

struct ArithmeticProbe {
  int32_t type;
  int64_t loops;
  float *results;
  static void run(void *arg, int64_t task, int32_t) {
    const ArithmeticProbe *p = static_cast<const ArithmeticProbe *>(arg);
#if PAN_LEVEL >= 3
    if (p->type == PAN_BF16) {
      p->results[task] = swing_bf16(p->loops);
      return;
    }
#endif
    p->results[task] = swing_f32(p->loops);
  }
};

static int32_t probe_arithmetic(pan_context *ctx, int32_t type, int64_t rounds, double *flops) {
  if (type == PAN_BF16 && PAN_LEVEL < 3) return fail(PAN_ERROR_UNSUPPORTED, "pan_probe_arithmetic: this tier has no bf16 dot product; it computes in f32");
  const int64_t tasks = kProbeTasks * thread_count(ctx);
  // A loop: one FMA per sum, two operations per element; or two dot products per sum, four operations per element.
  const int64_t per_loop = int64_t(kProbeSums) * kSumWidth * (type == PAN_BF16 ? 8 : 2);
  ArithmeticProbe p = {type, blocks_of(rounds * 1000000 / kProbeTasks, per_loop), static_cast<float *>(scratch(ctx, -1, size_t(tasks) * sizeof(float)))};
  if (!p.results) return PAN_ERROR_MEMORY;
  parallel(ctx, tasks, ArithmeticProbe::run, &p);
  *flops = double(tasks) * double(p.loops) * double(per_loop);
  return 0;
}

typedef uint64_t Words __attribute__((vector_size(4 * W)));

static uint64_t add_words(Words v) {
  uint64_t total = 0;
  for (int i = 0; i < W / 2; i++) total += v[i];
  return total;
}

// The sum of `lines` cache lines of 64 bytes from p on.
static uint64_t sum_lines(const uint8_t *p, int64_t lines) {
  constexpr int streams = 4, per_line = 64 / int(sizeof(Words));
  const int64_t length = lines / streams;
  Words sums[streams * per_line] = {};
  for (int64_t l = 0; l < length; l++)
#pragma GCC unroll 8
    for (int i = 0; i < streams * per_line; i++) {
      Words v;
      memcpy(&v, p + (i / per_line * length + l) * 64 + i % per_line * int(sizeof v), sizeof v);
      sums[i] += v;
    }
  uint64_t total = 0;
  for (int i = 0; i < streams * per_line; i++) total += add_words(sums[i]);
  for (int64_t at = streams * length * 64; at < lines * 64; at += 8) {
    uint64_t word;
    memcpy(&word, p + at, 8);
    total += word;
  }
  return total;
}

struct ReadProbe {
  const uint8_t *p;
  int64_t lines, tasks;
  uint64_t *sums;
  static void run(void *arg, int64_t task, int32_t) {
    const ReadProbe *r = static_cast<const ReadProbe *>(arg);
    int64_t step = blocks_of(r->lines, r->tasks), begin = min64(task * step, r->lines);
    r->sums[task] = sum_lines(r->p + 64 * begin, min64(step, r->lines - begin));
  }
};

static int32_t probe_read(pan_context *ctx, const void *p, int64_t bytes, double *sum) {
  const int64_t tasks = kProbeTasks * thread_count(ctx);
  ReadProbe r = {static_cast<const uint8_t *>(p), bytes / 64, tasks, static_cast<uint64_t *>(scratch(ctx, -1, size_t(tasks) * sizeof(uint64_t)))};
  if (!r.sums) return PAN_ERROR_MEMORY;
  parallel(ctx, tasks, ReadProbe::run, &r);
  uint64_t total = 0;
  for (int64_t i = 0; i < tasks; i++) total += r.sums[i];
  // A double has 53 bits: the product spreads a change in any bit to the upper ones.
  *sum = double(total * 0x9e3779b97f4a7c15u >> 11);
  return 0;
}
