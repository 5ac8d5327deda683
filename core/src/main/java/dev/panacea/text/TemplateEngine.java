package dev.panacea.text;

import com.hubspot.jinjava.Jinjava;
import com.hubspot.jinjava.JinjavaConfig;
import com.hubspot.jinjava.LegacyOverrides;
import com.hubspot.jinjava.el.ext.ExtendedParser;
import com.hubspot.jinjava.interpret.Context;
import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import com.hubspot.jinjava.interpret.TemplateError;
import com.hubspot.jinjava.lib.exptest.ExpTest;
import com.hubspot.jinjava.lib.filter.AdvancedFilter;
import com.hubspot.jinjava.lib.fn.ELFunctionDefinition;
import com.hubspot.jinjava.loader.ResourceNotFoundException;
import com.hubspot.jinjava.objects.date.StrftimeFormatter;
import com.hubspot.jinjava.tree.Node;
import dev.panacea.kernels.PanaceaException;
import java.time.ZonedDateTime;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.BiFunction;
import java.util.function.Function;

/** A Jinja program, run by an engine that is set up as chat templates want it: Python's rules where the engine has others, no way into Java or to files, bounded output. */
final class TemplateEngine {
    private static final long MAX_OUTPUT = 64L << 20;
    private static final Jinjava ENGINE = engine();
    /**
     * Scopes with the engine's filters, tags and functions, one for each rendering that is under way. The engine's own way of rendering makes a new
     * one every time, which instantiates a hundred classes and takes longer than a short conversation does. Variables of a template never
     * reach this scope, only the one below it.
     */
    private static final ConcurrentLinkedQueue<Context> SCOPES = new ConcurrentLinkedQueue<>();

    private final String program;
    /** The program as the engine reads it, once that has gone well; rendering does not change it. */
    private volatile Node tree;

    TemplateEngine(String program) {
        this.program = program;
    }

    /**
     * The output of the program. Safe for use by several threads.
     *
     * @throws PanaceaException when it refuses, with its words, or is broken
     */
    String render(Map<String, Object> values) {
        Context shared = SCOPES.poll();
        if (shared == null) {
            shared = ENGINE.getGlobalContextCopy();
        }
        JinjavaConfig config = ENGINE.getGlobalConfig();
        Context context = new Context(shared, values, config.getDisabled());
        JinjavaInterpreter interpreter = new JinjavaInterpreter(ENGINE, context, config);
        String output;
        try {
            Node parsed = tree == null ? interpreter.parse(program) : tree;
            if (interpreter.getErrors().isEmpty()) {
                tree = parsed;
            }
            output = interpreter.render(parsed);
        } catch (RuntimeException e) {
            throw refused(e.getMessage(), e);
        }
        if (!interpreter.getErrors().isEmpty()) {
            TemplateError first = interpreter.getErrors().getFirst();
            throw refused(first.getMessage(), first.getException());
        }
        for (String name : context.getResolvedValues()) {
            // The engine lets a filter or test that it does not know give nothing.
            if (unknown(name, ExtendedParser.FILTER_PREFIX, ENGINE.getGlobalContext()::getFilter)
                    || unknown(name, ExtendedParser.EXPTEST_PREFIX, ENGINE.getGlobalContext()::getExpTest)) {
                throw new PanaceaException("the model's chat template uses the " + name.replace("exptest:", "test ").replace("filter:", "filter ")
                        + ", which is not supported");
            }
        }
        // Only after a rendering that went well, as nothing tells what state another one left behind.
        shared.reset();
        SCOPES.add(shared);
        return output;
    }

    private static boolean unknown(String resolved, String prefix, Function<String, ?> known) {
        return resolved.startsWith(prefix) && known.apply(resolved.substring(prefix.length())) == null;
    }

    private static PanaceaException refused(String message, Exception cause) {
        for (Throwable t = cause; t != null; t = t.getCause()) {
            if (t instanceof Raised) {
                return new PanaceaException("the model's chat template refuses this conversation: " + t.getMessage());
            }
        }
        return new PanaceaException("the model's chat template fails: " + message, cause);
    }

    private static Jinjava engine() {
        // The engine's "natural" precedence reads "not x is defined" as "(not x) is defined"; its old one is Jinja's.
        LegacyOverrides python = LegacyOverrides.Builder.from(LegacyOverrides.ALL).withUseNaturalOperatorPrecedence(false).withUsePyishObjectMapper(false)
                .withWhitespaceRequiredWithinTokens(false).withKeepNullableLoopValues(true).build();
        Jinjava engine = new Jinjava(JinjavaConfig.newBuilder()
                .withTrimBlocks(false).withLstripBlocks(false).withKeepTrailingNewline(true).withLegacyOverrides(python)
                .withNestedInterpretationEnabled(false).withElResolver(new TemplateValues())
                .withMaxOutputSize(MAX_OUTPUT).withMaxStringLength(MAX_OUTPUT).withMaxListSize(100_000).withMaxMapSize(100_000)
                .withMaxRenderDepth(20).withMaxMacroRecursionDepth(20).withRangeLimit(1000).build());
        engine.setResourceLocator((name, encoding, interpreter) -> {
            throw new ResourceNotFoundException("a chat template must not read other files: " + name);
        });
        engine.registerTag(new LoopTag());
        engine.registerFilter(filter("trim", (value, args) -> PythonStrings.strip(String.valueOf(value))));
        engine.registerFilter(filter("items", (value, args) -> value instanceof Map<?, ?> map ? new ArrayList<>(map.entrySet()) : List.of()));
        engine.registerFilter(filter("tojson", (value, args) -> PythonJson.write(value, args.get("indent") instanceof Number n ? n.intValue() : -1)));
        engine.registerExpTest(test("iterable"));
        engine.registerExpTest(test("sequence"));
        engine.registerFunction(new ELFunctionDefinition("", "raise_exception", TemplateEngine.class, "raise", String.class));
        engine.registerFunction(new ELFunctionDefinition("", "strftime_now", TemplateEngine.class, "now", String.class));
        return engine;
    }

    private static AdvancedFilter filter(String name, BiFunction<Object, Map<String, Object>, Object> body) {
        return new AdvancedFilter() {
            @Override
            public Object filter(Object value, JinjavaInterpreter interpreter, Object[] args, Map<String, Object> named) {
                Map<String, Object> all = new HashMap<>(named);
                if (args.length > 0) {
                    all.putIfAbsent("indent", args[0]);
                }
                return body.apply(value, all);
            }

            @Override
            public String getName() {
                return name;
            }
        };
    }

    /** In Python a string is iterable and a sequence too. */
    private static ExpTest test(String name) {
        return new ExpTest() {
            @Override
            public boolean evaluate(Object value, JinjavaInterpreter interpreter, Object... args) {
                return value instanceof Iterable<?> || value instanceof CharSequence || value instanceof Map<?, ?>;
            }

            @Override
            public String getName() {
                return name;
            }
        };
    }

    /** What a template throws by {@code raise_exception}. */
    private static final class Raised extends RuntimeException {
        private static final long serialVersionUID = 1L;

        Raised(String message) {
            super(message);
        }
    }

    /** {@code raise_exception} of a template; called by the engine. */
    static String raise(String message) {
        throw new Raised(message);
    }

    /** {@code strftime_now} of a template, local time in English; called by the engine. */
    static String now(String format) {
        return StrftimeFormatter.format(ZonedDateTime.now(), format, Locale.US);
    }
}
