package dev.panacea.io;

import dev.panacea.io.GgufBuilder.Bytes;
import dev.panacea.kernels.GgmlType;
import dev.panacea.llama.LlamaConfig;
import dev.panacea.llama.RopeConfig;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.function.Function;
import java.util.stream.IntStream;

/** A two-layer Llama in a GGUF file whose matrices are random blocks of any types: wide enough for the K formats, of weights about as large as trained ones. */
public final class BlockLlama {
    private static final int HIDDEN = 256;
    private static final Map<GgmlType, Integer> TYPE_NUMBERS = Map.ofEntries(Map.entry(GgmlType.F32, 0), Map.entry(GgmlType.F16, 1), Map.entry(GgmlType.Q4_0, 2),
            Map.entry(GgmlType.Q4_1, 3), Map.entry(GgmlType.Q5_0, 6), Map.entry(GgmlType.Q5_1, 7), Map.entry(GgmlType.Q8_0, 8), Map.entry(GgmlType.Q2_K, 10),
            Map.entry(GgmlType.Q3_K, 11), Map.entry(GgmlType.Q4_K, 12), Map.entry(GgmlType.Q5_K, 13), Map.entry(GgmlType.Q6_K, 14), Map.entry(GgmlType.IQ4_NL, 20),
            Map.entry(GgmlType.BF16, 30));

    final LlamaConfig config;
    private final Random random;

    public BlockLlama(long seed, boolean tied) {
        random = new Random(seed);
        config = new LlamaConfig(270, HIDDEN, 512, 2, 4, 2, 64, 128, 1e-5f, tied, new RopeConfig(10000, Optional.empty()));
    }

    /** @param types of each matrix, by its Hugging Face name */
    public Path write(Path file, Function<String, GgmlType> types) {
        return gguf(types).write(file);
    }

    GgufBuilder gguf(Function<String, GgmlType> types) {
        GgufBuilder builder = new GgufBuilder().string("general.architecture", "llama").u32("llama.block_count", 2).u32("llama.context_length", 128)
                .u32("llama.embedding_length", HIDDEN).u32("llama.feed_forward_length", 512).u32("llama.attention.head_count", 4).u32("llama.attention.head_count_kv", 2)
                .f32("llama.rope.freq_base", 10000).f32("llama.attention.layer_norm_rms_epsilon", 1e-5f)
                .strings("tokenizer.ggml.tokens", IntStream.range(0, config.vocabSize()).mapToObj(i -> "t" + i).toList());
        LlamaTensors.all(config).forEach((name, shape) -> {
            if (shape.length == 2) {
                GgmlType type = types.apply(name);
                builder.tensor(TinyLlama.ggufName(name), TYPE_NUMBERS.get(type), shape, blocks(type, shape[0] * shape[1], random));
            } else {
                float[] norm = new float[(int) shape[0]];
                for (int i = 0; i < norm.length; i++) {
                    norm[i] = 1 + (float) random.nextGaussian() / 8;
                }
                builder.tensor(TinyLlama.ggufName(name), shape, norm);
            }
        });
        return builder;
    }

    /** Blocks of random codes under scales that give values of about 1/16. */
    static byte[] blocks(GgmlType type, long elements, Random random) {
        Bytes out = new Bytes();
        for (long i = 0; i < elements; i += type.blockElements()) {
            float s = (0.5f + random.nextFloat()) / 16;
            float x = (float) random.nextGaussian() / 16;
            switch (type) {
                case F32 -> out.f32(x);
                case F16 -> half(out, x);
                case BF16 -> out.raw(new byte[] {(byte) (Float.floatToRawIntBits(x) >> 16), (byte) (Float.floatToRawIntBits(x) >> 24)});
                case Q4_0 -> codes(half(out, s / 4.6f), 16, random);
                case Q4_1 -> codes(half(half(out, s / 4.6f), -7.5f * s / 4.6f), 16, random);
                case Q5_0 -> codes(half(out, s / 9.2f), 20, random);
                case Q5_1 -> codes(half(half(out, s / 9.2f), -15.5f * s / 9.2f), 20, random);
                case Q8_0 -> codes(half(out, s / 74), 32, random);
                case IQ4_NL -> codes(half(out, s / 70), 16, random);
                case Q2_K -> half(half(codes(out, 80, random), s / 10), s / 7);
                case Q3_K -> half(codes(out, 108, random), s / 42);
                case Q4_K -> codes(half(half(out, s / 143), s / 19), 140, random);
                case Q5_K -> codes(half(half(out, s / 285), s / 19), 172, random);
                case Q6_K -> half(codes(out, 208, random), s / 1360);
            }
        }
        return out.toArray();
    }

    private static Bytes half(Bytes out, float x) {
        short bits = Float.floatToFloat16(x);
        return out.u8(bits & 0xff).u8(bits >> 8 & 0xff);
    }

    private static Bytes codes(Bytes out, int count, Random random) {
        byte[] bytes = new byte[count];
        random.nextBytes(bytes);
        return out.raw(bytes);
    }
}
