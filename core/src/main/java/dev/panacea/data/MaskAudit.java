package dev.panacea.data;

import dev.panacea.text.Tokenizer;
import dev.panacea.text.VisibleText;
import java.util.Arrays;
import java.util.List;

/**
 * Shows what is trained, for a person to check before a run: a sample with its targets marked, and whether an end of turn is among the targets
 * of any example (a model that never learns it never stops).
 *
 * @param endTokenTrained whether a token that ends a generation is a target somewhere
 * @param sample the first example, its targets marked
 */
public record MaskAudit(boolean endTokenTrained, String sample) {
    private static final int SHOWN = 400;
    private static final String GREEN = "\u001B[32m";
    private static final String CYAN = "\u001B[36m";
    private static final String PLAIN = "\u001B[0m";

    /**
     * @param stopTokens the tokens that end a generation
     * @param colour marks targets by ANSI colour; else by 【 and 】
     * @see #show
     */
    public static MaskAudit of(List<TokenizedExample> examples, Tokenizer tokenizer, int[] stopTokens, boolean colour) {
        boolean trained = examples.stream().flatMapToInt(e -> Arrays.stream(e.labels()).skip(1)).anyMatch(label -> Arrays.stream(stopTokens).anyMatch(s -> s == label));
        return new MaskAudit(trained, examples.isEmpty() ? "" : show(examples.getFirst(), tokenizer, colour));
    }

    /**
     * The text of an example, its targets marked; long examples are cut in the middle. Control characters are made visible. A token that was added to the
     * vocabulary is shown with its id, such as {@code ‹<|im_end|> 2›}, so that one which is only spelled out is seen.
     */
    static String show(TokenizedExample example, Tokenizer tokenizer, boolean colour) {
        StringBuilder out = new StringBuilder();
        int t = 0;
        while (t < example.length()) {
            boolean target = target(example, t);
            int end = t;
            while (end < example.length() && target(example, end) == target) {
                end++;
            }
            String open = target ? colour ? GREEN : "【" : "";
            String close = target ? colour ? PLAIN : "】" : "";
            int[] run = Arrays.copyOfRange(example.inputIds(), t, end);
            // What an added token is shown in must not end the colour around it.
            String after = target && colour ? GREEN : "";
            String text = run.length <= SHOWN ? text(run, tokenizer, colour, after) : text(Arrays.copyOf(run, SHOWN / 2), tokenizer, colour, after) + " … "
                    + text(Arrays.copyOfRange(run, run.length - SHOWN / 2, run.length), tokenizer, colour, after);
            out.append(open).append(text).append(close);
            t = end;
        }
        return out.toString();
    }

    private static String text(int[] ids, Tokenizer tokenizer, boolean colour, String after) {
        StringBuilder out = new StringBuilder();
        int start = 0;
        for (int i = 0; i <= ids.length; i++) {
            if (i < ids.length && !tokenizer.isAdded(ids[i])) {
                continue;
            }
            out.append(VisibleText.lines(tokenizer.decode(Arrays.copyOfRange(ids, start, i), false)));
            if (i < ids.length) {
                String token = "‹" + VisibleText.lines(tokenizer.tokenName(ids[i])) + " " + ids[i] + "›";
                out.append(colour ? CYAN + token + PLAIN + after : token);
            }
            start = i + 1;
        }
        return out.toString();
    }

    private static boolean target(TokenizedExample example, int t) {
        return t > 0 && example.labels()[t] != TokenizedExample.IGNORED;
    }
}
