// cores.cpp: CPU detection. Linux tells the cores; elsewhere the number of processors is taken.
#include "cores.h"
#include "panacea.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>
#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace pan {

namespace {

#if defined(__linux__)

// The first line of a small file; false if there is none.
bool first_line(const char *path, char *line, size_t size) {
  FILE *f = fopen(path, "re");
  if (!f) return false;
  bool read = fgets(line, int(size), f) != nullptr;
  fclose(f);
  return read;
}

// CPUs that a quota of one cgroup directory amounts to, rounded up; `limit` where there is no quota.
int32_t quota_of(const char *directory, int32_t limit) {
  char path[600], line[100];
  long long quota = -1, period = 0;
  snprintf(path, sizeof path, "%s/cpu.max", directory);  // cgroup v2: "quota period" or "max period"
  if (first_line(path, line, sizeof line)) {
    if (sscanf(line, "%lld %lld", &quota, &period) != 2) return limit;
  } else {  // cgroup v1
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", directory);
    if (!first_line(path, line, sizeof line) || sscanf(line, "%lld", &quota) != 1) return limit;
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", directory);
    if (!first_line(path, line, sizeof line) || sscanf(line, "%lld", &period) != 1) return limit;
  }
  if (quota <= 0 || period <= 0) return limit;
  long long cpus = (quota + period - 1) / period;
  return cpus < limit ? int32_t(cpus) : limit;
}

// The smallest quota from the process's own cgroup up to the root; in a container its root may be mounted in place.
int32_t within_quota(int32_t cores) {
  char line[512];
  FILE *f = fopen("/proc/self/cgroup", "re");
  if (!f) return cores;
  while (fgets(line, sizeof line, f)) {
    line[strcspn(line, "\n")] = 0;
    char *controllers = strchr(line, ':');
    char *group = controllers ? strchr(controllers + 1, ':') : nullptr;
    if (!group) continue;
    *group++ = 0;
    controllers++;
    bool v2 = *controllers == 0;
    if (!v2 && !strstr(controllers, "cpu")) continue;
    for (;;) {
      char directory[560];
      snprintf(directory, sizeof directory, "/sys/fs/cgroup%s%s", v2 ? "" : "/cpu", group);
      cores = quota_of(directory, cores);
      char *slash = strrchr(group, '/');
      if (!slash || group[0] == 0) break;
      *slash = 0;
    }
  }
  fclose(f);
  return cores;
}

// True if `cpu` is the first CPU of its core among those of the mask; a list of siblings looks like "0,64" or "0-1".
bool first_of_core(int cpu, const cpu_set_t *mask, size_t size) {
  char path[100], line[200];
  snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
  if (!first_line(path, line, sizeof line)) return true;
  char *p = line;
  while (*p >= '0' && *p <= '9') {
    long from = strtol(p, &p, 10), to = from;
    if (*p == '-') to = strtol(p + 1, &p, 10);
    for (long sibling = from; sibling <= to && sibling < cpu; sibling++)
      if (CPU_ISSET_S(size_t(sibling), size, mask)) return false;
    if (*p == ',') p++;
  }
  return true;
}

#endif

#if defined(__x86_64__)

struct Cpu {
  bool supported[PAN_TIER_AVX512BF16 + 1];
  bool intel;
};

Cpu detect() {
  Cpu cpu = {};
  cpu.supported[PAN_TIER_PORTABLE] = true;
  unsigned a, b, c, d;
  if (!__get_cpuid(0, &a, &b, &c, &d)) return cpu;
  cpu.intel = b == signature_INTEL_ebx && c == signature_INTEL_ecx && d == signature_INTEL_edx;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return cpu;
  bool base = (c & bit_OSXSAVE) && (c & bit_AVX) && (c & bit_FMA) && (c & bit_F16C);
  if (!base) return cpu;
  // XCR0: the register state that the operating system saves: 2 SSE, 4 AVX, 0xe0 AVX-512.
  unsigned state, high;
  __asm__ volatile("xgetbv" : "=a"(state), "=d"(high) : "c"(0));
  if ((state & 6) != 6) return cpu;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return cpu;
  unsigned leaves = a;
  bool vnni = c & bit_AVX512VNNI;  // every CPU with AVX512BF16 has it
  const unsigned avx2 = bit_AVX2 | bit_BMI2;
  const unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ | bit_AVX512CD;
  cpu.supported[PAN_TIER_AVX2] = (b & avx2) == avx2;
  cpu.supported[PAN_TIER_AVX512] = cpu.supported[PAN_TIER_AVX2] && (b & avx512) == avx512 && (state & 0xe0) == 0xe0;
  if (!cpu.supported[PAN_TIER_AVX512] || leaves < 1) return cpu;
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d)) return cpu;
  cpu.supported[PAN_TIER_AVX512BF16] = vnni && (a & bit_AVX512BF16) != 0;
  return cpu;
}

#endif

}  // namespace

int32_t usable_cores() {
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  int32_t cores = online > 0 ? int32_t(online) : 1;
#if defined(__linux__)
  // The mask may be larger than cpu_set_t; such machines are asked again with more room.
  for (int cpus = CPU_SETSIZE; cpus <= 1 << 16; cpus *= 2) {
    cpu_set_t *mask = CPU_ALLOC(cpus);
    if (!mask) break;
    size_t size = CPU_ALLOC_SIZE(cpus);
    bool known = sched_getaffinity(0, size, mask) == 0;
    if (known) {
      cores = 0;
      for (int i = 0; i < cpus; i++) cores += CPU_ISSET_S(size_t(i), size, mask) && first_of_core(i, mask, size);
    }
    CPU_FREE(mask);
    if (known) break;
  }
  cores = within_quota(cores);
#endif
  return cores > 0 ? cores : 1;
}

bool tier_supported(int32_t tier) {
#if defined(__x86_64__)
  return tier >= PAN_TIER_PORTABLE && tier <= PAN_TIER_AVX512BF16 && detect().supported[tier];
#else
  return tier == PAN_TIER_PORTABLE;
#endif
}

int32_t best_tier() {
#if defined(__x86_64__)
  // The highest that the CPU runs, with one exception: on Intel VDPBF16PS is no gain. Measured on one core of a Xeon of
  // family 6, model 207: 85 GFLOP/s with VDPBF16PS, 172 with f32 FMA; on Zen 5 it has twice the rate of f32 FMA. The
  // vendor decides and never a timing: the same machine must always give the same results.
  Cpu cpu = detect();
  if (cpu.supported[PAN_TIER_AVX512BF16] && !cpu.intel) return PAN_TIER_AVX512BF16;
  if (cpu.supported[PAN_TIER_AVX512]) return PAN_TIER_AVX512;
  if (cpu.supported[PAN_TIER_AVX2]) return PAN_TIER_AVX2;
#endif
  return PAN_TIER_PORTABLE;
}

}  // namespace pan
