// The tier for x86-64 CPUs with AVX-512 and its BF16 dot products (Cooper Lake and Zen 4 onwards).
#define PAN_TIER avx512bf16
#define PAN_TIER_TABLE tier_avx512bf16
#define PAN_LEVEL 3
#include "tier.inc.h"
