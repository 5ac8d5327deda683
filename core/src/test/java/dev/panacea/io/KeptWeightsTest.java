package dev.panacea.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.panacea.generate.GenerationConfig;
import dev.panacea.generate.Generator;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.GgmlType;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.kernels.ReferenceKernels;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.LoadOptions;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraAdapter;
import dev.panacea.testing.KernelsProxy;
import dev.panacea.testing.TestBackend;
import dev.panacea.testing.TinyModel;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;

/** A model on the blocks of its GGUF file computes what the same model expanded to F32 computes: logits, gradients, generation, adapters. */
class KeptWeightsTest {
    private static final int[] TEXT = {3, 141, 59, 26, 5, 35, 89, 79, 32, 38, 46, 264, 33, 83, 27, 95, 2};

    @TempDir
    static Path folder;

    /** What a model gives for one text. */
    private record Results(float[] logits, float[] tuned, double loss, Map<String, float[]> gradients, int[] generated) {}

    private static Function<String, GgmlType> all(GgmlType type) {
        return name -> type;
    }

    /** As llama.cpp mixes them in a Q4_K_M file, and with a type that has to be expanded. */
    private static GgmlType mixed(String name) {
        return name.contains("embed") ? GgmlType.Q6_K : name.contains("v_proj") ? GgmlType.Q5_0 : name.contains("down") ? GgmlType.Q6_K
                : name.contains("1.mlp.up") ? GgmlType.Q3_K : name.contains("0.self_attn.k") ? GgmlType.F16 : GgmlType.Q4_K;
    }

    @TestFactory
    Stream<DynamicTest> givesWhatTheExpandedModelGives() {
        Map<String, Path> files = new LinkedHashMap<>();
        // What every type decodes to is a matter of the kernels' own tests; interpreting all of them here takes minutes.
        for (GgmlType type : TestBackend.isSimulated() ? new GgmlType[] {GgmlType.Q4_1} : GgmlType.values()) {
            files.put(type.name(), new BlockLlama(type.ordinal(), false).write(folder.resolve(type + ".gguf"), all(type)));
        }
        files.put("mixed", new BlockLlama(99, true).write(folder.resolve("mixed.gguf"), KeptWeightsTest::mixed));
        return TestBackend.all().stream().flatMap(b -> files.entrySet().stream().map(f -> DynamicTest.dynamicTest(b.name() + ", " + f.getKey(), () -> {
            Results expanded = results(b, f.getValue(), Quantization.NONE, DType.F32);
            Results kept = results(b, f.getValue(), Quantization.KEEP, DType.F32);
            assertClose("logits", kept.logits(), expanded.logits(), 1e-5);
            assertClose("logits with adapter", kept.tuned(), expanded.tuned(), 1e-5);
            assertThat(kept.loss()).isCloseTo(expanded.loss(), within(1e-5));
            expanded.gradients().forEach((name, g) -> assertClose(name, kept.gradients().get(name), g, 1e-4));
            assertThat(kept.generated()).isEqualTo(expanded.generated());
        })));
    }

    @TestFactory
    Stream<DynamicTest> inBf16ItIsTheExpandedModelButForRounding() {
        Path file = new BlockLlama(7, true).write(folder.resolve("bf16.gguf"), all(GgmlType.Q4_1));
        return TestBackend.all().stream().map(b -> DynamicTest.dynamicTest(b.name(), () -> {
            Results expanded = results(b, file, Quantization.NONE, DType.BF16);
            Results kept = results(b, file, Quantization.KEEP, DType.BF16);
            assertClose("logits", kept.logits(), expanded.logits(), 0.02);
            expanded.gradients().forEach((name, g) -> assertClose(name, kept.gradients().get(name), g, 0.05));
        }));
    }

    private static Results results(TestBackend backend, Path file, Quantization quantization, DType activations) {
        try (Kernels kernels = backend.open().get();
                Checkpoint checkpoint = Checkpoints.open(file);
                LlamaModel model = LlamaModel.load(kernels, checkpoint, new LoadOptions(quantization, activations));
                LoraAdapter adapter = TinyModel.adapter(model)) {
            float[] logits = model.logits(TEXT);
            int[] generated = new Generator(model).generate(Arrays.copyOf(TEXT, 5), GenerationConfig.greedy(4), new int[0], id -> {});
            adapter.attachTo(model);
            float[] tuned = model.logits(TEXT);
            int[] rows = IntStream.range(0, TEXT.length - 1).toArray();
            adapter.parameters().clearGradients();
            float[] losses = model.losses(List.of(TEXT), rows, Arrays.copyOfRange(TEXT, 1, TEXT.length), 1f / rows.length, true);
            double loss = IntStream.range(0, losses.length).mapToDouble(i -> losses[i]).average().orElseThrow();
            return new Results(logits, tuned, loss, adapter.gradients(), generated);
        }
    }

    private static void assertClose(String what, float[] actual, float[] expected, double tolerance) {
        double difference = 0;
        double norm = 0;
        for (int i = 0; i < expected.length; i++) {
            difference += Math.pow((double) actual[i] - expected[i], 2);
            norm += Math.pow(expected[i], 2);
        }
        assertThat(norm).as("size of " + what).isPositive();
        assertThat(Math.sqrt(difference / norm)).as(what).isLessThan(tolerance);
    }

    @Test
    void anAdapterTrainedOnKeptWeightsBelongsOnExpandedOnes() {
        Path file = new BlockLlama(5, false).write(folder.resolve("base.gguf"), all(GgmlType.Q4_0));
        try (Kernels kernels = new ReferenceKernels();
                Checkpoint checkpoint = Checkpoints.open(file);
                LlamaModel kept = LlamaModel.load(kernels, checkpoint, new LoadOptions(Quantization.KEEP, DType.F32));
                LlamaModel expanded = LlamaModel.load(kernels, checkpoint, new LoadOptions(Quantization.NONE, DType.F32));
                LoraAdapter trained = TinyModel.adapter(kept)) {
            trained.toPeft("base").write(folder.resolve("adapter"));
            try (LoraAdapter read = LoraAdapter.fromPeft(expanded, PeftAdapter.read(folder.resolve("adapter")))) {
                float[] base = expanded.logits(TEXT);
                trained.attachTo(kept);
                read.attachTo(expanded);
                assertThat(expanded.logits(TEXT)).isEqualTo(kept.logits(TEXT)).isNotEqualTo(base);
            }
        }
    }

    @Test
    void nothingIsCopiedButTheNorms() {
        Path file = new BlockLlama(6, true).write(folder.resolve("sizes.gguf"), all(GgmlType.Q8_0));
        try (Kernels kernels = new ReferenceKernels();
                Checkpoint checkpoint = Checkpoints.open(file);
                LlamaModel kept = LlamaModel.load(kernels, checkpoint, new LoadOptions(Quantization.KEEP, DType.BF16));
                LlamaModel expanded = LlamaModel.load(kernels, checkpoint, new LoadOptions(Quantization.NONE, DType.BF16))) {
            long matrices = 270 * 256 + 2 * (256 * 256 * 2 + 128 * 256 * 2 + 512 * 256 * 3);
            long norms = 4 * 256 * 5;
            assertThat(kept.mappedWeightBytes()).isEqualTo(matrices / 32 * 34);
            assertThat(kept.weightBytes()).isEqualTo(matrices / 32 * 34 + norms);
            assertThat(expanded.mappedWeightBytes()).isZero();
            assertThat(expanded.weightBytes()).isEqualTo(2 * matrices + norms);
            assertThat(Quantization.defaultFor(checkpoint)).isEqualTo(Quantization.KEEP);
        }
    }

    /** A device with memory of its own gets plain numbers in its type and the order of the matrix, not to be converted for every product. */
    @Test
    void plainNumbersOnADeviceAreThoseOfTheExpandedModel() {
        for (GgmlType type : new GgmlType[] {GgmlType.F32, GgmlType.F16, GgmlType.BF16}) {
            Path file = new BlockLlama(9, false).write(folder.resolve("numbers.gguf"), all(type));
            for (DType activations : new DType[] {DType.F32, DType.BF16}) {
                try (Kernels kernels = KernelsProxy.answering(new ReferenceKernels(), call -> {}, Map.of("readsHostMemory", arguments -> false));
                        Checkpoint checkpoint = Checkpoints.open(file);
                        LlamaModel kept = LlamaModel.load(kernels, checkpoint, new LoadOptions(Quantization.KEEP, activations));
                        LlamaModel expanded = LlamaModel.load(kernels, checkpoint, new LoadOptions(Quantization.NONE, activations))) {
                    assertThat(kept.logits(TEXT)).isEqualTo(expanded.logits(TEXT));
                    assertThat(kept.weightBytes()).isEqualTo(expanded.weightBytes());
                    assertThat(kept.mappedWeightBytes()).isZero();
                }
            }
        }
    }

    @Test
    void plainNumbersOfAnyFileAreMappedToo() {
        try (Kernels kernels = new ReferenceKernels();
                Checkpoint checkpoint = Checkpoints.open(new TinyLlama(18).writeFolder(folder.resolve("plain")));
                LlamaModel kept = LlamaModel.load(kernels, checkpoint, new LoadOptions(Quantization.KEEP, DType.F32));
                LlamaModel expanded = LlamaModel.load(kernels, checkpoint, new LoadOptions(Quantization.NONE, DType.F32))) {
            assertThat(kept.logits(new int[] {1, 2, 3})).isEqualTo(expanded.logits(new int[] {1, 2, 3}));
            assertThat(kept.weightBytes()).isEqualTo(expanded.weightBytes());
            assertThat(kept.mappedWeightBytes()).isEqualTo(expanded.weightBytes() - 4 * 32 * 5);
            assertThat(Quantization.defaultFor(checkpoint)).isEqualTo(Quantization.NF4);
        }
    }

    /** A file may say that its tensors stand anywhere. Native code wants numbers where numbers belong, so of four places one is used as it is. */
    @Test
    void numbersAtOddPlacesAreCopied() {
        TinyLlama tiny = new TinyLlama(17);
        int kept = 0;
        try (Kernels kernels = new ReferenceKernels()) {
            for (String padding : List.of("", "1", "12", "123")) {
                Path file = tiny.ggufTensors(TinyLlama.ggufKeys().align(1).string("general.name", padding), List.of()).write(folder.resolve("odd.gguf"));
                try (Checkpoint checkpoint = Checkpoints.open(file);
                        LlamaModel model = LlamaModel.load(kernels, checkpoint, new LoadOptions(Quantization.KEEP, DType.F32));
                        LlamaModel expanded = LlamaModel.load(kernels, checkpoint, new LoadOptions(Quantization.NONE, DType.F32))) {
                    kept += model.mappedWeightBytes() > 0 ? 1 : 0;
                    assertThat(model.logits(new int[] {1, 2, 3})).isEqualTo(expanded.logits(new int[] {1, 2, 3}));
                }
            }
        }
        assertThat(kept).isEqualTo(1);
    }

    @TestFactory
    Stream<DynamicTest> aClosedFileIsAnExceptionAndNoCrash() {
        Path file = new BlockLlama(8, true).write(folder.resolve("closed.gguf"), all(GgmlType.Q4_1));
        return TestBackend.all().stream().map(b -> DynamicTest.dynamicTest(b.name(), () -> {
            try (Kernels kernels = b.open().get()) {
                Checkpoint checkpoint = Checkpoints.open(file);
                try (LlamaModel model = LlamaModel.load(kernels, checkpoint, new LoadOptions(Quantization.KEEP, DType.F32)); LoraAdapter adapter = TinyModel.adapter(model)) {
                    adapter.attachTo(model);
                    float[] logits = model.logits(TEXT);
                    assertThat(logits).hasSize(TEXT.length * 270);
                    checkpoint.close();
                    if (!kernels.readsHostMemory()) {
                        assertThat(model.logits(TEXT)).as("of blocks that were brought to the device").isEqualTo(logits);
                        return;
                    }
                    assertThatThrownBy(() -> model.logits(TEXT)).isInstanceOf(IllegalStateException.class);
                    assertThatThrownBy(() -> model.losses(List.of(TEXT), new int[] {1}, new int[] {2}, 1, true)).isInstanceOf(IllegalStateException.class);
                }
            }
        }));
    }

    @Test
    void aScaleThatIsNotFiniteIsRefusedWithTheTensorsName() throws IOException {
        Map<GgmlType, int[]> scales = Map.ofEntries(Map.entry(GgmlType.F32, new int[] {2}), Map.entry(GgmlType.F16, new int[] {0}), Map.entry(GgmlType.BF16, new int[] {0}),
                Map.entry(GgmlType.Q4_0, new int[] {0}), Map.entry(GgmlType.Q4_1, new int[] {0, 2}), Map.entry(GgmlType.Q5_0, new int[] {0}),
                Map.entry(GgmlType.Q5_1, new int[] {0, 2}), Map.entry(GgmlType.Q8_0, new int[] {0}), Map.entry(GgmlType.Q2_K, new int[] {80, 82}),
                Map.entry(GgmlType.Q3_K, new int[] {108}), Map.entry(GgmlType.Q4_K, new int[] {0, 2}), Map.entry(GgmlType.Q5_K, new int[] {0, 2}),
                Map.entry(GgmlType.Q6_K, new int[] {208}), Map.entry(GgmlType.IQ4_NL, new int[] {0}));
        for (GgmlType type : GgmlType.values()) {
            Path file = new BlockLlama(1, true).write(folder.resolve("scales.gguf"), all(type));
            byte[] whole = Files.readAllBytes(file);
            long blocks = 270L * 256 / type.blockElements();
            long start = dataOf(file, "model.embed_tokens.weight");
            boolean brain = type == GgmlType.F32 || type == GgmlType.BF16;
            for (int scale : scales.get(type)) {
                for (long block : new long[] {0, blocks / 2, blocks - 1}) {
                    for (int bits : brain ? new int[] {0x7f80, 0xff80, 0x7fc1} : new int[] {0x7c00, 0xfc00, 0x7e01}) {
                        byte[] damaged = whole.clone();
                        int at = (int) (start + block * type.blockBytes() + scale);
                        damaged[at] = (byte) bits;
                        damaged[at + 1] = (byte) (bits >> 8);
                        GgufBuilder.write(file, damaged);
                        assertThatThrownBy(() -> load(file)).as(type + " " + scale).isInstanceOf(PanaceaException.class)
                                .hasMessageContainingAll("scales.gguf", "model.embed_tokens.weight", "not finite");
                    }
                }
            }
        }
    }

    /** The largest finite scales are no damage: what is refused is exactly what is refused of the decoded values. */
    @Test
    void largeScalesAndWildCodesAreNoDamage() {
        for (GgmlType type : GgmlType.values()) {
            byte[] raw = new byte[type.blockBytes() * 8];
            Arrays.fill(raw, (byte) 0x7b);
            assertThat(BlockScales.finite(type, MemorySegment.ofArray(raw))).as(type.name()).isTrue();
        }
    }

    private static long dataOf(Path file, String name) {
        try (GgufFile whole = GgufFile.open(file); Checkpoint checkpoint = Checkpoints.open(file)) {
            assertThat(checkpoint.names()).contains(name);
            long first = whole.tensor(TinyLlama.ggufName(name)).data().address();
            long last = whole.names().stream().map(whole::tensor).mapToLong(t -> t.data().address() + t.data().byteSize()).max().orElseThrow();
            return whole.size() - (last - first);
        }
    }

    private static void load(Path file) {
        try (Kernels kernels = new ReferenceKernels();
                Checkpoint checkpoint = Checkpoints.open(file);
                LlamaModel model = LlamaModel.load(kernels, checkpoint, new LoadOptions(Quantization.KEEP, DType.BF16))) {
            assertThat(model.weightBytes()).isPositive();
        }
    }
}
