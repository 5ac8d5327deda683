package dev.panacea.jinja;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Clock;
import java.time.Instant;
import java.time.ZoneOffset;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The right values are those of Jinja2 3.1.6 in transformers' environment. */
class JinjaTemplateTest {
    private static final Clock CLOCK = Clock.fixed(Instant.parse("2024-12-02T09:05:07Z"), ZoneOffset.UTC);
    private static final Object MESSAGES = List.of(Map.of("role", new FromTemplate("user"), "content", "Hi <|im_end|>\n"),
            Map.of("role", new FromTemplate("assistant"), "content", " yes 😀 "));

    static Rendering rendering(String template) {
        return JinjaTemplate.parse(template).render(Map.of("messages", new FromData(MESSAGES), "eos", "<|im_end|>"), CLOCK);
    }

    private static String render(String template) {
        return rendering(template).text();
    }

    @ParameterizedTest
    @CsvSource(delimiter = '→', quoteCharacter = '`', value = {
        "{{ not 1 == 2 }} → True", "{{ 'a' and 'b' }}{{ 0 or '' }} → b", "{{ 1 < 2 < 3 }} → True", "{{ 2**3**2 }} → 64", "{{ -7 // 2 }}{{ -7 % 3 }} → -42",
        "{{ 7 / 7 }} → 1.0", "{{ 10**20 }} → 100000000000000000000", "{{ 1e16 }} {{ 0.1 + 0.2 }} {{ 1e-5 }} → 1e+16 0.30000000000000004 1e-05",
        "{{ '😀a'|length }}{{ '😀a'[1] }}{{ 'a😀'[::-1] }} → 2a😀a", "{{ [1, 'a', none, true, 1.0, (2,)] }} → [1, 'a', None, True, 1.0, (2,)]",
        "{{ {'b': 1, 'a': \"it's\"} }} → {'b': 1, 'a': \"it's\"}", "{{ 'x' ~ 1 ~ none }} → x1None", "[{{ missing }}{{ missing|default('d') }}] → [d]",
        "{{ '%05.1f|%-4s|%x' % (3.14159, 'a', 255) }} → 003.1|a   |ff", "{{ '{:_>5}|{!r}|{:,}'.format('a', 'b', 12345) }} → ____a|'b'|12,345",
        "{% for i in [3,1] %}{{ loop.index }}{{ loop.last }}{% else %}none{% endfor %} → 1False2True", "{% for i in [] %}{% else %}none{% endfor %} → none",
        "{% for i in range(9) if i is odd %}{% if i > 4 %}{% break %}{% endif %}{{ i }}{% endfor %} → 13",
        "{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{% endfor %}{{ x }} → 1", "{% set ns = namespace(n=0) %}{% for i in [1,2] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }} → 3",
        "{% if messages|selectattr('role', 'equalto', 'nobody') %}a generator is true{% endif %} → a generator is true",
        "{{ messages|map(attribute='role')|join(', ') }} → user, assistant", "{{ [3,1,2]|sort(reverse=true) }} → [3, 2, 1]", "{{ ['b','A']|sort }} → ['A', 'b']",
        "{{ [1,2,3,4,5]|batch(2, 0)|list }} → [[1, 2], [3, 4], [5, 0]]", "{{ [1,2]|batch(0)|list }} → [[], [1, 2]]", "{{ [1,2,3]|slice(2)|list }} → [[1, 2], [3]]",
        "{{ [{'a':1},{'a':2},{'a':1}]|groupby('a') }} → [(1, [{'a': 1}, {'a': 1}]), (2, [{'a': 2}])]",
        "{{ {'é': [1, 1.0, none]}|tojson }} → {\"é\": [1, 1.0, null]}", "{{ {'é': 1}|tojson(ensure_ascii=true, separators=(',', ':')) }} → {\"\\u00e9\":1}",
        "{% macro f(a, b='x') %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, 3, k=4) }} → 12(3,){'k': 4}",
        "{% macro f() %}<{{ caller('v') }}>{% endmacro %}{% call(x) f() %}{{ x }}{% endcall %} → <v>",
        "{% for i in [[1, [2]]] recursive %}{{ loop.depth }}{% if i is iterable %}({{ loop(i) }}){% endif %}{% endfor %} → 1(22(3))",
        "{{ 2.5|round }}{{ 3.14159|round(2) }}{{ '5'|int + 1 }}{{ 'x'|int(7) }} → 2.03.1467", "{{ \"it's o'neil\".title() }} → It'S O'Neil",
        "{{ 'a\\nb'|indent(2) }} → `a\n  b`", "{{ 'hello world foo'|truncate(9, leeway=0) }} → hello...", "{{ '<b>'|e }}{{ '<b>'|safe }} → &lt;b&gt;<b>",
        "{{ strftime_now('%d %b %Y, %A %-d %H:%M') }} → 02 Dec 2024, Monday 2 09:05", "{{ messages[0].items()|list|length }}{{ messages[0]['items'] is defined }} → 2True",
        "{% filter upper %}a{% endfilter %}{% set x %}b{% endset %}{{ x }} → Ab", "{% raw %}{{ x }}{% endraw %} → {{ x }}", "{{ none is none }}{{ 1 is true }} → TrueFalse",
        "{{ messages.append }}|{{ ''.__class__ }} → |"})
    void asJinja2(String template, String text) {
        assertThat(render(template)).isEqualTo(text == null ? "" : text);
    }

    @ParameterizedTest
    @ValueSource(strings = {"{{ missing.x }}", "{{ missing + 1 }}", "{{ missing() }}", "{{ 'a' + 1 }}", "{{ 1 < 'a' }}", "{{ none|length }}", "{{ [1]|map('upper')|length }}",
        "{{ messages.append(1) }}", "{{ messages[0].update({}) }}", "{{ missing|tojson }}", "{% include 'x' %}", "{{ ''.__class__.__mro__ }}", "{{ messages.getClass() }}",
        "{% set x.y = 1 %}", "{% set ns = namespace() %}{% set ns._x = 1 %}", "{{ 1 / 0 }}", "{{ [1]|unknown }}", "{% for x in [] %}{{ x is unknown }}{% endfor %}",
        "{% break %}", "{% for a, b in [[1]] %}{% endfor %}", "{{ dict(a=1).a.b.c }}", "{{ 'a'.repeat(3) }}", "{{ 10**5000 }}", "{{ '%d' % 'a' }}", "{{ f(a=1, a=2) }}", "{{ [2,1]|sort(reverse=missing) }}"})
    void asJinja2Refuses(String template) {
        assertThatThrownBy(() -> render(template)).isInstanceOf(JinjaException.class);
    }

    @Test
    void errorsNameTheLine() {
        assertThatThrownBy(() -> render("a\n{% if true %}\n{{ missing.x }}\n{% endif %}")).isInstanceOf(JinjaException.class).hasMessage("line 3: 'missing' is undefined")
                .satisfies(e -> assertThat(((JinjaException) e).line()).isEqualTo(3));
        assertThatThrownBy(() -> render("a\n\n{% endif %}")).hasMessageStartingWith("line 3: ");
        assertThatThrownBy(() -> render("{{ raise_exception('no ' ~ 'x' * 100000) }}"))
                .satisfies(e -> assertThat(((JinjaException) e).isRaised()).isTrue()).satisfies(e -> assertThat(e.getMessage()).startsWith("no xxx").hasSizeLessThan(700));
    }

    private static String data(String template) {
        Rendering r = rendering(template);
        return r.data().stream().map(p -> r.text().substring(p.start(), p.end())).collect(Collectors.joining("|"));
    }

    /** What follows the arrow is data, with a bar between its parts. The content is "Hi <|im_end|>\n", which a template may write too. */
    @ParameterizedTest
    @CsvSource(delimiter = '→', value = {
        "{{ '[' + messages[0].content.strip() + eos }} → Hi <|im_end|>", "{{ messages[0].content|trim ~ eos }} → Hi <|im_end|>", "{{ messages[0].role ~ eos }} → ``",
        "{{ (eos + messages[0].content.strip() + eos).split('im')|join('IM') }} → Hi <||_end|>", "{{ messages[0].content[3:6] ~ eos }} → <|i",
        "{{ ('%s' ~ eos) % messages[0].content[:2] }} → Hi", "{{ '{}-{}'.format(eos, messages[0].content[:2]) }} → Hi", "{{ messages[0].content[:2]|tojson ~ eos }} → Hi",
        "{{ [messages[0].content[:2], eos] }} → Hi", "{{ (eos ~ messages[0].content[:2])|upper }} → HI", "{{ (eos ~ messages[0].content[:2])|replace('Hi', eos) }} → ``",
        "{% set x %}{{ eos }}{{ messages[1].content.strip() }}{% endset %}{{ x }} → yes 😀", "{% macro f(a) %}{{ eos }}{{ a }}{% endmacro %}{{ f(messages[0].content[:2]) }} → Hi",
        "{{ (messages[0].content[:2] ~ eos)|reverse }} → iH", "{{ (eos ~ messages[0].content[:2])|indent }} → Hi", "{{ (messages[0].content[:2] ~ eos) * 2 }} → Hi|Hi"})
    void dataStaysKnownAsSuch(String template, String parts) {
        assertThat(data(template)).isEqualTo(parts.equals("``") ? "" : parts);
    }

    @Test
    void generationIsMarked() {
        Rendering r = rendering("{% for m in messages %}<{% generation %}{{ m.content.strip() }}{{ eos }}{% endgeneration %}>{% endfor %}");
        assertThat(r.generated().stream().map(p -> r.text().substring(p.start(), p.end()))).containsExactly("Hi <|im_end|><|im_end|>", "yes 😀<|im_end|>");
        assertThat(data("{% generation %}{{ eos }}{{ messages[0].role }}{% endgeneration %}")).isEmpty();
    }

    /** One of them is rendered by several threads at once, as encoders do. */
    @Test
    void templatesAreShared() {
        JinjaTemplate template = JinjaTemplate.parse("{% set ns = namespace(s='') %}{% for i in range(50) %}{% set ns.s = ns.s ~ x %}{% endfor %}{{ ns.s }}");
        List<String> texts = java.util.stream.IntStream.range(0, 200).parallel()
                .mapToObj(i -> template.render(Map.of("x", String.valueOf(i % 10)), CLOCK).text()).toList();
        for (int i = 0; i < texts.size(); i++) {
            assertThat(texts.get(i)).isEqualTo(String.valueOf(i % 10).repeat(50));
        }
    }
}
