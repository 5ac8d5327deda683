package dev.panacea.launcher;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.Collections;
import java.util.List;

/**
 * The command line as the user typed it. Where no language is set, as in most containers, Java reads arguments as ASCII and puts a
 * replacement character for every byte of an é, and that cannot be undone; but Linux still has the bytes, and they are UTF-8 nearly everywhere.
 */
final class RawArguments {
    private final List<byte[]> words;
    private final Charset charset;

    /**
     * @param words the process's whole command line, the options of Java included
     * @param charset what Java has read them in
     */
    RawArguments(List<byte[]> words, Charset charset) {
        this.words = words;
        this.charset = charset;
    }

    /** Of this process; no words where the system does not tell. */
    static RawArguments ofThisProcess() {
        Charset charset = StandardCharsets.UTF_8;
        try {
            charset = Charset.forName(System.getProperty("sun.jnu.encoding", "UTF-8"));
        } catch (IllegalArgumentException e) {
            return new RawArguments(Collections.<byte[]>emptyList(), charset);
        }
        return new RawArguments(split(bytes(Paths.get("/proc/self/cmdline"))), charset);
    }

    private static byte[] bytes(Path file) {
        try {
            return Files.readAllBytes(file);
        } catch (IOException e) {
            return new byte[0];
        }
    }

    /** Words that end in a zero byte each. */
    static List<byte[]> split(byte[] commandLine) {
        List<byte[]> words = new ArrayList<>();
        int start = 0;
        for (int i = 0; i < commandLine.length; i++) {
            if (commandLine[i] == 0) {
                words.add(Arrays.copyOfRange(commandLine, start, i));
                start = i + 1;
            }
        }
        return words;
    }

    /** Whether Java reads and writes UTF-8 anyway, or there is nothing to tell that it does wrong. */
    boolean areRead() {
        return charset.equals(StandardCharsets.UTF_8) || words.isEmpty();
    }

    /** Whether all is UTF-8; where a word is not, this user's language has another encoding, and Java knows best. */
    boolean areUtf8() {
        for (byte[] word : words) {
            if (utf8(word) == null) {
                return false;
            }
        }
        return true;
    }

    /** Whether a word of the command line, the environment or the working folder's name is more than ASCII. */
    boolean needUtf8() {
        for (byte[] word : words) {
            if (!isAscii(word)) {
                return true;
            }
        }
        return !isAscii(bytes(Paths.get("/proc/self/environ"))) || !isAscii(System.getProperty("user.dir", ""));
    }

    /** What Java has made of arguments, made right: those that end the command line. */
    List<String> arguments(String[] read) {
        List<String> arguments = new ArrayList<>(Arrays.asList(read));
        int first = words.size() - read.length;
        for (int i = 0; i < read.length && first >= 0; i++) {
            // Java may have taken arguments from elsewhere, so only what it read from here counts.
            String right = utf8(words.get(first + i));
            if (right != null && new String(words.get(first + i), charset).equals(read[i])) {
                arguments.set(i, right);
            }
        }
        return arguments;
    }

    /** What Java has made of one of its options, made right. */
    String option(String read) {
        for (byte[] word : words) {
            String right = utf8(word);
            if (right != null && new String(word, charset).equals(read)) {
                return right;
            }
        }
        return read;
    }

    static boolean isAscii(String text) {
        return text.chars().allMatch(c -> c < 0x80);
    }

    private static boolean isAscii(byte[] bytes) {
        for (byte b : bytes) {
            if (b < 0) {
                return false;
            }
        }
        return true;
    }

    private static String utf8(byte[] word) {
        try {
            return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(word)).toString();
        } catch (CharacterCodingException e) {
            return null;
        }
    }

    /** As ASCII, which reaches another process whatever the language is. */
    static String encode(String argument) {
        return Base64.getEncoder().encodeToString(argument.getBytes(StandardCharsets.UTF_8));
    }

    /** The reverse of {@link #encode}. */
    static String decode(String argument) {
        return new String(Base64.getDecoder().decode(argument), StandardCharsets.UTF_8);
    }
}
