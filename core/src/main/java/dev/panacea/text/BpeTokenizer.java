package dev.panacea.text;

import dev.panacea.kernels.PanaceaException;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharsetDecoder;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.util.BitSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * Byte-level BPE as Llama 3, SmolLM and GPT-2 have it. {@link Tokenizers} makes one. The pieces between added tokens go through the Hugging
 * Face library; added tokens and decoding are done here, so that nobody else's words can name a control token.
 */
public final class BpeTokenizer implements Tokenizer {
    /** More tokens than a cut in a text can change before it. */
    private static final int CUT_MARGIN = 1024;
    private static final int CHARS_PER_TOKEN = 4;

    private final DjlEncoder encoder;
    private final String[] names;
    private final Map<Integer, AddedTokens.Token> addedById = new HashMap<>();
    private final AddedTokens added;
    private final Settings settings;
    private final BitSet missingBytes;
    /** The rows of the model's embedding: ids from here on cannot be looked up. */
    private final int embeddingRows;

    /**
     * What a model's files say beside the vocabulary.
     *
     * @param documentStart what plain text that stands for a whole document begins with, if anything
     * @param endTokens all ids that end a generation by the model's settings: eos, and further ones of generation_config.json or the GGUF file
     * @param templateTokens what a chat template knows by {@code bos_token}, {@code eos_token}, {@code unk_token}, {@code pad_token} and so on
     * @param hasUnknown whether bytes that are not in the vocabulary have a token that stands for them
     * @param notes what was mended in the files, for people
     */
    record Settings(OptionalInt bos, OptionalInt eos, OptionalInt documentStart, List<Integer> endTokens, Optional<String> chatTemplate,
            Map<String, String> templateTokens, boolean hasUnknown, List<String> notes) {
        Settings {
            endTokens = List.copyOf(endTokens);
            templateTokens = Map.copyOf(templateTokens);
            notes = List.copyOf(notes);
        }
    }

    /**
     * @param names the names by id; null where the vocabulary has a hole
     * @param embeddingRows the size of the model's embedding
     */
    BpeTokenizer(DjlEncoder encoder, String[] names, AddedTokens added, Settings settings, int embeddingRows) {
        this.encoder = encoder;
        this.names = names;
        this.added = added;
        this.settings = settings;
        this.embeddingRows = embeddingRows;
        added.tokens().forEach(t -> addedById.put(t.id(), t));
        missingBytes = settings.hasUnknown ? new BitSet() : ByteLevel.missing(names);
    }

    @Override
    public int[] encode(String text) {
        return encode(text, AddedTokens.Guard.ALL, Integer.MAX_VALUE);
    }

    @Override
    public int[] encodeWithSpecialTokens(String text) {
        return encode(text, AddedTokens.Guard.NOTHING, Integer.MAX_VALUE);
    }

    /**
     * The ids of text that the author of a data set has rendered himself, as {@link #encodeWithSpecialTokens}, up to a number of them: a long text costs no
     * more than that. At the start of a document the token comes first that the model's documents begin with, if the text does not bring it.
     *
     * @param startsDocument whether nothing comes before this text
     * @param most ids at most, those at the start
     */
    public int[] encodeRendered(String text, boolean startsDocument, int most) {
        TokenList out = new TokenList();
        if (startsDocument && settings.documentStart.isPresent()) {
            int start = settings.documentStart.getAsInt();
            String name = tokenName(start);
            if (!text.startsWith(name)) {
                add(start, most, out);
            }
        }
        append(text, 0, text.length(), AddedTokens.Guard.NOTHING, most, out);
        return out.toArray();
    }

    private int[] encode(String text, AddedTokens.Guard guard, int most) {
        TokenList out = new TokenList();
        append(text, 0, text.length(), guard, most, out);
        return out.toArray();
    }

    /**
     * Appends the ids of a part of a text.
     *
     * @param most how many ids the list may hold then; what comes after them is not encoded
     */
    void append(String text, int from, int to, AddedTokens.Guard guard, int most, TokenList out) {
        encoder.requireOpen();
        for (AddedTokens.Piece piece : added.split(text, from, to, guard)) {
            if (out.size() >= most) {
                return;
            }
            if (piece.token() == AddedTokens.PLAIN) {
                appendPlain(text.substring(piece.start(), piece.end()), most, out);
            } else {
                add(piece.token(), most, out);
            }
        }
    }

    /** Of a text that is longer than what is wanted only a beginning is encoded, so far that the cut cannot be felt in what is taken of it. */
    private void appendPlain(String text, int most, TokenList out) {
        refuseMissingBytes(text);
        long wanted = (long) most - out.size() + CUT_MARGIN;
        long chars = CHARS_PER_TOKEN * wanted;
        int[] ids;
        do {
            int end = (int) Math.min(chars, text.length());
            end -= end < text.length() && Character.isLowSurrogate(text.charAt(end)) ? 1 : 0;
            ids = encoder.encode(text.substring(0, end));
            chars *= 2;
        } while (ids.length < wanted && chars / 2 < text.length());
        for (int i = 0; i < ids.length && out.size() < most; i++) {
            add(ids[i], most, out);
        }
    }

    private void add(int id, int most, TokenList out) {
        if (out.size() < most) {
            out.add(checked(id));
        }
    }

    /** Only ids that occur matter: many a model has a token or two beyond its embedding, which no text of the user's ever names. */
    private int checked(int id) {
        if (id >= embeddingRows) {
            throw new PanaceaException("the token '" + tokenName(id) + "' has the id " + id + ": the tokenizer has more tokens (" + names.length
                    + ") than the model's embedding (" + embeddingRows + "). Take the tokenizer that belongs to this model, or a model whose embedding was resized for it");
        }
        return id;
    }

    private void refuseMissingBytes(String text) {
        if (missingBytes.isEmpty()) {
            return;
        }
        for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
            if (missingBytes.get(b & 0xFF)) {
                throw new PanaceaException(String.format("the tokenizer's vocabulary has no token for the byte 0x%02X, which the text contains, and no unk_token to stand for it;"
                        + " remove such characters from the data", b & 0xFF));
            }
        }
    }

    AddedTokens addedTokens() {
        return added;
    }

    /** Bytes that are not UTF-8 become U+FFFD; ids outside the vocabulary, which a padded embedding may give, stand for nothing. */
    @Override
    public String decode(int[] tokens, boolean skipSpecialTokens) {
        ByteArrayOutputStream out = new ByteArrayOutputStream(tokens.length * 4);
        for (int id : tokens) {
            out.writeBytes(bytesOf(id, skipSpecialTokens));
        }
        return out.toString(StandardCharsets.UTF_8);
    }

    private byte[] bytesOf(int id, boolean skipSpecialTokens) {
        AddedTokens.Token beside = addedById.get(id);
        if (beside != null) {
            return skipSpecialTokens && beside.special() ? new byte[0] : beside.text().getBytes(StandardCharsets.UTF_8);
        }
        return id < 0 || id >= names.length || names[id] == null ? new byte[0] : ByteLevel.bytesOf(names[id]);
    }

    @Override
    public StreamDecoder streamDecoder(boolean skipSpecialTokens) {
        CharsetDecoder utf8 = StandardCharsets.UTF_8.newDecoder().onMalformedInput(CodingErrorAction.REPLACE)
                .onUnmappableCharacter(CodingErrorAction.REPLACE);
        return new StreamDecoder() {
            private byte[] pending = new byte[0];

            @Override
            public String push(int id) {
                return take(bytesOf(id, skipSpecialTokens), false);
            }

            @Override
            public String flush() {
                String rest = take(new byte[0], true);
                utf8.reset();
                return rest;
            }

            private String take(byte[] more, boolean end) {
                ByteBuffer in = ByteBuffer.allocate(pending.length + more.length).put(pending).put(more).flip();
                CharBuffer out = CharBuffer.allocate(in.remaining() + 2);
                utf8.decode(in, out, end);
                if (end) {
                    utf8.flush(out);
                }
                pending = new byte[in.remaining()];
                in.get(pending);
                return out.flip().toString();
            }
        };
    }

    /** One more than the highest id. The model's embedding may have further rows. */
    @Override
    public int vocabSize() {
        return names.length;
    }

    @Override
    public OptionalInt bosToken() {
        return settings.bos;
    }

    @Override
    public OptionalInt eosToken() {
        return settings.eos;
    }

    /** The token that plain text which stands for a whole document begins with; empty where the model's files name none. A chat template prints its own. */
    public OptionalInt documentStart() {
        return settings.documentStart;
    }

    /** What ends plain text that stands for a whole document: the end-of-sequence token, where there is one. */
    public int[] documentEnd() {
        return settings.eos.stream().map(this::checked).toArray();
    }

    /** What a chat template knows by {@code bos_token}, {@code eos_token}, {@code unk_token}, {@code pad_token} and so on. */
    public Map<String, String> templateTokens() {
        return settings.templateTokens;
    }

    /** What had to be mended in the model's files, in words for people; most often nothing. */
    public List<String> notes() {
        return settings.notes;
    }

    /** The ids that end a generation by the model's own settings; {@link ChatEncoder#stopTokens} adds the one that its chat template uses. */
    public int[] endTokens() {
        return settings.endTokens.stream().mapToInt(Integer::intValue).toArray();
    }

    /** The chat template that came with the vocabulary, as Jinja source. */
    public Optional<String> chatTemplate() {
        return settings.chatTemplate;
    }

    @Override
    public OptionalInt tokenId(String token) {
        int named = added.tokens().stream().filter(t -> t.text().equals(token)).mapToInt(AddedTokens.Token::id).reduce(-1, (first, last) -> last);
        for (int id = 0; id < names.length && named < 0; id++) {
            named = token.equals(names[id]) ? id : named;
        }
        return named < 0 ? OptionalInt.empty() : OptionalInt.of(named);
    }

    @Override
    public String tokenName(int id) {
        if (id < 0 || id >= names.length) {
            throw new PanaceaException("token " + id + " is outside the vocabulary of " + names.length + " tokens");
        }
        return names[id] == null ? "[unused " + id + "]" : names[id];
    }

    @Override
    public boolean isSpecial(int id) {
        return addedById.containsKey(id) && addedById.get(id).special();
    }

    @Override
    public boolean isAdded(int id) {
        return addedById.containsKey(id);
    }

    @Override
    public void close() {
        encoder.close();
    }
}
