package dev.panacea.jinja;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;

import java.time.Clock;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Templates come from outside: whatever they ask for, a rendering ends soon, takes little memory, and fails with an exception of ours. */
class HostileTemplateTest {
    /** Far more than any takes; what this is about has no end at all. */
    private static final Duration SOON = Duration.ofSeconds(60);
    private static final Object MESSAGES = List.of(Map.of("role", "user", "content", "Hi"), Map.of("role", "assistant", "content", "x"));

    private static String render(String template) {
        return assertTimeoutPreemptively(SOON, () -> JinjaTemplate.parse(template).render(Map.of("messages", new FromData(MESSAGES)), Clock.systemUTC()).text());
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "{% for a in range(1000) %}{% for b in range(1000) %}{% for c in range(1000) %}{% endfor %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(x=[]) %}{% for i in range(90000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(90000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x|tojson }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(90) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=(1,)) %}{% for i in range(90) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}{{ {ns.x: 1} }}",
        "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s|replace('a', 'aa') %}{% endfor %}",
        "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{{ '%1000000000d' % 5 }}", "{{ '%.1000000000f' % 5 }}", "{{ '{:1000000000}'.format(5) }}", "{{ '{:01000000000,}'.format(5) }}", "{{ 'a' * 10**9 }}", "{{ [1] * 10**9 }}",
        "{{ 10**(10**10) }}", "{{ {'a': [1]}|tojson(indent=10**9) }}", "{{ raise_exception('x' * 33000000) }}", "{{ range(10**9) }}", "{{ 'a'|center(10**9) }}",
        "{{ 'a'.zfill(10**9) }}", "{{ [1]|batch(10**9, 0)|list }}", "{{ [1]|slice(10**9)|list }}", "{{ 'a'|indent(10**9, true) }}", "{{ 'a\\t'.expandtabs(10**9) }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% for x in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}", "{% set s = 'a' * 1000000 %}{% for i in range(100000) %}{% if s is lower %}{% endif %}{% endfor %}",
        "{% for i in range(100000) %}{% set x = 3**40000 %}{% endfor %}", "{{ ('\\x01' * 9000000)|tojson }}"})
    void isRefused(String template) {
        assertThatThrownBy(() -> render(template)).isInstanceOf(JinjaException.class);
    }

    @Test
    void nestingIsBounded() {
        for (String open : List.of("{{ " + "(".repeat(100_000), "{{ " + "[".repeat(100_000), "{{ " + "-".repeat(100_000) + "1 }}", "{{ " + "not ".repeat(100_000) + "1 }}",
                "{{ " + "1+".repeat(90_000) + "1 }}", "{{ 1" + "|abs".repeat(60_000) + " }}", "{{ " + "1 if 1 else ".repeat(40_000) + "1 }}", "{% if 1 %}".repeat(50_000),
                "{% for a in b %}".repeat(21) + "{% endfor %}".repeat(21), "{{ 1 }}".repeat(140_000), "{% set " + "(".repeat(100_000))) {
            assertThatThrownBy(() -> render(open)).isInstanceOf(JinjaException.class);
        }
    }

    /** What a simple search does not finish: it compares half of the text at every place. */
    @ParameterizedTest
    @ValueSource(strings = {"s.find(t ~ 'b')", "s.rfind('b' ~ t)", "s.count(t ~ 'b')", "(t ~ 'b') in s", "s.replace(t ~ 'b', '')", "s.split(t ~ 'b')", "s.rsplit('b' ~ t)", "s.partition(t ~ 'b')",
        "s.rpartition('b' ~ t)", "s.strip('c' * 1000000 ~ 'a')", "s.startswith((t ~ 'b',) * 20000)"})
    void aSearchIsBounded(String search) {
        String template = "{% set t = 'a' * 500000 %}{% set s = 'a' * 1000000 %}{% if " + search + " %}{% endif %}";
        if (search.contains("20000")) {
            assertThatThrownBy(() -> render(template)).isInstanceOf(JinjaException.class);
        } else {
            assertThat(render(template)).isEmpty();
        }
    }

    /** Texts of two letters, in which what is wanted overlaps itself: all places are those of a simple search. */
    @Test
    void aLongTextIsFoundWhereAShortOneWouldBe() {
        Random random = new Random(5);
        for (int n = 0; n < 2000; n++) {
            String text = letters(random, 200 + random.nextInt(200));
            int start = random.nextInt(100);
            String wanted = random.nextInt(3) == 0 ? letters(random, 65 + random.nextInt(40)) : text.substring(start, start + 65 + random.nextInt(30));
            Search search = new Search(new Budget(), wanted);
            int place = random.nextInt(text.length() + 1);
            assertThat(search.next(text, place)).isEqualTo(text.indexOf(wanted, place));
            assertThat(search.last(text, place)).isEqualTo(text.lastIndexOf(wanted, place));
        }
    }

    private static String letters(Random random, int length) {
        int period = 1 + random.nextInt(5);
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < length; i++) {
            text.append(i >= period && random.nextInt(40) > 0 ? text.charAt(i - period) : random.nextBoolean() ? 'a' : 'b');
        }
        return text.toString();
    }

    /** A namespace is the one thing that can hold itself. */
    @Test
    void whatHoldsItselfIsPrintedOnce() {
        assertThat(render("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}")).isEqualTo("<Namespace {'x': <Namespace {...}>}>");
    }

    /** Long conversations take no more than their share. */
    @Test
    void aLongConversationIsRendered() {
        List<Object> messages = new ArrayList<>();
        for (int i = 0; i < 800; i++) {
            messages.add(Map.of("role", i % 2 == 0 ? "user" : "assistant", "content", "some words of turn " + i));
        }
        String source = "{% set ns = namespace(s='') %}{% for m in messages %}{% set rest = messages[loop.index0:] %}{% set ns.s = ns.s + '<' + m.role + '>' + m.content %}{% endfor %}{{ ns.s }}";
        Rendering r = assertTimeoutPreemptively(SOON, () -> JinjaTemplate.parse(source).render(Map.of("messages", new FromData(messages)), Clock.systemUTC()));
        assertThat(r.text()).endsWith("<assistant>some words of turn 799");
    }

    /** Pieces of real templates, deleted, doubled, swapped and exchanged: an output or an exception of ours. {@code -Dpanacea.mutants=26000} tries more. */
    @Test
    void mutantsFailWell() {
        List<List<String>> pieces = new ArrayList<>();
        Pattern piece = Pattern.compile("\\{[%{#]-?|-?[%}#]\\}|\\w+|'[^'\n]*'|\\s+|.", Pattern.DOTALL);
        for (String source : List.of(
                "{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] | trim + '\\n' }}{% if loop.last and m.role != 'user' %}{{ m.content[::-1] }}{% endif %}{% endfor %}",
                "{%- set ns = namespace(found=false, n=0) -%}{% for m in messages if m.role in ['user', 'tool'] %}{% set ns.n = ns.n + loop.index0 ** 2 %}{% else %}x{% endfor %}{{ ns.n }}",
                "{% macro f(a, b='x') %}{{ a|tojson(indent=2) }}{{ caller() if caller else b * 3 }}{% endmacro %}{% call f(messages) %}{{ '%s %5.2f' % ('a', 1.5) }}{% endcall %}",
                "{{ messages|map(attribute='role')|map('upper')|join(', ') }}{{ messages|selectattr('content', 'equalto', 'Hi')|list|length }}{{ range(10)|batch(3, '-')|list }}",
                "{% set x %}{{ messages[0].content.split(' ')[0].replace('H', 'hh').center(9) }}{% endset %}{{ x|indent(4)|length }}{% raw %}{{ no }}{% endraw %}{{ 7 // 2 ~ 7 % 3 }}",
                "{% generation %}{{ {'a': [1, 2.5, none], 'b': (true,)} }}{% endgeneration %}{% filter title %}a-b c{% endfilter %}{{ '{:>8}|{!r}'.format('q', messages) }}")) {
            pieces.add(piece.matcher(source).results().map(m -> m.group()).toList());
        }
        List<String> all = pieces.stream().flatMap(List::stream).toList();
        Random random = new Random(11);
        int rendered = 0;
        int mutants = Integer.getInteger("panacea.mutants", 3000);
        for (int i = 0; i < mutants; i++) {
            List<String> mutant = new ArrayList<>(pieces.get(random.nextInt(pieces.size())));
            for (int changes = 1 + random.nextInt(3); changes > 0; changes--) {
                int at = random.nextInt(mutant.size());
                switch (random.nextInt(4)) {
                    case 0 -> mutant.remove(at);
                    case 1 -> mutant.add(at, mutant.get(at));
                    case 2 -> mutant.set(at, mutant.set(random.nextInt(mutant.size()), mutant.get(at)));
                    default -> mutant.set(at, all.get(random.nextInt(all.size())));
                }
            }
            String source = String.join("", mutant);
            try {
                render(source);
                rendered++;
            } catch (JinjaException e) {
                assertThat(e.getMessage()).as(source).isNotBlank().hasSizeLessThan(1000);
            }
        }
        assertThat(rendered).isBetween(mutants / 10, mutants);
    }
}
