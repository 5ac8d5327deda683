package dev.panacea.text;

import java.util.OptionalInt;

/**
 * Text to token ids and back. Safe for use by several threads, closing included, which waits for the texts that are being encoded. After that encoding is an
 * {@link IllegalStateException}; ids still have their names and texts.
 */
public interface Tokenizer extends AutoCloseable {
    /**
     * Ids of somebody else's text: the name of a control token in it is text like any other. Tokens that were added to the vocabulary and are no
     * control tokens, such as {@code <think>}, are matched as everywhere; nothing is added.
     */
    int[] encode(String text);

    /** Ids of text in which the names of control tokens stand for those tokens too; nothing is added. For text of your own, never a user's. */
    int[] encodeWithSpecialTokens(String text);

    /** The text of ids; special tokens by their names, or left out. */
    String decode(int[] ids, boolean skipSpecialTokens);

    /** A decoder for ids that arrive one by one; it gives out whole characters only. */
    StreamDecoder streamDecoder(boolean skipSpecialTokens);

    int vocabSize();

    OptionalInt bosToken();

    OptionalInt eosToken();

    /** The id of a token by its exact name, such as {@code <|im_end|>}. */
    OptionalInt tokenId(String token);

    /** The name of a token as the vocabulary has it. */
    String tokenName(int id);

    /** Whether this is a control token, which no text of somebody else's can name. */
    boolean isSpecial(int id);

    /** Whether this token stands beside the vocabulary of BPE: a control token, or another that was added, such as {@code <think>}. */
    boolean isAdded(int id);

    /** Frees what encoding takes; closing twice does nothing. */
    @Override
    void close();

    /** Turns a stream of ids into a stream of text. */
    interface StreamDecoder {
        /** What this id makes readable; empty while a character is incomplete. */
        String push(int id);

        /** What is left at the end. */
        String flush();
    }
}
