// mapped.cpp: files that shrink, or cannot be read any more, while a kernel reads them where they are mapped.
//
// A read beyond the end of a mapped file raises SIGBUS, which in native code ends the process. So the ranges that kernels may
// read are known here, and a fault of one of our threads within a range puts pages of zeros in place of the file, from the
// fault to the end of the range, and notes that the range is torn: the kernel goes on, with results of no use, and
// whoever asked for them asks afterwards whether the range is torn. All other faults go to the handler that was there before,
// the JVM's, as if ours were not there.
//
// The list only grows, and an entry of it is used again once its range is gone, so that the handler can walk it without a lock.
#include "pool.h"
#include <atomic>
#include <cstdlib>
#include <new>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

namespace pan {

namespace {

struct Range {
  std::atomic<uintptr_t> from{0}, to{0};  // to = 0: not in use
  std::atomic<bool> torn{false};
  Range *next = nullptr;
};

std::atomic<Range *> ranges{nullptr};
pthread_mutex_t changes = PTHREAD_MUTEX_INITIALIZER;
bool installed = false;
struct sigaction before;
uintptr_t page;
thread_local int inside = 0;

bool mend(uintptr_t at) {
  if (inside == 0) return false;
  for (Range *r = ranges.load(std::memory_order_acquire); r; r = r->next) {
    // A range whose two ends belong together: another thread may be giving the entry to its next range, and this fault is none of that one's.
    uintptr_t to = r->to.load(), from = r->from.load();
    if (at < from || at >= to || r->to.load() != to) continue;
    r->torn.store(true);
    uintptr_t start = at & ~(page - 1), end = (to + page - 1) & ~(page - 1);
    return mmap(reinterpret_cast<void *>(start), end - start, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
  }
  return false;
}

void on_fault(int number, siginfo_t *info, void *context) {
  if (mend(reinterpret_cast<uintptr_t>(info->si_addr))) return;
  if (before.sa_flags & SA_SIGINFO) {
    before.sa_sigaction(number, info, context);
  } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
    before.sa_handler(number);
  } else {
    sigaction(number, &before, nullptr);  // the instruction faults again, and the process ends as it would have
  }
}

bool install() {
  if (installed) return true;
  page = uintptr_t(sysconf(_SC_PAGESIZE));
  if (sigaction(SIGBUS, nullptr, &before) != 0) return false;
  struct sigaction ours = before;
  ours.sa_flags = (before.sa_flags & ~int(SA_RESETHAND)) | SA_SIGINFO;
  ours.sa_sigaction = on_fault;
  installed = sigaction(SIGBUS, &ours, nullptr) == 0;
  return installed;
}

Range *find(const void *p) {
  for (Range *r = ranges.load(); r; r = r->next)
    if (r->to.load() != 0 && r->from.load() == reinterpret_cast<uintptr_t>(p)) return r;
  return nullptr;
}

struct Lock {
  Lock() { pthread_mutex_lock(&changes); }
  ~Lock() { pthread_mutex_unlock(&changes); }
};

}  // namespace

void enter_kernel() { inside++; }
void leave_kernel() { inside--; }

}  // namespace pan

using namespace pan;

int32_t pan_watch(const void *p, int64_t bytes) {
  if (!p || bytes <= 0) return fail(PAN_ERROR_ARGUMENT, "pan_watch: a range of %lld bytes at %p", (long long)bytes, p);
  Lock lock;
  if (!install()) return fail(PAN_ERROR_UNSUPPORTED, "pan_watch: SIGBUS cannot be handled");
  Range *r = ranges.load();
  while (r && r->to.load() != 0) r = r->next;
  bool fresh = r == nullptr;
  if (fresh) {
    r = static_cast<Range *>(malloc(sizeof(Range)));
    if (!r) return fail(PAN_ERROR_MEMORY, "pan_watch: no memory");
    new (r) Range;
  }
  r->torn.store(false);
  r->from.store(reinterpret_cast<uintptr_t>(p));
  r->to.store(reinterpret_cast<uintptr_t>(p) + uintptr_t(bytes));
  if (fresh) {
    r->next = ranges.load();
    ranges.store(r, std::memory_order_release);
  }
  return 0;
}

int32_t pan_torn(const void *p) {
  Lock lock;
  Range *r = find(p);
  return r && r->torn.load();
}

void pan_unwatch(const void *p) {
  Lock lock;
  Range *r = find(p);
  if (r) r->to.store(0);
}
