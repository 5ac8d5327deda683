// dynamic_map.cpp: from an 8-bit map (256 ascending levels within [-1, 1]) to a table that codes a number in one look-up.
//
// The code of x is that of the nearest level. bitsandbytes finds it by a binary search that ends at an even code and compares
// with the midpoints (level[k] + level[k+1]) / 2 to its neighbours, so a number that is a midpoint takes the even code. A
// number must not change its sign: a negative one whose nearest level is not negative takes the code below, and the reverse.
//
// The table. The upper half of a float's bits (sign, exponent, seven bits of the fraction) is a bin, and dynamic maps are so
// coarse that a bin has at most one place where the code grows by one. An entry is that place (lower half of the bits)
// and the code before it:   code(x) = (entry & 255) + (low > entry >> 16).
// Bins below 2^-23 share the code of the first. Magnitudes of negative numbers ascend as the numbers descend; their lower
// halves are inverted, so that the code grows with them as well.
#include "context.h"
#include <string.h>

namespace pan {

namespace {

float from_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

// Level k + 1 or above is the nearest one.
bool beyond(const float *levels, int32_t k, float x) {
  float midpoint = (levels[k] + levels[k + 1]) * 0.5f;
  return k % 2 == 0 ? x > midpoint : x >= midpoint;
}

uint32_t code_of(const float *levels, uint32_t bits) {
  float x = from_bits(bits);
  int32_t code = 0;
  for (int32_t step = 128; step > 0; step /= 2)
    if (code + step <= 255 && beyond(levels, code + step - 1, x)) code += step;
  bool negative = bits >> 31;
  if (negative && !(levels[code] < 0) && code > 0) code--;
  if (!negative && levels[code] < 0 && code < 255) code++;
  return uint32_t(code);
}

}  // namespace

bool make_dynamic_map(const float *levels, DynamicMap *map) {
  if (memcmp(levels, map->levels, sizeof map->levels) == 0 && map->codes[DynamicMap::bins - 1] != 0) return true;
  map->codes[DynamicMap::bins - 1] = 0;  // not a map until all of it is
  for (int i = 0; i < 255; i++)
    if (!(levels[i] < levels[i + 1])) return false;
  for (uint32_t negative = 0; negative < 2; negative++) {
    uint32_t sign = negative << 31, invert = negative ? 0xffff : 0;
    if (code_of(levels, sign) != code_of(levels, sign | uint32_t(DynamicMap::first_bin) << 16)) return false;
    for (int32_t bin = DynamicMap::bins - 1; bin >= 0; bin--) {
      uint32_t upper = sign | uint32_t(DynamicMap::first_bin + bin) << 16;
      uint32_t code = code_of(levels, upper | invert), last = code_of(levels, upper | (0xffff ^ invert));
      if (last > code + 1) return false;
      uint32_t below = 0, above = 0xffff;  // the lower halves from 0 to `below` have the first code
      while (last > code && above - below > 1) {
        uint32_t middle = (below + above) / 2;
        (code_of(levels, upper | (middle ^ invert)) == code ? below : above) = middle;
      }
      map->codes[int32_t(negative) * DynamicMap::bins + bin] = (last > code ? below : 0xffff) << 16 | code;
    }
  }
  memcpy(map->levels, levels, sizeof map->levels);
  return true;
}

}  // namespace pan
