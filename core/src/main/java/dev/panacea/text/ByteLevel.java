package dev.panacea.text;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.BitSet;

/**
 * The alphabet of byte-level BPE: every byte is written as one printable character (GPT-2, "Language Models are Unsupervised Multitask
 * Learners", 2019). Printable ASCII and most of Latin-1 stand for themselves, the other bytes take the characters from U+0100 on, in order.
 */
final class ByteLevel {
    private static final char[] CHAR_OF_BYTE = new char[256];
    private static final short[] BYTE_OF_CHAR = new short[512];

    static {
        Arrays.fill(BYTE_OF_CHAR, (short) -1);
        char next = 0x100;
        for (int b = 0; b < 256; b++) {
            boolean itself = b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE;
            CHAR_OF_BYTE[b] = itself ? (char) b : next++;
            BYTE_OF_CHAR[CHAR_OF_BYTE[b]] = (short) b;
        }
    }

    private ByteLevel() {}

    static char charOf(int unsignedByte) {
        return CHAR_OF_BYTE[unsignedByte];
    }

    /** Whether this vocabulary entry stands for a single byte. */
    static boolean isByte(String piece) {
        return piece.length() == 1 && piece.charAt(0) < BYTE_OF_CHAR.length && BYTE_OF_CHAR[piece.charAt(0)] >= 0;
    }

    /** The bytes that no entry of a vocabulary stands for. */
    static BitSet missing(String[] names) {
        BitSet missing = new BitSet(256);
        missing.set(0, 256);
        for (String name : names) {
            if (name != null && isByte(name)) {
                missing.clear(BYTE_OF_CHAR[name.charAt(0)]);
            }
        }
        return missing;
    }

    /** The bytes of a vocabulary entry; one with a character outside the alphabet stands for its own UTF-8, as Hugging Face decodes it. */
    static byte[] bytesOf(String piece) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream(piece.length());
        for (int i = 0; i < piece.length(); i++) {
            char c = piece.charAt(i);
            if (c >= BYTE_OF_CHAR.length || BYTE_OF_CHAR[c] < 0) {
                return piece.getBytes(StandardCharsets.UTF_8);
            }
            bytes.write(BYTE_OF_CHAR[c]);
        }
        return bytes.toByteArray();
    }
}
