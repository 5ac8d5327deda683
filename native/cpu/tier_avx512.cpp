// The tier for x86-64 CPUs with AVX-512 F, BW, VL, DQ and CD (Skylake-SP and Zen 4 onwards).
#define PAN_TIER avx512
#define PAN_TIER_TABLE tier_avx512
#define PAN_LEVEL 2
#include "tier.inc.h"
