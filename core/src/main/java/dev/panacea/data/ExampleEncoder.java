package dev.panacea.data;

import dev.panacea.kernels.PanaceaException;
import dev.panacea.text.BpeTokenizer;
import dev.panacea.text.ChatEncoder;
import dev.panacea.text.ChatTemplate;
import dev.panacea.text.Message;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.stream.IntStream;

/**
 * Examples to token ids and labels. Of conversations and completions only the answer is trained, of plain text everything. Both kinds of plain text are taken as
 * rendered by their author: the names of control tokens in them stand for these, and they end with the end-of-sequence token and begin with the
 * beginning-of-sequence token (where the model's tokenizer says so) unless they bring their own. What is longer than the limit is cut at its end, and left out if no
 * target is left; what lies behind the limit costs next to nothing. Safe for use by several threads.
 */
public final class ExampleEncoder {
    /** Of a text's end, enough to hold the name of a control token. */
    private static final int LONGEST_NAME = 256;

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

    /**
     * What became of a row.
     *
     * @param examples those that have a target within the limit; none if the row cannot be used
     * @param truncated whether it was longer than the limit
     */
    public record EncodedRow(Row row, List<TokenizedExample> examples, boolean truncated) {
        public EncodedRow {
            examples = List.copyOf(examples);
        }

        /** Whether anything of it can be trained. */
        public boolean usable() {
            return !examples.isEmpty();
        }
    }

    /** What became of a data set, row by row. */
    public record Encoded(List<EncodedRow> rows, int maxSeqLength) {
        public Encoded {
            rows = List.copyOf(rows);
        }

        /** Some of the rows. */
        public Encoded part(List<EncodedRow> some) {
            return new Encoded(some, maxSeqLength);
        }

        public List<TokenizedExample> examples() {
            return rows.stream().flatMap(r -> r.examples.stream()).toList();
        }

        public EncodingReport report() {
            List<TokenizedExample> examples = examples();
            int usable = (int) rows.stream().filter(EncodedRow::usable).count();
            return new EncodingReport(rows.size(), rows.size() - usable, (int) rows.stream().filter(EncodedRow::truncated).count(),
                    examples.stream().mapToLong(TokenizedExample::length).sum(), examples.stream().mapToLong(TokenizedExample::targetTokens).sum(), maxSeqLength);
        }
    }

    /** Is told how far the encoding is. */
    @FunctionalInterface
    public interface Progress {
        /**
         * Called after every row, by one thread at a time, which need not be the one that waits for the encoding.
         *
         * @param rows rows that have been encoded
         * @param all rows that there are
         */
        void encoded(int rows, int all);
    }

    /** As {@link #encode(List, Progress)}, telling nobody how far it is. */
    public Encoded encode(List<Row> rows) {
        return encode(rows, (done, all) -> {});
    }

    /**
     * Encodes a data set, several rows at a time; the results are in the order of the rows.
     *
     * @throws PanaceaException when a row cannot be rendered, or no row has a target left
     */
    public Encoded encode(List<Row> rows, Progress progress) {
        Encoded encoded = new Encoded(encodeAll(rows, progress), maxSeqLength);
        if (encoded.rows.stream().noneMatch(EncodedRow::usable)) {
            throw new PanaceaException((rows.isEmpty() ? "" : rows.getFirst().place() + " and the other rows: ") + "no token would be trained: " + encoded.report()
                    + ". Raise the maximum sequence length, or look at the data");
        }
        return encoded;
    }

    /** What was done otherwise than one would expect, in words for people; most often nothing. */
    public synchronized List<String> notes() {
        return chat.map(ChatEncoder::notes).orElse(List.of());
    }

    /** Of several bad rows the first is named, whichever is met first: the rows after one that is known to be bad are passed over, those before it are not. */
    private List<EncodedRow> encodeAll(List<Row> rows, Progress progress) {
        EncodedRow[] encoded = new EncodedRow[rows.size()];
        ConcurrentSkipListMap<Integer, RuntimeException> bad = new ConcurrentSkipListMap<>();
        Object turn = new Object();
        int[] done = {0};
        IntStream.range(0, rows.size()).parallel().forEach(i -> {
            if (!bad.isEmpty() && bad.firstKey() < i) {
                return;
            }
            try {
                encoded[i] = encode(rows.get(i));
                synchronized (turn) {
                    progress.encoded(++done[0], rows.size());
                }
            } catch (RuntimeException e) {
                bad.put(i, e);
            }
        });
        if (!bad.isEmpty()) {
            throw bad.firstEntry().getValue();
        }
        return List.of(encoded);
    }

    private EncodedRow encode(Row row) {
        try {
            // One token more than is used tells whether there are more.
            List<TokenizedExample> whole = encode(row.example(), maxSeqLength + 1);
            return new EncodedRow(row, whole.stream().map(this::cut).filter(e -> e.targetTokens() > 0).toList(), whole.stream().anyMatch(e -> e.length() > maxSeqLength));
        } catch (PanaceaException e) {
            throw new PanaceaException(row.place() + ": " + e.getMessage(), e);
        }
    }

    private TokenizedExample cut(TokenizedExample e) {
        return e.length() <= maxSeqLength ? e : new TokenizedExample(Arrays.copyOf(e.inputIds(), maxSeqLength), Arrays.copyOf(e.labels(), maxSeqLength));
    }

    /** The examples of one row, of whatever length; most rows give one, and a conversation that says of all its answers that they are not trained gives none. */
    public List<TokenizedExample> encode(Example row) {
        return encode(row, Integer.MAX_VALUE);
    }

    private List<TokenizedExample> encode(Example row, int most) {
        return switch (row) {
            case Example.Conversation c when c.messages().stream().skip(c.firstTrained()).noneMatch(ExampleEncoder::isTrained) -> List.of();
            case Example.Conversation c -> chat().encode(c.messages(), c.firstTrained(), c.options(), most);
            case Example.Text t -> List.of(rendered("", t.text(), most));
            case Example.PromptCompletion p -> List.of(rendered(p.prompt(), p.completion(), most));
        };
    }

    private static boolean isTrained(Message m) {
        return m.role().equals("assistant") && m.trained();
    }

    /** The chat encoder of the model, made when first needed: plain text needs no chat template. */
    private synchronized ChatEncoder chat() {
        if (chat.isEmpty()) {
            chat = Optional.of(ChatEncoder.of(tokenizer, options));
        }
        return chat.get();
    }

    /** Prompt and completion are encoded each for itself, as a generation sees them. */
    private TokenizedExample rendered(String prompt, String completion, int most) {
        int[] asked = prompt.isEmpty() ? new int[0] : tokenizer.encodeRendered(prompt, true, most);
        int[] answer = tokenizer.encodeRendered(completion, prompt.isEmpty(), most - asked.length);
        int[] ids = IntStream.concat(IntStream.of(asked), IntStream.of(answer)).toArray();
        int untrained = asked.length;
        if (prompt.isEmpty() && answer.length > 0 && tokenizer.documentStart().isPresent() && answer[0] == tokenizer.documentStart().getAsInt()) {
            untrained = 1;
        }
        if (ids.length < most && !endsWithControl(completion)) {
            ids = IntStream.concat(IntStream.of(ids), IntStream.of(tokenizer.documentEnd())).toArray();
        }
        int[] labels = ids.clone();
        Arrays.fill(labels, 0, untrained, TokenizedExample.IGNORED);
        return new TokenizedExample(ids, labels);
    }

    /** Whether the author has ended the text himself: a control token stands last. */
    private boolean endsWithControl(String text) {
        int[] ids = tokenizer.encodeWithSpecialTokens(text.substring(Math.max(0, text.length() - LONGEST_NAME)));
        return ids.length > 0 && tokenizer.isSpecial(ids[ids.length - 1]);
    }
}
