// memory.cpp: memory from the operating system: zeroed, aligned, in huge pages where it is large.
#include "context.h"
#include <sys/mman.h>
#include <unistd.h>

namespace {

const size_t huge_page = size_t(2) << 20;

size_t page() { return size_t(sysconf(_SC_PAGESIZE)); }

size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

char *map(size_t bytes) {
  void *p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return p == MAP_FAILED ? nullptr : static_cast<char *>(p);
}

bool valid_size(int64_t bytes) {
  if (bytes >= 0 && bytes <= INT64_MAX / 2) return true;
  pan::fail(PAN_ERROR_ARGUMENT, "bytes to allocate = %lld: must be between 0 and 2^62", (long long)bytes);
  return false;
}

}  // namespace

void *pan_alloc(int64_t bytes) {
  if (!valid_size(bytes)) return nullptr;
  size_t size = round_up(bytes > 0 ? size_t(bytes) : 1, page());
  // Large memory starts at a 2 MiB boundary, so that all of it can lie in huge pages: map more, give back both ends.
  bool large = size >= 2 * huge_page;
  size_t mapped = large ? size + huge_page : size;
  char *p = map(mapped);
  if (!p) {
    pan::fail(PAN_ERROR_MEMORY, "no memory for %lld bytes", (long long)bytes);
    return nullptr;
  }
  if (large) {
    size_t before = round_up(reinterpret_cast<size_t>(p), huge_page) - reinterpret_cast<size_t>(p);
    if (before) munmap(p, before);
    p += before;
    size_t after = mapped - before - size;
    if (after) munmap(p + size, after);
#if defined(MADV_HUGEPAGE)
    madvise(p, size, MADV_HUGEPAGE);  // only advice: without huge pages the memory is merely slower
#endif
  }
  return p;
}

void pan_free(void *p, int64_t bytes) {
  if (p) munmap(p, round_up(bytes > 0 ? size_t(bytes) : 1, page()));
}

// Layout: an inaccessible page, the pages of the memory, an inaccessible page. The memory ends at the last one.
void *pan_alloc_guarded(int64_t bytes) {
  if (!valid_size(bytes)) return nullptr;
  size_t size = round_up(size_t(bytes), page());
  char *p = map(size + 2 * page());
  if (!p || mprotect(p, page(), PROT_NONE) != 0 || mprotect(p + page() + size, page(), PROT_NONE) != 0) {
    if (p) munmap(p, size + 2 * page());
    pan::fail(PAN_ERROR_MEMORY, "no guarded memory for %lld bytes", (long long)bytes);
    return nullptr;
  }
  return p + page() + size - bytes;
}

void pan_free_guarded(void *p, int64_t bytes) {
  if (!p) return;
  size_t size = round_up(size_t(bytes), page());
  munmap(static_cast<char *>(p) + bytes - size - page(), size + 2 * page());
}
