package dev.panacea.eval;

import java.util.List;
import java.util.regex.Pattern;

/**
 * The word splitting that BLEU scores are reported with: "13a" of sacreBLEU, after the script {@code mteval-v13a} of the WMT evaluations.
 * Classes in the patterns are ASCII on purpose: other punctuation stays on its word, as in the original.
 */
final class Tokenizer13a {
    /** ASCII punctuation other than apostrophe, comma, hyphen and full stop stands alone. */
    private static final Pattern PUNCTUATION = Pattern.compile("([{-~\\[-` -&(-+:-@/])");
    private static final Pattern POINT_AFTER_NON_DIGIT = Pattern.compile("([^0-9])([.,])");
    private static final Pattern POINT_BEFORE_NON_DIGIT = Pattern.compile("([.,])([^0-9])");
    private static final Pattern DASH_AFTER_DIGIT = Pattern.compile("([0-9])(-)");

    private Tokenizer13a() {
    }

    static List<String> tokenize(String segment) {
        String line = segment.substring(0, Whitespace.strippedLength(segment))
                .replace("<skipped>", "")
                .replace("-\n", "")
                .replace('\n', ' ');
        if (line.indexOf('&') >= 0) {
            // The order matters: "&amp;lt;" becomes "<" through "&lt;".
            line = line.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");
        }
        line = PUNCTUATION.matcher(" " + line + " ").replaceAll(" $1 ");
        line = POINT_AFTER_NON_DIGIT.matcher(line).replaceAll("$1 $2 ");
        line = POINT_BEFORE_NON_DIGIT.matcher(line).replaceAll(" $1 $2");
        line = DASH_AFTER_DIGIT.matcher(line).replaceAll("$1 $2 ");
        return Whitespace.split(line);
    }
}
