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

    /**
     * @param stopTokens the tokens that end a generation
     * @param colour marks targets by ANSI colour; else by 【 and 】
     */
    public static MaskAudit of(List<TokenizedExample> examples, Tokenizer tokenizer, int[] stopTokens, boolean colour) {
        boolean trained = examples.stream().flatMapToInt(e -> Arrays.stream(e.labels()).skip(1)).anyMatch(label -> Arrays.stream(stopTokens).anyMatch(s -> s == label));
        return new MaskAudit(trained, examples.isEmpty() ? "" : show(examples.getFirst(), tokenizer, colour));
    }

    /** The text of an example, its targets marked; long examples are cut in the middle. Control characters are made visible. */
    static String show(TokenizedExample example, Tokenizer tokenizer, boolean colour) {
        String open = colour ? "\u001B[32m" : "【";
        String close = colour ? "\u001B[0m" : "】";
        StringBuilder out = new StringBuilder();
        int t = 0;
        while (t < example.length()) {
            boolean target = target(example, t);
            int end = t;
            while (end < example.length() && target(example, end) == target) {
                end++;
            }
            int[] run = Arrays.copyOfRange(example.inputIds(), t, end);
            String text = run.length <= SHOWN ? tokenizer.decode(run, false)
                    : tokenizer.decode(Arrays.copyOf(run, SHOWN / 2), false) + " … " + tokenizer.decode(Arrays.copyOfRange(run, run.length - SHOWN / 2, run.length), false);
            out.append(target ? open : "").append(VisibleText.lines(text)).append(target ? close : "");
            t = end;
        }
        return out.toString();
    }

    private static boolean target(TokenizedExample example, int t) {
        return t > 0 && example.labels()[t] != TokenizedExample.IGNORED;
    }
}
