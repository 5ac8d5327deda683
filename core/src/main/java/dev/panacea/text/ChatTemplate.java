package dev.panacea.text;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.hubspot.jinjava.Jinjava;
import com.hubspot.jinjava.JinjavaConfig;
import com.hubspot.jinjava.LegacyOverrides;
import com.hubspot.jinjava.el.ext.ExtendedParser;
import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import com.hubspot.jinjava.interpret.RenderResult;
import com.hubspot.jinjava.interpret.TemplateError;
import com.hubspot.jinjava.lib.exptest.ExpTest;
import com.hubspot.jinjava.lib.filter.AdvancedFilter;
import com.hubspot.jinjava.lib.fn.ELFunctionDefinition;
import com.hubspot.jinjava.loader.ResourceNotFoundException;
import com.hubspot.jinjava.objects.date.StrftimeFormatter;
import dev.panacea.io.JsonErrors;
import dev.panacea.kernels.PanaceaException;
import java.time.ZonedDateTime;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.function.BiFunction;
import java.util.function.Function;

/**
 * A model's chat template: a Jinja program that writes a conversation as the text the model was trained on. It is run as transformers runs it
 * (white space by its rules, {@code raise_exception}, {@code strftime_now}, {@code tojson} as Python prints it), and fenced in: it reads no files, sees no
 * Java object, and its output is bounded. Safe for use by several threads.
 */
public final class ChatTemplate {
    private static final int MAX_TEMPLATE = 1 << 20;
    private static final long MAX_OUTPUT = 64L << 20;
    private static final Jinjava ENGINE = engine();

    private final String source;
    private final String program;
    private final Map<String, String> specialTokens;

    private ChatTemplate(String source, Map<String, String> specialTokens) {
        if (source.length() > MAX_TEMPLATE) {
            throw new PanaceaException("the chat template has " + source.length() + " characters, more than any template needs (" + MAX_TEMPLATE + ")");
        }
        String unix = source.replace("\r\n", "\n").replace('\r', '\n');
        // Jinja drops one newline at the end of a template; the engine would drop it from the output instead.
        this.source = unix.endsWith("\n") ? unix.substring(0, unix.length() - 1) : unix;
        program = JinjaWhitespace.apply(this.source);
        this.specialTokens = Map.copyOf(specialTokens);
    }

    /**
     * What a template may be told beside the messages.
     *
     * @param tools a JSON array of function descriptions
     * @param dateString today's date as the template prints it; set it where two renderings must agree, as templates otherwise ask the clock
     */
    public record Options(Optional<String> tools, Optional<String> dateString) {
        public static final Options NONE = new Options(Optional.empty(), Optional.empty());
    }

    /** @param specialTokens what the template knows by {@code bos_token}, {@code eos_token} and so on */
    public static ChatTemplate of(String source, Map<String, String> specialTokens) {
        return new ChatTemplate(source, specialTokens);
    }

    /**
     * The template that came with a tokenizer.
     *
     * @throws PanaceaException when there is none: any template of ours would not be the one that the model knows
     */
    public static ChatTemplate of(BpeTokenizer tokenizer) {
        String source = tokenizer.chatTemplate().orElseThrow(() -> new PanaceaException("the model has no chat template (chat_template in"
                + " tokenizer_config.json, chat_template.jinja, or tokenizer.chat_template in GGUF): it is a base model. Take its instruct version, or train"
                + " on plain text or prompt and completion"));
        Map<String, String> special = new HashMap<>();
        tokenizer.bosToken().ifPresent(id -> special.put("bos_token", tokenizer.tokenName(id)));
        tokenizer.eosToken().ifPresent(id -> special.put("eos_token", tokenizer.tokenName(id)));
        return new ChatTemplate(source, special);
    }

    /**
     * Loads the template engine by rendering something, which takes a third of a second of a fresh JVM. Nothing depends on it: a program that calls this in
     * the background while it opens its model finds the engine ready.
     */
    public static void warmUp() {
        of("{% for m in messages %}{{ '<' + m.role + '>' }}{% if m['role'] == 'user' and not loop.first %}{{ m.content | trim }}{% endif %}{% endfor %}", Map.of())
                .render(List.of(Message.user("a"), Message.assistant("b")), true, Options.NONE);
    }

    /** The Jinja source, without a final newline. */
    public String source() {
        return source;
    }

    /**
     * The text of a conversation.
     *
     * @param addGenerationPrompt whether to end with what stands before an answer
     * @throws PanaceaException when the template refuses the conversation (with the template's words) or is broken
     */
    public String render(List<Message> messages, boolean addGenerationPrompt, Options options) {
        Map<String, Object> values = new HashMap<>(specialTokens);
        List<Map<String, Object>> list = new ArrayList<>();
        for (Message m : messages) {
            Map<String, Object> message = new LinkedHashMap<>();
            message.put("role", m.role());
            message.put("content", m.content());
            list.add(message);
        }
        values.put("messages", list);
        values.put("add_generation_prompt", addGenerationPrompt);
        values.put("tools", options.tools.map(ChatTemplate::parse).orElse(null));
        options.dateString.ifPresent(date -> values.put("date_string", date));
        RenderResult result = ENGINE.renderForResult(program, values);
        if (!result.getErrors().isEmpty()) {
            throw refused(result.getErrors().getFirst());
        }
        for (String name : result.getContext().getResolvedValues()) {
            // The engine lets a filter or test that it does not know give nothing.
            if (unknown(name, ExtendedParser.FILTER_PREFIX, ENGINE.getGlobalContext()::getFilter)
                    || unknown(name, ExtendedParser.EXPTEST_PREFIX, ENGINE.getGlobalContext()::getExpTest)) {
                throw new PanaceaException("the model's chat template uses the " + name.replace("exptest:", "test ").replace("filter:", "filter ")
                        + ", which is not supported");
            }
        }
        return result.getOutput();
    }

    private static boolean unknown(String resolved, String prefix, Function<String, ?> known) {
        return resolved.startsWith(prefix) && known.apply(resolved.substring(prefix.length())) == null;
    }

    private static PanaceaException refused(TemplateError error) {
        for (Throwable t = error.getException(); t != null; t = t.getCause()) {
            if (t instanceof Raised) {
                return new PanaceaException("the model's chat template refuses this conversation: " + t.getMessage());
            }
        }
        return new PanaceaException("the model's chat template fails: " + error.getMessage(), error.getException());
    }

    private static Object parse(String tools) {
        try {
            Object parsed = new ObjectMapper().readValue(tools, Object.class);
            if (parsed instanceof List<?>) {
                return parsed;
            }
            throw new PanaceaException("tools must be a JSON array of function descriptions");
        } catch (JsonProcessingException e) {
            throw new PanaceaException("tools are not valid JSON: " + JsonErrors.reason(e), e);
        }
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
        engine.registerFunction(new ELFunctionDefinition("", "raise_exception", ChatTemplate.class, "raise", String.class));
        engine.registerFunction(new ELFunctionDefinition("", "strftime_now", ChatTemplate.class, "now", String.class));
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
