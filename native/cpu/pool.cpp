// pool.cpp: the worker threads of a context and their scratch memory.
//
// The caller is worker 0; workers 1 .. threads-1 are threads of the pool's own. A job is a loop of tasks, handed out one
// by one by an atomic counter. The gate counts the workers inside the job and has one bit that says whether it is open:
//   - a worker that sees a new epoch enters (gate + 1); if the gate was closed it came too late and leaves again;
//   - the caller works as well, closes the gate when no task is left, and waits until the last worker has gone.
// So nobody waits for a worker that the operating system has not scheduled yet. Idle workers spin for some ten
// microseconds, about the time between two kernels of a layer, and then sleep. Nothing is allocated per call.
#include "pool.h"
#include <atomic>
#include <cstdlib>
#include <new>
#include <pthread.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pan {

namespace {

const int spins = 2000;
const uint64_t open_bit = uint64_t(1) << 32;

struct Block {
  void *memory;
  size_t bytes;
};

struct Worker {
  Pool *pool;
  int32_t index;
  pthread_t thread;
};

void pause_cpu() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

}  // namespace

struct Pool {
  pthread_mutex_t call = PTHREAD_MUTEX_INITIALIZER;  // one call at a time

  // The job; written only while the gate is closed and nobody is inside.
  Task task = nullptr;
  void *arg = nullptr;
  int64_t count = 0;
  alignas(64) std::atomic<int64_t> next{0};
  alignas(64) std::atomic<uint64_t> gate{0};
  alignas(64) std::atomic<uint32_t> epoch{0};
  std::atomic<bool> stop{false};
  std::atomic<int32_t> asleep{0};
  std::atomic<bool> caller_waits{false};

  pthread_mutex_t sleep = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
  pthread_cond_t done = PTHREAD_COND_INITIALIZER;

  int32_t threads = 0;
  int32_t started = 0;
  Worker *workers = nullptr;  // [threads]; element 0 is the caller's and has no thread
  Block *scratch = nullptr;   // [threads + 1]; element 0 is shared by the call
};

namespace {

void run_tasks(Pool *p, int32_t worker) {
  for (;;) {
    int64_t i = p->next.fetch_add(1, std::memory_order_relaxed);
    if (i >= p->count) return;
    p->task(p->arg, i, worker);
  }
}

// True when a job has been put up since `seen`, false when the pool closes.
bool await_job(Pool *p, uint32_t seen) {
  for (int i = 0; i < spins; i++) {
    if (p->epoch.load(std::memory_order_acquire) != seen || p->stop.load(std::memory_order_relaxed)) break;
    pause_cpu();
  }
  if (p->epoch.load(std::memory_order_acquire) == seen && !p->stop.load()) {
    pthread_mutex_lock(&p->sleep);
    p->asleep.fetch_add(1);
    while (p->epoch.load() == seen && !p->stop.load()) pthread_cond_wait(&p->wake, &p->sleep);
    p->asleep.fetch_sub(1);
    pthread_mutex_unlock(&p->sleep);
  }
  return !p->stop.load();
}

void *work(void *arg) {
  Worker *self = static_cast<Worker *>(arg);
  Pool *p = self->pool;
  uint32_t seen = 0;
  enter_kernel();  // for good: these threads do nothing else
  while (await_job(p, seen)) {
    seen = p->epoch.load();
    if (p->gate.fetch_add(1) & open_bit) run_tasks(p, self->index);
    uint64_t left = p->gate.fetch_sub(1) - 1;
    if (left == 0 && p->caller_waits.load()) {
      pthread_mutex_lock(&p->sleep);
      pthread_cond_signal(&p->done);
      pthread_mutex_unlock(&p->sleep);
    }
  }
  return nullptr;
}

}  // namespace

void parallel(pan_context *ctx, int64_t count, Task task, void *arg) {
  Pool *p = ctx->pool;
  if (p->threads == 1 || count <= 1) {
    for (int64_t i = 0; i < count; i++) task(arg, i, 0);
    return;
  }
  p->task = task;
  p->arg = arg;
  p->count = count;
  p->next.store(0, std::memory_order_relaxed);
  p->gate.fetch_or(open_bit);
  p->epoch.fetch_add(1);
  if (p->asleep.load() > 0) {
    pthread_mutex_lock(&p->sleep);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->sleep);
  }
  run_tasks(p, 0);
  p->gate.fetch_and(~open_bit);
  for (int i = 0; i < spins && p->gate.load(std::memory_order_acquire) != 0; i++) pause_cpu();
  if (p->gate.load() == 0) return;
  pthread_mutex_lock(&p->sleep);
  p->caller_waits.store(true);
  while (p->gate.load() != 0) pthread_cond_wait(&p->done, &p->sleep);
  p->caller_waits.store(false);
  pthread_mutex_unlock(&p->sleep);
}

void *scratch(pan_context *ctx, int32_t worker, size_t bytes) {
  Block *block = &ctx->pool->scratch[worker + 1];
  if (block->bytes >= bytes && block->memory) return block->memory;
  pan_free(block->memory, int64_t(block->bytes));
  *block = Block{pan_alloc(int64_t(bytes)), bytes};
  if (!block->memory) *block = Block{nullptr, 0};
  return block->memory;
}

int64_t scratch_bytes(const pan_context *ctx) {
  int64_t sum = 0;
  for (int32_t i = 0; i <= ctx->pool->threads; i++) sum += int64_t(ctx->pool->scratch[i].bytes);
  return sum;
}

int32_t thread_count(const pan_context *ctx) { return ctx->pool->threads; }

Pool *open_pool(int32_t threads) {
  void *memory = nullptr;
  if (posix_memalign(&memory, alignof(Pool), sizeof(Pool)) != 0) return nullptr;
  Pool *p = new (memory) Pool;
  p->threads = threads;
  p->started = 1;
  p->workers = static_cast<Worker *>(calloc(size_t(threads), sizeof(Worker)));
  p->scratch = static_cast<Block *>(calloc(size_t(threads) + 1, sizeof(Block)));
  if (p->workers && p->scratch) {
    for (; p->started < threads; p->started++) {
      Worker *w = &p->workers[p->started];
      w->pool = p;
      w->index = p->started;
      if (pthread_create(&w->thread, nullptr, work, w) != 0) break;
    }
    if (p->started == threads) return p;
  }
  close_pool(p);
  return nullptr;
}

void close_pool(Pool *p) {
  pthread_mutex_lock(&p->sleep);
  p->stop.store(true);
  pthread_cond_broadcast(&p->wake);
  pthread_mutex_unlock(&p->sleep);
  for (int32_t i = 1; i < p->started; i++) pthread_join(p->workers[i].thread, nullptr);
  if (p->scratch)
    for (int32_t i = 0; i <= p->threads; i++) pan_free(p->scratch[i].memory, int64_t(p->scratch[i].bytes));
  free(p->scratch);
  free(p->workers);
  pthread_mutex_destroy(&p->call);
  pthread_mutex_destroy(&p->sleep);
  pthread_cond_destroy(&p->wake);
  pthread_cond_destroy(&p->done);
  p->~Pool();
  free(p);
}

Call::Call(const pan_context *ctx) : pool_(ctx->pool) {
  pthread_mutex_lock(&pool_->call);
  enter_kernel();
}
Call::~Call() {
  leave_kernel();
  pthread_mutex_unlock(&pool_->call);
}

}  // namespace pan
