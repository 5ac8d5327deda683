package dev.panacea.jinja;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class NumbersTest {
    @ParameterizedTest
    @CsvSource({"1.5,1.5", "100.0,100.0", "1e16,1e+16", "1.25e22,1.25e+22", "123456789012345.0,123456789012345.0", "0.0001,0.0001", "0.00001,1e-05", "-2.5e-7,-2.5e-07",
        "0,0.0", "-0.0,-0.0", "1e100,1e+100", "4.9e-324,5e-324", "2e23,2e+23", "9007199254740993,9007199254740992.0"})
    void asPythonWritesThem(double value, String text) {
        assertThat(Numbers.text(value)).isEqualTo(text);
    }

    @ParameterizedTest
    @CsvSource({"' 12_3 ',10,123", "ff,16,255", "0xff,0,255", "-0b11,2,-3", "99999999999999999999,10,99999999999999999999"})
    void asPythonReadsThem(String text, int base, String value) {
        assertThat(Numbers.parseInteger(text, base)).hasToString(value);
    }

    @Test
    void pythonsWhiteSpace() {
        String white = "\t\n\u000B\f\r\u001C\u001D\u001E\u001F \u0085\u00A0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200A\u2028\u2029\u202F\u205F\u3000";
        assertThat(StringMethods.strip(new Str(white + "x" + white), null, true, true).text).isEqualTo("x");
        assertThat(StringMethods.strip(new Str("\u200Bx\uFEFF\u0000\u0008"), null, true, true).text).isEqualTo("\u200Bx\uFEFF\u0000\u0008");
        assertThat(IntStream.rangeClosed(0, 0xFFFF).filter(PythonChars::isSpace).count()).isEqualTo(white.length());
    }
}
