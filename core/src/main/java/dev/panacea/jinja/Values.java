package dev.panacea.jinja;

import java.math.BigInteger;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The values of a template beside {@code null} (None), Boolean, Long, BigInteger (where a Long is too small), Double and {@link Str}. None of them can be
 * changed by a template, namespaces and what counts calls excepted.
 */
final class Values {
    private Values() {}

    /** A list or a tuple. */
    abstract static sealed class Sequence {
        final List<Object> items;

        Sequence(List<Object> items) {
            this.items = items;
        }

        /** Another of the same kind. */
        Sequence of(List<Object> others) {
            return this instanceof ListValue ? new ListValue(others) : new TupleValue(others);
        }
    }

    static final class ListValue extends Sequence {
        ListValue(List<Object> items) {
            super(items);
        }
    }

    static final class TupleValue extends Sequence {
        /** Whether it has the names of what {@code groupby} gives. */
        final boolean group;

        TupleValue(List<Object> items) {
            this(items, false);
        }

        TupleValue(List<Object> items, boolean group) {
            super(items);
            this.group = group;
        }
    }

    /** A dict: in the order of insertion, with 1, 1.0 and True the same key. */
    static final class Dict {
        /** By {@link #key}; each with the key as it was first given. */
        private final Map<Object, Entry> entries = new LinkedHashMap<>();

        record Entry(Object key, Object value) {}

        /** @throws JinjaException when such a value cannot be a key */
        static Object key(Object value, Budget budget) {
            budget.step();
            return switch (value) {
                case Boolean b -> b ? 1L : 0L;
                case Double d when d == Math.rint(d) && Math.abs(d) < 9e15 -> d.longValue();
                case TupleValue t -> {
                    budget.enter();
                    budget.elements(t.items.size());
                    List<Object> keys = new ArrayList<>(t.items.size() + 1);
                    for (Object item : t.items) {
                        keys.add(key(item, budget));
                    }
                    budget.leave();
                    yield keys;
                }
                case ListValue l -> throw new JinjaException("unhashable type: 'list'");
                case Dict d -> throw new JinjaException("unhashable type: 'dict'");
                case null -> None.KEY;
                case Undefined u -> Undefined.class;
                default -> value;
            };
        }

        private enum None { KEY }

        void put(Object key, Object value, Budget budget) {
            budget.memory(64);
            Object k = key(key, budget);
            Entry old = entries.get(k);
            entries.put(k, new Entry(old == null ? key : old.key, value));
        }

        /** Null where there is none. */
        Entry entry(Object key, Budget budget) {
            return entries.get(key(key, budget));
        }

        /** The value of a name, or null. */
        Entry entry(String name) {
            return entries.get(new Str(name));
        }

        int size() {
            return entries.size();
        }

        Iterable<Entry> all() {
            return entries.values();
        }

        Iterator<Object> keys() {
            return mapped(0);
        }

        private Iterator<Object> mapped(int what) {
            Iterator<Entry> all = entries.values().iterator();
            return new Iterator<>() {
                @Override
                public boolean hasNext() {
                    return all.hasNext();
                }

                @Override
                public Object next() {
                    Entry e = all.next();
                    return what == 0 ? e.key : what == 1 ? e.value : new TupleValue(pair(e.key, e.value));
                }
            };
        }
    }

    /** A list of two, either of which may be null. */
    static List<Object> pair(Object a, Object b) {
        List<Object> pair = new ArrayList<>(2);
        pair.add(a);
        pair.add(b);
        return pair;
    }

    /** What {@code keys}, {@code values} and {@code items} of a dict give. */
    record View(Dict dict, String kind) {
        Iterator<Object> iterator() {
            return dict.mapped(kind.equals("keys") ? 0 : kind.equals("values") ? 1 : 2);
        }
    }

    /** A {@code range}; its bounds fit since the sandbox bounds its length. */
    record Range(long start, long stop, long step) {
        long size() {
            BigInteger span = BigInteger.valueOf(stop).subtract(BigInteger.valueOf(start));
            BigInteger by = BigInteger.valueOf(step);
            if (span.signum() * by.signum() <= 0) {
                return 0;
            }
            return Numbers.clamp(span.abs().add(by.abs()).subtract(BigInteger.ONE).divide(by.abs()));
        }

        long get(long index) {
            return start + index * step;
        }
    }

    /** A generator, or another iterator: gone through once. */
    record Lazy(Iterator<Object> items, String type) {}

    /** @param mark that of the string it was made of */
    record Bytes(byte[] bytes, byte mark) {}

    /** What a name, attribute or element is that does not exist: it prints as nothing, and most of what is done with it is an error. */
    record Undefined(String message) {
        JinjaException error() {
            return new JinjaException(message);
        }
    }

    /** What {@code namespace()} makes: the one thing that a template can change. */
    record Namespace(Dict values) {}

    /** Something that can be called. */
    interface Callable {
        Object call(Args args);

        /** As Python would print it. */
        default String shown() {
            return "<function>";
        }

        /** An attribute, or null where there is none of this name. */
        default Dict.Entry attribute(String name) {
            return null;
        }
    }

    /** A method or function by its name. */
    record Function(String name, java.util.function.Function<Args, Object> body) implements Callable {
        @Override
        public Object call(Args args) {
            return body.apply(args);
        }

        @Override
        public String shown() {
            return "<built-in method " + name + ">";
        }
    }

    static String typeName(Object value) {
        return switch (value) {
            case null -> "NoneType";
            case Boolean b -> "bool";
            case Long n -> "int";
            case BigInteger n -> "int";
            case Double d -> "float";
            case Str s -> s.safe ? "Markup" : "str";
            case ListValue l -> "list";
            case TupleValue t -> "tuple";
            case Dict d -> "dict";
            case View v -> "dict_" + v.kind;
            case Range r -> "range";
            case Lazy l -> l.type;
            case Bytes b -> "bytes";
            case Undefined u -> "Undefined";
            case Namespace n -> "Namespace";
            case Loop l -> "LoopContext";
            case Macro m -> "Macro";
            default -> "function";
        };
    }
}
