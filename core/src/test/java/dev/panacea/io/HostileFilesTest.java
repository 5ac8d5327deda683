package dev.panacea.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.fail;

import dev.panacea.io.GgufBuilder.Bytes;
import dev.panacea.kernels.Backends;
import dev.panacea.kernels.BlockWeight;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.GgmlBlocks;
import dev.panacea.kernels.GgmlType;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.LoadOptions;
import dev.panacea.llama.Quantization;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Damaged and lying files: each is an error that names the file, found with little memory; nothing else ever comes out. */
@Timeout(value = 60, unit = TimeUnit.SECONDS)
class HostileFilesTest {
    private static final long MOST_MEMORY = 64 << 20;
    private static final String PUNCTUATION = "0123456789-\",:{}[]x";
    private static final com.sun.management.ThreadMXBean THREADS = (com.sun.management.ThreadMXBean) ManagementFactory.getThreadMXBean();

    @TempDir
    Path folder;
    private final TinyLlama model = new TinyLlama(13);

    @Test
    void ggufCutAnywhere() {
        byte[] whole = model.gguf().bytes(3);
        int dataStart = whole.length - model.weights.values().stream().mapToInt(v -> v.length * 4).sum();
        for (int n = 0; n < whole.length; n += step(n, dataStart + 40)) {
            refusedGguf("cut at " + n, Arrays.copyOf(whole, n));
        }
        refusedGguf("cut before the last byte", Arrays.copyOf(whole, whole.length - 1));
    }

    @Test
    void ggufThatLies() {
        Map<String, byte[]> cases = new LinkedHashMap<>();
        byte[] whole = model.gguf().bytes(3);
        cases.put("magic", patch(whole, 0, b -> b.putInt(0x46554746)));
        for (int version : new int[] {0, 1, 4, -1, 0x03000000}) {
            cases.put("version " + version, model.gguf().bytes(version));
        }
        for (long count : new long[] {-1, Long.MIN_VALUE, Long.MAX_VALUE, 1L << 32, 65537, 60000}) {
            cases.put("tensors " + count, patch(whole, 8, b -> b.putLong(count)));
            cases.put("keys " + count, patch(whole, 16, b -> b.putLong(count)));
            cases.put("first key length " + count, patch(whole, 24, b -> b.putLong(count)));
            cases.put("text length " + count, key(8, b -> b.u64(count)));
            cases.put("array length " + count, key(9, b -> b.u32(8).u64(count == 60000 ? 70000 : count)));
            cases.put("array of numbers " + count, key(9, b -> b.u32(10).u64(count == 60000 ? 70000 : count)));
        }
        cases.put("key type", key(13, b -> b.u32(0)));
        cases.put("negative key type", key(-1, b -> b.u32(0)));
        cases.put("element type", key(9, b -> b.u32(77).u64(0)));
        cases.put("array of arrays", key(9, b -> b.u32(9).u64(1).u32(4).u64(1).u32(1)));
        cases.put("key twice", model.gguf().u32("llama.block_count", 2).bytes(3));
        cases.put("key not UTF-8", patch(whole, 32, b -> b.put((byte) 0xff)));
        cases.put("architecture not UTF-8", patch(whole, indexOf(whole, "llama"), b -> b.put((byte) 0xc0)));
        for (int alignment : new int[] {0, 3, -32, 1 << 21}) {
            cases.put("alignment " + alignment, model.gguf().u32("general.alignment", alignment).bytes(3));
        }
        cases.put("alignment a text", model.gguf().string("general.alignment", "32").bytes(3));
        for (int dimensions : new int[] {0, 5, -1, Integer.MAX_VALUE}) {
            GgufBuilder builder = model.gguf();
            byte[] bytes = builder.info("x", 0, new long[] {4}, 0).bytes(3);
            cases.put("dimensions " + dimensions, patch(bytes, indexOf(bytes, "\1\0\0\0\0\0\0\0x") + 9, b -> b.putInt(dimensions)));
        }
        for (long[] shape : new long[][] {{0}, {-1}, {Long.MAX_VALUE}, {1L << 32, 1L << 32}, {1L << 62, 2}, {1L << 40}, {Long.MIN_VALUE, 2}, {3, 3, 3, 1L << 61}}) {
            cases.put("shape " + Arrays.toString(shape), model.gguf().info("x", 0, shape, 0).bytes(3));
        }
        cases.put("row no multiple of a block", model.gguf().info("x", 2, new long[] {2, 33}, 0).bytes(3));
        for (int type : new int[] {4, 9, 19, 23, 39, 1000, -1}) {
            cases.put("type " + type, model.gguf().info("x", type, new long[] {256}, 0).bytes(3));
        }
        for (long offset : new long[] {-32, 7, 1L << 40, Long.MAX_VALUE - 31, Long.MIN_VALUE, 0, 32}) {
            cases.put("offset " + offset, model.gguf().info("x", 0, new long[] {8}, offset).bytes(3));
        }
        cases.put("tensor twice", model.gguf().tensor("output_norm.weight", new long[] {32}, new float[32]).bytes(3));
        for (String key : List.of("embedding_length", "block_count", "feed_forward_length", "attention.head_count", "attention.head_count_kv", "context_length",
                "attention.layer_norm_rms_epsilon", "rope.dimension_count", "rope.freq_base")) {
            int value = indexOf(whole, "llama." + key) + 6 + key.length() + 4;
            for (int v : new int[] {0, -1, Integer.MAX_VALUE, 31, 0x7fc00000}) {
                cases.put(key + " " + v, patch(whole, value, b -> b.putInt(v)));
            }
            cases.put(key + " a text", patch(whole, value - 4, b -> b.putInt(8)));
            cases.put(key + " absent or renamed", patch(whole, value - 5, b -> b.put((byte) 'X')));
        }
        // These have a default, or the number is a possible one.
        List.of("rope.freq_base absent or renamed", "rope.dimension_count absent or renamed", "context_length 31", "attention.layer_norm_rms_epsilon 31")
                .forEach(cases::remove);
        cases.forEach(this::refusedGguf);
    }

    @Test
    void ggufWithWeightsThatAreNotFinite() {
        float[] norm = model.weights.get("model.norm.weight");
        norm[31] = Float.NEGATIVE_INFINITY;
        refusedGguf("infinity", model.gguf().bytes(3));
        norm[31] = 1;
        byte[] blocks = new byte[18 * 24];
        Arrays.fill(blocks, 18 * 23, 18 * 23 + 2, (byte) 0x7e);
        Path file = model.ggufTensors(TinyLlama.ggufKeys(), List.of("model.embed_tokens.weight")).tensor("token_embd.weight", 2, new long[] {24, 32}, blocks)
                .write(folder.resolve("kept.gguf"));
        try (Kernels kernels = Backends.open()) {
            expectRefusal("scale NaN of a kept weight", file, () -> run(kernels, file));
        }
        refusedGguf("scale NaN", model.ggufTensors(TinyLlama.ggufKeys(), List.of("model.embed_tokens.weight")).tensor("token_embd.weight", 2, new long[] {24, 32}, blocks).bytes(3));
    }

    @Test
    void safetensorsCutAnywhere() throws IOException {
        byte[] whole = Files.readAllBytes(model.writeFolder(folder.resolve("whole")).resolve("model.safetensors"));
        int dataStart = 8 + (int) ByteBuffer.wrap(whole).order(ByteOrder.LITTLE_ENDIAN).getLong();
        for (int n = 0; n < whole.length; n += step(n, dataStart + 8)) {
            refusedSafetensors("cut at " + n, Arrays.copyOf(whole, n));
        }
        refusedSafetensors("cut before the last byte", Arrays.copyOf(whole, whole.length - 1));
        refusedSafetensors("a byte too many", Arrays.copyOf(whole, whole.length + 1));
    }

    @Test
    void safetensorsThatLie() throws IOException {
        byte[] whole = Files.readAllBytes(model.writeFolder(folder.resolve("whole")).resolve("model.safetensors"));
        int length = (int) ByteBuffer.wrap(whole).order(ByteOrder.LITTLE_ENDIAN).getLong();
        String header = new String(whole, 8, length, StandardCharsets.UTF_8);
        byte[] data = Arrays.copyOfRange(whole, 8 + length, whole.length);
        for (long n : new long[] {0, 1, -1, Long.MIN_VALUE, Long.MAX_VALUE, 100_000_001, whole.length, whole.length - 7, length - 1, length - 9}) {
            refusedSafetensors("header of " + n, patch(whole, 0, b -> b.putLong(n)));
        }
        Map<String, String> cases = new LinkedHashMap<>();
        String first = "\"lm_head.weight\":{\"dtype\":\"F32\",\"shape\":[24,32],\"data_offsets\":[0,3072]}";
        assertThat(header).contains(first);
        List<String> wrong = """
                "lm_head.weight":{"dtype":"F32","shape":[24,32],"data_offsets":[0,3072]},"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}
                "lm_head.weight":{"dtype":"F32","shape":[24,32],"data_offsets":[0,3072]},"lm_head.weight":{"dtype":"F32","shape":[24,32],"data_offsets":[0,3072]}
                "lm_head.weight":{"dtype":"F32","dtype":"F32","shape":[24,32],"data_offsets":[0,3072]}
                "lm_head.weight":{"dtype":"F32","shape":[24,31],"data_offsets":[0,3072]}
                "lm_head.weight":{"dtype":"F32","shape":[24,-32],"data_offsets":[0,3072]}
                "lm_head.weight":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,3072]}
                "lm_head.weight":{"dtype":"F32","shape":[24,32],"data_offsets":[3072,0]}
                "lm_head.weight":{"dtype":"F32","shape":[24,32],"data_offsets":[4,3076]}
                "lm_head.weight":{"dtype":"F32","shape":[24,32],"data_offsets":[-3072,0]}
                "lm_head.weight":{"dtype":"F32","shape":[24,32],"data_offsets":[0]}
                "lm_head.weight":{"dtype":"F32","shape":[24,32],"data_offsets":[0,3072,3072]}
                "lm_head.weight":{"dtype":"F32","shape":[24,32],"data_offsets":[0,9223372036854775807]}
                "lm_head.weight":{"dtype":"F32","shape":[24,32],"data_offsets":[0,99999999999999999999]}
                "lm_head.weight":{"dtype":"F32","shape":[1,1,1,1,1,1,1,24,32],"data_offsets":[0,3072]}
                "lm_head.weight":{"dtype":"F32","shape":[24.0,32],"data_offsets":[0,3072]}
                "lm_head.weight":{"dtype":"F32","shape":"24","data_offsets":[0,3072]}
                "lm_head.weight":{"dtype":"F8_E4M3","shape":[24,128],"data_offsets":[0,3072]}
                "lm_head.weight":{"dtype":7,"shape":[24,32],"data_offsets":[0,3072]}
                "lm_head.weight":{"dtype":"I32","shape":[24,32],"data_offsets":[0,3072]}
                "lm_head.weight":{"shape":[24,32],"data_offsets":[0,3072]}
                "lm_head.weight":{"dtype":"F32","data_offsets":[0,3072]}
                "lm_head.weight":{"dtype":"F32","shape":[24,32]}
                "lm_head.weight":[]
                "lm_head.weight":null
                "lm_head.weight":{"dtype":"F32","shape":[24,32],"data_offsets":[0,3072],"more":1}
                "head":{"dtype":"F32","shape":[24,32],"data_offsets":[0,3072]}
                "lm_head.weight":{"dtype":"F32","shape":[24,32],"data_offsets":[0,3072]},
                "__metadata__":{},"lm_head.weight":{"dtype":"F32","shape":[24,32],"data_offsets":[0,3072]}
                """.lines().toList();
        for (String entry : wrong) {
            cases.put(entry, header.replace(first, entry));
        }
        cases.put("metadata of a number", header.replace("\"format\":\"pt\"", "\"format\":1"));
        cases.put("metadata a list", header.replace("{\"format\":\"pt\"}", "[]"));
        cases.put("two objects", header.strip() + "{}");
        cases.put("a list", "[]");
        cases.put("nothing", "  ");
        cases.put("deep", "{\"a\":" + "[".repeat(100_000));
        cases.put("deep objects", "{\"a\":".repeat(50_000));
        cases.put("a number of a million digits", header.replace("[24,32]", "[" + "9".repeat(1_000_000) + ",32]"));
        cases.put("UTF-16", header.replace("", "\0"));
        cases.forEach((what, text) -> refusedSafetensors(what.substring(0, Math.min(100, what.length())), withHeader(text.getBytes(StandardCharsets.UTF_8), data)));
        byte[] invalid = header.getBytes(StandardCharsets.UTF_8);
        invalid[20] = (byte) 0xfe;
        refusedSafetensors("not UTF-8", withHeader(invalid, data));
        refusedSafetensors("NaN", patch(whole, 8 + length + 400, b -> b.putInt(0x7fc00000)));
    }

    @Test
    void notFilesAtAll() throws IOException {
        Path empty = Files.createFile(folder.resolve("empty.gguf"));
        Path nested = Files.createDirectories(folder.resolve("folder.gguf"));
        for (Path path : List.of(empty, nested, folder.resolve("absent.gguf"), Path.of("/dev/null"), Path.of("/dev/zero"), Path.of("/proc/self/mem"))) {
            expectRefusal(path.toString(), path, () -> Checkpoints.open(path).close());
            expectRefusal(path.toString(), path, () -> SafetensorsFile.open(path).close());
        }
        Path loop = Files.createSymbolicLink(folder.resolve("loop.gguf"), Path.of("loop.gguf"));
        expectRefusal("a link to itself", loop, () -> Checkpoints.open(loop).close());
    }

    @Test
    void randomDamageToWeightsInUseIsAnErrorOrHarmless() {
        List<GgmlType> types = Arrays.stream(GgmlType.values()).filter(BlockWeight::supports).toList();
        byte[] whole = new BlockLlama(4, true).gguf(name -> types.get(Math.floorMod(name.hashCode(), types.size()))).bytes(3);
        Random random = new Random(20261123);
        int[] outcomes = new int[2];
        try (Kernels kernels = Backends.open()) {
            for (int i = 0; i < 300; i++) {
                Path file = GgufBuilder.write(folder.resolve("k.gguf"), damaged(whole, i % 2 == 0 ? 5000 : whole.length, random));
                outcomes[attempt(i, file, () -> run(kernels, file))]++;
            }
        }
        assertThat(outcomes[0]).as("read").isGreaterThan(50);
        assertThat(outcomes[1]).as("refused").isGreaterThan(50);
    }

    @Test
    void randomDamageIsAnErrorOrHarmless() throws IOException {
        byte[] gguf = model.gguf().bytes(3);
        byte[] blocks = Files.readAllBytes(GgmlBlocksTest.blocks());
        Path whole = model.writeFolder(folder.resolve("whole"));
        byte[] safetensors = Files.readAllBytes(whole.resolve("model.safetensors"));
        byte[] config = Files.readAllBytes(whole.resolve("config.json"));
        Path adapter = folder.resolve("adapter");
        new PeftAdapter(PeftConfig.of(Optional.empty(), 2, 4, 0, List.of("q_proj"), false),
                Map.of("model.layers.0.self_attn.q_proj", new LoraTensors(2, 32, 32, new float[64], new float[64]))).write(adapter);
        byte[] adapterConfig = Files.readAllBytes(adapter.resolve("adapter_config.json"));
        byte[] adapterWeights = Files.readAllBytes(adapter.resolve("adapter_model.safetensors"));
        Random random = new Random(20261101);
        int[] outcomes = new int[2];
        for (int i = 0; i < 700; i++) {
            Path file = GgufBuilder.write(folder.resolve("r.gguf"), damaged(gguf, 3000, random));
            outcomes[attempt(i, file, () -> readAll(Checkpoints.open(file)))]++;
            Path other = GgufBuilder.write(folder.resolve("b.gguf"), damaged(blocks, 1344, random));
            outcomes[attempt(i, other, () -> readAll(GgufFile.open(other)))]++;
            Files.write(whole.resolve("model.safetensors"), damaged(safetensors, 2000, random));
            Files.write(whole.resolve("config.json"), i % 3 == 0 ? damaged(config, config.length, random) : config);
            outcomes[attempt(i, whole, () -> readAll(Checkpoints.open(whole)))]++;
            Files.write(adapter.resolve("adapter_config.json"), i % 2 == 0 ? damaged(adapterConfig, adapterConfig.length, random) : adapterConfig);
            Files.write(adapter.resolve("adapter_model.safetensors"), i % 2 == 1 ? damaged(adapterWeights, 400, random) : adapterWeights);
            outcomes[attempt(i, adapter, () -> PeftAdapter.read(adapter).requireFits(TinyLlama.CONFIG, "tiny"))]++;
        }
        assertThat(outcomes[0]).as("read").isGreaterThan(50);
        assertThat(outcomes[1]).as("refused").isGreaterThan(1000);
    }

    /** A model on the file's own blocks, used. */
    private static void run(Kernels kernels, Path file) {
        try (Checkpoint c = Checkpoints.open(file);
                LlamaModel model = LlamaModel.load(kernels, c, new LoadOptions(Quantization.KEEP, DType.F32))) {
            model.logits(new int[] {0, 5, model.config().vocabSize() - 1});
        }
    }

    private static void readAll(Checkpoint c) {
        try (c) {
            for (String name : c.names()) {
                c.storedBlocks(name);
                long[] shape = c.shape(name);
                float[] values = new float[(int) (shape.length == 2 ? shape[0] * shape[1] : shape[0])];
                c.read(name, 0, values.length, values);
            }
            c.description();
        }
    }

    private static void readAll(GgufFile file) {
        try (file) {
            for (String key : file.metadata().keys()) {
                file.metadata().string(key);
            }
            for (String name : file.names()) {
                GgufFile.Tensor t = file.tensor(name);
                int n = (int) Math.min(t.elements(), 10_000);
                GgmlBlocks.decode(t.type(), t.data(), t.elements() - n, n, new float[n], 0);
            }
        }
    }

    /** 0 if it worked, 1 if it was refused. */
    private static int attempt(int round, Path path, Runnable action) {
        try {
            action.run();
            return 0;
        } catch (PanaceaException e) {
            assertThat(e).hasMessageContaining(path.toString());
            return 1;
        } catch (RuntimeException | Error e) {
            return fail("round " + round + " with " + path, e);
        }
    }

    private static byte[] damaged(byte[] whole, int header, Random random) {
        byte[] copy = whole.clone();
        for (int i = random.nextInt(4); i >= 0; i--) {
            int at = random.nextInt(Math.min(header, copy.length));
            switch (random.nextInt(5)) {
                case 0 -> copy[at] ^= (byte) (1 << random.nextInt(8));
                case 1 -> copy[at] = (byte) random.nextInt(256);
                case 2 -> Arrays.fill(copy, at, Math.min(copy.length, at + 8), (byte) (random.nextBoolean() ? 0xff : 0));
                case 3 -> copy[at] = (byte) PUNCTUATION.charAt(random.nextInt(PUNCTUATION.length()));
                default -> copy = random.nextInt(4) == 0 ? Arrays.copyOf(copy, random.nextInt(copy.length)) : copy;
            }
            if (copy.length == 0) {
                break;
            }
        }
        return copy;
    }

    private byte[] key(int type, Consumer<Bytes> value) {
        return TinyLlama.ggufKeys().key("general.name", type, value).bytes(3);
    }

    private void refusedGguf(String what, byte[] bytes) {
        Path file = GgufBuilder.write(folder.resolve("hostile.gguf"), bytes);
        expectRefusal(what, file, () -> readAll(Checkpoints.open(file)));
    }

    private void refusedSafetensors(String what, byte[] bytes) {
        Path model = folder.resolve("hostile");
        TinyLlama.writeConfig(model, TinyLlama.CONFIG_JSON);
        GgufBuilder.write(model.resolve("model.safetensors"), bytes);
        expectRefusal(what, model, () -> readAll(Checkpoints.open(model)));
    }

    private static void expectRefusal(String what, Path path, Runnable action) {
        long memory = THREADS.getCurrentThreadAllocatedBytes();
        long start = System.nanoTime();
        try {
            action.run();
        } catch (PanaceaException e) {
            assertThat(e).as(what).hasMessageContaining(path.toString());
            assertThat(THREADS.getCurrentThreadAllocatedBytes() - memory).as("memory: " + what).isLessThan(MOST_MEMORY);
            assertThat(System.nanoTime() - start).as("time: " + what).isLessThan(5_000_000_000L);
            return;
        } catch (RuntimeException | Error e) {
            fail(what, e);
        }
        fail(what + " was read without an error");
    }

    /** Every place where a file begins, every fifth of its header, and a few of its data. */
    private static int step(int n, int dataStart) {
        return n < 200 ? 1 : n < dataStart ? 5 : 4999;
    }

    private static byte[] withHeader(byte[] header, byte[] data) {
        return new Bytes().u64(header.length).raw(header).raw(data).toArray();
    }

    private static byte[] patch(byte[] whole, int at, Consumer<ByteBuffer> change) {
        byte[] copy = whole.clone();
        change.accept(ByteBuffer.wrap(copy).order(ByteOrder.LITTLE_ENDIAN).position(at));
        return copy;
    }

    private static int indexOf(byte[] whole, String text) {
        int at = new String(whole, StandardCharsets.ISO_8859_1).indexOf(text);
        assertThat(at).as(text).isNotNegative();
        return at;
    }
}
