package dev.panacea.data;

import dev.panacea.kernels.PanaceaException;
import dev.panacea.text.BpeTokenizer;
import dev.panacea.text.ChatEncoder;
import dev.panacea.text.ChatTemplate;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.stream.IntStream;

/**
 * Examples to token ids and labels. Of conversations and completions only the answer is trained, of plain text everything; both kinds of plain
 * text end with the end-of-sequence token, and begin with the beginning-of-sequence token where the model's tokenizer says so. What is longer
 * than the limit is cut at its end, and left out if no target is left. Safe for use by several threads.
 */
public final class ExampleEncoder {
    private final BpeTokenizer tokenizer;
    private final ChatTemplate.Options options;
    private final int maxSeqLength;
    private Optional<ChatEncoder> chat = Optional.empty();

    /** @param maxSeqLength tokens; at least 2 */
    public ExampleEncoder(BpeTokenizer tokenizer, ChatTemplate.Options options, int maxSeqLength) {
        if (maxSeqLength < 2) {
            throw new PanaceaException("a maximum sequence length of " + maxSeqLength + " leaves nothing to predict; it must be at least 2");
        }
        this.tokenizer = tokenizer;
        this.options = options;
        this.maxSeqLength = maxSeqLength;
    }

    /** What became of a data set. */
    public record Encoded(List<TokenizedExample> examples, EncodingReport report) {
        public Encoded {
            examples = List.copyOf(examples);
        }
    }

    /**
     * Encodes a data set, several rows at a time; the results are in the order of the rows.
     *
     * @throws PanaceaException when a row cannot be rendered, or no row has a target left
     */
    public Encoded encode(List<Row> rows) {
        List<TokenizedExample> examples = new ArrayList<>();
        int truncated = 0;
        long tokens = 0;
        long targets = 0;
        for (TokenizedExample whole : encodeAll(rows)) {
            boolean tooLong = whole.length() > maxSeqLength;
            TokenizedExample example = tooLong ? new TokenizedExample(Arrays.copyOf(whole.inputIds(), maxSeqLength), Arrays.copyOf(whole.labels(), maxSeqLength)) : whole;
            truncated += tooLong ? 1 : 0;
            if (example.targetTokens() > 0) {
                examples.add(example);
                tokens += example.length();
                targets += example.targetTokens();
            }
        }
        EncodingReport report = new EncodingReport(rows.size(), rows.size() - examples.size(), truncated, tokens, targets, maxSeqLength);
        if (examples.isEmpty()) {
            throw new PanaceaException("no token would be trained: " + report + ". Raise the maximum sequence length, or look at the data");
        }
        return new Encoded(examples, report);
    }

    private List<TokenizedExample> encodeAll(List<Row> rows) {
        try {
            return IntStream.range(0, rows.size()).parallel().mapToObj(i -> encode(rows.get(i))).toList();
        } catch (RuntimeException e) {
            // Which of several bad rows was met is chance, and the stream may have wrapped its exception: one by one the first is named.
            return IntStream.range(0, rows.size()).mapToObj(i -> encode(rows.get(i))).toList();
        }
    }

    private TokenizedExample encode(Row row) {
        try {
            return encode(row.example());
        } catch (PanaceaException e) {
            throw new PanaceaException(row.place() + ": " + e.getMessage(), e);
        }
    }

    /** One example, of whatever length. */
    public TokenizedExample encode(Example row) {
        return switch (row) {
            case Example.Conversation c -> chat().encode(c.messages(), c.firstTrained());
            case Example.Text t -> plain("", t.text());
            case Example.PromptCompletion p -> plain(p.prompt(), p.completion());
        };
    }

    /** The chat encoder of the model, made when first needed: plain text needs no chat template. */
    private synchronized ChatEncoder chat() {
        if (chat.isEmpty()) {
            chat = Optional.of(ChatEncoder.of(tokenizer, options));
        }
        return chat.get();
    }

    /** Prompt and completion are encoded each for itself, as a generation sees them. */
    private TokenizedExample plain(String prompt, String completion) {
        int[] start = tokenizer.addsBos() ? tokenizer.bosToken().stream().toArray() : new int[0];
        int[] asked = tokenizer.encode(prompt);
        int[] answer = tokenizer.encode(completion);
        int[] end = tokenizer.eosToken().stream().toArray();
        int[] ids = new int[start.length + asked.length + answer.length + end.length];
        int at = 0;
        for (int[] part : new int[][] {start, asked, answer, end}) {
            System.arraycopy(part, 0, ids, at, part.length);
            at += part.length;
        }
        int[] labels = ids.clone();
        Arrays.fill(labels, 0, start.length + asked.length, TokenizedExample.IGNORED);
        return new TokenizedExample(ids, labels);
    }
}
