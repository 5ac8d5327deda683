package dev.panacea.bindings;

import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/** A library of the system that is opened when it is first needed and stays open: a file named by a setting, else the first of some names that the system's loader finds. */
final class DynamicLibrary {
    /** What shared libraries of Linux begin with. */
    private static final byte[] ELF = {0x7f, 'E', 'L', 'F'};

    private final String what;
    private final Setting file;
    private final List<String> names;
    private final String mark;
    private final String remedy;
    private Optional<SymbolLookup> symbols = Optional.empty();
    private String origin = "";

    /**
     * @param what the library in words, for messages
     * @param names file names that the system's loader is asked for, where the setting names none
     * @param mark a function by which the library is known
     * @param remedy what a user does who lacks it
     */
    DynamicLibrary(String what, Setting file, List<String> names, String mark, String remedy) {
        this.what = what;
        this.file = file;
        this.names = names;
        this.mark = mark;
        this.remedy = remedy;
    }

    /** Opens the library, if that has not been done; the file it came from. */
    synchronized String load() {
        if (symbols.isEmpty()) {
            NativeAccess.require();
            Optional<Setting.Value> setting = file.read();
            List<String> refusals = new ArrayList<>();
            for (String candidate : setting.map(v -> List.of(v.text())).orElse(names)) {
                String refusal = open(candidate);
                if (refusal.isEmpty()) {
                    origin = candidate + setting.map(v -> " (" + v.origin() + ")").orElse("");
                    return origin;
                }
                refusals.add(candidate + setting.map(v -> ", named by " + v.origin() + ",").orElse("") + " " + refusal);
            }
            String without = setting.map(v -> ". Name another, or take " + v.origin() + " away to have the system's " + String.join(" or ", names)).orElse(". " + remedy);
            String text = "no " + what + ": " + String.join("; ", refusals) + without;
            throw setting.isPresent() ? NativeLibraryException.misconfigured(text, null) : NativeLibraryException.unsupported(text, null);
        }
        return origin;
    }

    /** Why it cannot be opened; empty if it could. */
    private String open(String candidate) {
        if (candidate.contains("/")) {
            String refusal = refusal(Path.of(candidate));
            if (!refusal.isEmpty()) {
                return refusal;
            }
        }
        SymbolLookup found;
        try {
            // Never closed: code of it may run until the process ends.
            found = SymbolLookup.libraryLookup(candidate, Arena.global());
        } catch (IllegalArgumentException e) {
            return reason(candidate);
        }
        if (found.find(mark).isEmpty()) {
            return "is another library (it has no function " + mark + ")";
        }
        symbols = Optional.of(found);
        return "";
    }

    /** Why a file need not be tried; empty if it may be a library. The JVM prints warnings of its own about files that are none. */
    private static String refusal(Path file) {
        if (!Files.isRegularFile(file)) {
            return "is not a file";
        }
        try (InputStream in = Files.newInputStream(file)) {
            return !Platform.current().os().equals("linux") || Arrays.equals(in.readNBytes(ELF.length), ELF) ? "" : "is not a shared library";
        } catch (IOException e) {
            return "cannot be read: " + e;
        }
    }

    /** The lookup keeps the loader's own words to itself; of a file, asking again in another way gets them. */
    private static String reason(String candidate) {
        if (!candidate.contains("/")) {
            return "is not found by the system's loader";
        }
        try {
            System.load(Path.of(candidate).toAbsolutePath().toString());
            return "cannot be loaded";
        } catch (UnsatisfiedLinkError e) {
            return "cannot be loaded: " + e.getMessage();
        }
    }

    /** The address of a function. */
    MemorySegment symbol(String name) {
        load();
        return symbols.orElseThrow().find(name).orElseThrow(() -> NativeLibraryException.unsupported("the " + what + " " + origin + " has no function " + name + ": it is too old", null));
    }
}
