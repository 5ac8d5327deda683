package dev.panacea.data;

import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;

/**
 * The columns of one row by name, in any case, and which of them have been used. A column without a value (null, NaN, empty text) counts as absent:
 * tables bring every column in every row.
 */
final class RowColumns {
    static final char BYTE_ORDER_MARK = '\uFEFF';

    /** What pandas takes for a missing value when it reads CSV, databases' NULL, and the errors of spreadsheets. */
    private static final Set<String> NO_VALUE = Set.of("NA", "N/A", "n/a", "<NA>", "#N/A", "#NA", "NaN", "nan", "-nan", "NULL", "null", "None", "\\N", "#REF!", "#VALUE!",
            "#NAME?", "#DIV/0!", "#NULL!", "#NUM!");

    private record Column(String name, Object value) {}

    private final Map<String, Column> columns = new LinkedHashMap<>();
    private final Map<String, String> used = new LinkedHashMap<>();
    private final Set<String> unused = new LinkedHashSet<>();

    /** @param wanted the columns to take, by what they mean; empty to take each by its own name */
    RowColumns(Map<?, ?> row, Map<String, String> wanted) {
        // Where those alone make a row, others are not to make it another.
        boolean complete = RowParser.understands(wanted.keySet());
        Set<String> taken = new LinkedHashSet<>();
        wanted.forEach((meaning, name) -> {
            String found = find(row, name);
            columns.put(meaning, new Column(found, row.get(found)));
            taken.add(found);
        });
        row.forEach((key, value) -> {
            String name = (String) key;
            if (taken.contains(name)) {
                return;
            }
            String own = normalized(name);
            if (complete && !RowParser.BESIDE.contains(own) || wanted.containsKey(own)) {
                if (!isAbsent(value)) {
                    unused.add(name);
                }
                return;
            }
            Column twin = columns.putIfAbsent(own, new Column(name, value));
            if (twin != null && RowParser.meanings().contains(own)) {
                throw new BadRow("has two columns '" + RowParser.shortened(own) + "'; say which of '" + twin.name + "' and '" + name + "' to take");
            } else if (twin != null && !isAbsent(value)) {
                unused.add(name);
            }
        });
    }

    private static String find(Map<?, ?> row, String name) {
        if (row.containsKey(name)) {
            return name;
        }
        return row.keySet().stream().map(String.class::cast).filter(n -> normalized(n).equals(normalized(name))).findFirst()
                .orElseThrow(() -> new BadRow("has no column '" + name + "'; it has " + list(row.keySet())));
    }

    /** A name as it is compared: in lower case, without what cannot be seen around it. */
    static String normalized(String name) {
        return stripped(name).toLowerCase(Locale.ROOT);
    }

    /** Without blanks of any kind around it, nor the byte order mark that some programs write inside the first quotes. */
    static String stripped(String name) {
        int from = 0;
        int to = name.length();
        while (from < to && isInvisible(name.charAt(from))) {
            from++;
        }
        while (from < to && isInvisible(name.charAt(to - 1))) {
            to--;
        }
        return name.substring(from, to);
    }

    private static boolean isInvisible(char c) {
        return Character.isWhitespace(c) || Character.isSpaceChar(c) || c == BYTE_ORDER_MARK;
    }

    static boolean isAbsent(Object value) {
        return value == null || value instanceof String text && text.isBlank() || value instanceof Collection<?> list && list.isEmpty()
                || value instanceof Map<?, ?> map && map.isEmpty();
    }

    /** Whether there is such a column, with a value or without. */
    boolean named(String name) {
        return columns.containsKey(name);
    }

    /** Whether there is a value. */
    boolean has(String name) {
        return columns.containsKey(name) && !isAbsent(columns.get(name).value);
    }

    /** The value without its being used by that. */
    Object peek(String name) {
        return columns.containsKey(name) ? columns.get(name).value : null;
    }

    /** The value of a column that is there; it is used as {@code meaning} from now on. */
    Object take(String name, String meaning) {
        Column c = columns.get(name);
        used.put(c.name, meaning);
        return c.value;
    }

    /** As {@link #take}, when it must be text, and there must be some. */
    String text(String name, String meaning) {
        Object value = take(name, meaning);
        String column = columns.get(name).name;
        if (value == null) {
            throw new BadRow("has nothing in '" + column + "'");
        }
        if (!(value instanceof String text)) {
            boolean table = value instanceof List<?> || value instanceof Map<?, ?>;
            throw new BadRow("is not understood: '" + column + "' is " + kind(value) + " where text is expected"
                    + (table ? "; if the file is a table written column by column, write it row by row (in pandas orient=\"records\")" : ""));
        }
        if (text.isBlank()) {
            throw new BadRow("has an empty '" + column + "'");
        }
        return text;
    }

    /** The name as the file has it. */
    String original(String name) {
        return columns.get(name).name;
    }

    /** What each used column is used as, by its name in the file. */
    Map<String, String> used() {
        return used;
    }

    /** Of the used columns, by name, those whose text is what other programs write where there is no value; it is text like any other here. */
    Map<String, String> maybeMissing() {
        Map<String, String> found = new LinkedHashMap<>();
        for (Column c : columns.values()) {
            if (c.value instanceof String text && text.length() < 20 && used.containsKey(c.name) && NO_VALUE.contains(text.strip())) {
                found.put(c.name, text.strip());
            }
        }
        return found;
    }

    /** Columns with a value that nothing has used. */
    Set<String> unused() {
        Set<String> all = new LinkedHashSet<>();
        columns.values().stream().filter(c -> !used.containsKey(c.name) && !isAbsent(c.value)).forEach(c -> all.add(c.name));
        all.addAll(unused);
        return all;
    }

    /** The names for people, shortened. */
    String names() {
        return list(columns.values().stream().map(Column::name).toList());
    }

    static String list(Collection<?> names) {
        List<String> shown = names.stream().limit(20).map(n -> RowParser.shortened(n.toString())).toList();
        return shown + (names.size() > 20 ? " and more" : "");
    }

    /** What kind of value this is, for people. */
    static String kind(Object value) {
        return switch (value) {
            case null -> "nothing";
            case String s -> "text";
            case Number n -> "a number";
            case Boolean b -> "a truth value";
            case List<?> l -> "a list";
            default -> "an object";
        };
    }
}
