// The tier for every CPU: GCC's vector extensions, whatever the compiler makes of them.
#define PAN_TIER portable
#define PAN_TIER_TABLE tier_portable
#define PAN_LEVEL 0
#include "tier.inc.h"
