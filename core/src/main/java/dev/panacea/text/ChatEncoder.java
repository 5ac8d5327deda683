package dev.panacea.text;

import dev.panacea.data.TokenizedExample;
import dev.panacea.kernels.PanaceaException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * Conversations to token ids, with the mask that says what is trained. Special tokens arise only where the chat template puts them: the name of
 * one in a message is plain text, so that no user can end a turn by writing its end. Safe for use by several threads.
 *
 * <p>How: each name of a special token inside a message gets an escape character before it (a private-use character that the conversation does
 * not use), the template renders these messages, and the rendering is split at the names that have no escape. What is trained is found by
 * rendering prefixes: all that follows what the model is given before it answers, up to and with the token that ends the turn.
 */
public final class ChatEncoder {
    private static final String PROBE = "the answer of a probe";

    private final BpeTokenizer tokenizer;
    private final AddedTokens added;
    private final ChatTemplate template;
    private final ChatTemplate.Options options;
    /** All that a rendering may hold beside the messages, one after the other. */
    private final String templateTexts;
    private final OptionalInt endOfTurn;

    /**
     * @param options for every rendering
     * @throws PanaceaException when the template does not render a question with its answer
     */
    public ChatEncoder(BpeTokenizer tokenizer, ChatTemplate template, ChatTemplate.Options options) {
        this.tokenizer = tokenizer;
        this.template = template;
        this.options = options;
        added = tokenizer.addedTokens();
        templateTexts = template.source() + options.variables().values()
                + added.tokens().stream().map(AddedTokens.Token::text).collect(Collectors.joining());
        endOfTurn = probe();
    }

    /** With the chat template that came with the tokenizer. */
    public static ChatEncoder of(BpeTokenizer tokenizer, ChatTemplate.Options options) {
        return new ChatEncoder(tokenizer, ChatTemplate.of(tokenizer), options);
    }

    /** The special token that the template puts after an answer; empty when it puts none. */
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

    /** The ids of a conversation that the assistant is to continue. */
    public int[] encodePrompt(List<Message> messages) {
        Escaped e = escape(messages);
        List<int[]> parts = new ArrayList<>();
        for (AddedTokens.Piece piece : added.split(template.render(e.messages, true, options), e.character)) {
            parts.add(tokenizer.encode(piece));
        }
        return BpeTokenizer.concat(parts);
    }

    /**
     * The ids of a conversation. Every answer of the assistant is a target, with the token that ends it; what leads up to it is not. At the
     * beginning of an answer the text is split as a generation sees it: prompt and answer are encoded each for itself.
     *
     * @throws PanaceaException when there is no answer, or the template does not render the conversation as a continuation of its prompts
     */
    public TokenizedExample encode(List<Message> messages) {
        return encode(messages, 0);
    }

    /**
     * As {@link #encode(List)}, with only the answers from a message on as targets.
     *
     * @param firstTrained the index of the first message that may be trained
     */
    public TokenizedExample encode(List<Message> messages, int firstTrained) {
        Escaped e = escape(messages);
        String full = template.render(e.messages, false, options);
        List<Span> spans = spans(e, full, firstTrained);
        int[] cuts = spans.stream().flatMapToInt(s -> IntStream.of(s.start, s.end)).toArray();
        List<int[]> ids = new ArrayList<>();
        List<int[]> labels = new ArrayList<>();
        int span = 0;
        for (AddedTokens.Piece piece : added.split(full, e.character, cuts)) {
            while (span < spans.size() && spans.get(span).end <= piece.start()) {
                span++;
            }
            int[] tokens = tokenizer.encode(piece);
            boolean trained = span < spans.size() && piece.start() >= spans.get(span).start;
            int[] targets = tokens.clone();
            if (!trained) {
                Arrays.fill(targets, TokenizedExample.IGNORED);
            }
            ids.add(tokens);
            labels.add(targets);
        }
        return new TokenizedExample(BpeTokenizer.concat(ids), BpeTokenizer.concat(labels));
    }

    /** A part of a rendering, in UTF-16 units. */
    record Span(int start, int end) {}

    /** The messages with escapes, and the escape character. */
    private record Escaped(List<Message> messages, char character) {}

    private Escaped escape(List<Message> messages) {
        char escape = unused(messages);
        List<Message> escaped = new ArrayList<>();
        for (Message m : messages) {
            Map<String, Object> values = new LinkedHashMap<>(m.values());
            values.replaceAll((name, value) -> value instanceof String text ? added.escape(text, escape) : value);
            escaped.add(new Message(values, m.trained()));
        }
        return new Escaped(escaped, escape);
    }

    /** A private-use character that occurs nowhere in what will be rendered. */
    private char unused(List<Message> messages) {
        for (char c = '\uE000'; c <= '\uF8FF'; c++) {
            if (!contain(messages, c) && templateTexts.indexOf(c) < 0) {
                return c;
            }
        }
        throw new PanaceaException("a conversation that uses all 6400 private-use characters of Unicode cannot be encoded");
    }

    private static boolean contain(List<Message> messages, char c) {
        for (Message m : messages) {
            if (m.role().indexOf(c) >= 0 || m.content().indexOf(c) >= 0) {
                return true;
            }
        }
        return false;
    }

    private OptionalInt probe() {
        String text = template.render(List.of(Message.user("a question"), Message.assistant(PROBE)), false, options);
        int answer = text.lastIndexOf(PROBE);
        if (answer < 0) {
            throw new PanaceaException("the model's chat template does not print the assistant's answers; it cannot be used for training");
        }
        return added.split(text, AddedTokens.NO_ESCAPE).stream()
                .filter(p -> p.token() != AddedTokens.PLAIN && p.start() >= answer + PROBE.length())
                .mapToInt(AddedTokens.Piece::token).findFirst();
    }

    /** The parts of the rendering of a conversation that are trained. */
    List<Span> spans(List<Message> messages) {
        Escaped e = escape(messages);
        return spans(e, template.render(e.messages, false, options), 0);
    }

    private List<Span> spans(Escaped e, String full, int firstTrained) {
        List<AddedTokens.Piece> pieces = added.split(full, e.character);
        List<Span> spans = new ArrayList<>();
        for (int turn = firstTrained; turn < e.messages.size(); turn++) {
            if (!e.messages.get(turn).role().equals("assistant")) {
                continue;
            }
            String head = template.render(e.messages.subList(0, turn), true, options);
            int last = spans.isEmpty() ? 0 : spans.getLast().end;
            if (!full.startsWith(head) || head.length() < last) {
                throw new PanaceaException("message " + (turn + 1) + ": the model's chat template renders the conversation otherwise once the answer is there than"
                        + " before it (from character " + differAt(full, head) + " on), so what the model would be given cannot be trained; train on prompt"
                        + " and completion, or with another template");
            }
            spans.add(new Span(head.length(), end(e, full, pieces, turn, head.length())));
        }
        if (spans.isEmpty()) {
            throw new PanaceaException("a conversation with no assistant turn has nothing to train");
        }
        return spans;
    }

    /** Where the answer that starts here ends: after the token that ends turns, or with the turn where the template has no such token. */
    private int end(Escaped e, String full, List<AddedTokens.Piece> pieces, int turn, int start) {
        int limit = full.length();
        for (AddedTokens.Piece p : pieces) {
            if (p.start() < start || p.token() == AddedTokens.PLAIN || endOfTurn.isEmpty()) {
                continue;
            }
            if (p.token() == endOfTurn.getAsInt() && p.end() <= limit) {
                return p.end();
            }
            // Another special token: still in this answer, or has the end gone missing?
            limit = Math.min(limit, through(e, full, turn, start));
        }
        if (endOfTurn.isEmpty()) {
            return through(e, full, turn, start);
        }
        throw new PanaceaException("message " + (turn + 1) + ": the model's chat template does not end this answer with "
                + tokenizer.tokenName(endOfTurn.getAsInt()) + " as it ends others");
    }

    /** Where this turn ends in the rendering of the whole conversation. */
    private int through(Escaped e, String full, int turn, int start) {
        String through = template.render(e.messages.subList(0, turn + 1), false, options);
        if (!full.startsWith(through) || through.length() < start) {
            throw new PanaceaException("message " + (turn + 1) + ": where this answer ends cannot be told from the model's chat template, which renders it otherwise"
                    + " once more messages follow");
        }
        return through.length();
    }

    private static int differAt(String a, String b) {
        int mismatch = Arrays.mismatch(a.toCharArray(), b.toCharArray());
        return mismatch < 0 ? a.length() : mismatch;
    }
}
