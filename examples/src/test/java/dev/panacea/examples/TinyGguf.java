package dev.panacea.examples;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;

/** As {@link TinyModel}, in a GGUF file of Q8_0 blocks with tokenizer and chat template. */
final class TinyGguf {
    private static final int HIDDEN = 32;
    private static final int KEYS = 16;
    private static final int INNER = 64;
    /** The bytes, two special tokens, and the one word that the format's merges need. */
    private static final int VOCABULARY = 259;
    private static final int F32 = 0;
    private static final int Q8_0 = 8;
    private static final String TEMPLATE = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
            + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    private final ByteArrayOutputStream keys = new ByteArrayOutputStream();
    private final ByteArrayOutputStream infos = new ByteArrayOutputStream();
    private final ByteArrayOutputStream data = new ByteArrayOutputStream();
    private final Random random = new Random(2);
    private int keyCount;
    private int tensorCount;

    private TinyGguf() {}

    static Path write(Path file) throws IOException {
        TinyGguf model = new TinyGguf();
        model.metadata();
        model.tensors();
        ByteArrayOutputStream whole = new ByteArrayOutputStream();
        whole.writeBytes("GGUF".getBytes(StandardCharsets.US_ASCII));
        whole.writeBytes(u32(3));
        whole.writeBytes(u64(model.tensorCount));
        whole.writeBytes(u64(model.keyCount));
        whole.writeBytes(model.keys.toByteArray());
        whole.writeBytes(model.infos.toByteArray());
        align(whole);
        whole.writeBytes(model.data.toByteArray());
        return Files.write(file, whole.toByteArray());
    }

    private void metadata() {
        text("general.architecture", "llama");
        number("llama.block_count", 2);
        number("llama.context_length", 512);
        number("llama.embedding_length", HIDDEN);
        number("llama.feed_forward_length", INNER);
        number("llama.attention.head_count", 4);
        number("llama.attention.head_count_kv", 2);
        key("llama.attention.layer_norm_rms_epsilon", 6, u32(Float.floatToRawIntBits(1e-5f)));
        text("tokenizer.ggml.model", "gpt2");
        text("tokenizer.ggml.pre", "default");
        List<String> tokens = IntStream.range(0, 256).mapToObj(TinyGguf::visible).toList();
        texts("tokenizer.ggml.tokens", IntStream.range(0, VOCABULARY).mapToObj(i -> i < 256 ? tokens.get(i) : List.of("<|im_start|>", "<|im_end|>", "aa").get(i - 256)).toList());
        texts("tokenizer.ggml.merges", List.of("a a"));
        ByteArrayOutputStream types = new ByteArrayOutputStream();
        types.writeBytes(u32(5));
        types.writeBytes(u64(VOCABULARY));
        IntStream.range(0, VOCABULARY).forEach(i -> types.writeBytes(u32(i == 256 || i == 257 ? 3 : 1)));
        key("tokenizer.ggml.token_type", 9, types.toByteArray());
        number("tokenizer.ggml.bos_token_id", 256);
        number("tokenizer.ggml.eos_token_id", 257);
        text("tokenizer.chat_template", TEMPLATE);
    }

    /** GPT-2 writes bytes that are no visible character as the characters from 256 on. */
    private static String visible(int b) {
        boolean visible = isVisible(b);
        return Character.toString(visible ? b : 256 + (int) IntStream.range(0, b).filter(i -> !isVisible(i)).count());
    }

    private static boolean isVisible(int b) {
        return b > ' ' && b < 0x7F || b >= 0xA1 && b != 0xAD;
    }

    private void tensors() {
        matrix("token_embd", VOCABULARY, HIDDEN);
        for (int i = 0; i < 2; i++) {
            String p = "blk." + i + ".";
            ones(p + "attn_norm");
            ones(p + "ffn_norm");
            matrix(p + "attn_q", HIDDEN, HIDDEN);
            matrix(p + "attn_k", KEYS, HIDDEN);
            matrix(p + "attn_v", KEYS, HIDDEN);
            matrix(p + "attn_output", HIDDEN, HIDDEN);
            matrix(p + "ffn_gate", INNER, HIDDEN);
            matrix(p + "ffn_up", INNER, HIDDEN);
            matrix(p + "ffn_down", HIDDEN, INNER);
        }
        ones("output_norm");
    }

    /** A block is a scale in half precision and 32 signed bytes. */
    private void matrix(String name, int rows, int columns) {
        info(name, Q8_0, columns, rows);
        for (int block = 0; block < rows * columns / 32; block++) {
            ByteBuffer b = ByteBuffer.allocate(34).order(ByteOrder.LITTLE_ENDIAN).putShort(Float.floatToFloat16((float) (1 / Math.sqrt(columns) / 40)));
            while (b.hasRemaining()) {
                b.put((byte) Math.clamp((long) (random.nextGaussian() * 40), -127, 127));
            }
            data.writeBytes(b.array());
        }
    }

    private void ones(String name) {
        info(name, F32, HIDDEN);
        IntStream.range(0, HIDDEN).forEach(i -> data.writeBytes(u32(Float.floatToRawIntBits(1))));
    }

    private void info(String name, int type, long... dimensions) {
        align(data);
        tensorCount++;
        infos.writeBytes(string(name + ".weight"));
        infos.writeBytes(u32(dimensions.length));
        for (long d : dimensions) {
            infos.writeBytes(u64(d));
        }
        infos.writeBytes(u32(type));
        infos.writeBytes(u64(data.size()));
    }

    private void key(String name, int type, byte[] value) {
        keyCount++;
        keys.writeBytes(string(name));
        keys.writeBytes(u32(type));
        keys.writeBytes(value);
    }

    private void number(String name, int value) {
        key(name, 4, u32(value));
    }

    private void text(String name, String value) {
        key(name, 8, string(value));
    }

    private void texts(String name, List<String> values) {
        ByteArrayOutputStream array = new ByteArrayOutputStream();
        array.writeBytes(u32(8));
        array.writeBytes(u64(values.size()));
        values.forEach(v -> array.writeBytes(string(v)));
        key(name, 9, array.toByteArray());
    }

    private static void align(ByteArrayOutputStream out) {
        while (out.size() % 32 != 0) {
            out.write(0);
        }
    }

    private static byte[] string(String s) {
        byte[] bytes = s.getBytes(StandardCharsets.UTF_8);
        return ByteBuffer.allocate(8 + bytes.length).order(ByteOrder.LITTLE_ENDIAN).putLong(bytes.length).put(bytes).array();
    }

    private static byte[] u32(int v) {
        return ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putInt(v).array();
    }

    private static byte[] u64(long v) {
        return ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(v).array();
    }
}
