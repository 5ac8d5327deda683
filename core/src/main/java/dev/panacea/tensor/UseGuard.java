package dev.panacea.tensor;

import java.util.function.Supplier;

/**
 * Keeps two threads from using one thing at the same time, and anybody from closing it while it is used: whoever comes second gets an
 * {@link IllegalStateException} that says by whom it is in use, and the first goes on unharmed. One thread after the other may use it. Safe for use by several threads.
 */
public final class UseGuard {
    private final String what;
    private final String remedy;
    private Thread user;
    private int depth;
    private boolean closed;

    /**
     * @param what is guarded, as messages name it: {@code "the model"}
     * @param remedy what a second thread should do instead, as an imperative
     */
    public UseGuard(String what, String remedy) {
        this.what = what;
        this.remedy = remedy;
    }

    /**
     * Runs operations that no other thread can come between. They may call this again.
     *
     * @throws IllegalStateException if it is closed, or in use by another thread
     */
    public <T> T during(Supplier<T> operations) {
        enter();
        try {
            return operations.get();
        } finally {
            exit();
        }
    }

    /**
     * Begins a use, which {@link #exit()} ends; see {@link #during}.
     *
     * @throws StackOverflowError if the thread's stack has too little room left for it to end: it has not begun then
     */
    public synchronized void enter() {
        requireOpen();
        if (user != null && user != Thread.currentThread()) {
            throw new IllegalStateException(what + " is in use by " + name(user) + ", and one thread may use it at a time; " + remedy);
        }
        if (depth == 0) {
            StackRoom.require();
        }
        user = Thread.currentThread();
        depth++;
    }

    /** Ends a use that this thread has begun. */
    public synchronized void exit() {
        depth--;
        if (depth == 0) {
            user = null;
        }
    }

    /** Virtual threads have no name of their own. */
    private static String name(Thread user) {
        return "thread " + (user.getName().isEmpty() ? "#" + user.threadId() : "\"" + user.getName() + "\"");
    }

    /** Whether it has not been closed. */
    public synchronized boolean isOpen() {
        return !closed;
    }

    /** @throws IllegalStateException if it has been closed */
    public synchronized void requireOpen() {
        if (closed) {
            throw new IllegalStateException(what + " has been closed");
        }
    }

    /**
     * Closes it: from now on it cannot be used.
     *
     * @return whether it was open; the caller then frees what it holds
     * @throws IllegalStateException if it is in use, by whatever thread
     */
    public synchronized boolean close() {
        if (user != null) {
            throw new IllegalStateException(what + " is in use by " + name(user) + " and cannot be closed; close it when that has ended");
        }
        boolean wasOpen = !closed;
        closed = true;
        return wasOpen;
    }
}
