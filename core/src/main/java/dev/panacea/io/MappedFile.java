package dev.panacea.io;

import dev.panacea.kernels.MappedMemory;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.tensor.StackRoom;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.function.Supplier;

/**
 * A file mapped for reading; its bytes stand wherever the file is little-endian, as all our formats are.
 *
 * <p>Others may shorten the file or write into it while it is mapped. So what is computed from it counts only if it is as it was opened afterwards: {@link #reading} sees to that.
 * A file of the same path that took the place of this one, as when a download is renamed, does no harm: the mapped one lives on.
 */
final class MappedFile implements AutoCloseable {
    static final ValueLayout.OfByte U8 = ValueLayout.JAVA_BYTE;
    static final ValueLayout.OfShort I16 = ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfInt I32 = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfLong I64 = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfFloat F32 = ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfDouble F64 = ValueLayout.JAVA_DOUBLE_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private final Path path;
    private final Arena arena;
    private final MemorySegment bytes;
    private final MappedMemory memory;
    private final BasicFileAttributes opened;
    private int readers;
    private volatile boolean closed;

    private MappedFile(Path path, Arena arena, MemorySegment bytes, BasicFileAttributes opened) {
        this.path = path;
        this.arena = arena;
        this.bytes = bytes;
        this.memory = new MappedMemory(bytes);
        this.opened = opened;
    }

    static MappedFile open(Path path) {
        Arena arena = Arena.ofShared();
        boolean opened = false;
        try {
            if (!Files.exists(path)) {
                throw new NoSuchFileException(path.toString());
            }
            if (!Files.isRegularFile(path)) {
                throw new PanaceaException(path + " is not a file");
            }
            try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
                BasicFileAttributes attributes = Files.readAttributes(path, BasicFileAttributes.class);
                if (attributes.size() == 0) {
                    throw new PanaceaException(path + " is empty; download or copy it again");
                }
                MappedFile file = new MappedFile(path, arena, channel.map(FileChannel.MapMode.READ_ONLY, 0, attributes.size(), arena), attributes);
                opened = true;
                return file;
            }
        } catch (IOException | UnsupportedOperationException | SecurityException e) {
            throw FileErrors.reading(path, e);
        } finally {
            if (!opened) {
                arena.close();
            }
        }
    }

    Path path() {
        return path;
    }

    /** @throws IllegalStateException if the file has been closed */
    MemorySegment bytes() {
        requireOpen();
        return bytes;
    }

    /**
     * What a computation over the bytes gives; the file cannot be closed meanwhile. Computations may call this again, and several threads may at the same time.
     *
     * @throws IllegalStateException if the file has been closed
     * @throws PanaceaException if the file is no longer what was opened, or cannot be read: what was computed is of no use then
     */
    <T> T reading(Supplier<T> computation) {
        return reading(List.of(this), computation);
    }

    /** As {@link #reading(Supplier)}, of several files. */
    static <T> T reading(List<MappedFile> files, Supplier<T> computation) {
        StackRoom.require();
        int begun = 0;
        try {
            for (; begun < files.size(); begun++) {
                files.get(begun).begin();
            }
            T result = computation.get();
            // System calls, on the return from which the JVM also throws what an earlier access has done wrong, should it not have done so yet.
            files.forEach(MappedFile::requireUnchanged);
            return result;
        } catch (InternalError e) {
            // How the JVM reports that a page of a mapped file could not be had; it has no type of its own for that.
            if (!String.valueOf(e.getMessage()).contains("memory access")) {
                throw e;
            }
            files.forEach(MappedFile::requireUnchanged);
            throw files.getFirst().changed(e);
        } finally {
            files.subList(0, begun).forEach(MappedFile::end);
        }
    }

    private synchronized void begin() {
        requireOpen();
        memory.watch();
        readers++;
    }

    private synchronized void end() {
        readers--;
    }

    private void requireOpen() {
        if (closed) {
            throw new IllegalStateException(path + " has been closed");
        }
    }

    private void requireUnchanged() {
        if (memory.isTorn()) {
            throw changed(null);
        }
        BasicFileAttributes now;
        try {
            now = Files.readAttributes(path, BasicFileAttributes.class);
        } catch (IOException | SecurityException e) {
            // Deleted or moved away: what is mapped stays as it is.
            return;
        }
        boolean isAnother = !Objects.equals(now.fileKey(), opened.fileKey());
        if (!isAnother && (now.size() != opened.size() || !now.lastModifiedTime().equals(opened.lastModifiedTime()))) {
            throw changed(null);
        }
    }

    private PanaceaException changed(InternalError cause) {
        return new PanaceaException(path + " was changed, or cannot be read any more, while it was in use; what was computed from it is of no use. Leave files alone while they are used"
                + " (a new version belongs in a new file, moved into place), see that this one is whole, and start again", cause);
    }

    long size() {
        return bytes.byteSize();
    }

    /** UTF-8 text, or nothing where the bytes are not that. */
    static Optional<String> utf8(MemorySegment text) {
        return utf8(text.toArray(U8));
    }

    /** As {@link #utf8(MemorySegment)}. */
    static Optional<String> utf8(byte[] bytes) {
        String lenient = new String(bytes, StandardCharsets.UTF_8);
        if (lenient.indexOf('\uFFFD') < 0) {
            return Optional.of(lenient);
        }
        try {
            // The replacement character stands for a wrong byte, or for itself.
            return Optional.of(StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString());
        } catch (CharacterCodingException e) {
            return Optional.empty();
        }
    }

    /** @throws IllegalStateException if a computation over the bytes is running */
    @Override
    public synchronized void close() {
        if (readers > 0) {
            throw new IllegalStateException(path + " is in use and cannot be closed; close it when the computation that reads it has ended");
        }
        if (!closed) {
            closed = true;
            memory.unmap(arena::close);
        }
    }
}
