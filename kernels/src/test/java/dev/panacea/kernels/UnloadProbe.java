package dev.panacea.kernels;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.ref.WeakReference;
import java.net.URLClassLoader;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/**
 * A program that watches a mapped file in a class loader of its own, as a web application does, lets that loader go, and then reads of a mapped file what is no
 * longer there: the JVM's exception, and not the end of the process by a handler that has gone with the library.
 */
public final class UnloadProbe {
    private static final int AT = 1 << 15;

    private UnloadProbe() {}

    /** @param args a file, which is cut off */
    public static void main(String[] args) throws Exception {
        WeakReference<ClassLoader> loader = watchInAnotherLoader(args[0]);
        for (int i = 0; i < 200 && loader.get() != null; i++) {
            System.gc();
            Thread.sleep(20);
        }
        System.out.println("loader=" + (loader.get() == null ? "gone" : "still there"));
        // What unloads libraries comes a moment after the collector.
        Thread.sleep(500);
        try (Arena arena = Arena.ofShared(); FileChannel channel = FileChannel.open(Path.of(args[0]), StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            MemorySegment mapped = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena);
            channel.truncate(0);
            try {
                System.out.println("read=" + mapped.get(ValueLayout.JAVA_BYTE, AT));
            } catch (InternalError e) {
                System.out.println("read=InternalError");
            }
        }
    }

    private static WeakReference<ClassLoader> watchInAnotherLoader(String file) throws Exception {
        try (URLClassLoader loader = new URLClassLoader(LoadProbe.urls(System.getProperty("java.class.path")), ClassLoader.getPlatformClassLoader())) {
            loader.loadClass(UnloadProbe.class.getName()).getMethod("watch", String.class).invoke(null, file);
            return new WeakReference<>(loader);
        }
    }

    /** Opens kernels and has a file watched for a moment. */
    public static void watch(String file) throws IOException {
        Arena arena = Arena.ofShared();
        try (Kernels kernels = Backends.open(); FileChannel channel = FileChannel.open(Path.of(file))) {
            MappedMemory memory = new MappedMemory(channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena));
            memory.watch();
            System.out.println("kernels=" + kernels.description());
            memory.unmap(arena::close);
        }
    }
}
