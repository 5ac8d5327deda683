package dev.panacea.launcher;

import java.lang.management.ManagementFactory;
import java.util.Optional;

/**
 * Ends a process when the one that started it is gone. A kill that cannot be caught (-9) takes only the process that the user knows of; the
 * one that does the work would go on for hours, unseen. By reflection, since Java 8 has no ProcessHandle, and the process that watches always does.
 */
final class ParentWatch {
    private static final long MILLISECONDS = 500;
    /** What a shell reports of a process that was killed. */
    private static final int KILLED = 128 + 9;

    private ParentWatch() {}

    /** The id of this process. */
    static String pid() {
        return ManagementFactory.getRuntimeMXBean().getName().split("@", 2)[0];
    }

    /** Watches from a thread of its own that keeps nobody from ending. */
    static void start(String parent) {
        Thread watch = new Thread(() -> {
            try {
                while (parent.equals(parent())) {
                    Thread.sleep(MILLISECONDS);
                }
                System.exit(KILLED);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            } catch (ReflectiveOperationException e) {
                // Without processes to look at there is nothing to watch.
                return;
            }
        }, "parent-watch");
        watch.setDaemon(true);
        watch.start();
    }

    /** The id of the process that this one belongs to now: another one takes over when the first has gone. */
    private static String parent() throws ReflectiveOperationException {
        Class<?> handle = Class.forName("java.lang.ProcessHandle");
        Optional<?> parent = (Optional<?>) handle.getMethod("parent").invoke(handle.getMethod("current").invoke(null));
        return parent.isPresent() ? String.valueOf(handle.getMethod("pid").invoke(parent.get())) : "";
    }
}
