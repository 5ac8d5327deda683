package dev.panacea.bindings;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class LibraryCacheTest {
    @TempDir
    private Path root;

    private final byte[] content = new byte[100_000];

    LibraryCacheTest() {
        new Random(1).nextBytes(content);
    }

    @Test
    void writesOnceAndReuses() throws IOException {
        Path folder = root.resolve("a/native");
        Path file = LibraryCache.place(folder, "lib", ".so", content);
        assertThat(file).hasBinaryContent(content).hasParent(folder);
        assertThat(file.getFileName().toString()).matches("lib-[0-9a-f]{16}\\.so");
        FileTime longAgo = FileTime.fromMillis(1_000_000);
        Files.setLastModifiedTime(file, longAgo);
        assertThat(LibraryCache.place(folder, "lib", ".so", content)).isEqualTo(file);
        assertThat(Files.getLastModifiedTime(file)).isEqualTo(longAgo);
    }

    @Test
    void onlyTheOwnerMayWrite() throws IOException {
        Path file = LibraryCache.place(root.resolve("native"), "lib", ".so", content);
        assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(file))).isEqualTo("rwx------");
        assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(file.getParent()))).isEqualTo("rwx------");
    }

    @Test
    void replacesAFileWhoseContentHasChanged() throws IOException {
        Path file = LibraryCache.place(root, "lib", ".so", content);
        byte[] corrupted = content.clone();
        corrupted[50_000] ^= 1;
        Files.write(file, corrupted);
        assertThat(LibraryCache.place(root, "lib", ".so", content)).isEqualTo(file).hasBinaryContent(content);
        Files.write(file, new byte[0]);
        assertThat(LibraryCache.place(root, "lib", ".so", content)).isEqualTo(file).hasBinaryContent(content);
    }

    @Test
    void doesNotFollowALinkInPlaceOfTheFile() throws IOException {
        Path file = LibraryCache.place(root.resolve("native"), "lib", ".so", content);
        Path elsewhere = Files.write(root.resolve("elsewhere"), content);
        Files.delete(file);
        Files.createSymbolicLink(file, elsewhere);
        LibraryCache.place(root.resolve("native"), "lib", ".so", content);
        assertThat(Files.isSymbolicLink(file)).isFalse();
        assertThat(file).hasBinaryContent(content);
    }

    @Test
    void otherContentGetsAnotherFile() throws IOException {
        Path first = LibraryCache.place(root, "lib", ".so", content);
        assertThat(LibraryCache.place(root, "lib", ".so", new byte[] {1})).isNotEqualTo(first);
        assertThat(first).hasBinaryContent(content);
    }

    @Test
    void refusesAFolderThatEverybodyMayWrite() throws IOException {
        Path folder = Files.createDirectory(root.resolve("open"));
        Files.setPosixFilePermissions(folder, PosixFilePermissions.fromString("rwxrwxrwx"));
        assertThatThrownBy(() -> LibraryCache.place(folder, "lib", ".so", content)).isInstanceOf(IOException.class).hasMessageContaining(folder.toString())
                .hasMessageContaining("chmod o-w");
        assertThat(folder).isEmptyDirectory();
    }

    @Test
    void startsAtTheSameTimeEachFindAWholeFile() throws Exception {
        try (ExecutorService starts = Executors.newFixedThreadPool(8)) {
            Callable<Path> start = () -> {
                Path file = LibraryCache.place(root.resolve("native"), "lib", ".so", content);
                assertThat(file).hasBinaryContent(content);
                return file;
            };
            Set<Path> files = starts.invokeAll(Collections.nCopies(64, start)).stream().map(LibraryCacheTest::result).collect(Collectors.toSet());
            assertThat(files).hasSize(1);
        }
        assertThat(list(root.resolve("native"))).as("nothing half-written stays").hasSize(1);
    }

    @Test
    void temporaryCopyLeavesNothing() throws IOException {
        Path file = LibraryCache.temporary("lib", ".so", content);
        assertThat(file).hasBinaryContent(content);
        assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(file.getParent()))).isEqualTo("rwx------");
        LibraryCache.delete(file);
        assertThat(file.getParent()).doesNotExist();
    }

    @Test
    void aFileInPlaceOfTheFolderIsAnError() throws IOException {
        Path folder = Files.createFile(root.resolve("file"));
        assertThatThrownBy(() -> LibraryCache.place(folder, "lib", ".so", content)).isInstanceOf(IOException.class);
    }

    private static <T> T result(Future<T> future) {
        try {
            return future.get();
        } catch (Exception e) {
            throw new AssertionError(e);
        }
    }

    private static List<Path> list(Path folder) {
        try (Stream<Path> files = Files.list(folder)) {
            return files.toList();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
