package dev.panacea.jinja;

import dev.panacea.jinja.Values.Dict;
import dev.panacea.jinja.Values.Function;
import dev.panacea.jinja.Values.ListValue;
import dev.panacea.jinja.Values.Sequence;
import dev.panacea.jinja.Values.TupleValue;
import dev.panacea.jinja.Values.Undefined;
import java.math.BigInteger;
import java.util.Iterator;
import java.util.Set;

/**
 * {@code value.name} and {@code value[key]}: the first looks for a method or attribute and then for an element, the second the other way round. What would
 * change a value, and everything whose name begins with an underscore, is out of reach.
 */
final class Attributes {
    private static final Set<String> CHANGES_DICT = Set.of("clear", "pop", "popitem", "setdefault", "update");
    private static final Set<String> CHANGES_LIST = Set.of("append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove");

    private final Budget budget;
    private final Operators operators;
    private final StringMethods strings;

    Attributes(Budget budget, Operators operators, Printing printing) {
        this.budget = budget;
        this.operators = operators;
        strings = new StringMethods(budget, operators, new BraceFormat(budget, printing, this));
    }

    StringMethods strings() {
        return strings;
    }

    /** {@code value.name}. */
    Object attribute(Object value, String name) {
        if (value instanceof Undefined u) {
            throw u.error();
        }
        Object own = own(value, name);
        if (own != Args.ABSENT) {
            return own;
        }
        if (value instanceof Dict d) {
            Dict.Entry e = d.entry(name);
            if (e != null) {
                return e.value();
            }
        }
        return missing(value, name);
    }

    /** {@code value[key]}. */
    Object item(Object value, Object key) {
        if (value instanceof Undefined u) {
            throw u.error();
        }
        if (value instanceof Dict d && !(key instanceof ListValue) && !(key instanceof Dict)) {
            Dict.Entry e = d.entry(key, budget);
            if (e != null) {
                return e.value();
            }
        }
        Object element = operators.at(value, key);
        if (element != Args.ABSENT) {
            return element;
        }
        if (key instanceof Str name) {
            Object own = own(value, name.text);
            return own != Args.ABSENT ? own : missing(value, name.text);
        }
        return new Undefined(Values.typeName(value) + " object has no element " + (key instanceof Long || key instanceof Boolean ? Numbers.text(key) : "of this key"));
    }

    private static Undefined missing(Object value, String name) {
        return new Undefined("'" + (value == null ? "None" : Values.typeName(value) + " object") + "' has no attribute '" + name + "'");
    }

    private static Undefined unsafe(Object value, String name) {
        return new Undefined("access to attribute '" + name + "' of '" + Values.typeName(value) + "' object is unsafe: a chat template cannot change a value");
    }

    /** A method or attribute of a value, or {@link Args#ABSENT}. */
    Object own(Object value, String name) {
        if (name.startsWith("_")) {
            return Args.ABSENT;
        }
        return switch (value) {
            case Str s -> StringMethods.has(name) ? new Function(name, args -> strings.call(s, name, args)) : Args.ABSENT;
            case Dict d -> dict(d, name);
            case TupleValue t when t.group && (name.equals("grouper") || name.equals("list")) -> t.items.get(name.equals("grouper") ? 0 : 1);
            case Sequence s -> sequence(s, name);
            case Values.Range r -> switch (name) {
                case "start" -> r.start();
                case "stop" -> r.stop();
                case "step" -> r.step();
                case "index", "count" -> sequence(new TupleValue(operators.list(r)), name);
                default -> Args.ABSENT;
            };
            case Values.Namespace n -> entry(n.values().entry(name));
            case Loop l -> l.get(name);
            case Values.Callable c -> entry(c.attribute(name));
            case Values.Bytes b -> name.equals("decode") ? new Function(name, args -> {
                args.bind(name, 0, "encoding", "errors");
                budget.memory(40 + 2L * b.bytes().length);
                return new Str(new String(b.bytes(), java.nio.charset.StandardCharsets.UTF_8), b.mark());
            }) : Args.ABSENT;
            case Double d -> switch (name) {
                case "is_integer" -> new Function(name, args -> d == Math.rint(d) && !Double.isInfinite(d));
                case "real" -> d;
                case "imag" -> 0.0;
                default -> Args.ABSENT;
            };
            case Long n -> integer(BigInteger.valueOf(n), name);
            case Boolean b -> integer(Numbers.big(b), name);
            case BigInteger n -> integer(n, name);
            case null, default -> Args.ABSENT;
        };
    }

    private static Object entry(Dict.Entry e) {
        return e == null ? Args.ABSENT : e.value();
    }

    private static Object integer(BigInteger n, String name) {
        return switch (name) {
            case "real", "numerator" -> Numbers.normal(n);
            case "imag" -> 0L;
            case "denominator" -> 1L;
            case "bit_length" -> new Function(name, args -> (long) n.abs().bitLength());
            case "bit_count" -> new Function(name, args -> (long) n.abs().bitCount());
            default -> Args.ABSENT;
        };
    }

    private Object dict(Dict d, String name) {
        if (CHANGES_DICT.contains(name)) {
            return unsafe(d, name);
        }
        return switch (name) {
            case "get" -> new Function(name, args -> {
                Args.Bound a = args.positional(name, 1, 2);
                Dict.Entry e = d.entry(a.get(0), budget);
                return e == null ? a.get(1, null) : e.value();
            });
            case "keys", "values", "items" -> new Function(name, args -> {
                args.positional(name, 0, 0);
                return new Values.View(d, name);
            });
            case "copy" -> new Function(name, args -> {
                args.positional(name, 0, 0);
                return d;
            });
            case "fromkeys" -> new Function(name, args -> fromKeys(args));
            default -> Args.ABSENT;
        };
    }

    Dict fromKeys(Args args) {
        Args.Bound a = args.positional("fromkeys", 1, 2);
        Dict made = new Dict();
        for (Iterator<Object> keys = operators.iterate(a.get(0)); keys.hasNext();) {
            made.put(keys.next(), a.get(1, null), budget);
        }
        return made;
    }

    private Object sequence(Sequence s, String name) {
        if (s instanceof ListValue && CHANGES_LIST.contains(name)) {
            return unsafe(s, name);
        }
        return switch (name) {
            case "count" -> new Function(name, args -> {
                Object wanted = args.positional(name, 1, 1).get(0);
                return s.items.stream().filter(item -> item == wanted || operators.equal(item, wanted)).count();
            });
            case "index" -> new Function(name, args -> {
                Args.Bound a = args.positional(name, 1, 3);
                int n = s.items.size();
                long from = a.integer(1, 0);
                long to = a.integer(2, n);
                for (long i = Math.max(0, from < 0 ? from + n : from); i < Math.min(n, to < 0 ? to + n : to); i++) {
                    if (s.items.get((int) i) == a.get(0) || operators.equal(s.items.get((int) i), a.get(0))) {
                        return i;
                    }
                }
                throw new JinjaException("the value is not in the " + Values.typeName(s));
            });
            case "copy" -> s instanceof ListValue ? new Function(name, args -> {
                args.positional(name, 0, 0);
                return s;
            }) : Args.ABSENT;
            default -> Args.ABSENT;
        };
    }
}
