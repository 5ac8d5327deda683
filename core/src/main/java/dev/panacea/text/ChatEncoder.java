package dev.panacea.text;

import dev.panacea.data.TokenizedExample;
import dev.panacea.jinja.Rendering;
import dev.panacea.kernels.PanaceaException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.OptionalInt;
import java.util.Set;
import java.util.concurrent.ConcurrentSkipListSet;

/**
 * Conversations to token ids, with the mask that says what is trained. Control tokens arise only where the chat template writes them: the name of
 * one in a message is plain text, so that no user can end a turn by writing its end. The template sees the messages as they are; its rendering
 * tells which characters come from them. Safe for use by several threads.
 *
 * <p>What is trained is in {@link AnswerSpans}.
 */
public final class ChatEncoder {
    private static final String PROBE = "the answer of a probe";

    private final BpeTokenizer tokenizer;
    private final ChatTemplate template;
    private final ChatTemplate.Options options;
    private final OptionalInt endOfTurn;
    private final Set<String> notes = new ConcurrentSkipListSet<>();

    /**
     * @param options for every rendering
     * @throws PanaceaException when the template does not render a question with its answer
     */
    public ChatEncoder(BpeTokenizer tokenizer, ChatTemplate template, ChatTemplate.Options options) {
        this.tokenizer = tokenizer;
        this.template = template;
        this.options = options;
        endOfTurn = probe();
    }

    /** With the chat template that came with the tokenizer. */
    public static ChatEncoder of(BpeTokenizer tokenizer, ChatTemplate.Options options) {
        return new ChatEncoder(tokenizer, ChatTemplate.of(tokenizer), options);
    }

    /** The control token that the template puts after an answer; empty when it puts none. */
    public OptionalInt endOfTurn() {
        return endOfTurn;
    }

    public BpeTokenizer tokenizer() {
        return tokenizer;
    }

    /** The tokens at which a generation ends: the template's end of turn, and those of the model's own settings. */
    public int[] stopTokens() {
        Set<Integer> stops = new LinkedHashSet<>();
        endOfTurn.ifPresent(stops::add);
        Arrays.stream(tokenizer.endTokens()).forEach(stops::add);
        return stops.stream().mapToInt(Integer::intValue).toArray();
    }

    /** What was done otherwise than one would expect in the conversations so far, in words for people; most often nothing. */
    public List<String> notes() {
        return List.copyOf(notes);
    }

    /** The ids of a conversation that the assistant is to continue. */
    public int[] encodePrompt(List<Message> messages) {
        return encodePrompt(messages, ChatTemplate.Options.NONE);
    }

    /**
     * The ids of a conversation that the assistant is to continue.
     *
     * @param more options of this conversation, such as its tools; they win over those of the encoder
     */
    public int[] encodePrompt(List<Message> messages, ChatTemplate.Options more) {
        Rendering prompt = render(messages, true, more);
        TokenList ids = new TokenList();
        tokenizer.append(prompt.text(), 0, prompt.text().length(), new DataGuard(prompt), Integer.MAX_VALUE, ids);
        return ids.toArray();
    }

    /** As {@link #encode(List, int, ChatTemplate.Options, int)}, with all answers trained, however long. */
    public List<TokenizedExample> encode(List<Message> messages) {
        return encode(messages, 0, ChatTemplate.Options.NONE, Integer.MAX_VALUE);
    }

    /**
     * The ids of a conversation. Every answer of the assistant that is to be trained is a target, with the token that ends it; what leads up to it is not.
     * At the beginning of an answer the text is split as a generation sees it: prompt and answer are encoded each for itself.
     *
     * <p>Where the template renders an answer otherwise once more messages follow, as those do that drop the reasoning of earlier turns, there are several
     * examples: one for each answer, with what the model is given at that moment before it.
     *
     * @param firstTrained the index of the first message that may be trained
     * @param more options of this conversation, such as its tools; they win over those of the encoder
     * @param most ids of an example at most; what comes after them is not encoded, and an answer that would lie beyond them has no example of its own
     * @return at least one example, possibly without a target within {@code most}
     * @throws PanaceaException when there is no answer to train, or the template does not render the conversation as a continuation of its prompts
     */
    public List<TokenizedExample> encode(List<Message> messages, int firstTrained, ChatTemplate.Options more, int most) {
        AnswerSpans spans = new AnswerSpans((part, prompt) -> render(part, prompt, more), this, messages, firstTrained);
        if (spans.fitOneRendering()) {
            return List.of(encode(spans.rendering(), spans.spans(), most));
        }
        List<TokenizedExample> examples = new ArrayList<>();
        for (int turn : spans.turns()) {
            AnswerSpans one = spans.of(turn);
            notes.addAll(one.notes());
            TokenizedExample example = encode(one.rendering(), one.spans(), most);
            if (!examples.isEmpty() && example.targetTokens() == 0) {
                // What leads up to an answer grows from turn to turn.
                break;
            }
            examples.add(example);
        }
        if (spans.turns().size() > 1) {
            notes.add("The model's chat template renders answers otherwise once more messages follow (it drops earlier reasoning, say), so conversations of several answers"
                    + " give one example for each answer, with what the model is given before it");
        }
        return examples;
    }

    private TokenizedExample encode(Rendering rendering, List<AnswerSpans.Span> spans, int most) {
        DataGuard guard = new DataGuard(rendering);
        TokenList ids = new TokenList();
        List<int[]> trained = new ArrayList<>();
        int at = 0;
        for (AnswerSpans.Span span : spans) {
            tokenizer.append(rendering.text(), at, span.start(), guard, most, ids);
            int first = ids.size();
            tokenizer.append(rendering.text(), span.start(), span.end(), guard, most, ids);
            trained.add(new int[] {first, ids.size()});
            at = span.end();
        }
        tokenizer.append(rendering.text(), at, rendering.text().length(), guard, most, ids);
        int[] inputIds = ids.toArray();
        int[] labels = new int[inputIds.length];
        Arrays.fill(labels, TokenizedExample.IGNORED);
        trained.forEach(t -> System.arraycopy(inputIds, t[0], labels, t[0], t[1] - t[0]));
        return new TokenizedExample(inputIds, labels);
    }

    private Rendering render(List<Message> messages, boolean prompt, ChatTemplate.Options more) {
        return template.rendering(messages, prompt, options.and(more));
    }

    private OptionalInt probe() {
        Rendering r = render(List.of(Message.user("a question"), Message.assistant(PROBE)), false, ChatTemplate.Options.NONE);
        int answer = r.text().lastIndexOf(PROBE);
        if (answer < 0) {
            throw new PanaceaException("the model's chat template does not print the assistant's answers; it cannot be used for training");
        }
        return tokenizer.addedTokens().split(r.text(), answer + PROBE.length(), r.text().length(), new DataGuard(r)).stream().mapToInt(AddedTokens.Piece::token)
                .filter(t -> t != AddedTokens.PLAIN && tokenizer.isSpecial(t)).findFirst();
    }

    /** The parts of the rendering of a conversation that are trained. */
    List<AnswerSpans.Span> spans(List<Message> messages) {
        return new AnswerSpans((part, prompt) -> render(part, prompt, ChatTemplate.Options.NONE), this, messages, 0).spans();
    }
}
