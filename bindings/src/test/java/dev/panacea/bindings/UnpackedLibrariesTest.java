package dev.panacea.bindings;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class UnpackedLibrariesTest {
    private static final Map<String, byte[]> FILES = Map.of("libx.so", new byte[] {1, 2, 3}, "liby.so", new byte[] {4});

    @TempDir
    private Path root;
    private final String before = System.getProperty("panacea.cache");

    @BeforeEach
    void setUp() {
        System.setProperty("panacea.cache", root.toString());
    }

    @AfterEach
    void tearDown() {
        if (before == null) {
            System.clearProperty("panacea.cache");
        } else {
            System.setProperty("panacea.cache", before);
        }
    }

    @Test
    void areKeptInTheCacheAndMendedThere() throws IOException {
        Path folder;
        try (UnpackedLibraries libraries = UnpackedLibraries.of("x", FILES)) {
            folder = libraries.folder();
            assertThat(libraries.temporary()).isFalse();
        }
        assertThat(folder).hasParent(root.resolve("native"));
        Files.write(folder.resolve("libx.so"), new byte[] {9, 9, 9});
        Path elsewhere = Files.write(root.resolve("other"), FILES.get("liby.so"));
        Files.delete(folder.resolve("liby.so"));
        Files.createSymbolicLink(folder.resolve("liby.so"), elsewhere);
        try (UnpackedLibraries libraries = UnpackedLibraries.of("x", FILES)) {
            assertThat(libraries.folder()).isEqualTo(folder);
        }
        assertThat(folder.resolve("libx.so")).hasBinaryContent(FILES.get("libx.so"));
        assertThat(folder.resolve("liby.so")).hasBinaryContent(FILES.get("liby.so"));
        assertThat(Files.isSymbolicLink(folder.resolve("liby.so"))).isFalse();
    }

    @Test
    void goIntoATemporaryFolderWhereTheCacheCannotBeUsed() throws IOException {
        Files.createFile(root.resolve("native"));
        Path folder;
        try (UnpackedLibraries libraries = UnpackedLibraries.of("x", FILES)) {
            folder = libraries.folder();
            assertThat(libraries.temporary()).isTrue();
            assertThat(folder.resolve("libx.so")).hasBinaryContent(FILES.get("libx.so"));
        }
        assertThat(folder).doesNotExist();
    }

    /** Only a test that runs as root can give a folder away. */
    @Test
    void aFolderOfAnotherUserIsNotTrusted() throws IOException {
        Path folder = Files.createDirectories(root.resolve("theirs"));
        try {
            Files.setAttribute(folder, "unix:uid", 12345);
        } catch (IOException | UnsupportedOperationException e) {
            org.junit.jupiter.api.Assumptions.abort("not root, or not Unix");
        }
        assertThatThrownBy(() -> LibraryCache.place(folder, "libx.so", new byte[] {1})).isInstanceOf(IOException.class).hasMessageContaining(folder + " belongs to another user");
    }
}
