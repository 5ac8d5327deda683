package dev.panacea.text;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.panacea.io.JsonErrors;
import dev.panacea.kernels.PanaceaException;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A model's chat template: a Jinja program that writes a conversation as the text the model was trained on. It is run as transformers runs it
 * (white space by its rules, {@code raise_exception}, {@code strftime_now}, {@code tojson} as Python prints it), and fenced in: it reads no files, sees no
 * Java object, and its output is bounded. Safe for use by several threads.
 */
public final class ChatTemplate {
    private static final int MAX_TEMPLATE = 1 << 20;

    private final String source;
    private final TemplateEngine program;
    private final Map<String, String> specialTokens;

    private ChatTemplate(String source, Map<String, String> specialTokens) {
        if (source.length() > MAX_TEMPLATE) {
            throw new PanaceaException("the chat template has " + source.length() + " characters, more than any template needs (" + MAX_TEMPLATE + ")");
        }
        String unix = source.replace("\r\n", "\n").replace('\r', '\n');
        // Jinja drops one newline at the end of a template; the engine would drop it from the output instead.
        this.source = unix.endsWith("\n") ? unix.substring(0, unix.length() - 1) : unix;
        program = new TemplateEngine(JinjaWhitespace.apply(this.source));
        this.specialTokens = Map.copyOf(specialTokens);
    }

    /**
     * What a template is told beside the messages: transformers' {@code chat_template_kwargs}, {@code tools} among them.
     *
     * @param variables JSON values by name, such as {@code tools}, {@code documents}, {@code date_string}, {@code enable_thinking}
     */
    public record Options(Map<String, Object> variables) {
        public static final Options NONE = new Options(Map.of());

        public Options {
            variables = Collections.unmodifiableMap(new LinkedHashMap<>(variables));
        }

        /** With a variable more, or another value of it. */
        public Options with(String name, Object value) {
            Map<String, Object> more = new LinkedHashMap<>(variables);
            more.put(name, value);
            return new Options(more);
        }

        /** With the variables of others, which win. */
        public Options and(Options others) {
            Map<String, Object> all = new LinkedHashMap<>(variables);
            all.putAll(others.variables);
            return new Options(all);
        }

        /** @param json an array of function descriptions */
        public Options withTools(String json) {
            return with("tools", parse(json));
        }

        /** Today's date as the template prints it; set it where two renderings must agree, as templates otherwise ask the clock. */
        public Options withDate(String date) {
            return with("date_string", date);
        }
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
        return new ChatTemplate(source, tokenizer.templateTokens());
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
        values.put("tools", null);
        values.putAll(options.variables);
        values.put("messages", messages.stream().map(Message::values).toList());
        values.put("add_generation_prompt", addGenerationPrompt);
        return program.render(values);
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
}
