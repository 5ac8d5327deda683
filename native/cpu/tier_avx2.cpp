// The tier for x86-64 CPUs with AVX2, FMA, F16C and BMI2 (Haswell and Zen onwards).
#define PAN_TIER avx2
#define PAN_TIER_TABLE tier_avx2
#define PAN_LEVEL 1
#include "tier.inc.h"
