// A stand-in for NVIDIA's cuBLASLt, for tests of what stands around it: no GPU, and no copy of the library, is needed. It is written from the
// comments of cublasLt.h and knows only what CudaBlas.java uses; the library itself may do otherwise. Whatever the header does not allow is refused
// with the status that it names: unknown attributes, wrong sizes, layouts that do not fit, and, when a product is asked for, addresses that are not
// aligned as the chosen algorithm was promised, by default to 256 bytes. The product is computed here, in plain loops, in the order of the stream,
// from copies made through the driver library that CUBLASLT_STAND_IN_DRIVER names. CUBLASLT_STAND_IN asks for a fault: "wrong" (results), "fails",
// "unsupported", "none" (no algorithm), "state" (an algorithm of which the state says no), or "cubes" (no algorithm unless m = n = k).
// At the end of a handle it prints how many products it has computed.
// Build: c++ -std=c++17 -shared -fPIC -o libcublaslt_stand_in.so cublaslt_stand_in.cpp -ldl
#include <dlfcn.h>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))

namespace {

enum Status { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum { R_32F = 0, R_16BF = 14, COMPUTE_32F = 68, COMPUTE_TYPE_REDUCTION = 2 };
constexpr uint64_t MARK = 0x70616e6163656121;

struct Handle { long products = 0; };
struct Operation { int computeType, scaleType; int32_t transposed[2] = {0, 0}; };
struct Layout {
  int type;
  uint64_t rows, cols;
  int64_t ld;
  size_t bytes() const { return (ld * (cols - 1) + rows) * (type == R_16BF ? 2 : 4); }
  bool operator==(const Layout& o) const { return type == o.type && rows == o.rows && cols == o.cols && ld == o.ld; }
};
struct Preference { uint64_t workspace = 0; uint32_t reduction = 7, alignment[4] = {256, 256, 256, 256}; };
struct Algorithm { uint64_t mark, workspace, m, n, k; uint32_t alignment[4], type, unused; };
static_assert(sizeof(Algorithm) == 64, "as cublasLtMatmulAlgo_t");
struct Result { Algorithm algorithm; size_t workspace; int state; float waves; int reserved[4]; };

bool asked(const char* fault) {
  const char* text = getenv("CUBLASLT_STAND_IN");
  return text && !strcmp(text, fault);
}

void* driver(const char* name) {
  static void* library = dlopen(getenv("CUBLASLT_STAND_IN_DRIVER"), RTLD_NOW | RTLD_LOCAL);
  return library ? dlsym(library, name) : nullptr;
}

float single(uint16_t bits) {
  uint32_t wide = uint32_t(bits) << 16;
  float value;
  memcpy(&value, &wide, 4);
  return value;
}

uint16_t rounded(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

bool whole(const Layout& l) { return (l.type == R_16BF || l.type == R_32F) && l.rows > 0 && l.cols > 0 && l.ld >= int64_t(l.rows); }

/** D[m, n] = op(A)[m, k] op(B)[k, n]: whether the layouts fit, and the sizes. */
Status fit(const Operation& o, const Layout& a, const Layout& b, const Layout& c, const Layout& d, uint64_t& m, uint64_t& n, uint64_t& k) {
  if (!whole(a) || !whole(b) || !whole(c) || !whole(d)) return INVALID_VALUE;
  m = o.transposed[0] ? a.cols : a.rows;
  k = o.transposed[0] ? a.rows : a.cols;
  n = o.transposed[1] ? b.rows : b.cols;
  if ((o.transposed[1] ? b.cols : b.rows) != k || d.rows != m || d.cols != n || !(c == d)) return INVALID_VALUE;
  bool known = o.computeType == COMPUTE_32F && o.scaleType == R_32F && a.type == R_16BF && b.type == R_16BF;
  return known ? SUCCESS : NOT_SUPPORTED;
}

Status set(void* to, size_t size, const void* from, size_t bytes) {
  if (!from || bytes != size) return INVALID_VALUE;
  memcpy(to, from, bytes);
  return SUCCESS;
}

bool copy(bool toDevice, const void* device, void* host, size_t bytes, void* stream) {
  auto down = (int (*)(void*, uint64_t, size_t, void*))driver("cuMemcpyDtoHAsync_v2");
  auto up = (int (*)(uint64_t, const void*, size_t, void*))driver("cuMemcpyHtoDAsync_v2");
  auto wait = (int (*)(void*))driver("cuStreamSynchronize");
  return down && up && wait && (toDevice ? up(uint64_t(device), host, bytes, stream) : down(host, uint64_t(device), bytes, stream)) == 0 && wait(stream) == 0;
}

}  // namespace

API size_t cublasLtGetVersion() { return 130000; }
API const char* cublasLtGetStatusString(int status) { return status == EXECUTION_FAILED ? "stand-in: execution failed" : status == INVALID_VALUE ? "stand-in: invalid value" : "stand-in: refused"; }
API int cublasLtCreate(Handle** handle) { *handle = new Handle; return SUCCESS; }
API int cublasLtDestroy(Handle* handle) { printf("products=%ld\n", handle->products); fflush(stdout); delete handle; return SUCCESS; }
API int cublasLtMatmulDescCreate(Operation** o, int computeType, int scaleType) { *o = new Operation{computeType, scaleType}; return SUCCESS; }
API int cublasLtMatmulDescDestroy(Operation* o) { delete o; return SUCCESS; }
API int cublasLtMatrixLayoutCreate(Layout** l, int type, uint64_t rows, uint64_t cols, int64_t ld) { *l = new Layout{type, rows, cols, ld}; return SUCCESS; }
API int cublasLtMatrixLayoutDestroy(Layout* l) { delete l; return SUCCESS; }
API int cublasLtMatmulPreferenceCreate(Preference** p) { *p = new Preference; return SUCCESS; }
API int cublasLtMatmulPreferenceDestroy(Preference* p) { delete p; return SUCCESS; }

API int cublasLtMatmulDescSetAttribute(Operation* o, int attribute, const void* value, size_t bytes) {
  if (attribute != 3 && attribute != 4) return INVALID_VALUE;  // CUBLASLT_MATMUL_DESC_TRANSA, TRANSB
  int32_t operation;
  if (Status status = set(&operation, 4, value, bytes)) return status;
  if (operation != 0 && operation != 1) return INVALID_VALUE;  // CUBLAS_OP_N, CUBLAS_OP_T
  o->transposed[attribute - 3] = operation;
  return SUCCESS;
}

API int cublasLtMatmulPreferenceSetAttribute(Preference* p, int attribute, const void* value, size_t bytes) {
  if (attribute == 1) return set(&p->workspace, 8, value, bytes);  // CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES
  if (attribute == 3) return set(&p->reduction, 4, value, bytes);  // CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK
  if (attribute >= 5 && attribute <= 8) return set(&p->alignment[attribute - 5], 4, value, bytes);  // CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES to D
  return INVALID_VALUE;
}

API int cublasLtMatmulAlgoGetHeuristic(Handle* h, const Operation* o, const Layout* a, const Layout* b, const Layout* c, const Layout* d, const Preference* p, int most, Result* results, int* count) {
  *count = 0;
  if (!h) return NOT_INITIALIZED;
  if (most <= 0) return INVALID_VALUE;
  uint64_t m, n, k;
  if (Status status = fit(*o, *a, *b, *c, *d, m, n, k)) return status;
  if (asked("unsupported")) return NOT_SUPPORTED;
  if (asked("none") || (asked("cubes") && (m != n || n != k))) return SUCCESS;
  memset(results, 0, sizeof *results);
  Algorithm& x = results->algorithm = {MARK, p->workspace / 2, m, n, k, {}, uint32_t(d->type), 0};
  memcpy(x.alignment, p->alignment, sizeof x.alignment);
  results->workspace = x.workspace;
  results->state = asked("state") || p->reduction != COMPUTE_TYPE_REDUCTION ? NOT_SUPPORTED : SUCCESS;
  *count = 1;
  return SUCCESS;
}

API int cublasLtMatmul(Handle* h, const Operation* o, const float* alpha, const void* A, const Layout* a, const void* B, const Layout* b, const float* beta, const void* C, const Layout* c, void* D,
                       const Layout* d, const Algorithm* algorithm, void* workspace, size_t workspaceBytes, void* stream) {
  if (!h) return NOT_INITIALIZED;
  uint64_t m, n, k;
  if (Status status = fit(*o, *a, *b, *c, *d, m, n, k)) return status;
  if (algorithm->mark != MARK || algorithm->m != m || algorithm->n != n || algorithm->k != k || algorithm->type != uint32_t(d->type)) return INVALID_VALUE;
  if (workspaceBytes < algorithm->workspace || !workspace || uint64_t(workspace) % 256 != 0) return INVALID_VALUE;
  const void* matrices[] = {A, B, C, D};
  for (int i = 0; i < 4; i++)
    if (!matrices[i] || uint64_t(matrices[i]) % algorithm->alignment[i] != 0) return INVALID_VALUE;
  if (asked("fails")) return EXECUTION_FAILED;

  std::vector<uint16_t> left(a->bytes() / 2), right(b->bytes() / 2);
  std::vector<char> result(d->bytes());
  if (!copy(false, A, left.data(), a->bytes(), stream) || !copy(false, B, right.data(), b->bytes(), stream) || !copy(false, C, result.data(), c->bytes(), stream)) return EXECUTION_FAILED;
  for (uint64_t j = 0; j < n; j++)
    for (uint64_t i = 0; i < m; i++) {
      float sum = 0;
      for (uint64_t t = 0; t < k; t++)
        sum += single(left[o->transposed[0] ? t + i * a->ld : i + t * a->ld]) * single(right[o->transposed[1] ? j + t * b->ld : t + j * b->ld]);
      uint64_t at = i + j * d->ld;
      float* f = (float*)result.data() + (d->type == R_32F ? at : 0);
      uint16_t* g = (uint16_t*)result.data() + (d->type == R_16BF ? at : 0);
      // With a beta of zero C is not read: it may hold NaN.
      float value = *alpha * sum + (*beta == 0 ? 0 : *beta * (d->type == R_32F ? *f : single(*g))) + (asked("wrong") && i == 3 ? 1 : 0);
      if (d->type == R_32F) *f = value; else *g = rounded(value);
    }
  h->products++;
  return copy(true, D, result.data(), d->bytes(), stream) ? SUCCESS : EXECUTION_FAILED;
}
