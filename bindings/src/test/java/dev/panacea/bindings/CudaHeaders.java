package dev.panacea.bindings;

import java.io.File;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodType;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.MatchResult;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * What NVIDIA's headers declare, read without a C compiler: enough for cuda.h and cublasLt.h.
 *
 * @param folder where they were found
 * @param functions Java signature by the name of the symbol, such as {@code cuMemAlloc_v2}, which a macro makes of cuMemAlloc
 * @param constants values of enumerators and of macros that are a plain number
 */
record CudaHeaders(Path folder, Map<String, MethodType> functions, Map<String, Long> constants) {
    /** The driver's, which comes with nvcc. */
    static final List<String> DRIVER = List.of("cuda.h");
    /** Those of cuBLASLt, in a package of their own. */
    static final List<String> CUBLASLT = List.of("cublasLt.h", "cublas_api.h", "library_types.h");
    private static final Pattern RENAMED = Pattern.compile("(?m)^\\s*#define\\s+(cu\\w+)\\s+(?:__CUDA_API_PT[DS]S?Z?\\((\\w+)\\)|(cu\\w+))\\s*$");
    private static final Pattern FUNCTION = Pattern.compile("(\\w+\\s*\\**)\\s+(?:CUDAAPI|CUBLASWINAPI)\\s+(cu\\w+)\\s*\\(([^)]*)\\)\\s*;");
    private static final Pattern NUMBER = Pattern.compile("(?m)^#define\\s+(\\w+)\\s+(0[xX][0-9a-fA-F]+|\\d+)\\s*$");
    private static final Pattern ENUMERATION = Pattern.compile("enum(?:\\s+\\w+)?\\s*\\{([^}]*)\\}");
    private static final Pattern ENUMERATOR = Pattern.compile("(\\w+)\\s*(?:=\\s*(-?(?:0[xX][0-9a-fA-F]+|\\d+)))?\\s*");
    private static final Pattern POINTER_TYPE = Pattern.compile("typedef\\s+(?:const\\s+)?(?:struct\\s+)?\\w+\\s*\\*\\s*(\\w+)\\s*;");
    private static final Pattern ENUM_TYPE = Pattern.compile("typedef\\s+enum(?:\\s+(\\w+))?\\s*\\{[^}]*\\}\\s*(\\w+)\\s*;");

    /** These headers, of {@code CUDA_INCLUDE}, of nvcc, or of the usual place. */
    static Optional<CudaHeaders> find(List<String> files) throws IOException {
        List<Path> folders = new ArrayList<>();
        Optional.ofNullable(System.getenv("CUDA_INCLUDE")).ifPresent(f -> folders.add(Path.of(f)));
        Stream<Path> compilers = Stream.concat(Stream.ofNullable(System.getenv("NVCC")).map(Path::of),
                Stream.of(System.getenv().getOrDefault("PATH", "").split(File.pathSeparator)).filter(f -> !f.isBlank()).map(f -> Path.of(f, "nvcc")));
        for (Path nvcc : compilers.filter(Files::isExecutable).toList()) {
            folders.add(nvcc.toRealPath().getParent().resolveSibling("include"));
        }
        folders.add(Path.of("/usr/local/cuda/include"));
        for (Path folder : folders) {
            if (files.stream().allMatch(f -> Files.isRegularFile(folder.resolve(f)))) {
                return Optional.of(read(folder, files));
            }
        }
        return Optional.empty();
    }

    private static CudaHeaders read(Path folder, List<String> files) throws IOException {
        StringBuilder all = new StringBuilder();
        for (String file : files) {
            String text = Files.readString(folder.resolve(file), StandardCharsets.ISO_8859_1).replaceAll("(?s)/\\*.*?\\*/", "").replaceAll("//[^\n]*", "");
            // From the last of these on cuda.h declares what the macros had renamed before, for the driver's own use.
            int end = text.lastIndexOf("#if defined(__CUDA_API_VERSION_INTERNAL)\n");
            all.append(end < 0 ? text : text.substring(0, end)).append('\n');
        }
        String text = all.toString();
        Map<String, Long> constants = new HashMap<>();
        matches(NUMBER, text).forEach(m -> constants.put(m.group(1), Long.decode(m.group(2))));
        matches(ENUMERATION, text).forEach(m -> enumerators(m.group(1), constants));
        return new CudaHeaders(folder, functions(text), constants);
    }

    private static void enumerators(String body, Map<String, Long> constants) {
        long next = 0;
        for (String part : body.split(",")) {
            Matcher m = ENUMERATOR.matcher(part.strip());
            if (!m.matches()) {
                // Computed from others, or cut by a preprocessor line: the next plain one has its value.
                continue;
            }
            long value = m.group(2) == null ? next : Long.decode(m.group(2));
            constants.put(m.group(1), value);
            next = value + 1;
        }
    }

    private static Map<String, MethodType> functions(String text) {
        Map<String, Class<?>> types = new HashMap<>(Map.of("int", int.class, "unsigned int", int.class, "size_t", long.class, "unsigned long long", long.class, "uint64_t", long.class,
                "int64_t", long.class, "unsigned char", byte.class, "float", float.class, "void", void.class));
        // The last is declared in a header of the runtime.
        types.putAll(Map.of("CUdeviceptr", long.class, "CUdevice", int.class, "cudaStream_t", MemorySegment.class));
        matches(POINTER_TYPE, text).forEach(m -> types.put(m.group(1), MemorySegment.class));
        matches(ENUM_TYPE, text).forEach(m -> {
            types.put(m.group(1), int.class);
            types.put(m.group(2), int.class);
        });
        Map<String, String> renamed = new HashMap<>();
        // The last definition holds: those of the default stream per thread stand first, and only where that is asked for.
        matches(RENAMED, text).forEach(m -> renamed.put(m.group(1), m.group(2) == null ? m.group(3) : m.group(2)));
        Map<String, MethodType> functions = new HashMap<>();
        matches(FUNCTION, text).forEach(m -> {
            List<Class<?>> parameters = new ArrayList<>();
            for (String parameter : m.group(3).split(",")) {
                // Without its name, unless the type is all there is.
                String stripped = parameter.replaceAll("\\b(?:const|struct)\\b", "").strip();
                parameters.add(stripped.endsWith("]") ? MemorySegment.class : types.containsKey(stripped) ? types.get(stripped) : type(stripped.replaceFirst("\\w+$", ""), types));
            }
            if (parameters.equals(List.of(void.class))) {
                parameters.clear();
            }
            Class<?> result = type(m.group(1).replaceAll("\\bconst\\b", ""), types);
            if (result != null && !parameters.contains(null)) {
                functions.put(renamed.getOrDefault(m.group(2), m.group(2)), MethodType.methodType(result, parameters));
            }
        });
        return functions;
    }

    /** Null for types that nothing bound here has. */
    private static Class<?> type(String c, Map<String, Class<?>> types) {
        return c.contains("*") ? MemorySegment.class : types.get(c.strip().replaceAll("\\s+", " "));
    }

    private static Stream<MatchResult> matches(Pattern pattern, String text) {
        return pattern.matcher(text).results();
    }
}
