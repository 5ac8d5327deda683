package dev.panacea.bindings;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodType;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * What panacea.h declares, read without a C compiler: enough for a header that keeps to its own conventions.
 *
 * @param functions Java signature by function name
 * @param constants value by name
 * @param weightFields Java type of each field of pan_weight, in order
 */
record CHeader(Map<String, MethodType> functions, Map<String, Integer> constants, List<Field> weightFields) {
    record Field(String name, Class<?> type) {}

    private static final Pattern FUNCTION = Pattern.compile("PAN_API\\s+([^;(]+?)(pan_\\w+)\\(([^)]*)\\)\\s*;");
    private static final Pattern CONSTANT = Pattern.compile("(?m)^#define (PAN_\\w+) \\(?(-?\\d+)\\)?\\s*$");
    private static final Pattern STRUCT = Pattern.compile("typedef struct pan_weight \\{([^}]*)\\}");

    static CHeader read() throws IOException {
        // Tests run in the folder of their module.
        String text = Files.readString(Path.of("..", "native", "include", "panacea.h")).replaceAll("(?s)/\\*.*?\\*/", "");
        Map<String, MethodType> functions = new TreeMap<>();
        for (Matcher m = FUNCTION.matcher(text); m.find();) {
            List<Class<?>> parameters = new ArrayList<>();
            if (!m.group(3).strip().equals("void")) {
                for (String parameter : m.group(3).split(",")) {
                    parameters.add(javaType(parameter.strip().replaceFirst("\\w+$", "")));
                }
            }
            functions.put(m.group(2), MethodType.methodType(javaType(m.group(1)), parameters));
        }
        Map<String, Integer> constants = new TreeMap<>();
        for (Matcher m = CONSTANT.matcher(text); m.find();) {
            constants.put(m.group(1), Integer.valueOf(m.group(2)));
        }
        Matcher struct = STRUCT.matcher(text);
        if (!struct.find()) {
            throw new IllegalStateException("panacea.h has no struct pan_weight");
        }
        List<Field> fields = new ArrayList<>();
        for (String field : struct.group(1).strip().split(";")) {
            String name = field.replaceFirst("(?s).*?(\\w+)\\s*$", "$1");
            fields.add(new Field(name, javaType(field.replaceFirst("\\w+\\s*$", ""))));
        }
        return new CHeader(functions, constants, fields);
    }

    private static Class<?> javaType(String c) {
        if (c.contains("*")) {
            return MemorySegment.class;
        }
        return switch (c.strip()) {
            case "int32_t" -> int.class;
            case "int64_t" -> long.class;
            case "float" -> float.class;
            case "double" -> double.class;
            case "void" -> void.class;
            default -> throw new IllegalArgumentException("panacea.h uses the type " + c.strip() + ", which the bindings do not expect");
        };
    }
}
