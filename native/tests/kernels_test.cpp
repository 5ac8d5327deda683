// kernels_test.cpp: every kernel of panacea.h, on every tier of this CPU, with one thread and with three, on heap buffers of exactly the
// size that the call needs. Meant for a build with AddressSanitizer and UndefinedBehaviorSanitizer, which ends the program at an access
// outside a buffer (the kernels' own scratch memory included), at undefined arithmetic, and at memory that is not given back.
// The results of the tiers are compared with each other; that they are right is what the Java tests are for.
#include "panacea.h"
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace {

float from_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

struct Buffer {
  std::unique_ptr<uint8_t, decltype(&free)> memory;
  int32_t type;  // PAN_F32, PAN_BF16, or -1 for bytes
  int64_t count;
  bool output;
};

// One run of a case: makes operands, the same for every tier, and gathers what the outputs hold afterwards.
struct Run {
  pan_context *ctx;
  std::mt19937 random{7};
  std::vector<Buffer> buffers;

  explicit Run(pan_context *c) : ctx(c) {}

  uint8_t *raw(int64_t bytes, int32_t type, int64_t count, bool output) {
    buffers.push_back({{static_cast<uint8_t *>(malloc(size_t(bytes))), free}, type, count, output});
    return buffers.back().memory.get();
  }
  uint8_t *bytes(int64_t n, bool output = false) {
    uint8_t *p = raw(n, -1, n, output);
    for (int64_t i = 0; i < n; i++) p[i] = uint8_t(random());
    return p;
  }
  void *values(int32_t type, int64_t n, bool output, float least = -1, float most = 1) {
    uint8_t *p = raw(n * (type == PAN_F32 ? 4 : 2), type, n, output);
    std::uniform_real_distribution<float> distribution(least, most);
    for (int64_t i = 0; i < n; i++) {
      float x = distribution(random);
      uint32_t bits;
      memcpy(&bits, &x, 4);
      uint16_t half = uint16_t(bits >> 16);
      type == PAN_F32 ? memcpy(p + 4 * i, &x, 4) : memcpy(p + 2 * i, &half, 2);
    }
    return p;
  }
  const void *in(int32_t type, int64_t n) { return values(type, n, false); }
  void *out(int32_t type, int64_t n) { return values(type, n, true); }
  const float *f32(int64_t n, float least = -1, float most = 1) { return static_cast<float *>(values(PAN_F32, n, false, least, most)); }
  float *f32_out(int64_t n, float least = -1, float most = 1) { return static_cast<float *>(values(PAN_F32, n, true, least, most)); }
  const int32_t *ints(std::vector<int32_t> v) { return reinterpret_cast<int32_t *>(static_cast<uint8_t *>(memcpy(raw(int64_t(v.size()) * 4, -1, 0, false), v.data(), v.size() * 4))); }

  std::vector<float> results() const {
    std::vector<float> all;
    for (const Buffer &b : buffers)
      for (int64_t i = 0; b.output && i < b.count; i++) {
        uint32_t bits = 0;
        if (b.type == PAN_F32) memcpy(&bits, b.memory.get() + 4 * i, 4);
        if (b.type == PAN_BF16) memcpy(reinterpret_cast<uint8_t *>(&bits) + 2, b.memory.get() + 2 * i, 2);
        all.push_back(b.type < 0 ? float(b.memory.get()[i]) : from_bits(bits));
      }
    return all;
  }
};

struct Case {
  std::string kernel, name;
  float tolerance;  // of the largest value
  std::function<int32_t(Run &)> call;
};

std::vector<Case> cases;

void add(const char *kernel, const std::string &name, float tolerance, std::function<int32_t(Run &)> call) { cases.push_back({kernel, name, tolerance, std::move(call)}); }

// ---- weights ---------------------------------------------------------------------------------------------------------

struct Format {
  const char *name;
  int32_t format, block, pair_dim;
  bool nested;
  int32_t elements, bytes;  // of one of ggml's blocks
  std::vector<int32_t> halves;  // where a block has f16 numbers
};

const Format formats[] = {
    {"f32", PAN_F32, 0, 0, false, 1, 4, {}},         {"bf16", PAN_BF16, 0, 2, false, 1, 2, {}},       {"f16", PAN_F16, 0, 0, false, 1, 2, {0}},
    {"q4", PAN_Q4, 64, 0, false, 0, 0, {}},          {"q4 nested", PAN_Q4, 6, 0, true, 0, 0, {}},     {"q4_0", PAN_Q4_0, 0, 2, false, 32, 18, {0}},
    {"q4_1", PAN_Q4_1, 0, 0, false, 32, 20, {0, 2}}, {"q5_0", PAN_Q5_0, 0, 0, false, 32, 22, {0}},    {"q5_1", PAN_Q5_1, 0, 2, false, 32, 24, {0, 2}},
    {"q8_0", PAN_Q8_0, 0, 0, false, 32, 34, {0}},    {"q4_k", PAN_Q4_K, 0, 0, false, 256, 144, {0, 2}}, {"q5_k", PAN_Q5_K, 0, 2, false, 256, 176, {0, 2}},
    {"q6_k", PAN_Q6_K, 0, 0, false, 256, 210, {208}},
};

pan_weight weight(Run &r, const Format &f, int64_t rows, int64_t cols) {
  pan_weight w = {};
  int64_t n = rows * cols;
  w.format = f.format;
  w.block = f.block;
  w.pair_dim = rows % 2 == 0 ? f.pair_dim : 0;
  w.rows = rows;
  w.cols = cols;
  if (f.format == PAN_Q4) {
    int64_t blocks = (n + f.block - 1) / f.block;
    w.data = r.bytes((n + 1) / 2);
    w.levels = r.f32(16);
    if (f.nested) {
      w.absmax_code = r.bytes(blocks);
      w.absmax_scale = r.f32((blocks + 255) / 256);
      w.code_levels = r.f32(256);
      w.absmax_offset = 0.5f;
    } else {
      w.absmax = r.f32(blocks, 0, 1);
    }
  } else if (f.elements == 1 && f.halves.empty()) {
    w.data = r.in(f.format, n);
  } else {
    int64_t blocks = n / f.elements;
    uint8_t *data = r.bytes(blocks * f.bytes);
    for (int64_t i = 0; i < blocks; i++)
      for (int32_t at : f.halves) data[i * f.bytes + at + 1] = uint8_t((data[i * f.bytes + at + 1] & 0x83) | 0x28);  // a magnitude from 1/32 to 1/16
    w.data = data;
  }
  return w;
}

void linear_cases() {
  const int32_t types[] = {PAN_F32, PAN_BF16};
  for (const Format &f : formats)
    for (int64_t m : {1, 3, 21}) {
      int64_t cols = f.elements > 1 ? f.elements : m == 21 ? 140 : 67, rows = m == 21 ? 70 : 35;
      for (int32_t type : types) {
        std::string name = std::string(f.name) + " m=" + std::to_string(m) + (type == PAN_F32 ? " f32" : " bf16");
        for (int32_t accumulate : {0, 1}) {
          add("linear", name, 0.03f, [=, &f](Run &r) {
            pan_weight w = weight(r, f, rows, cols);
            const void *x = r.in(type, m * cols);
            return pan_linear(r.ctx, &w, x, type, m, r.out(type, m * rows), type, accumulate);
          });
          add("linear_input_grad", name, 0.03f, [=, &f](Run &r) {
            pan_weight w = weight(r, f, rows, cols);
            const void *dy = r.in(type, m * rows);
            return pan_linear_input_grad(r.ctx, &w, dy, type, m, r.out(type, m * cols), type, accumulate);
          });
          add("lora_linear", name, 0.03f, [=, &f](Run &r) {
            pan_weight w = weight(r, f, rows, cols);
            const float *a = r.f32(5 * cols), *b = r.f32(rows * 5);
            const void *x = r.in(type, m * cols);
            float *s = r.f32_out(m * 5);
            return pan_lora_linear(r.ctx, &w, a, b, 5, 0.5f, x, m, s, r.out(type, m * rows), type, accumulate);
          });
          add("lora_linear_backward", name, 0.03f, [=, &f](Run &r) {
            pan_weight w = weight(r, f, rows, cols);
            const float *a = r.f32(5 * cols), *b = r.f32(rows * 5);
            const void *x = r.in(type, m * cols);
            const float *s = r.f32(m * 5);
            const void *dy = r.in(type, m * rows);
            float *da = r.f32_out(5 * cols), *db = r.f32_out(rows * 5);
            return pan_lora_linear_backward(r.ctx, &w, a, b, 5, 0.5f, x, s, dy, m, da, db, r.out(type, m * cols), type, accumulate);
          });
        }
        add("dequantize", name, 0.01f, [=, &f](Run &r) {
          pan_weight w = weight(r, f, rows, cols);
          return pan_dequantize(r.ctx, &w, r.out(type, rows * cols), type);
        });
        add("gather_rows", name, 0.01f, [=, &f](Run &r) {
          pan_weight w = weight(r, f, rows, cols);
          const int32_t *index = r.ints({0, int32_t(rows - 1), 3});
          return pan_gather_rows(r.ctx, &w, index, 3, r.out(type, 3 * cols), type);
        });
      }
    }
  for (int32_t type : types)
    for (int64_t m : {1, 30, 300})
      add("linear_weight_grad", "m=" + std::to_string(m), 0.03f, [=](Run &r) {
        const void *dy = r.in(type, m * 19), *x = r.in(type, m * 37);
        return pan_linear_weight_grad(r.ctx, dy, x, type, m, 19, 37, r.f32_out(19 * 37));
      });
}

// ---- the others ------------------------------------------------------------------------------------------------------

void layer_cases() {
  for (int32_t type : {PAN_F32, PAN_BF16}) {
    std::string t = type == PAN_F32 ? "f32" : "bf16";
    for (int32_t fp4 : {0, 1})
      for (int64_t n : {1, 63, 131, 1024})
        add("quantize4", t + " n=" + std::to_string(n), 0, [=](Run &r) {
          const void *x = r.in(type, n);
          uint8_t *packed = r.bytes((n + 1) / 2, true);
          return pan_quantize4(r.ctx, x, type, n, 64, fp4, packed, r.f32_out((n + 63) / 64));
        });
    for (int64_t n : {1, 31, 130}) {
      std::string name = t + " n=" + std::to_string(n);
      add("rms_norm", name, 0.01f, [=](Run &r) {
        const void *x = r.in(type, 7 * n);
        const float *w = r.f32(n);
        void *y = r.out(type, 7 * n);
        return pan_rms_norm(r.ctx, x, w, 1e-5f, 7, n, y, r.f32_out(7), type);
      });
      add("rms_norm_backward", name, 0.02f, [=](Run &r) {
        const void *x = r.in(type, 7 * n);
        const float *w = r.f32(n), *inv = r.f32(7, 0.5f, 2);
        const void *dy = r.in(type, 7 * n);
        return pan_rms_norm_backward(r.ctx, x, w, inv, dy, 7, n, r.out(type, 7 * n), type, 1);
      });
      add("rms_norm_weight_grad", name, 0.01f, [=](Run &r) {
        const void *x = r.in(type, 7 * n);
        const float *inv = r.f32(7, 0.5f, 2);
        const void *dy = r.in(type, 7 * n);
        return pan_rms_norm_weight_grad(r.ctx, x, inv, dy, 7, n, r.f32_out(n), type);
      });
      add("swiglu", name, 0.01f, [=](Run &r) {
        const void *gate = r.in(type, n), *up = r.in(type, n);
        return pan_swiglu(r.ctx, gate, up, r.out(type, n), n, type);
      });
      add("swiglu_backward", name, 0.01f, [=](Run &r) {
        const void *gate = r.in(type, n), *up = r.in(type, n), *dy = r.in(type, n);
        void *dgate = r.out(type, n);
        return pan_swiglu_backward(r.ctx, gate, up, dy, dgate, r.out(type, n), n, type);
      });
      add("cross_entropy", name, 0.01f, [=](Run &r) {
        const float *logits = r.f32(3 * n, -9, 9);
        const int32_t *targets = r.ints({0, int32_t(n - 1), int32_t(n / 2)});
        float *losses = r.f32_out(3);
        return pan_cross_entropy(r.ctx, logits, targets, 3, n, 0.5f, losses, r.out(type, 3 * n), type);
      });
      add("scatter_rows", name, 0.01f, [=](Run &r) {
        const void *x = r.in(type, 3 * n);
        const int32_t *index = r.ints({4, 0, 4});
        return pan_scatter_rows(r.ctx, x, type, index, 3, n, r.out(PAN_F32, 5 * n), PAN_F32, 5, 1);
      });
      add("copy", name, 0.01f, [=](Run &r) {
        const void *x = r.in(type, n);
        return pan_copy(r.ctx, x, type, r.out(PAN_BF16, n), PAN_BF16, n, 1);
      });
      add("sum_of_squares", name, 0.001f, [=](Run &r) {
        const void *x = r.in(type, n);
        double sum = 0;
        int32_t code = pan_sum_of_squares(r.ctx, x, type, n, &sum);
        *r.f32_out(1) = float(sum);
        return code;
      });
    }
    for (int32_t inverse : {0, 1})
      add("rope", t, 0.01f, [=](Run &r) {
        void *x = r.out(type, 4 * 3 * 22);
        const int32_t *positions = r.ints({0, 8, 3, 1});
        const float *cos = r.f32(9 * 11), *sin = r.f32(9 * 11);
        return pan_rope(r.ctx, x, type, positions, cos, sin, 9, 4, 3, 22, inverse);
      });
    for (int32_t dim : {2, 22, 64, 130}) {
      // Two sequences of which the second has more keys than queries, with a row of no sequence between; then one of more than a tile.
      std::vector<std::vector<int32_t>> tables = {{0, 5, 0, 5, 6, 3, 5, 40}, {0, 75, 0, 75}};
      for (const std::vector<int32_t> &table : tables) {
        bool tiled = table.size() == 4;
        int64_t queries = tiled ? 75 : 9, keys = tiled ? 75 : 45, count = int64_t(table.size() / 4);
        std::string name = t + " head_dim=" + std::to_string(dim) + " rows=" + std::to_string(queries);
        add("attention", name, 0.03f, [=](Run &r) {
          const void *q = r.in(type, queries * 4 * dim), *k = r.in(type, keys * 2 * dim), *v = r.in(type, keys * 2 * dim);
          const int32_t *sequences = r.ints(table);
          void *out = r.out(type, queries * 4 * dim);
          return pan_attention(r.ctx, q, k, v, out, r.f32_out(queries * 4), type, sequences, count, 4, 2, dim, 0.3f);
        });
        add("attention_backward", name, 0.03f, [=](Run &r) {
          const void *q = r.in(type, queries * 4 * dim), *k = r.in(type, keys * 2 * dim), *v = r.in(type, keys * 2 * dim), *o = r.in(type, queries * 4 * dim);
          const float *lse = r.f32(queries * 4, 3, 4);
          const void *dout = r.in(type, queries * 4 * dim);
          const int32_t *sequences = r.ints(table);
          void *dq = r.out(type, queries * 4 * dim), *dk = r.out(type, keys * 2 * dim), *dv = r.out(type, keys * 2 * dim);
          return pan_attention_backward(r.ctx, q, k, v, o, lse, dout, dq, dk, dv, type, sequences, count, 4, 2, dim, 0.3f);
        });
      }
    }
  }
  add("probe_arithmetic", "", 0, [](Run &r) {
    double flops;
    return pan_probe_arithmetic(r.ctx, PAN_F32, 1, &flops);
  });
  add("probe_read", "", 0, [](Run &r) {
    double sum;
    return pan_probe_read(r.ctx, r.bytes(192), 192, &sum);
  });
  for (int64_t n : {1, 255, 256, 33000}) {
    std::string name = "n=" + std::to_string(n);
    add("adamw", name, 0.001f, [=](Run &r) {
      float *p = r.f32_out(n), *m = r.f32_out(n), *v = r.f32_out(n, 0.1f, 1);
      return pan_adamw(r.ctx, p, r.f32(n), m, v, n, 0.5f, 1e-2f, 0.9f, 0.999f, 1e-8f, 0.1f, 3);
    });
    add("adamw8bit", name, 0, [=](Run &r) {
      int64_t blocks = (n + 255) / 256;
      float *p = r.f32_out(n), *m_absmax = r.f32_out(blocks, 0, 1), *v_absmax = r.f32_out(blocks, 0, 1);
      uint8_t *m = r.bytes(n, true), *v = r.bytes(n, true);
      std::vector<float> m_levels(256), v_levels(256);
      for (int i = 0; i < 256; i++) m_levels[size_t(i)] = float(i - 127) / 128, v_levels[size_t(i)] = float(i) / 255;
      return pan_adamw8bit(r.ctx, p, r.f32(n), m, v, m_absmax, v_absmax, m_levels.data(), v_levels.data(), n, 1, 1e-2f, 0.9f, 0.999f, 1e-8f, 0.1f, 3);
    });
  }
}

// The largest difference as a share of the largest value; infinite where one of two is not a number.
double difference(const std::vector<float> &a, const std::vector<float> &b) {
  double largest = 1e-30, worst = 0;
  for (size_t i = 0; i < a.size(); i++) {
    if (std::isnan(a[i]) != std::isnan(b[i])) return INFINITY;
    if (std::isnan(a[i])) continue;
    largest = std::fmax(largest, std::fabs(double(a[i])));
    worst = std::fmax(worst, std::fabs(double(a[i]) - double(b[i])));
  }
  return worst / largest;
}

}  // namespace

int main() {
  linear_cases();
  layer_cases();
  std::vector<std::vector<float>> expected;
  std::set<std::string> called;
  int failures = 0;
  for (int32_t tier = PAN_TIER_PORTABLE; tier <= PAN_TIER_AVX512BF16; tier++) {
    if (!pan_tier_supported(tier)) {
      printf("tier %d: not on this CPU\n", tier);
      continue;
    }
    for (int32_t threads : {1, 3}) {
      pan_context *ctx;
      if (pan_open(tier, threads, &ctx) != 0) return printf("%s\n", pan_last_error()), 1;
      for (size_t i = 0; i < cases.size(); i++) {
        Run run(ctx);
        const Case &c = cases[i];
        if (c.call(run) != 0) printf("%s %s: %s\n", c.kernel.c_str(), c.name.c_str(), pan_last_error()), failures++;
        called.insert(c.kernel);
        std::vector<float> results = run.results();
        if (i >= expected.size()) expected.push_back(results);
        double d = difference(expected[i], results);
        if (!(d <= c.tolerance)) printf("tier %d, %d threads, %s %s: differs from the portable tier by %g of the largest value\n", tier, threads, c.kernel.c_str(), c.name.c_str(), d), failures++;
      }
      pan_close(ctx);
      printf("tier %d, %d threads: %zu cases\n", tier, threads, cases.size());
      fflush(stdout);
    }
  }
  const char *kernels[] = {
#define PAN_KERNEL(name) #name,
#include "../cpu/kernels.def"
#undef PAN_KERNEL
  };
  for (const char *kernel : kernels)
    if (!called.count(kernel)) printf("no case calls %s\n", kernel), failures++;
  return failures > 0;
}
