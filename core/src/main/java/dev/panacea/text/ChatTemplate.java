package dev.panacea.text;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.panacea.io.JsonErrors;
import dev.panacea.jinja.FromData;
import dev.panacea.jinja.FromTemplate;
import dev.panacea.jinja.JinjaException;
import dev.panacea.jinja.JinjaTemplate;
import dev.panacea.jinja.Rendering;
import dev.panacea.kernels.PanaceaException;
import java.time.Clock;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * A model's chat template: a Jinja program that writes a conversation as the text the model was trained on. It is run as transformers runs it
 * ({@link JinjaTemplate}), read once and rendered often. Safe for use by several threads.
 */
public final class ChatTemplate {
    private static final int MAX_TEMPLATE = 1 << 20;
    /** Roles that a template may print as a part of its own text: nobody forges a token with one of these. */
    private static final Set<String> ROLES = Set.of("system", "user", "assistant", "tool", "developer", "ipython", "function", "model");
    /** The names under which reasoning is found, the one that templates read first. */
    private static final List<String> REASONING = List.of("reasoning_content", "thinking", "reasoning");

    private final String source;
    private final JinjaTemplate program;
    private final Map<String, String> specialTokens;
    private final Clock clock;

    private ChatTemplate(String source, Map<String, String> specialTokens, Clock clock) {
        if (source.length() > MAX_TEMPLATE) {
            throw new PanaceaException("the chat template has " + source.length() + " characters, more than any template needs (" + MAX_TEMPLATE + ")");
        }
        String unix = source.replace("\r\n", "\n").replace('\r', '\n');
        this.source = unix.endsWith("\n") ? unix.substring(0, unix.length() - 1) : unix;
        try {
            // The source as it came: the newline that Jinja drops at its end is one, not two.
            program = JinjaTemplate.parse(unix);
        } catch (JinjaException e) {
            throw new PanaceaException("the model's chat template is broken: " + e.getMessage(), e);
        }
        this.specialTokens = Map.copyOf(specialTokens);
        this.clock = clock;
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

    /**
     * A template from its source.
     *
     * @param specialTokens what the template knows by {@code bos_token}, {@code eos_token} and so on
     * @throws PanaceaException when its syntax is wrong
     */
    public static ChatTemplate of(String source, Map<String, String> specialTokens) {
        return of(source, specialTokens, Clock.systemDefaultZone());
    }

    /**
     * A template that asks another clock for the date.
     *
     * @param clock the time and zone of {@code strftime_now}
     */
    public static ChatTemplate of(String source, Map<String, String> specialTokens, Clock clock) {
        return new ChatTemplate(source, specialTokens, clock);
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
        return of(source, tokenizer.templateTokens());
    }

    /** The Jinja source, without a final newline. */
    public String source() {
        return source;
    }

    /**
     * The text of a conversation.
     *
     * @param addGenerationPrompt whether to end with what stands before an answer
     * @throws PanaceaException when the template refuses the conversation (with the template's words), is broken, or asks for more than a template may have
     */
    public String render(List<Message> messages, boolean addGenerationPrompt, Options options) {
        return rendering(messages, addGenerationPrompt, options).text();
    }

    /**
     * The text of a conversation, with what of it comes from the messages and options and what the template wrote itself, and what stands within
     * {@code {% generation %}}. A role that every template knows counts as the template's own.
     *
     * @param addGenerationPrompt whether to end with what stands before an answer
     * @throws PanaceaException as {@link #render}
     */
    public Rendering rendering(List<Message> messages, boolean addGenerationPrompt, Options options) {
        Map<String, Object> values = new HashMap<>(specialTokens);
        values.put("tools", null);
        values.put("documents", null);
        options.variables.forEach((name, value) -> values.put(name, new FromData(value)));
        values.put("messages", new FromData(messages.stream().map(ChatTemplate::values).toList()));
        values.put("add_generation_prompt", addGenerationPrompt);
        try {
            return program.render(values, clock);
        } catch (JinjaException e) {
            throw new PanaceaException("the model's chat template " + (e.isRaised() ? "refuses this conversation: " : "fails: ") + e.getMessage(), e);
        }
    }

    /** As transformers does, reasoning that came under another name is given under the names that templates read. */
    private static Map<String, Object> values(Message message) {
        Map<String, Object> values = new LinkedHashMap<>(message.values());
        values.computeIfPresent("role", (name, role) -> ROLES.contains(role) ? new FromTemplate((String) role) : role);
        for (String name : REASONING) {
            Object reasoning = values.get(name);
            if (reasoning != null) {
                values.putIfAbsent("thinking", reasoning);
                values.put("reasoning_content", reasoning);
                break;
            }
        }
        return values;
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
