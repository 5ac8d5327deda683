package dev.panacea.text;

import dev.panacea.jinja.Rendering;
import dev.panacea.kernels.PanaceaException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.IntStream;

/**
 * Where the answers that are trained lie in the rendering of a conversation. A template with {@code {% generation %}} says so itself. Else an answer is
 * all that follows what the model is given before it, up to and with the token that ends the turn.
 *
 * <p>What the model is given before an answer is the rendering of the messages before it. To render that for every answer would take time that grows
 * with the square of the conversation; so it is done for the first and the last, and in between the place is known by the text that a template writes before every
 * answer (the generation prompt), as long as no message can be mistaken for it and the whole answer is found there.
 */
final class AnswerSpans {
    /** A part of a rendering, in UTF-16 units. */
    record Span(int start, int end) {}

    /** The chat template, with the options of the conversation. */
    @FunctionalInterface
    interface Renderer {
        Rendering render(List<Message> messages, boolean addGenerationPrompt);
    }

    /** What an answer says. */
    private static final List<String> WORDS = List.of("content", "reasoning_content", "reasoning", "thinking");

    private final Renderer template;
    private final ChatEncoder encoder;
    private final List<Message> messages;
    private final List<Integer> turns;
    private final Rendering rendering;
    private final String text;
    private final DataGuard guard;
    /** The control tokens in the text. */
    private final List<AddedTokens.Piece> controls;
    private final Set<String> notes = new TreeSet<>();
    private final Optional<List<Span>> spans;

    AnswerSpans(Renderer template, ChatEncoder encoder, List<Message> messages, int firstTrained) {
        this(template, encoder, messages, answers(messages, firstTrained), false);
    }

    private AnswerSpans(Renderer template, ChatEncoder encoder, List<Message> messages, List<Integer> turns, boolean alone) {
        this.template = template;
        this.encoder = encoder;
        this.messages = messages;
        this.turns = turns;
        rendering = template.render(messages, false);
        text = rendering.text();
        guard = new DataGuard(rendering);
        controls = encoder.tokenizer().addedTokens().split(text, 0, text.length(), guard).stream()
                .filter(p -> p.token() != AddedTokens.PLAIN && encoder.tokenizer().isSpecial(p.token())).toList();
        spans = alone ? Optional.of(List.of(alone(turns.getFirst()))) : rendering.generated().isEmpty() ? find() : Optional.of(generated());
    }

    private static List<Integer> answers(List<Message> messages, int firstTrained) {
        List<Integer> turns = IntStream.range(firstTrained, messages.size()).filter(i -> messages.get(i).role().equals("assistant") && messages.get(i).trained()).boxed()
                .toList();
        if (turns.isEmpty()) {
            throw new PanaceaException("a conversation with no assistant turn to train has nothing to train");
        }
        return turns;
    }

    /** Whether the whole conversation can be trained in one rendering: each answer stands in it as it does when it is the last. */
    boolean fitOneRendering() {
        return spans.isPresent();
    }

    /** Ascending; call only where they {@link #fitOneRendering}. */
    List<Span> spans() {
        return spans.orElseThrow();
    }

    Rendering rendering() {
        return rendering;
    }

    /** The indices of the messages that are trained. */
    List<Integer> turns() {
        return turns;
    }

    List<String> notes() {
        return List.copyOf(notes);
    }

    /** One of the answers alone, at the end of the messages up to it. */
    AnswerSpans of(int turn) {
        return new AnswerSpans(template, encoder, messages.subList(0, turn + 1), List.of(turn), true);
    }

    // ---- a template that says it itself --------------------------------------------------------------------------------

    private List<Span> generated() {
        List<Span> all = rendering.generated().stream().map(r -> new Span(r.start(), r.end())).toList();
        List<Integer> answers = assistants();
        if (answers.equals(turns)) {
            return all;
        }
        if (answers.size() != all.size()) {
            throw new PanaceaException("not all answers of this conversation are to be trained, and the model's chat template has " + all.size() + " {% generation %} parts for "
                    + answers.size() + " answers, so that it cannot be told which of them belong to these");
        }
        return IntStream.range(0, all.size()).filter(i -> turns.contains(answers.get(i))).mapToObj(all::get).toList();
    }

    private List<Integer> assistants() {
        return IntStream.range(0, messages.size()).filter(i -> messages.get(i).role().equals("assistant")).boxed().toList();
    }

    // ---- all answers in one rendering ----------------------------------------------------------------------------------

    private Optional<List<Span>> find() {
        List<Span> found = new ArrayList<>();
        int[] starts = turns.size() > 2 ? starts() : new int[0];
        for (int turn : turns) {
            boolean between = turn != turns.getFirst() && turn != turns.getLast();
            Optional<Span> span = between && starts.length > 0 ? after(starts[turn], turn) : Optional.empty();
            if (span.isEmpty()) {
                span = exactly(turn);
            }
            if (span.isEmpty() || !found.isEmpty() && span.get().start < found.getLast().end) {
                return Optional.empty();
            }
            found.add(span.get());
        }
        return Optional.of(found);
    }

    /** By rendering what comes before; nothing if the answer does not stand in the whole as it does at the end. */
    private Optional<Span> exactly(int turn) {
        String given = given(turn);
        if (!text.startsWith(given)) {
            return Optional.empty();
        }
        if (turn == messages.size() - 1) {
            return span(given.length(), text.length(), turn);
        }
        String through = head(turn + 1, false);
        int same = commonLength(through, text);
        if (same < given.length()) {
            return Optional.empty();
        }
        return span(given.length(), encoder.endOfTurn().isEmpty() ? through.length() : text.length(), turn).filter(s -> s.end <= same);
    }

    /** What the model is given before an answer. */
    private String given(int turn) {
        return (turn == 0 ? opening() : Optional.<String>empty()).orElseGet(() -> head(turn, true));
    }

    /**
     * What stands before an answer that opens the conversation: many templates cannot render that nothing was said, or write no generation prompt then. So
     * the prompt is that after a question, looked for in the text; or its first line, as what follows it may differ (an empty block of reasoning).
     */
    private Optional<String> opening() {
        List<Message> question = List.of(Message.user("a question"));
        String before = template.render(question, false).text();
        String asked = template.render(question, true).text();
        if (!asked.startsWith(before)) {
            return Optional.empty();
        }
        String prompt = asked.substring(before.length()).stripLeading();
        int at = written(prompt);
        at = at >= 0 ? at : written(prompt.lines().findFirst().orElse(""));
        return at < 0 ? Optional.empty() : Optional.of(text.substring(0, guard.firstFrom(at, at + commonLength(prompt, text.substring(at)))));
    }

    /** The first place at which the template itself wrote this, or -1. */
    private int written(String part) {
        int at = part.isEmpty() ? -1 : text.indexOf(part);
        while (at >= 0 && guard.touches(at, at + part.length())) {
            at = text.indexOf(part, at + 1);
        }
        return at;
    }

    private String head(int messageCount, boolean prompt) {
        return template.render(messages.subList(0, messageCount), prompt).text();
    }

    /** Where each message of the assistant begins by the generation prompt before it, by the index of the message; empty where that cannot be told. */
    private int[] starts() {
        // There are others where it is asked for.
        int first = turns.get(turns.getFirst() == 0 ? 1 : 0);
        String before = head(first, false);
        String head = head(first, true);
        List<Integer> answers = assistants();
        if (!head.startsWith(before) || head.length() == before.length()) {
            return new int[0];
        }
        String prompt = head.substring(before.length());
        int[] starts = new int[messages.size()];
        int n = 0;
        for (int at = text.indexOf(prompt); at >= 0; at = text.indexOf(prompt, at + prompt.length())) {
            if (guard.touches(at, at + prompt.length())) {
                continue;
            }
            if (n == answers.size()) {
                return new int[0];
            }
            starts[answers.get(n++)] = at + prompt.length();
        }
        return n == answers.size() && starts[first] == head.length() ? starts : new int[0];
    }

    /** The answer that begins here, if all its words are found in it. */
    private Optional<Span> after(int start, int turn) {
        if (encoder.endOfTurn().isEmpty()) {
            return Optional.empty();
        }
        return span(start, text.length(), turn).filter(s -> holdsWords(s, turn));
    }

    private boolean holdsWords(Span span, int turn) {
        String answer = text.substring(span.start, span.end);
        return WORDS.stream().map(messages.get(turn).values()::get).allMatch(words -> !(words instanceof String s) || answer.contains(s.strip()));
    }

    /** The answer that starts here, to and with the token that ends a generation, or to the limit where the template has no such token; nothing if that is missing. */
    private Optional<Span> span(int start, int limit, int turn) {
        if (encoder.endOfTurn().isEmpty()) {
            return Optional.of(new Span(start, limit));
        }
        int ends = limit;
        boolean within = true;
        int[] stops = encoder.stopTokens();
        for (int i = firstControl(start); i < controls.size(); i++) {
            AddedTokens.Piece p = controls.get(i);
            if (p.end() > ends) {
                break;
            }
            if (Arrays.stream(stops).anyMatch(s -> s == p.token())) {
                return Optional.of(new Span(start, p.end()));
            }
            if (within && turn < messages.size() - 1) {
                // Another control token: still in this answer, or has the end gone missing?
                ends = Math.min(ends, commonLength(head(turn + 1, false), text));
                within = false;
            }
        }
        return Optional.empty();
    }

    private int firstControl(int start) {
        int low = 0;
        int high = controls.size();
        while (low < high) {
            int middle = (low + high) >>> 1;
            if (controls.get(middle).start() >= start) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        return low;
    }

    // ---- one answer alone ----------------------------------------------------------------------------------------------

    private Span alone(int turn) {
        String head = given(turn);
        int start = head.length();
        if (!text.startsWith(head)) {
            int same = commonLength(head, text);
            String before = head(turn, false);
            if (same < before.length()) {
                throw new PanaceaException("message " + (turn + 1) + ": the model's chat template renders the conversation otherwise once the answer is there than before it (from"
                        + " character " + same + " on), so what the model would be given cannot be trained; render the rows yourself and give them as prompt and completion, in"
                        + " which the names of control tokens stand for these");
            }
            start = guard.firstFrom(before.length(), same);
            notes.add("The model's chat template writes '" + visible(head.substring(start)) + "' before an answer that is to come, and not before one that is there; answers are"
                    + " trained from where both agree. To train with it, render the rows yourself and give them as prompt and completion");
        }
        Span span = span(start, text.length(), turn).orElseThrow(() -> new PanaceaException("message " + (turn + 1) + ": the model's chat template does not end this answer"
                + " with " + encoder.tokenizer().tokenName(encoder.endOfTurn().getAsInt()) + " as it ends others"));
        if (!holdsWords(span, turn)) {
            notes.add("The model's chat template leaves out a part of some answers, such as their reasoning, or changes it. To train on it, render the rows yourself and give"
                    + " them as prompt and completion");
        }
        return span;
    }

    private static String visible(String text) {
        return text.replace("\n", "\\n");
    }

    private static int commonLength(String a, String b) {
        int mismatch = Arrays.mismatch(a.toCharArray(), b.toCharArray());
        return mismatch < 0 ? a.length() : mismatch;
    }
}
