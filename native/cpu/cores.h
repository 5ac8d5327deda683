// cores.h: how many threads the machine is good for, and which instruction sets it runs.
#pragma once
#include <cstdint>

namespace pan {

// Physical cores that this process may use: its affinity mask, siblings of one core counted once, and no more than the
// cgroup's CPU quota.
int32_t usable_cores();

// 1 if the CPU and the operating system (the register state it saves) run the PAN_TIER_... .
bool tier_supported(int32_t tier);
int32_t best_tier();

}  // namespace pan
