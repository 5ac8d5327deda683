package dev.panacea.bindings;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** A library of the system that is opened when it is first needed and stays open: a file named by a setting, else the first of some names that the system's loader finds. */
final class DynamicLibrary {
    private final String what;
    private final Setting file;
    private final List<String> names;
    private final String remedy;
    private Optional<SymbolLookup> symbols = Optional.empty();
    private String origin = "";

    /**
     * @param what the library in words, for messages
     * @param names file names that the system's loader is asked for, where the setting names none
     * @param remedy what a user does who lacks it
     */
    DynamicLibrary(String what, Setting file, List<String> names, String remedy) {
        this.what = what;
        this.file = file;
        this.names = names;
        this.remedy = remedy;
    }

    /** Opens the library, if that has not been done; the file it came from. */
    synchronized String load() {
        if (symbols.isEmpty()) {
            Optional<Setting.Value> setting = file.read();
            List<String> candidates = setting.map(v -> List.of(v.text())).orElse(names);
            List<String> refusals = new ArrayList<>();
            for (String candidate : candidates) {
                try {
                    // Never closed: code of it may run until the process ends.
                    symbols = Optional.of(SymbolLookup.libraryLookup(candidate, Arena.global()));
                    origin = candidate + setting.map(v -> " (" + v.origin() + ")").orElse("");
                    return origin;
                } catch (IllegalArgumentException e) {
                    refusals.add(candidate);
                }
            }
            String text = "no " + what + ": " + String.join(", ", refusals) + setting.map(v -> ", named by " + v.origin() + ",").orElse("") + " cannot be loaded. " + remedy;
            throw setting.isPresent() ? NativeLibraryException.misconfigured(text, null) : NativeLibraryException.unsupported(text, null);
        }
        return origin;
    }

    /** The address of a function. */
    MemorySegment symbol(String name) {
        load();
        return symbols.orElseThrow().find(name).orElseThrow(() -> NativeLibraryException.unsupported("the " + what + " " + origin + " has no function " + name + ": it is too old", null));
    }
}
