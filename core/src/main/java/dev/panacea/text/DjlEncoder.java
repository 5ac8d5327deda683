package dev.panacea.text;

import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import ai.djl.huggingface.tokenizers.jni.TokenizersLibrary;
import dev.panacea.kernels.PanaceaException;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.util.Map;
import java.util.concurrent.locks.ReentrantReadWriteLock;

/** Plain text to ids by the Hugging Face tokenizers library. The JSON given here has no added tokens and no post-processor. */
final class DjlEncoder implements AutoCloseable {
    /** The encoding of a text costs about a hundred times its size in memory for a moment. */
    static final int MAX_CHARS = 16 << 20;

    private final HuggingFaceTokenizer tokenizer;
    private final ReentrantReadWriteLock lock = new ReentrantReadWriteLock();
    private volatile boolean closed;

    /** @param source what the JSON was made of, for messages */
    DjlEncoder(byte[] tokenizerJson, String source) {
        DjlLibrary.load();
        try {
            tokenizer = HuggingFaceTokenizer.newInstance(new ByteArrayInputStream(tokenizerJson),
                    Map.of("addSpecialTokens", "false", "truncation", "false", "padding", "false"));
        } catch (IOException | RuntimeException e) {
            throw new PanaceaException(source + ": the tokenizer library rejects this tokenizer: " + e.getMessage(), e);
        }
    }

    /** @throws IllegalStateException if it has been closed */
    void requireOpen() {
        if (closed) {
            throw new IllegalStateException("the tokenizer has been closed");
        }
    }

    /** @throws IllegalStateException if it has been closed */
    int[] encode(String text) {
        if (text.length() > MAX_CHARS) {
            throw new PanaceaException("a text of " + text.length() + " characters is too long to encode in one piece (at most " + MAX_CHARS + "); split it");
        }
        lock.readLock().lock();
        try {
            requireOpen();
            if (text.isEmpty()) {
                return new int[0];
            }
            long encoding = TokenizersLibrary.LIB.encode(tokenizer.getHandle(), wellFormed(text), false);
            long[] ids;
            try {
                // The ids alone: DJL's own encode() also makes Java objects of every token, which takes as long again as the encoding.
                ids = TokenizersLibrary.LIB.getTokenIds(encoding);
            } finally {
                TokenizersLibrary.LIB.deleteEncoding(encoding);
            }
            int[] out = new int[ids.length];
            for (int i = 0; i < ids.length; i++) {
                out[i] = Math.toIntExact(ids[i]);
            }
            return out;
        } finally {
            lock.readLock().unlock();
        }
    }

    /** Lone surrogates have no UTF-8: each becomes U+FFFD, as UTF-8 decoders have it. */
    static String wellFormed(String text) {
        StringBuilder out = null;
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c < Character.MIN_SURROGATE || c > Character.MAX_SURROGATE) {
                continue;
            }
            if (Character.isHighSurrogate(c) && i + 1 < text.length() && Character.isLowSurrogate(text.charAt(i + 1))) {
                i++;
                continue;
            }
            if (out == null) {
                out = new StringBuilder(text);
            }
            out.setCharAt(i, '\uFFFD');
        }
        return out == null ? text : out.toString();
    }

    @Override
    public void close() {
        lock.writeLock().lock();
        try {
            if (!closed) {
                closed = true;
                tokenizer.close();
            }
        } finally {
            lock.writeLock().unlock();
        }
    }
}
