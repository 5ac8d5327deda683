// pool.h: the life of a pool; what the kernels see of it is in context.h.
#pragma once
#include "context.h"

namespace pan {

Pool *open_pool(int32_t threads);  // nullptr when there is no memory or no thread for it
void close_pool(Pool *pool);

int64_t scratch_bytes(const pan_context *ctx);  // that all workers hold now

// Around everything that a thread does in kernels; see mapped.cpp.
void enter_kernel();
void leave_kernel();

// Held for a whole call of the C interface: scratch memory and the job of the pool belong to one call at a time.
struct Call {
  explicit Call(const pan_context *ctx);
  ~Call();
  Call(const Call &) = delete;
  Call &operator=(const Call &) = delete;

 private:
  Pool *pool_;
};

}  // namespace pan
