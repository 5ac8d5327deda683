package dev.panacea.examples;

import dev.panacea.data.Example;
import dev.panacea.data.Row;
import dev.panacea.text.BpeTokenizer;
import dev.panacea.text.ChatEncoder;
import dev.panacea.text.ChatTemplate;
import dev.panacea.text.Message;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.regex.Pattern;
import java.util.stream.IntStream;

/**
 * A prompt of the held-out data to which the right answer is known.
 *
 * @param text what is asked, for people: the last message before the answer
 * @param prompt what the model is given
 * @param reference the answer in the data
 * @param stopTokens what ends the model's answer
 */
record Question(String text, int[] prompt, String reference, int[] stopTokens) {
    /** Characters that a person is asked to type, at most. */
    private static final int TYPED = 100;
    /** Letters, digits, and marks that mean nothing to a shell within double quotes. */
    private static final String HARMLESS = "\\p{L}\\p{M}\\p{N} .,;:?()'/+=#>°±×€£’‘“”–—…¿¡，。？！、：；（）「」-";
    /** One line of letters, digits and harmless marks; an option or a file of options is no question. */
    private static final Pattern TYPEABLE = Pattern.compile("[\\p{L}\\p{N}][" + HARMLESS + "]*");

    /** The first questions in some data, as many as there are up to {@code most}; a prompt of more than {@code longest} tokens is passed over. */
    static List<Question> of(List<Row> rows, BpeTokenizer tokenizer, int most, int longest) {
        List<Question> questions = new ArrayList<>();
        Optional<ChatEncoder> chat = chat(rows, tokenizer);
        for (Row row : rows) {
            if (questions.size() == most) {
                break;
            }
            Optional<Question> q = switch (row.example()) {
                case Example.Conversation c -> ofConversation(c, chat.orElseThrow());
                case Example.PromptCompletion p -> Optional.of(ofPrompt(p, tokenizer, longest));
                case Example.Text t -> Optional.empty();
            };
            q.filter(x -> x.prompt().length > 0 && x.prompt().length <= longest).ifPresent(questions::add);
        }
        return questions;
    }

    /**
     * A question for a person to try: the first held-out one that is short enough to type and safe in a shell's quotes, best with a question mark, else
     * the beginning of the first there is. Data without questions leave it to the person.
     */
    static String toAsk(List<Row> rows) {
        List<String> questions = rows.stream().map(r -> asked(r.example())).flatMap(Optional::stream).map(q -> q.strip().replaceAll("\\s+", " "))
                .filter(q -> !q.isEmpty()).toList();
        List<String> typeable = questions.stream().filter(q -> q.length() <= TYPED && q.length() >= 10 && TYPEABLE.matcher(q).matches()).toList();
        return typeable.stream().filter(q -> q.endsWith("?")).findFirst().or(() -> typeable.stream().findFirst())
                .or(() -> questions.stream().map(Question::beginning).filter(q -> !q.isEmpty()).findFirst()).orElse("Your question");
    }

    private static Optional<String> asked(Example e) {
        return switch (e) {
            case Example.Conversation c -> answer(c.messages()).isPresent() && c.messages().get(answer(c.messages()).getAsInt() - 1).role().equals("user")
                    ? Optional.of(c.messages().get(answer(c.messages()).getAsInt() - 1).content()) : Optional.empty();
            case Example.PromptCompletion p -> Optional.of(p.prompt());
            case Example.Text t -> Optional.empty();
        };
    }

    /** The first words of a long or odd text, without what a shell or a terminal would take for more than a letter. */
    private static String beginning(String text) {
        String safe = text.replaceAll("[^" + HARMLESS + "]", "").replaceAll(" +", " ").replaceFirst("^[^\\p{L}\\p{N}]+", "");
        if (safe.length() <= TYPED) {
            return safe.strip();
        }
        int space = safe.lastIndexOf(' ', TYPED);
        return safe.substring(0, space > 0 ? space : safe.offsetByCodePoints(0, TYPED / 2)).strip();
    }

    /** What renders the conversations in some data; plain text needs no chat template, which not every model has. */
    static Optional<ChatEncoder> chat(List<Row> rows, BpeTokenizer tokenizer) {
        return rows.stream().anyMatch(r -> r.example() instanceof Example.Conversation) ? Optional.of(ChatEncoder.of(tokenizer, ChatTemplate.Options.NONE))
                : Optional.empty();
    }

    /** The last answer of a conversation, and all that led up to it. */
    private static Optional<Question> ofConversation(Example.Conversation c, ChatEncoder chat) {
        List<Message> messages = c.messages();
        OptionalInt found = answer(messages);
        if (found.isEmpty()) {
            return Optional.empty();
        }
        int answer = found.getAsInt();
        return Optional.of(new Question(messages.get(answer - 1).content(), chat.encodePrompt(messages.subList(0, answer), c.options()), messages.get(answer).content(),
                chat.stopTokens()));
    }

    /** The place of the last answer that something leads up to, that says something (a call of a tool does not), and that is good enough to be trained. */
    private static OptionalInt answer(List<Message> messages) {
        return IntStream.range(1, messages.size()).filter(i -> messages.get(i).role().equals("assistant") && messages.get(i).trained() && !messages.get(i).content().isBlank()).max();
    }

    private static Question ofPrompt(Example.PromptCompletion p, BpeTokenizer tokenizer, int longest) {
        return new Question(p.prompt(), tokenizer.encodeRendered(p.prompt(), true, longest + 1), p.completion(), tokenizer.endTokens());
    }
}
