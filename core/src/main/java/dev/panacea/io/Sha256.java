package dev.panacea.io;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/** The SHA-256 of bytes, in lower-case hexadecimal. */
final class Sha256 {
    private final MessageDigest digest;

    Sha256() {
        try {
            digest = MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java has SHA-256", e);
        }
    }

    void update(byte[] bytes, int count) {
        digest.update(bytes, 0, count);
    }

    String hex() {
        return HexFormat.of().formatHex(digest.digest());
    }

    static String of(Path file) {
        Sha256 hash = new Sha256();
        byte[] buffer = new byte[1 << 16];
        try (InputStream in = Files.newInputStream(file)) {
            for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
                hash.update(buffer, n);
            }
        } catch (IOException e) {
            throw FileErrors.reading(file, e);
        }
        return hash.hex();
    }
}
