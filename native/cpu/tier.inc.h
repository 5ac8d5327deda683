// tier.inc.h: the whole of one instruction-set tier. tier_<name>.cpp defines the three macros and includes this file:
//   PAN_TIER        the namespace, PAN_TIER_TABLE the table of context.h, PAN_LEVEL the level (PAN_TIER_... of panacea.h)
// All code is inside a namespace of the tier's own, so that no two tiers share a symbol the linker could merge. For the
// same reason only headers without inline functions of external linkage are included (no <cmath>, no <algorithm>).
#include "context.h"
#include <string.h>
#if PAN_LEVEL > 0
#include <immintrin.h>
#endif

namespace pan {
namespace PAN_TIER {

#include "simd.h"

// Weights, and linear layers.
#include "quant4.inc.h"
#include "ggml.inc.h"
#include "weight.inc.h"
#include "pack.inc.h"
#include "pack_ggml.inc.h"
#include "gemm.inc.h"
#include "gemv.inc.h"
#include "linear.inc.h"
#include "lora.inc.h"
// The others; rows.inc.h first, whose loops they share.
#include "rows.inc.h"
#include "norm.inc.h"
#include "rope.inc.h"
#include "attention_blocks.inc.h"
#include "attention.inc.h"
#include "attention_backward.inc.h"
#include "swiglu.inc.h"
#include "loss.inc.h"
#include "adamw.inc.h"
#include "probe.inc.h"

#define PAN_STRING_(x) #x
#define PAN_STRING(x) PAN_STRING_(x)
constexpr Tier table = {PAN_STRING(PAN_TIER)
#define PAN_KERNEL(name) , name
#include "kernels.def"
#undef PAN_KERNEL
};

}  // namespace PAN_TIER

const Tier PAN_TIER_TABLE = PAN_TIER::table;

}  // namespace pan
