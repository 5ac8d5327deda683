package dev.panacea.text;

import dev.panacea.kernels.PanaceaException;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharsetDecoder;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * Byte-level BPE as Llama 3, SmolLM and GPT-2 have it. {@link Tokenizers} makes one. The pieces between special tokens go through the Hugging
 * Face library; special tokens and decoding are done here, so that no text but our own can name a special token.
 */
public final class BpeTokenizer implements Tokenizer {
    private final DjlEncoder encoder;
    private final String[] names;
    private final Map<Integer, AddedTokens.Token> addedById = new HashMap<>();
    private final AddedTokens added;
    private final Settings settings;

    /**
     * What a model's files say beside the vocabulary.
     *
     * @param addsBos whether plain text begins with bos
     * @param endTokens all ids that end a generation by the model's settings: eos, and further ones of generation_config.json or the GGUF file
     */
    record Settings(OptionalInt bos, OptionalInt eos, boolean addsBos, List<Integer> endTokens, Optional<String> chatTemplate) {
        Settings {
            endTokens = List.copyOf(endTokens);
        }
    }

    /** @param names the names by id; null where the vocabulary has a hole */
    BpeTokenizer(DjlEncoder encoder, String[] names, AddedTokens added, Settings settings) {
        this.encoder = encoder;
        this.names = names;
        this.added = added;
        this.settings = settings;
        added.tokens().forEach(t -> addedById.put(t.id(), t));
    }

    @Override
    public int[] encode(String text) {
        return encoder.encode(text);
    }

    @Override
    public int[] encodeWithSpecialTokens(String text) {
        List<int[]> parts = new ArrayList<>();
        for (AddedTokens.Piece piece : added.split(text, AddedTokens.NO_ESCAPE)) {
            parts.add(encode(piece));
        }
        return concat(parts);
    }

    int[] encode(AddedTokens.Piece piece) {
        return piece.token() == AddedTokens.PLAIN ? encode(piece.text()) : new int[] {piece.token()};
    }

    static int[] concat(List<int[]> parts) {
        int[] out = new int[parts.stream().mapToInt(p -> p.length).sum()];
        int at = 0;
        for (int[] part : parts) {
            System.arraycopy(part, 0, out, at, part.length);
            at += part.length;
        }
        return out;
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

    @Override
    public boolean addsBos() {
        return settings.addsBos;
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
    public void close() {
        encoder.close();
    }
}
