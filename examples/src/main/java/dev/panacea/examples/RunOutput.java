package dev.panacea.examples;

import dev.panacea.io.AtomicFiles;
import dev.panacea.io.ByteCount;
import dev.panacea.io.FileErrors;
import dev.panacea.io.PeftAdapter;
import dev.panacea.kernels.PanaceaException;
import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.Consumer;
import java.util.stream.Stream;

/**
 * An output folder while a run has it: checked before the long work, locked, and free of what a killed run left half written. Results of an
 * earlier run are replaced when those of this one stand; a folder with anything else in it is refused, so that a slip of the keyboard mixes
 * nothing up. Closing it gives the folder back, and takes it away again if the run has put nothing into it.
 */
final class RunOutput implements AutoCloseable {
    private static final Set<String> RESULTS = Set.of("adapter", "metrics.json", "report.html");
    private static final Set<String> ADAPTER_FILES = Set.of("adapter_config.json", "adapter_model.safetensors", "README.md");
    /** The adapter of this run before it takes its place, and that of an earlier run while the new one does. */
    private static final String NEW = ".adapter.new";
    private static final String OLD = ".adapter.old";
    private static final String PROBE = ".finetune.probe";
    private static final int PROBE_BYTES = 64 << 10;
    private static final int STICKY = 01000;

    private final OutputFolder folder;
    private final List<Path> fallbacks;
    /** Folders that were not there, the innermost first. */
    private final Deque<Path> made = new ArrayDeque<>();
    private Optional<OutputLock> lock = Optional.empty();
    private boolean replaces;

    /** Of a folder that nothing is done with yet: see {@link #take}. */
    RunOutput(OutputFolder folder) {
        this(folder, Stream.of("user.home", "java.io.tmpdir").map(p -> Path.of(System.getProperty(p, ""))).filter(Path::isAbsolute).toList());
    }

    /** @param fallbacks folders that take the trained adapter if its own cannot */
    RunOutput(OutputFolder folder, List<Path> fallbacks) {
        this.folder = folder;
        this.fallbacks = fallbacks;
    }

    /** Takes the folder, or says what is wrong with it: {@link BadOption}. What was made by then goes when this is closed. */
    synchronized void take() {
        try {
            makeFolder();
            refuseForeign(folder.path(), RESULTS);
            if (Files.isDirectory(folder.adapter(), LinkOption.NOFOLLOW_LINKS)) {
                refuseForeign(folder.adapter(), ADAPTER_FILES);
            }
            requireKinds();
            lock = Optional.of(OutputLock.take(folder.path()));
            removeLeftovers();
            replaces = RESULTS.stream().anyMatch(r -> Files.exists(folder.path().resolve(r), LinkOption.NOFOLLOW_LINKS));
            Object self = probe(folder.path());
            if (Files.exists(folder.adapter())) {
                probe(folder.adapter());
            }
            requireOwn(self);
        } catch (IOException e) {
            throw wrong("cannot write there: " + FileErrors.reason(e, folder.path()) + owner(e));
        } catch (OutputLock.Held e) {
            throw wrong("another run has it (" + e.getMessage() + "); wait until that has ended, or choose another folder");
        }
    }

    /** Whose a folder is that one may not write to; empty for other errors. */
    private static String owner(IOException e) {
        if (!(e instanceof AccessDeniedException denied) || denied.getFile() == null) {
            return "";
        }
        try {
            Path denying = Path.of(denied.getFile()).toAbsolutePath();
            while (!Files.exists(denying)) {
                denying = denying.getParent();
            }
            Path where = Files.isDirectory(denying) ? denying : denying.getParent();
            return " (" + where + " belongs to " + Files.getOwner(where) + ")";
        } catch (IOException | UnsupportedOperationException unknown) {
            return "";
        }
    }

    private BadOption wrong(String problem) {
        return new BadOption("--output", folder, problem);
    }

    // ---- before the long work ----------------------------------------------------------------------------------------

    private void makeFolder() throws IOException {
        Path path = folder.path().toAbsolutePath();
        for (Path p = path; p != null && !Files.isDirectory(p); p = p.getParent()) {
            if (Files.exists(p)) {
                throw wrong(p + " is a file; name a folder, new or empty");
            }
            if (Files.isSymbolicLink(p)) {
                throw wrong(p + " is a link that leads nowhere (to " + Files.readSymbolicLink(p) + "); remove it, or name another folder");
            }
            made.addLast(p);
        }
        // From the outermost on, so that those that were not made are not removed either.
        List<Path> missing = new ArrayList<>(made).reversed();
        made.clear();
        for (Path p : missing) {
            try {
                Files.createDirectory(p);
                made.addFirst(p);
            } catch (FileAlreadyExistsException e) {
                if (!Files.isDirectory(p)) {
                    throw e;
                }
            }
        }
    }

    private void refuseForeign(Path where, Set<String> ours) throws IOException {
        List<String> foreign = names(where).stream().filter(n -> !ours.contains(n) && !isLeftover(n)).toList();
        if (!foreign.isEmpty()) {
            throw wrong("there are other files in " + (where.equals(folder.path()) ? "it" : where) + " (" + String.join(", ", foreign.subList(0, Math.min(3, foreign.size())))
                    + (foreign.size() > 3 ? ", ..." : "") + "); only results of an earlier run are replaced. Choose a new or empty folder");
        }
    }

    /** A link in place of a result would be written through, or replaced, and neither may be what its owner wants. */
    private void requireKinds() throws IOException {
        for (String name : names(folder.path())) {
            boolean isFolder = name.equals("adapter") || name.equals(NEW) || name.equals(OLD) || AtomicFiles.isUnfinished(name, NEW);
            requireKind(folder.path().resolve(name), isFolder);
        }
        if (Files.exists(folder.adapter())) {
            for (String name : names(folder.adapter())) {
                requireKind(folder.adapter().resolve(name), false);
            }
        }
    }

    private void requireKind(Path file, boolean isFolder) {
        String name = folder.path().relativize(file).toString();
        if (Files.isSymbolicLink(file)) {
            throw wrong(name + " in it is a link, not the result of an earlier run; choose a new or empty folder");
        }
        if (Files.isDirectory(file) != isFolder) {
            throw wrong(name + " in it is a " + (isFolder ? "file, not a folder" : "folder, not a file") + " of an earlier run; choose a new or empty folder");
        }
    }

    private static boolean isLeftover(String name) {
        return Set.of(OutputLock.NAME, NEW, OLD, PROBE).contains(name)
                || Stream.of(RESULTS, ADAPTER_FILES, Set.of(NEW)).flatMap(Set::stream).anyMatch(n -> AtomicFiles.isUnfinished(name, n));
    }

    /** What a run that was killed has left half written; an earlier adapter that it had put aside comes back. */
    private void removeLeftovers() throws IOException {
        if (Files.exists(folder.path().resolve(OLD)) && !Files.exists(folder.adapter())) {
            AtomicFiles.move(folder.path().resolve(OLD), folder.adapter());
        }
        for (Path where : List.of(folder.path(), folder.adapter())) {
            for (String name : Files.isDirectory(where) ? names(where) : List.<String>of()) {
                if (isLeftover(name) && !name.equals(OutputLock.NAME)) {
                    remove(where.resolve(name));
                }
            }
        }
    }

    /** Removes a file, or a folder with an adapter; what else may be in it stays, and so does the folder. */
    private static void remove(Path file) throws IOException {
        if (Files.isDirectory(file, LinkOption.NOFOLLOW_LINKS)) {
            for (String name : names(file)) {
                if (ADAPTER_FILES.contains(name) || isLeftover(name)) {
                    Files.delete(file.resolve(name));
                }
            }
        }
        Files.deleteIfExists(file);
    }

    private static List<String> names(Path where) throws IOException {
        try (Stream<Path> entries = Files.list(where)) {
            return entries.map(p -> p.getFileName().toString()).sorted().toList();
        }
    }

    /**
     * Writes a file, not only its name, which takes no space, and removes it.
     *
     * @return whom the system takes this process for; null where it does not say
     */
    private static Object probe(Path where) throws IOException {
        Path probe = where.resolve(PROBE);
        try {
            Files.write(probe, new byte[PROBE_BYTES]);
            return unix(probe, "uid");
        } finally {
            Files.deleteIfExists(probe);
        }
    }

    /** In a folder like /tmp everybody may write, and nobody may replace what is another's. */
    private void requireOwn(Object self) throws IOException {
        boolean shared = unix(folder.path(), "mode") instanceof Integer mode && (mode & STICKY) != 0 && !Integer.valueOf(0).equals(self) && !unix(folder.path(), "uid").equals(self);
        for (String name : shared ? names(folder.path()) : List.<String>of()) {
            if (RESULTS.contains(name) && !unix(folder.path().resolve(name), "uid").equals(self)) {
                throw wrong(name + " in it belongs to " + Files.getOwner(folder.path().resolve(name)) + ", who alone may replace it there; choose another folder");
            }
        }
    }

    private static Object unix(Path file, String attribute) throws IOException {
        return file.getFileSystem().supportedFileAttributeViews().contains("unix") ? Files.getAttribute(file, "unix:" + attribute, LinkOption.NOFOLLOW_LINKS) : null;
    }

    /** Whether there are results of an earlier run, which this run will replace. */
    boolean replaces() {
        return replaces;
    }

    /**
     * Makes sure that there is room for the results.
     *
     * @param bytes what they will take, beside those of an earlier run
     */
    void requireSpace(long bytes) {
        try {
            long free = Files.getFileStore(folder.path()).getUsableSpace();
            // Some file systems say 0 or less when they do not know.
            if (free > 0 && free < bytes) {
                throw wrong(ByteCount.text(free) + " are free there, and the results need " + ByteCount.text(bytes) + "; free some space or choose another folder");
            }
        } catch (IOException e) {
            // A system that does not tell: the writing itself will.
            return;
        }
    }

    // ---- results -----------------------------------------------------------------------------------------------------

    /**
     * Puts the trained adapter into the folder. An earlier run's results stay until it is written, and what that run said of its adapter goes
     * before the adapter does.
     *
     * @param check looks at the written adapter before it takes its place
     * @throws PanaceaException if it cannot be written there; its message says where the adapter is instead
     */
    void save(PeftAdapter adapter, Consumer<Path> check) {
        Path written = folder.path().resolve(NEW);
        try {
            adapter.write(written);
            check.accept(written);
            replaceAdapter(written);
        } catch (IOException e) {
            throw elsewhere(adapter, e);
        } catch (PanaceaException e) {
            // A value that is not finite, or an adapter read back as another: no other folder would help.
            throw e.getCause() instanceof IOException io ? elsewhere(adapter, io) : e;
        }
        made.clear();
    }

    private void replaceAdapter(Path written) throws IOException {
        Path old = folder.path().resolve(OLD);
        Files.deleteIfExists(folder.metrics());
        Files.deleteIfExists(folder.report());
        if (Files.exists(folder.adapter())) {
            AtomicFiles.move(folder.adapter(), old);
        }
        AtomicFiles.move(written, folder.adapter());
        if (Files.exists(old)) {
            remove(old);
        }
    }

    /** Hours of work must not be lost to a full disk. */
    private PanaceaException elsewhere(PeftAdapter adapter, IOException refusal) {
        String problem = "Cannot write " + folder.adapter() + ": " + FileErrors.reason(refusal, folder.adapter());
        List<String> refusals = new ArrayList<>();
        for (Path parent : fallbacks) {
            try {
                OutputFolder fallback = new OutputFolder(Files.createTempDirectory(parent, OutputFolder.DEFAULT + "-"));
                try {
                    adapter.write(fallback.adapter());
                    return new PanaceaException(problem + ". The trained adapter is in " + fallback.adapter() + " instead, and answers with --output " + fallback, refusal);
                } catch (PanaceaException e) {
                    Files.deleteIfExists(fallback.path());
                    refusals.add(e.getMessage());
                }
            } catch (IOException e) {
                refusals.add("Cannot write " + parent + ": " + FileErrors.reason(e, parent));
            }
        }
        return new PanaceaException(problem + ". The trained adapter is lost, since no other folder takes it: " + String.join("; ", refusals), refusal);
    }

    /**
     * Writes what is said of the adapter.
     *
     * @throws PanaceaException if it cannot be written; the adapter stays
     */
    void write(String metrics, String report) {
        try {
            AtomicFiles.writeString(folder.metrics(), metrics);
            AtomicFiles.writeString(folder.report(), report);
        } catch (PanaceaException e) {
            throw new PanaceaException(e.getMessage() + ". The trained adapter is in " + folder.adapter(), e);
        }
    }

    /** Gives the folder back. Once is enough, and more does no harm. */
    @Override
    public synchronized void close() {
        try {
            if (lock.isPresent() && Files.isDirectory(folder.path())) {
                removeLeftovers();
            }
        } catch (IOException e) {
            // The next run will find it.
            return;
        } finally {
            lock.ifPresent(OutputLock::close);
            lock = Optional.empty();
            removeMade();
        }
    }

    private void removeMade() {
        try {
            for (Path p : made) {
                Files.deleteIfExists(p);
            }
        } catch (IOException e) {
            // Somebody else has put something into it.
            return;
        } finally {
            made.clear();
        }
    }
}
