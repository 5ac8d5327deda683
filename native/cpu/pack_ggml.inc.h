// pack_ggml.inc.h: panels of a weight in ggml's blocks or in half precision, read by columns (pack.inc.h; the layout of blocks
// is in ggml.inc.h). As for bitsandbytes' codes, 32-bit words of W rows are transposed first, so that a lane is a row; the
// codes are then taken out of the words one element of all rows at a time, and scaled by the lanes' own scales.

// The halves at row[i] + offset.
PAN_INLINE VF gather_halves(const char *const *row, int64_t offset) {
  half h[W];
  for (int i = 0; i < W; i++) memcpy(h + i, row[i] + offset, sizeof(half));
  return vload(h);
}

// Scales and minima of a block of each of W rows.
template <int32_t kFormat>
struct ColumnScales {
  static constexpr bool kPairs6 = kFormat == PAN_Q4_K || kFormat == PAN_Q5_K;  // of scale and minimum, 6 bits each
  VF d, m;
  VU small[4];  // the small scales of the K formats, as they lie

  inline void load(const char *const *row) {
    if constexpr (kPairs6) {
      transpose_words(row, 0, small);
      d = halves_to_floats(small[0]);
      m = -halves_to_floats(small[0] >> 16);
    } else if constexpr (kFormat == PAN_Q6_K) {
      transpose_words(row, 192, small);
      d = gather_halves(row, 208);
    } else {
      d = gather_halves(row, 0);
      if (has_minimum(kFormat)) m = gather_halves(row, 2);
    }
  }

  // Of elements 16 * half_group ... of a group.
  inline void of_group(int group, int half_group, VF &scale, VF &minimum) const {
    if constexpr (kPairs6) {
      int shift = group % 4 * 8;
      VU s = small[1] >> shift, n = small[2] >> shift, upper = small[3] >> shift;
      s = group < 4 ? s & 63 : (upper & 15) | (s >> 2 & 48);
      n = group < 4 ? n & 63 : (upper >> 4 & 15) | (n >> 2 & 48);
      scale = to_floats((VI)s) * d;
      minimum = to_floats((VI)n) * m;
    } else if constexpr (kFormat == PAN_Q6_K) {
      scale = to_floats((VI)(small[group / 2] << (24 - (group % 2 * 2 + half_group) * 8)) >> 24) * d;
    } else {
      scale = d;
      if (has_minimum(kFormat)) minimum = m;
    }
  }
};

// What a group's 32 codes are made of, one lane per row: words of the codes or of their low 4 bits, and of their further bits.
template <int32_t kFormat>
struct ColumnCodes {
  static constexpr bool kSplit = kFormat == PAN_Q4_0 || kFormat == PAN_Q4_1 || kFormat == PAN_Q5_0 || kFormat == PAN_Q5_1;
  static constexpr bool kBytes = kFormat == PAN_Q5_K || kFormat == PAN_Q6_K;  // further bits in a byte for each element
  VU low[kSplit ? 4 : 8], high[kBytes ? 8 : 1];
  int low_shift, high_shift;

  inline void load(const char *const *row, int group) {
    low_shift = kFormat == PAN_Q6_K ? group % 4 / 2 * 4 : kFormat == PAN_Q8_0 ? 0 : group % 2 * 4;
    high_shift = kFormat == PAN_Q6_K ? group % 4 * 2 : group;
    if constexpr (kSplit) {
      constexpr int kAt = kFormat == PAN_Q4_0 ? 2 : kFormat == PAN_Q4_1 ? 4 : kFormat == PAN_Q5_0 ? 6 : 8;
      transpose_words(row, kAt, low);
      if constexpr (kAt > 4) {
        uint32_t bits[W];
        for (int i = 0; i < W; i++) memcpy(bits + i, row[i] + kAt - 4, 4);
        memcpy(high, bits, sizeof bits);
      }
    } else {
      int64_t at = kFormat == PAN_Q8_0 ? 2 : kFormat == PAN_Q4_K ? 16 + group / 2 * 32 : kFormat == PAN_Q5_K ? 48 + group / 2 * 32 : group / 4 * 64 + group % 2 * 32;
      transpose_words(row, at, low);
      transpose_words(row, at + 16, low + 4);
      if constexpr (kBytes) {
        int64_t further = kFormat == PAN_Q5_K ? 16 : 128 + group / 4 * 32;
        transpose_words(row, further, high);
        transpose_words(row, further + 16, high + 4);
      }
    }
  }

  // The code of element i, less its offset.
  inline VF at(int i) const {
    int byte = i % 4 * 8;
    if constexpr (kFormat == PAN_Q8_0) {
      return to_floats((VI)(low[i / 4] << (24 - byte)) >> 24);
    } else {
      VU word = kSplit ? low[i % 16 / 4] >> (byte + i / 16 * 4) : low[i / 4] >> (byte + low_shift);
      if constexpr (kFormat == PAN_Q4_0 || kFormat == PAN_Q4_1 || kFormat == PAN_Q4_K) {
#if PAN_LEVEL >= 2
        return _mm512_permutexvar_ps((__m512i)word, vload(kFormat == PAN_Q4_0 ? kCentredCodes : kCodes));
#else
        return to_floats((VI)(word & 15) - (kFormat == PAN_Q4_0 ? 8 : 0));
#endif
      } else if constexpr (kSplit) {
        VU bit = i < 4 ? high[0] << (4 - i) : high[0] >> (i - 4);
        return to_floats((VI)((word & 15) | (bit & 16)) - (kFormat == PAN_Q5_0 ? 16 : 0));
      } else {
        VU bits = high[i / 4] >> (byte + high_shift) << 4;
        return to_floats((VI)((word & 15) | (bits & (kFormat == PAN_Q5_K ? 16 : 48))) - (kFormat == PAN_Q6_K ? 32 : 0));
      }
    }
  }
};

// Elements [first, first + count) of rows of blocks, of which row[i] is the first block that has some; multiples of 32.
template <int32_t kFormat, bool kPairs, bool kRound>
static void pack_block_rows(const char *const *first_row, int64_t first, int64_t count, uint32_t *out) {
  constexpr BlockShape kShape = block_shape(kFormat);
  constexpr int kGroups = kShape.elements / 32;
  const char *row[W];
  for (int i = 0; i < W; i++) row[i] = first_row[i];
  int group = (int)(first / 32);
  ColumnScales<kFormat> scales;
  scales.load(row);
  StepWriter<kPairs> writer = {out, vzero()};
  for (int64_t k = 0; k < count; k += 32, group++) {
    if (group == kGroups) {
      group = 0;
      for (int i = 0; i < W; i++) row[i] += kShape.bytes;
      scales.load(row);
    }
    ColumnCodes<kFormat> codes;
    codes.load(row, group);
    for (int part = 0; part < 2; part++) {
      VF scale, minimum = vzero();
      scales.of_group(group, part, scale, minimum);
#pragma GCC unroll 1
      for (int i = 16 * part; i < 16 * part + 16; i += 4)  // not unrolled: the code would be large, and no faster
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) writer.put(k + i + j, scaled<kFormat, kRound && !kPairs>(codes.at(i + j), scale, minimum));
    }
  }
}

// Half-precision rows: values [0, count) of each.
template <bool kPairs, bool kRound>
static void pack_half_rows(const char *const *row, int64_t count, uint32_t *out) {
  StepWriter<kPairs> writer = {out, vzero()};
  VU word[4];
  for (int64_t i = 0; i < count; i += 8) {
    if (i + 8 <= count) {
      transpose_words(row, i * 2, word);
    } else {
      RowTails tails;
      tails.fill(row, i * 2, (count - i) * 2);
      transpose_words(tails.row, 0, word);
    }
    for (int j = 0; j < 8 && i + j < count; j++) {
      VF v = halves_to_floats(word[j / 2] >> (j % 2 * 16));
      writer.put(i + j, kRound && !kPairs ? (VF)round_bf16((VU)v) : v);
    }
  }
  writer.finish(count);
}

// W ranges of `count` stored elements from start[i] on, into steps of `out`. In ggml's blocks all ranges begin at the same place
// within their block, and this and count are multiples of 32.
template <bool kPairs, bool kRound>
static void pack_ggml_rows(const pan_weight *w, const int64_t *start, int64_t count, uint32_t *out) {
  BlockShape shape = has_blocks(w->format) ? block_shape(w->format) : BlockShape{1, 2};
  const char *row[W];
  for (int i = 0; i < W; i++) row[i] = (const char *)w->data + start[i] / shape.elements * shape.bytes;
  int64_t first = start[0] % shape.elements;
  switch (w->format) {
    case PAN_F16: return pack_half_rows<kPairs, kRound>(row, count, out);
    case PAN_Q4_0: return pack_block_rows<PAN_Q4_0, kPairs, kRound>(row, first, count, out);
    case PAN_Q4_1: return pack_block_rows<PAN_Q4_1, kPairs, kRound>(row, first, count, out);
    case PAN_Q5_0: return pack_block_rows<PAN_Q5_0, kPairs, kRound>(row, first, count, out);
    case PAN_Q5_1: return pack_block_rows<PAN_Q5_1, kPairs, kRound>(row, first, count, out);
    case PAN_Q8_0: return pack_block_rows<PAN_Q8_0, kPairs, kRound>(row, first, count, out);
    case PAN_Q4_K: return pack_block_rows<PAN_Q4_K, kPairs, kRound>(row, first, count, out);
    case PAN_Q5_K: return pack_block_rows<PAN_Q5_K, kPairs, kRound>(row, first, count, out);
    default: return pack_block_rows<PAN_Q6_K, kPairs, kRound>(row, first, count, out);
  }
}
