package dev.panacea.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.kernels.PanaceaException;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(value = 30, unit = TimeUnit.SECONDS)
class ModuleExpressionTest {
    private static final String Q0 = "model.layers.0.self_attn.q_proj";

    /** As Python's re.fullmatch has them. */
    @ParameterizedTest
    @CsvSource(delimiter = ' ', value = {
        ".* true", ".*q_proj true", ".*(q|v)_proj true", ".*(q|v) false", "model.layers.0.self_attn.q_proj true", "q_proj false", ".*\\.layers\\.[0-1]\\..* true",
        ".*\\.layers\\.[^0]\\..* false", "^model.*proj$ true", ".*\\.\\d+\\..*\\w true", ".*\\.\\d{2,}\\..* false", "(?:model\\.)?layers.* true", "(?:.*\\.)?(?P<m>q_proj) true",
        "(?!.*visual).*q_proj true", "(?!.*self_attn).*q_proj false", "(?=model).* true", ".*layers.0.(self_attn|mlp).(?:(?:q|k|v|o|gate|up|down)_proj) true",
        ".*?q_proj true", ".*\\bq_proj true", ".*\\Bq_proj false", "[a-z.0-9_]+ true", "[a-z.]+ false", "[]x-]* false", "(a|b|)*.{31} true", ".{31} true", ".{32} false",
        ".{30,32} true", ".{,31} true", ".{32,} false", "\\Amodel.*\\Z true", "model\\.layers\\.(0|1)\\.\\S* true", "model{1}.* true", "mo{0}del.* false", "x{y} false"})
    void matchesAsPythonDoes(String expression, boolean expected) {
        assertThat(new ModuleExpression(expression).matches(Q0)).isEqualTo(expected);
    }

    @Test
    void bracesWithoutNumbersAreText() {
        assertThat(new ModuleExpression("a{b}").matches("a{b}")).isTrue();
        assertThat(new ModuleExpression("a{}{,b").matches("a{}{,b")).isTrue();
    }

    /** Expressions over which a backtracking matcher sits for ever; some never look at a character. */
    @ParameterizedTest
    @ValueSource(strings = {"((?:^{1000}){1000}){1000}.*", "(.*.*.*.*.*.*.*.*)*x", "(?:|){60}x", ".{31}(?:|){60}x", "((a*)*)*b", "(?:(?:(?:|){1000}){1000}){1000}y", "(?:(?=.*){1000}){1000}z",
        "((((((((.*)*)*)*)*)*)*)*)*x", "(a?){1000}b"})
    void noExpressionKeepsItBusy(String expression) {
        try {
            assertThat(new ModuleExpression(expression).matches(Q0)).isEqualTo(expression.endsWith(".*"));
        } catch (PanaceaException e) {
            assertThat(e).hasMessageContaining("takes too long");
        }
        String longName = "a".repeat(1_000_000);
        try {
            new ModuleExpression(expression).matches(longName);
        } catch (PanaceaException e) {
            assertThat(e).hasMessageContaining("takes too long");
        }
    }

    @Test
    void refusesWhatItDoesNotKnowWithTheReason() {
        for (String[] wrong : List.of(new String[] {"(", "not closed"}, new String[] {")", "was not opened"}, new String[] {"[a", "not closed"}, new String[] {"*a", "nothing to repeat"},
                new String[] {"a**", "repeated"}, new String[] {"a*+", "possessive"}, new String[] {"a{3,2}", "fewer"}, new String[] {"(?<=a)b", "only (?:"},
                new String[] {"(?i)a", "only (?:"}, new String[] {"(a)\\1", "\\1 is not supported"}, new String[] {"[b-a]", "not in order"}, new String[] {"\\", "ends too early"},
                new String[] {"((?:^{60000}){60000}){60000}.*", "more than 1000 times"}, new String[] {"(".repeat(3999), "nested"}, new String[] {"a".repeat(4001), "4001"})) {
            assertThatThrownBy(() -> new ModuleExpression(wrong[0])).as(wrong[0]).isInstanceOf(PanaceaException.class)
                    .hasMessageContaining("the regular expression " + wrong[0].substring(0, Math.min(100, wrong[0].length()))).hasMessageContaining(wrong[1])
                    .hasMessageContaining("name the modules in a list");
        }
    }
}
