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

    /** The first questions in some data, as many as there are up to {@code most}; a prompt of more than {@code longest} tokens is passed over. */
    static List<Question> of(List<Row> rows, BpeTokenizer tokenizer, int most, int longest) {
        List<Question> questions = new ArrayList<>();
        Optional<ChatEncoder> chat = chat(rows, tokenizer);
        for (Row row : rows) {
            if (questions.size() == most) {
                break;
            }
            Optional<Question> q = switch (row.example()) {
                case Example.Conversation c -> ofConversation(c.messages(), chat.orElseThrow());
                case Example.PromptCompletion p -> Optional.of(ofPrompt(p, tokenizer));
                case Example.Text t -> Optional.empty();
            };
            q.filter(x -> x.prompt().length > 0 && x.prompt().length <= longest).ifPresent(questions::add);
        }
        return questions;
    }

    /** What renders the conversations in some data; plain text needs no chat template, which not every model has. */
    static Optional<ChatEncoder> chat(List<Row> rows, BpeTokenizer tokenizer) {
        return rows.stream().anyMatch(r -> r.example() instanceof Example.Conversation) ? Optional.of(ChatEncoder.of(tokenizer, ChatTemplate.Options.NONE)) : Optional.empty();
    }

    /** The last answer of a conversation, and all that led up to it. */
    private static Optional<Question> ofConversation(List<Message> messages, ChatEncoder chat) {
        int answer = IntStream.range(0, messages.size()).filter(i -> messages.get(i).role().equals("assistant")).max().orElse(0);
        if (answer == 0) {
            return Optional.empty();
        }
        return Optional.of(new Question(messages.get(answer - 1).content(), chat.encodePrompt(messages.subList(0, answer)), messages.get(answer).content(), chat.stopTokens()));
    }

    private static Question ofPrompt(Example.PromptCompletion p, BpeTokenizer tokenizer) {
        IntStream start = tokenizer.addsBos() ? tokenizer.bosToken().stream() : IntStream.empty();
        return new Question(p.prompt(), IntStream.concat(start, IntStream.of(tokenizer.encode(p.prompt()))).toArray(), p.completion(), tokenizer.endTokens());
    }
}
