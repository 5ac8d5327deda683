package dev.panacea.jinja;

import dev.panacea.jinja.Values.Dict;
import dev.panacea.jinja.Values.Lazy;
import dev.panacea.jinja.Values.ListValue;
import dev.panacea.jinja.Values.Range;
import dev.panacea.jinja.Values.Sequence;
import dev.panacea.jinja.Values.TupleValue;
import dev.panacea.jinja.Values.Undefined;
import dev.panacea.jinja.Values.View;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import java.util.function.IntFunction;

/** What Python's operators and built-in functions do with the values of a template. */
final class Operators {
    private final Budget budget;
    private final Printing printing;

    Operators(Budget budget, Printing printing) {
        this.budget = budget;
        this.printing = printing;
    }

    static boolean truth(Object v) {
        return switch (v) {
            case null -> false;
            case Boolean b -> b;
            case Long n -> n != 0;
            case BigInteger n -> n.signum() != 0;
            case Double d -> d != 0;
            case Str s -> !s.isEmpty();
            case Sequence s -> !s.items.isEmpty();
            case Dict d -> d.size() > 0;
            case View view -> view.dict().size() > 0;
            case Range r -> r.size() > 0;
            case Values.Bytes b -> b.bytes().length > 0;
            case Undefined u -> false;
            default -> true;
        };
    }

    /** The number of elements, or -1 where the value has none to count. */
    static long size(Object v) {
        return switch (v) {
            case Str s -> s.codePoints();
            case Sequence s -> s.items.size();
            case Dict d -> d.size();
            case View view -> view.dict().size();
            case Range r -> r.size();
            case Values.Bytes b -> b.bytes().length;
            case Loop l -> l.length();
            case Undefined u -> 0;
            case null, default -> -1;
        };
    }

    static long length(Object v) {
        long n = size(v);
        if (n < 0) {
            throw new JinjaException("object of type '" + Values.typeName(v) + "' has no len()");
        }
        return n;
    }

    static boolean isIterable(Object v) {
        return v instanceof Str || v instanceof Sequence || v instanceof Dict || v instanceof View || v instanceof Range || v instanceof Lazy || v instanceof Undefined
                || v instanceof Loop || v instanceof Values.Bytes;
    }

    /** Goes through a value, each element on the budget. */
    Iterator<Object> iterate(Object v) {
        Iterator<Object> items = switch (v) {
            case Str s -> characters(s);
            case Sequence s -> s.items.iterator();
            case Dict d -> d.keys();
            case View view -> view.iterator();
            case Range r -> indexed(r.size(), i -> r.get(i));
            case Lazy l -> l.items();
            case Values.Bytes b -> indexed(b.bytes().length, i -> (long) (b.bytes()[i] & 0xFF));
            case Loop l -> l.pairs();
            case Undefined u -> Collections.emptyIterator();
            case null, default -> throw new JinjaException("'" + Values.typeName(v) + "' object is not iterable");
        };
        return new Iterator<>() {
            @Override
            public boolean hasNext() {
                return items.hasNext();
            }

            @Override
            public Object next() {
                budget.step();
                return items.next();
            }
        };
    }

    private static Iterator<Object> characters(Str s) {
        return new Iterator<>() {
            private int at;

            @Override
            public boolean hasNext() {
                return at < s.length();
            }

            @Override
            public Object next() {
                int start = at;
                at += Character.charCount(s.text.codePointAt(at));
                return s.sub(start, at);
            }
        };
    }

    static Iterator<Object> indexed(long n, IntFunction<Object> element) {
        return new Iterator<>() {
            private int at;

            @Override
            public boolean hasNext() {
                return at < n;
            }

            @Override
            public Object next() {
                return element.apply(at++);
            }
        };
    }

    List<Object> list(Object v) {
        List<Object> list = new ArrayList<>();
        Iterator<Object> items = iterate(v);
        budget.memory(48);
        while (items.hasNext()) {
            budget.memory(v instanceof Str ? 64 : 16);
            list.add(items.next());
        }
        return list;
    }

    // Comparison

    boolean equal(Object a, Object b) {
        budget.step();
        if (Numbers.isNumber(a) && Numbers.isNumber(b)) {
            return !Numbers.isNan(a) && !Numbers.isNan(b) && Numbers.compare(a, b) == 0;
        }
        return switch (a) {
            case null -> b == null;
            case Str s -> {
                budget.work(s.length() >> 3);
                yield s.equals(b);
            }
            case Undefined u -> b instanceof Undefined;
            case ListValue l -> b instanceof ListValue m && equal(l.items, m.items);
            case TupleValue t -> b instanceof TupleValue u && equal(t.items, u.items);
            case Dict d -> b instanceof Dict e && equal(d, e);
            case Range r -> b instanceof Range q && r.size() == q.size()
                    && (r.size() == 0 || r.start() == q.start() && (r.size() == 1 || r.step() == q.step()));
            default -> a == b || a.equals(b) && a instanceof Values.Function;
        };
    }

    private boolean equal(List<Object> a, List<Object> b) {
        if (a.size() != b.size()) {
            return false;
        }
        budget.enter();
        boolean equal = true;
        for (int i = 0; equal && i < a.size(); i++) {
            equal = a.get(i) == b.get(i) || equal(a.get(i), b.get(i));
        }
        budget.leave();
        return equal;
    }

    private boolean equal(Dict a, Dict b) {
        if (a.size() != b.size()) {
            return false;
        }
        budget.enter();
        boolean equal = true;
        for (Dict.Entry e : a.all()) {
            Dict.Entry other = b.entry(e.key(), budget);
            equal &= other != null && (e.value() == other.value() || equal(e.value(), other.value()));
            if (!equal) {
                break;
            }
        }
        budget.leave();
        return equal;
    }

    /** @param operator one of {@code == != < <= > >= in "not in"} */
    boolean compare(String operator, Object a, Object b) {
        return switch (operator) {
            case "==" -> equal(a, b);
            case "!=" -> !equal(a, b);
            case "in" -> contains(b, a);
            case "not in" -> !contains(b, a);
            default -> ordered(operator, a, b);
        };
    }

    private boolean ordered(String operator, Object a, Object b) {
        budget.step();
        if (Numbers.isNumber(a) && Numbers.isNumber(b)) {
            return !Numbers.isNan(a) && !Numbers.isNan(b) && holds(operator, Numbers.compare(a, b));
        }
        if (a instanceof Str s && b instanceof Str t) {
            budget.work(Math.min(s.length(), t.length()) >> 3);
            return holds(operator, codePointOrder(s.text, t.text));
        }
        if (a instanceof Sequence s && b instanceof Sequence t && s.getClass() == t.getClass()) {
            budget.enter();
            boolean result = false;
            int n = Math.min(s.items.size(), t.items.size());
            int i = 0;
            while (i < n && (s.items.get(i) == t.items.get(i) || equal(s.items.get(i), t.items.get(i)))) {
                i++;
            }
            result = i < n ? ordered(operator, s.items.get(i), t.items.get(i)) : holds(operator, Integer.compare(s.items.size(), t.items.size()));
            budget.leave();
            return result;
        }
        if (a instanceof Undefined u) {
            throw u.error();
        }
        if (b instanceof Undefined u) {
            throw u.error();
        }
        throw new JinjaException("'" + operator + "' not supported between instances of '" + Values.typeName(a) + "' and '" + Values.typeName(b) + "'");
    }

    boolean less(Object a, Object b) {
        return ordered("<", a, b);
    }

    private static boolean holds(String operator, int order) {
        return switch (operator) {
            case "<" -> order < 0;
            case "<=" -> order <= 0;
            case ">" -> order > 0;
            default -> order >= 0;
        };
    }

    private static int codePointOrder(String a, String b) {
        int n = Math.min(a.length(), b.length());
        for (int i = 0; i < n; i++) {
            char x = a.charAt(i);
            char y = b.charAt(i);
            if (x != y) {
                // A surrogate stands for a code point above all others.
                return Character.isSurrogate(x) == Character.isSurrogate(y) ? x - y : Character.isSurrogate(x) ? 1 : -1;
            }
        }
        return a.length() - b.length();
    }

    boolean contains(Object container, Object item) {
        switch (container) {
            case Str s -> {
                if (item instanceof Str t) {
                    budget.work(s.length() >> 3);
                    return new Search(budget, t.text).next(s.text, 0) >= 0;
                }
                throw new JinjaException("'in <string>' requires string as left operand, not " + Values.typeName(item));
            }
            case Dict d -> {
                return d.entry(item, budget) != null;
            }
            case View v when v.kind().equals("keys") -> {
                return v.dict().entry(item, budget) != null;
            }
            case null, default -> {
                if (!isIterable(container)) {
                    throw new JinjaException("argument of type '" + Values.typeName(container) + "' is not iterable");
                }
                for (Iterator<Object> items = iterate(container); items.hasNext();) {
                    Object next = items.next();
                    if (next == item || equal(next, item)) {
                        return true;
                    }
                }
                return false;
            }
        }
    }

    // Arithmetic

    Object arithmetic(String operator, Object a, Object b) {
        budget.step();
        if (Numbers.isNumber(a) && Numbers.isNumber(b)) {
            if (a instanceof BigInteger || b instanceof BigInteger || operator.equals("**") && !(b instanceof Long n && n <= 64)) {
                budget.work(1 << 13);
            }
            return Numbers.arithmetic(operator, a, b);
        }
        if (operator.equals("%") && a instanceof Str s) {
            return new PercentFormat(budget, printing).format(s, b);
        }
        if (a instanceof Undefined u) {
            throw u.error();
        }
        if (b instanceof Undefined u) {
            throw u.error();
        }
        if (operator.equals("+")) {
            if (a instanceof Str s && b instanceof Str t) {
                return s.safe || t.safe ? concat(printing.escape(s), printing.escape(t)).asSafe(true) : concat(s, t);
            }
            if (a instanceof Sequence s && b instanceof Sequence t && (s instanceof ListValue) == (t instanceof ListValue)) {
                budget.elements(s.items.size() + t.items.size());
                List<Object> both = new ArrayList<>(s.items.size() + t.items.size());
                both.addAll(s.items);
                both.addAll(t.items);
                return s.of(both);
            }
        }
        if (operator.equals("*")) {
            if (Numbers.isInteger(b) && (a instanceof Str || a instanceof Sequence)) {
                return repeat(a, Numbers.clamp(Numbers.big(b)));
            }
            if (Numbers.isInteger(a) && (b instanceof Str || b instanceof Sequence)) {
                return repeat(b, Numbers.clamp(Numbers.big(a)));
            }
        }
        throw new JinjaException("unsupported operand type(s) for " + operator + ": '" + Values.typeName(a) + "' and '" + Values.typeName(b) + "'");
    }

    Str concat(Str a, Str b) {
        if (a.isEmpty() && !a.safe) {
            return b;
        }
        if (b.isEmpty() && !b.safe) {
            return a;
        }
        if (a.isUniform() && b.isUniform() && a.mark() == b.mark()) {
            budget.memory(40L + a.length() + b.length());
            budget.work(a.length() + b.length() >> 3);
            return new Str(a.text + b.text, a.mark());
        }
        return new TextBuilder(budget).append(a).append(b).toStr();
    }

    private Object repeat(Object v, long times) {
        int unit = v instanceof Str s ? s.length() : ((Sequence) v).items.size();
        long n = Math.max(0, times);
        if (unit > 0 && n > Integer.MAX_VALUE / unit) {
            budget.memory(Long.MAX_VALUE);
        }
        if (unit == 0) {
            n = 0;
        }
        if (v instanceof Str s) {
            budget.memory(40 + n * unit);
            budget.work(n * unit >> 3);
            if (s.isUniform()) {
                return new Str(s.text.repeat((int) n), s.mark()).asSafe(s.safe);
            }
            TextBuilder out = new TextBuilder(budget);
            for (long i = 0; i < n; i++) {
                out.append(s);
            }
            return out.toStr().asSafe(s.safe);
        }
        Sequence s = (Sequence) v;
        budget.elements(n * unit);
        List<Object> items = new ArrayList<>();
        for (long i = 0; i < n; i++) {
            items.addAll(s.items);
        }
        return s.of(items);
    }

    Object sign(char sign, Object v) {
        if (v instanceof Undefined u) {
            throw u.error();
        }
        if (!Numbers.isNumber(v)) {
            throw new JinjaException("bad operand type for unary " + sign + ": '" + Values.typeName(v) + "'");
        }
        return sign == '-' ? Numbers.negate(v) : v instanceof Boolean ? Numbers.normal(Numbers.big(v)) : v;
    }

    // Elements

    /** An element of something with places, or {@link Args#ABSENT}. */
    Object at(Object v, Object index) {
        if (!Numbers.isInteger(index)) {
            return Args.ABSENT;
        }
        long i = Numbers.clamp(Numbers.big(index));
        if (v instanceof Str s) {
            budget.work(s.length());
        }
        long n = v instanceof Loop ? -1 : size(v);
        i = i < 0 ? i + n : i;
        if (i < 0 || i >= n) {
            return Args.ABSENT;
        }
        return switch (v) {
            case Str s -> {
                int start = s.unit((int) i);
                yield s.sub(start, start + Character.charCount(s.text.codePointAt(start)));
            }
            case Sequence s -> s.items.get((int) i);
            case Range r -> r.get(i);
            case Values.Bytes b -> (long) (b.bytes()[(int) i] & 0xFF);
            default -> Args.ABSENT;
        };
    }

    /** {@code v[start:stop:step]}; each of the three may be null. */
    Object slice(Object v, Object start, Object stop, Object step) {
        if (v instanceof Undefined u) {
            throw u.error();
        }
        if (!(v instanceof Str) && !(v instanceof Sequence) && !(v instanceof Range)) {
            throw new JinjaException("'" + Values.typeName(v) + "' object cannot be sliced");
        }
        if (v instanceof Str s) {
            budget.work(s.length() >> 2);
        }
        long by = step == null ? 1 : bound(step);
        if (by == 0) {
            throw new JinjaException("slice step cannot be zero");
        }
        long n = size(v);
        long lowest = by > 0 ? 0 : -1;
        long highest = by > 0 ? n : n - 1;
        long from = start == null ? by > 0 ? lowest : highest : place(bound(start), n, lowest, highest);
        long to = stop == null ? by > 0 ? highest : lowest : place(bound(stop), n, lowest, highest);
        if (v instanceof Range r) {
            return new Range(r.start() + from * r.step(), r.start() + to * r.step(), Math.multiplyExact(r.step(), Math.clamp(by, -200_000L, 200_000L)));
        }
        long count = by > 0 ? to > from ? (to - from - 1) / by + 1 : 0 : from > to ? (from - to - 1) / -Math.max(by, -Long.MAX_VALUE) + 1 : 0;
        if (v instanceof Str s) {
            boolean wide = n < s.length();
            if (by == 1) {
                budget.memory(40 + count);
                return count == 0 ? Str.EMPTY.asSafe(s.safe) : s.sub(wide ? s.unit((int) from) : (int) from, wide ? s.unit((int) to) : (int) to);
            }
            int[] units = new int[wide ? (int) n : 0];
            budget.memory(4L * units.length);
            for (int i = 0, at = 0; i < units.length; i++) {
                units[i] = at;
                at += Character.charCount(s.text.codePointAt(at));
            }
            TextBuilder out = new TextBuilder(budget);
            for (long k = 0; k < count; k++) {
                int unit = wide ? units[(int) (from + k * by)] : (int) (from + k * by);
                out.append(s.text.codePointAt(unit), s.mark(unit));
            }
            return out.toStr().asSafe(s.safe);
        }
        Sequence s = (Sequence) v;
        budget.elements(count);
        List<Object> items = new ArrayList<>((int) count);
        for (long k = 0; k < count; k++) {
            items.add(s.items.get((int) (from + k * by)));
        }
        return s.of(items);
    }

    private static long bound(Object v) {
        if (!Numbers.isInteger(v)) {
            throw v instanceof Undefined u ? u.error() : new JinjaException("slice indices must be integers or None");
        }
        return Math.max(-Long.MAX_VALUE, Numbers.clamp(Numbers.big(v)));
    }

    private static long place(long index, long n, long lowest, long highest) {
        long i = index < 0 ? index + n : index;
        return Math.clamp(i, lowest, highest);
    }

    /** A stable sort by Python's {@code <}, which may be an error, or no order at all. */
    List<Object> sort(List<Object> items, List<Object> keys, boolean reverse) {
        int n = items.size();
        budget.elements(2L * n);
        Integer[] order = new Integer[n];
        for (int i = 0; i < n; i++) {
            order[i] = reverse ? n - 1 - i : i;
        }
        merge(order, new Integer[n], 0, n, keys);
        List<Object> sorted = new ArrayList<>(n);
        for (int i = 0; i < n; i++) {
            sorted.add(items.get(order[reverse ? n - 1 - i : i]));
        }
        return sorted;
    }

    private void merge(Integer[] order, Integer[] room, int from, int to, List<Object> keys) {
        if (to - from < 2) {
            return;
        }
        int middle = from + to >>> 1;
        merge(order, room, from, middle, keys);
        merge(order, room, middle, to, keys);
        System.arraycopy(order, from, room, from, to - from);
        int left = from;
        int right = middle;
        for (int i = from; i < to; i++) {
            boolean takeRight = left == middle || right < to && less(keys.get(room[right]), keys.get(room[left]));
            order[i] = room[takeRight ? right++ : left++];
        }
    }
}
