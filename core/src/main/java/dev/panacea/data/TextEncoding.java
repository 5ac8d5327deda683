package dev.panacea.data;

import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.Reader;
import java.nio.charset.Charset;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Optional;

/**
 * In which encoding a file's text is. A file is UTF-8 if all of it is; else Windows-1252, which Excel writes in western Europe, if nothing speaks
 * against it. A file of which most is UTF-8 is a broken one, and not guessed at.
 *
 * @param mark bytes at the beginning that are no text
 * @param note what was found out against expectation, with a word from the file to judge by
 */
record TextEncoding(Charset charset, int mark, Optional<String> note) {
    private static final Charset WINDOWS_1252 = Charset.forName("windows-1252");
    /** So many letters encoded twice are no chance. */
    private static final int LEAST_TWICE = 2;
    /** Letters outside ASCII among all letters: about a twelfth in French, a twentieth in German, nearly all in Russian. */
    private static final double WESTERN = 0.25;

    /** @param given what the user says it is */
    static TextEncoding of(Path file, Optional<Charset> given) throws IOException {
        Scan scan = new Scan();
        byte[] start;
        try (InputStream in = Files.newInputStream(file)) {
            byte[] buffer = new byte[1 << 16];
            int n = in.readNBytes(buffer, 0, buffer.length);
            start = Arrays.copyOf(buffer, Math.min(n, FileKind.BYTES));
            FileKind.notText(start).ifPresent(why -> {
                throw new BadData("", why);
            });
            while (n > 0) {
                scan.accept(buffer, n);
                n = in.readNBytes(buffer, 0, buffer.length);
            }
            scan.end();
        }
        return decide(file, start, scan, given);
    }

    private static TextEncoding decide(Path file, byte[] start, Scan scan, Optional<Charset> given) throws IOException {
        Optional<TextEncoding> marked = marked(start);
        if (given.isPresent()) {
            Charset charset = given.get();
            if (charset.equals(StandardCharsets.UTF_8) && scan.invalid > 0) {
                throw new BadData("line " + scan.invalidLine, "not UTF-8 (" + byteAt(scan) + ")");
            }
            // The endianness of plain "UTF-16" is the mark's.
            return marked.filter(m -> m.charset.equals(charset) || m.charset.name().startsWith(charset.name())).orElse(new TextEncoding(charset, 0, Optional.empty()));
        }
        if (marked.isPresent() && !marked.get().charset.equals(StandardCharsets.UTF_8)) {
            return marked.get();
        }
        Optional<Charset> wide = marked.isPresent() ? Optional.empty() : scan.utf16();
        if (wide.isPresent()) {
            return new TextEncoding(wide.get(), 0, Optional.of(wide.get() + ", by its zero bytes"));
        }
        if (scan.zeros > 0) {
            throw new BadData("line " + scan.zeroLine, "a zero byte, which text does not have: the file is damaged or no text");
        }
        if (scan.invalid == 0) {
            return new TextEncoding(StandardCharsets.UTF_8, marked.isPresent() ? 3 : 0, scan.twice < LEAST_TWICE ? Optional.empty() : Optional.of("some text seems to have been"
                    + " encoded twice, such as 'Ã¼' where 'ü' was, first in line " + scan.twiceLine));
        }
        if (marked.isPresent() || scan.valid > scan.invalid) {
            throw new BadData("line " + scan.invalidLine, "not UTF-8 (" + byteAt(scan) + "), although the rest of the file is; mend the line, or say in which encoding the file is");
        }
        boolean western = scan.highLetters < 20 || scan.highLetters < WESTERN * (scan.highLetters + scan.asciiLetters);
        if (scan.undefined > 0 || !western) {
            throw new BadData("line " + scan.invalidLine, "neither UTF-8 (" + byteAt(scan) + ") nor, it seems, Windows-1252; say in which encoding the file is, such as"
                    + " windows-1251, GB18030 or Shift_JIS, or save it as UTF-8");
        }
        return new TextEncoding(WINDOWS_1252, 0, Optional.of("not UTF-8, read as Windows-1252: \"" + word(file, scan.invalidAt) + "\" in line " + scan.invalidLine));
    }

    private static String byteAt(Scan scan) {
        return String.format("byte 0x%02X", scan.invalidByte);
    }

    private static Optional<TextEncoding> marked(byte[] b) {
        if (starts(b, 0xEF, 0xBB, 0xBF)) {
            return Optional.of(new TextEncoding(StandardCharsets.UTF_8, 3, Optional.empty()));
        }
        if (starts(b, 0xFF, 0xFE, 0, 0)) {
            return Optional.of(new TextEncoding(Charset.forName("UTF-32LE"), 4, Optional.empty()));
        }
        if (starts(b, 0, 0, 0xFE, 0xFF)) {
            return Optional.of(new TextEncoding(Charset.forName("UTF-32BE"), 4, Optional.empty()));
        }
        if (starts(b, 0xFF, 0xFE)) {
            return Optional.of(new TextEncoding(StandardCharsets.UTF_16LE, 2, Optional.empty()));
        }
        if (starts(b, 0xFE, 0xFF)) {
            return Optional.of(new TextEncoding(StandardCharsets.UTF_16BE, 2, Optional.empty()));
        }
        return Optional.empty();
    }

    private static boolean starts(byte[] bytes, int... mark) {
        for (int i = 0; i < mark.length; i++) {
            if (bytes.length <= i || (bytes[i] & 0xFF) != mark[i]) {
                return false;
            }
        }
        return true;
    }

    /** The word about a place in the file, as Windows-1252. */
    private static String word(Path file, long at) throws IOException {
        int before = (int) Math.min(at, 20);
        byte[] around;
        try (InputStream in = Files.newInputStream(file)) {
            in.skipNBytes(at - before);
            around = in.readNBytes(before + 20);
        }
        String text = new String(around, WINDOWS_1252);
        int from = before;
        int to = before + 1;
        while (from > 0 && Character.isLetterOrDigit(text.charAt(from - 1))) {
            from--;
        }
        while (to < text.length() && Character.isLetterOrDigit(text.charAt(to))) {
            to++;
        }
        return text.substring(from, to);
    }

    /** The text of a file from its beginning; what is not of this encoding is a {@link java.nio.charset.CharacterCodingException}. */
    Reader reader(InputStream in) throws IOException {
        in.skipNBytes(mark);
        return new InputStreamReader(in, charset.newDecoder().onMalformedInput(CodingErrorAction.REPORT).onUnmappableCharacter(CodingErrorAction.REPORT));
    }

    /** For people: {@code UTF-8}, {@code Windows-1252}. */
    String displayName() {
        return charset.equals(WINDOWS_1252) ? "Windows-1252" : charset.displayName();
    }

    /** What a pass over all bytes shows. */
    private static final class Scan {
        /** Sequences of several bytes that are UTF-8, and bytes that are not. */
        private long valid;
        private long invalid;
        private long invalidAt;
        private long invalidLine;
        private int invalidByte;
        private long zeros;
        private long evenZeros;
        private long zeroLine;
        private long asciiLetters;
        private long highLetters;
        /** Bytes to which Windows-1252 gives no character. */
        private long undefined;

        /** Places where UTF-8 was taken for Windows-1252 and written as UTF-8 again. */
        private long twice;
        private long twiceLine;
        private int lastFour;

        private long at;
        private long line = 1;
        private int last;
        /** Of the sequence under way: its first byte and place, the bytes still to come, and the bounds of the next. */
        private int lead;
        private long leadAt;
        private int left;
        private int least;
        private int most;

        void accept(byte[] bytes, int n) {
            for (int i = 0; i < n; i++, at++) {
                int b = bytes[i] & 0xFF;
                if (b == '\n' && last != '\r' || b == '\r') {
                    line++;
                }
                last = b;
                count(b);
                // "Ã" and a character from U+0080 to U+00BF, as in 'Ã¼'; "â€", as in 'â€™'.
                lastFour = lastFour << 8 | b;
                if ((lastFour & 0xFFFFFF00) == 0xC383C200 || (lastFour & 0xFFFFFF) == 0xE282AC && lastFour >>> 24 == 0xA2) {
                    twiceLine = twice++ == 0 ? line : twiceLine;
                }
                if (left > 0) {
                    if (b >= least && b <= most) {
                        left--;
                        least = 0x80;
                        most = 0xBF;
                        valid += left == 0 ? 1 : 0;
                        continue;
                    }
                    bad(lead, leadAt);
                }
                if (b >= 0x80) {
                    begin(b);
                }
            }
        }

        private void count(int b) {
            if (b == 0) {
                zeroLine = zeros++ == 0 ? line : zeroLine;
                evenZeros += at % 2 == 0 ? 1 : 0;
            } else if (b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z') {
                asciiLetters++;
            } else if (b >= 0xC0) {
                highLetters++;
            } else if (b == 0x81 || b == 0x8D || b == 0x8F || b == 0x90 || b == 0x9D) {
                undefined++;
            }
        }

        private void begin(int b) {
            lead = b;
            leadAt = at;
            least = b == 0xE0 ? 0xA0 : b == 0xF0 ? 0x90 : 0x80;
            most = b == 0xED ? 0x9F : b == 0xF4 ? 0x8F : 0xBF;
            left = b >= 0xC2 && b <= 0xDF ? 1 : b >= 0xE0 && b <= 0xEF ? 2 : b >= 0xF0 && b <= 0xF4 ? 3 : 0;
            if (left == 0) {
                bad(b, at);
            }
        }

        private void bad(int b, long where) {
            left = 0;
            if (invalid++ == 0) {
                invalidByte = b;
                invalidAt = where;
                invalidLine = line;
            }
        }

        void end() {
            if (left > 0) {
                bad(lead, leadAt);
            }
        }

        /** Latin text in UTF-16 is zero in every other byte. */
        Optional<Charset> utf16() {
            if (at < 4 || at % 2 != 0 || zeros < at / 5) {
                return Optional.empty();
            }
            return evenZeros > 0.95 * zeros ? Optional.of(StandardCharsets.UTF_16BE) : evenZeros < 0.05 * zeros ? Optional.of(StandardCharsets.UTF_16LE) : Optional.empty();
        }
    }
}
