// mapped_test.cpp: kernels that read a mapped file which is cut off meanwhile find zeros and the range is known to be torn; faults of any other kind
// reach the handler that was there before.
#include "panacea.h"
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace {

int failures = 0;

void require(bool good, const char *what) {
  if (!good) printf("mapped files: %s\n", what), failures++;
}

// A file of ones, mapped.
struct Mapped {
  int file;
  int64_t count, bytes;
  const float *p;

  explicit Mapped(int64_t pages) : count(pages * page() / 4), bytes(pages * page()) {
    const char *folder = getenv("TMPDIR");
    std::string name = std::string(folder ? folder : "/tmp") + "/mapped_test.XXXXXX";
    file = mkstemp(name.data());
    unlink(name.c_str());
    std::vector<float> ones(size_t(count), 1);
    if (file < 0 || write(file, ones.data(), size_t(bytes)) != bytes) perror("mapped_test"), exit(1);
    void *m = mmap(nullptr, size_t(bytes), PROT_READ, MAP_SHARED, file, 0);
    if (m == MAP_FAILED) perror("mapped_test"), exit(1);
    p = static_cast<const float *>(m);
  }
  Mapped(const Mapped &) = delete;
  Mapped &operator=(const Mapped &) = delete;
  ~Mapped() {
    munmap(const_cast<float *>(p), size_t(bytes));
    close(file);
  }

  void cut(int64_t pages) {
    if (ftruncate(file, pages * page()) != 0) perror("mapped_test"), exit(1);
  }
  static int64_t page() { return sysconf(_SC_PAGESIZE); }
};

sigjmp_buf before_fault;
volatile sig_atomic_t others = 0;

void others_handler(int) {
  others = others + 1;
  siglongjmp(before_fault, 1);
}

// Whether a read in this thread, outside of all kernels, comes to the handler that was there before ours.
bool comes_through(const float *p) {
  int seen = others;
  if (sigsetjmp(before_fault, 1) == 0) {
    volatile float x = *static_cast<const volatile float *>(p);
    (void)x;
  }
  return others == seen + 1;
}

void cut_while_watched(int32_t threads) {
  pan_context *ctx;
  if (pan_open(PAN_TIER_PORTABLE, threads, &ctx) != 0) printf("%s\n", pan_last_error()), exit(1);
  Mapped cut(64), whole(64);
  require(pan_watch(cut.p, cut.bytes) == 0 && pan_watch(whole.p, whole.bytes) == 0, pan_last_error());
  std::vector<float> y(size_t(cut.count));
  require(pan_copy(ctx, cut.p, PAN_F32, y.data(), PAN_F32, cut.count, 0) == 0, pan_last_error());
  require(y.back() == 1 && !pan_torn(cut.p), "a file that is whole reads as torn");
  int64_t kept = 3;
  cut.cut(kept);
  require(comes_through(cut.p + cut.count - 1), "a fault of a thread that is in no kernel is taken by the kernels' handler");
  require(!pan_torn(cut.p), "a range is torn of which no kernel has missed anything");
  require(pan_copy(ctx, cut.p, PAN_F32, y.data(), PAN_F32, cut.count, 0) == 0, pan_last_error());
  bool right = true;
  for (int64_t i = 0; i < cut.count; i++) right = right && y[size_t(i)] == (i < kept * Mapped::page() / 4 ? 1 : 0);
  require(right, "a file that was cut off does not read as what is left of it and zeros");
  require(pan_torn(cut.p) && pan_torn(cut.p), "a range that was cut off is not torn");
  require(!pan_torn(whole.p), "the neighbour of a torn range is torn");
  pan_unwatch(cut.p);
  require(!pan_torn(cut.p), "a range that is no longer watched is torn");
  pan_unwatch(cut.p);  // does nothing
  // The place of the range that has gone is taken by another one.
  Mapped next(64);
  require(pan_watch(next.p, next.bytes) == 0 && !pan_torn(next.p), "a new range is torn from the start");
  next.cut(0);
  require(pan_copy(ctx, next.p, PAN_F32, y.data(), PAN_F32, next.count, 0) == 0 && y.front() == 0 && y.back() == 0 && pan_torn(next.p), "a file without bytes does not read as zeros");
  pan_unwatch(next.p);
  pan_unwatch(whole.p);
  pan_close(ctx);
}

}  // namespace

int main() {
  require(pan_watch(nullptr, 1) == PAN_ERROR_ARGUMENT && pan_watch(&failures, 0) == PAN_ERROR_ARGUMENT && pan_watch(&failures, -1) == PAN_ERROR_ARGUMENT, "an empty range is watched");
  pan_unwatch(&failures);
  require(!pan_torn(&failures), "a range is torn that was never watched");
  // Before the first watch, as the JVM's; AddressSanitizer would have one of its own there.
  struct sigaction handler = {};
  handler.sa_handler = others_handler;
  sigaction(SIGBUS, &handler, nullptr);
  for (int32_t threads : {1, 3}) cut_while_watched(threads);
  if (failures == 0) printf("mapped files: passed\n");
  return failures > 0;
}
