package dev.panacea.jinja;

import dev.panacea.jinja.Values.Dict;
import dev.panacea.jinja.Values.Lazy;
import dev.panacea.jinja.Values.ListValue;
import dev.panacea.jinja.Values.TupleValue;
import dev.panacea.jinja.Values.Undefined;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.function.Predicate;
import java.util.function.UnaryOperator;

/** Jinja2's filters, and transformers' own {@code tojson}. */
final class Filters {
    private static final Set<String> NAMES = Set.of("abs", "attr", "batch", "capitalize", "center", "count", "d", "default", "dictsort", "e", "escape", "filesizeformat",
            "first", "float", "forceescape", "format", "groupby", "indent", "int", "join", "last", "length", "list", "lower", "items", "map", "min", "max", "pprint",
            "random", "reject", "rejectattr", "replace", "reverse", "round", "safe", "select", "selectattr", "slice", "sort", "string", "striptags", "sum", "title",
            "trim", "truncate", "unique", "upper", "urlencode", "urlize", "wordcount", "wordwrap", "xmlattr", "tojson");
    private static final String UNRESERVED = "_.-~";

    private final Budget budget;
    private final Operators operators;
    private final Printing printing;
    private final Attributes attributes;
    private final StringMethods strings;
    private final Tests tests;
    /** The same choices in every rendering, as a training run is to be repeatable. */
    private final Random random = new Random(0);

    Filters(Budget budget, Operators operators, Printing printing, Attributes attributes, Tests tests) {
        this.budget = budget;
        this.operators = operators;
        this.printing = printing;
        this.attributes = attributes;
        this.tests = tests;
        strings = attributes.strings();
    }

    static boolean has(String name) {
        return NAMES.contains(name);
    }

    /** @param args the value, and the filter's own arguments */
    Object call(String name, Args args) {
        budget.step();
        if (!args.positional().isEmpty() && args.positional().getFirst() instanceof Str s) {
            budget.work(2L * s.length());
        }
        return switch (name) {
            case "map", "select", "reject", "selectattr", "rejectattr" -> each(name, args);
            case "abs", "int", "float", "round", "sum", "min", "max", "filesizeformat" -> number(name, args);
            case "first", "last", "random", "length", "count", "list", "reverse", "unique", "batch", "slice", "sort", "groupby", "dictsort", "items" ->
                sequence(name, args);
            case "default", "d" -> {
                Args.Bound a = args.bind(name, 1, "value", "default_value", "boolean");
                boolean use = a.get(0) instanceof Undefined || Operators.truth(a.get(2, false)) && !Operators.truth(a.get(0));
                yield use ? a.get(1, Str.EMPTY) : a.get(0);
            }
            case "attr" -> {
                Args.Bound a = args.bind(name, 2, "obj", "name");
                Object own = a.get(0) instanceof Undefined ? Args.ABSENT : attributes.own(a.get(0), a.string(1).text);
                yield own == Args.ABSENT ? new Undefined("there is no attribute '" + a.string(1) + "'") : own;
            }
            case "tojson" -> json(args);
            default -> text(name, args);
        };
    }

    // Each element

    private Object each(String name, Args args) {
        if (args.positional().isEmpty()) {
            throw new JinjaException(name + " needs a value");
        }
        Object value = args.positional().getFirst();
        Args rest = args.from(1);
        String type = "generator";
        if (!Operators.truth(value)) {
            return new Lazy(Collections.emptyIterator(), type);
        }
        if (name.equals("map")) {
            return new Lazy(later(() -> mapped(value, rest)), type);
        }
        return new Lazy(later(() -> chosen(name, value, rest)), type);
    }

    private Iterator<Object> mapped(Object value, Args args) {
        UnaryOperator<Object> change;
        if (args.positional().isEmpty() && args.named().containsKey("attribute")) {
            Args.Bound a = new Args(List.of(), args.named()).bind("map", 1, "attribute", "default");
            change = getter(a.get(0), a.get(1, null));
        } else if (args.positional().isEmpty()) {
            throw new JinjaException("map requires a filter argument");
        } else {
            Object filter = args.positional().getFirst();
            Args more = args.from(1);
            change = item -> call(name(filter, "filter", NAMES::contains), more.after(item));
        }
        Iterator<Object> items = operators.iterate(value);
        return new Iterator<>() {
            @Override
            public boolean hasNext() {
                return items.hasNext();
            }

            @Override
            public Object next() {
                return change.apply(items.next());
            }
        };
    }

    private Iterator<Object> chosen(String name, Object value, Args args) {
        boolean attribute = name.endsWith("attr");
        if (attribute && args.positional().isEmpty()) {
            throw new JinjaException("Missing parameter for attribute name");
        }
        UnaryOperator<Object> looked = attribute ? getter(args.positional().getFirst(), null) : item -> item;
        int at = attribute ? 1 : 0;
        Predicate<Object> test = Operators::truth;
        if (args.positional().size() > at) {
            Object called = args.positional().get(at);
            Args more = args.from(at + 1);
            test = item -> tests.call(name(called, "test", Tests::has), more.after(item));
        }
        Predicate<Object> holds = test;
        boolean wanted = name.startsWith("select");
        return where(operators.iterate(value), item -> holds.test(looked.apply(item)) == wanted);
    }

    private static String name(Object v, String what, Predicate<String> known) {
        if (v instanceof Str s && known.test(s.text)) {
            return s.text;
        }
        throw new JinjaException("No " + what + " named '" + (v instanceof Str s ? s.text : Values.typeName(v)) + "'");
    }

    /** The items that pass, asked for one at a time. */
    static Iterator<Object> where(Iterator<Object> items, Predicate<Object> passes) {
        return new Iterator<>() {
            private Object found = Args.ABSENT;

            @Override
            public boolean hasNext() {
                while (found == Args.ABSENT && items.hasNext()) {
                    Object item = items.next();
                    if (passes.test(item)) {
                        found = item;
                    }
                }
                return found != Args.ABSENT;
            }

            @Override
            public Object next() {
                if (!hasNext()) {
                    throw new java.util.NoSuchElementException();
                }
                Object item = found;
                found = Args.ABSENT;
                return item;
            }
        };
    }

    /** An iterator that is made at the first question, as a generator's body runs no earlier. */
    private static Iterator<Object> later(java.util.function.Supplier<Iterator<Object>> made) {
        return new Iterator<>() {
            private Iterator<Object> items;

            private Iterator<Object> items() {
                if (items == null) {
                    items = made.get();
                }
                return items;
            }

            @Override
            public boolean hasNext() {
                return items().hasNext();
            }

            @Override
            public Object next() {
                return items().next();
            }
        };
    }

    /** Looks up {@code a.b.0}; @param standard in place of what is undefined, unless null */
    private UnaryOperator<Object> getter(Object attribute, Object standard) {
        List<Object> path = new ArrayList<>();
        if (attribute instanceof Str s) {
            for (String part : s.text.split("\\.", -1)) {
                path.add(!part.isEmpty() && part.length() < 10 && part.chars().allMatch(c -> c >= '0' && c <= '9') ? (Object) Long.parseLong(part) : new Str(part));
            }
        } else if (attribute != null) {
            path.add(attribute);
        }
        return item -> {
            Object value = item;
            for (Object part : path) {
                value = attributes.item(value, part);
                if (standard != null && value instanceof Undefined) {
                    value = standard;
                }
            }
            return value;
        };
    }

    private UnaryOperator<Object> folded(UnaryOperator<Object> getter, boolean caseSensitive) {
        return caseSensitive ? getter : item -> getter.apply(item) instanceof Str s ? strings.lower(s) : getter.apply(item);
    }

    // Numbers

    private Object number(String name, Args args) {
        // Digits are read, and exact values rounded, in more than a step.
        budget.work(args.positional().isEmpty() ? 0 : args.positional().getFirst() instanceof Str s ? Math.min(s.length(), 4300) * 8L : 128);
        switch (name) {
            case "abs" -> {
                Object v = args.positional(name, 1, 1).get(0);
                if (!Numbers.isNumber(v)) {
                    throw new JinjaException("bad operand type for abs(): '" + Values.typeName(v) + "'");
                }
                return v instanceof Double d ? (Object) Math.abs(d) : Numbers.normal(Numbers.big(v).abs());
            }
            case "int" -> {
                Args.Bound a = args.bind(name, 1, "value", "default", "base");
                return integer(a.get(0), a.get(1, 0L), a.integer(2, 10));
            }
            case "float" -> {
                Args.Bound a = args.bind(name, 1, "value", "default");
                Object real = real(a.get(0));
                return real == null ? a.get(1, 0.0) : real;
            }
            case "round" -> {
                return round(args.bind(name, 1, "value", "precision", "method"));
            }
            case "sum" -> {
                Args.Bound a = args.bind(name, 1, "iterable", "attribute", "start");
                UnaryOperator<Object> getter = getter(a.get(1, null), null);
                Object sum = a.get(2, 0L);
                if (sum instanceof Str) {
                    throw new JinjaException("sum() can't sum strings");
                }
                for (Iterator<Object> items = operators.iterate(a.get(0)); items.hasNext();) {
                    sum = operators.arithmetic("+", sum, getter.apply(items.next()));
                }
                return sum;
            }
            case "filesizeformat" -> {
                Args.Bound a = args.bind(name, 1, "value", "binary");
                return fileSize(a.get(0), Operators.truth(a.get(1, false)));
            }
            default -> {
                Args.Bound a = args.bind(name, 1, "value", "case_sensitive", "attribute");
                UnaryOperator<Object> key = folded(getter(a.get(2, null), null), Operators.truth(a.get(1, false)));
                Iterator<Object> items = operators.iterate(a.get(0));
                if (!items.hasNext()) {
                    return new Undefined("No aggregated item, sequence was empty.");
                }
                Object best = items.next();
                Object bestKey = key.apply(best);
                while (items.hasNext()) {
                    Object item = items.next();
                    Object itemKey = key.apply(item);
                    if (name.equals("min") ? operators.less(itemKey, bestKey) : operators.compare(">", itemKey, bestKey)) {
                        best = item;
                        bestKey = itemKey;
                    }
                }
                return best;
            }
        }
    }

    private static Object integer(Object v, Object standard, long base) {
        switch (v) {
            case Str s -> {
                Object n = Numbers.parseInteger(s.text, Math.clamp(base, -1, 99));
                if (n != null) {
                    return n;
                }
                Double d = Numbers.parseReal(s.text);
                return d == null || d.isNaN() || d.isInfinite() ? standard : Numbers.truncate(d);
            }
            case Double d -> {
                // An infinite value is an OverflowError, which the filter does not catch at first.
                if (d.isInfinite()) {
                    throw new JinjaException("cannot convert float infinity to integer");
                }
                return d.isNaN() ? standard : Numbers.truncate(d);
            }
            case Undefined u -> throw u.error();
            case null, default -> {
                return Numbers.isNumber(v) ? Numbers.normal(Numbers.big(v)) : standard;
            }
        }
    }

    private static Object real(Object v) {
        return switch (v) {
            case Str s -> Numbers.parseReal(s.text);
            case Undefined u -> throw u.error();
            case null, default -> Numbers.isNumber(v) ? (Object) Numbers.real(v) : null;
        };
    }

    private Object round(Args.Bound a) {
        Object v = a.get(0);
        String method = a.has(2) ? printing.str(a.get(2)).text : "common";
        if (!method.equals("common") && !method.equals("ceil") && !method.equals("floor")) {
            throw new JinjaException("method must be common, ceil or floor");
        }
        if (!Numbers.isNumber(v)) {
            throw new JinjaException("type " + Values.typeName(v) + " doesn't define __round__ method");
        }
        if (method.equals("common")) {
            // None as precision means an integer.
            return a.has(1) && a.get(1) == null ? v instanceof Double d ? Numbers.truncate((Double) Numbers.round(d, 0)) : Numbers.normal(Numbers.big(v))
                    : Numbers.round(v, a.integer(1, 0));
        }
        Object scale = operators.arithmetic("**", 10L, a.get(1, 0L));
        Object scaled = operators.arithmetic("*", v, scale);
        Object whole = scaled instanceof Double d ? Numbers.truncate(method.equals("ceil") ? Math.ceil(d) : Math.floor(d)) : scaled;
        return operators.arithmetic("/", whole, scale);
    }

    private Object fileSize(Object v, boolean binary) {
        Object real = real(v);
        if (real == null) {
            throw new JinjaException("could not convert to float: " + printing.repr(v));
        }
        double bytes = (Double) real;
        long base = binary ? 1024 : 1000;
        if (bytes == 1) {
            return new Str("1 Byte");
        }
        if (bytes < base) {
            return new Str(Numbers.text(Numbers.truncate(bytes)) + " Bytes");
        }
        String units = "kMGTPEZY";
        int i = 0;
        double unit = (double) base * base;
        while (i < units.length() - 1 && bytes >= unit) {
            unit *= base;
            i++;
        }
        FormatSpec spec = FormatSpec.parse(budget, new Str(".1f"));
        return new Str(spec.real(base * bytes / unit).text + " " + (binary && i == 0 ? "K" : units.charAt(i)) + (binary ? "iB" : "B"));
    }

    // Sequences

    private Object sequence(String name, Args args) {
        switch (name) {
            case "length", "count" -> {
                return Operators.length(args.positional(name, 1, 1).get(0));
            }
            case "list" -> {
                return new ListValue(operators.list(args.bind(name, 1, "value").get(0)));
            }
            case "first" -> {
                Iterator<Object> items = operators.iterate(args.bind(name, 1, "seq").get(0));
                return items.hasNext() ? items.next() : new Undefined("No first item, sequence was empty.");
            }
            case "last" -> {
                Object v = args.bind(name, 1, "seq").get(0);
                List<Object> items = reversible(v);
                return items.isEmpty() ? new Undefined("No last item, sequence was empty.") : items.getLast();
            }
            case "random" -> {
                Object v = args.bind(name, 1, "seq").get(0);
                long n = Operators.length(v);
                return n == 0 ? new Undefined("No random item, sequence was empty.") : attributes.item(v, (long) random.nextInt((int) n));
            }
            case "reverse" -> {
                Object v = args.bind(name, 1, "value").get(0);
                if (v instanceof Str s) {
                    return operators.slice(s, null, null, -1L);
                }
                List<Object> items = operators.list(v);
                boolean generated = v instanceof Lazy;
                Collections.reverse(items);
                return generated ? new ListValue(items) : new Lazy(items.iterator(), "list_reverseiterator");
            }
            case "unique" -> {
                Args.Bound a = args.bind(name, 1, "value", "case_sensitive", "attribute");
                UnaryOperator<Object> key = folded(getter(a.get(2, null), null), Operators.truth(a.get(1, false)));
                Set<Object> seen = new HashSet<>();
                return new Lazy(later(() -> where(operators.iterate(a.get(0)), item -> {
                    budget.memory(64);
                    return seen.add(Dict.key(key.apply(item), budget));
                })), "generator");
            }
            case "items" -> {
                Object v = args.bind(name, 1, "value").get(0);
                return new Lazy(later(() -> {
                    if (v instanceof Undefined) {
                        return Collections.emptyIterator();
                    }
                    if (!(v instanceof Dict d)) {
                        throw new JinjaException("Can only get item pairs from a mapping.");
                    }
                    return new Values.View(d, "items").iterator();
                }), "generator");
            }
            case "batch" -> {
                Args.Bound a = args.bind(name, 2, "value", "linecount", "fill_with");
                return new Lazy(later(() -> batches(a)), "generator");
            }
            case "slice" -> {
                Args.Bound a = args.bind(name, 2, "value", "slices", "fill_with");
                return new Lazy(later(() -> slices(a)), "generator");
            }
            case "sort" -> {
                Args.Bound a = args.bind(name, 1, "value", "reverse", "case_sensitive", "attribute");
                List<Object> items = operators.list(a.get(0));
                return new ListValue(operators.sort(items, keys(items, a.get(3, null), Operators.truth(a.get(2, false))), a.integer(1, 0) != 0));
            }
            case "groupby" -> {
                return groups(args.bind(name, 2, "value", "attribute", "default", "case_sensitive"));
            }
            default -> {
                Args.Bound a = args.bind(name, 1, "value", "case_sensitive", "by", "reverse");
                String by = a.has(2) ? printing.str(a.get(2)).text : "key";
                if (!by.equals("key") && !by.equals("value")) {
                    throw new JinjaException("You can only sort by either \"key\" or \"value\"");
                }
                if (!(a.get(0) instanceof Dict d)) {
                    throw a.get(0) instanceof Undefined u ? u.error() : new JinjaException("'" + Values.typeName(a.get(0)) + "' object has no attribute 'items'");
                }
                List<Object> pairs = operators.list(new Values.View(d, "items"));
                List<Object> keys = new ArrayList<>();
                for (Object pair : pairs) {
                    Object key = ((TupleValue) pair).items.get(by.equals("key") ? 0 : 1);
                    keys.add(key instanceof Str s && !Operators.truth(a.get(1, false)) ? strings.lower(s) : key);
                }
                return new ListValue(operators.sort(pairs, keys, a.integer(3, 0) != 0));
            }
        }
    }

    private List<Object> reversible(Object v) {
        if (v instanceof Lazy || v instanceof Loop || !Operators.isIterable(v)) {
            throw new JinjaException("'" + Values.typeName(v) + "' object is not reversible");
        }
        return v instanceof Values.Sequence s ? s.items : operators.list(v);
    }

    private List<Object> keys(List<Object> items, Object attribute, boolean caseSensitive) {
        List<UnaryOperator<Object>> getters = new ArrayList<>();
        if (attribute instanceof Str s) {
            for (String part : s.text.split(",", -1)) {
                getters.add(folded(getter(new Str(part), null), caseSensitive));
            }
        } else {
            getters.add(folded(getter(attribute, null), caseSensitive));
        }
        budget.elements((long) items.size() * (2 + getters.size()));
        List<Object> keys = new ArrayList<>();
        for (Object item : items) {
            List<Object> key = new ArrayList<>();
            getters.forEach(g -> key.add(g.apply(item)));
            keys.add(new ListValue(key));
        }
        return keys;
    }

    private Iterator<Object> batches(Args.Bound a) {
        Iterator<Object> items = operators.iterate(a.get(0));
        long size = a.integer(1);
        return new Iterator<>() {
            private boolean begun;

            @Override
            public boolean hasNext() {
                return items.hasNext();
            }

            @Override
            public Object next() {
                List<Object> batch = new ArrayList<>();
                budget.memory(48);
                // Jinja looks at the size before it adds: one of 0 is met once, before the first item.
                while (items.hasNext() && (batch.size() != size || size == 0 && begun)) {
                    budget.memory(8);
                    batch.add(items.next());
                }
                begun = true;
                if (a.given(2) && batch.size() < size) {
                    budget.elements(size - batch.size());
                    batch.addAll(Collections.nCopies((int) (size - batch.size()), a.get(2)));
                }
                return new ListValue(batch);
            }
        };
    }

    private Iterator<Object> slices(Args.Bound a) {
        List<Object> all = operators.list(a.get(0));
        long n = a.integer(1);
        if (n == 0) {
            throw new JinjaException("integer division or modulo by zero");
        }
        long each = Math.floorDiv(all.size(), n);
        long extra = Math.floorMod(all.size(), n);
        return new Iterator<>() {
            private long number;

            @Override
            public boolean hasNext() {
                return number < n;
            }

            @Override
            public Object next() {
                long start = number * each + Math.min(number, extra);
                long end = start + each + (number < extra ? 1 : 0);
                budget.elements(end - start + 1);
                List<Object> slice = new ArrayList<>(all.subList((int) start, (int) end));
                if (a.given(2) && number >= extra) {
                    slice.add(a.get(2));
                }
                number++;
                return new ListValue(slice);
            }
        };
    }

    private Object groups(Args.Bound a) {
        UnaryOperator<Object> exact = getter(a.get(1), a.get(2, null));
        boolean caseSensitive = Operators.truth(a.get(3, false));
        UnaryOperator<Object> getter = folded(exact, caseSensitive);
        List<Object> items = operators.list(a.get(0));
        List<Object> keys = new ArrayList<>();
        budget.elements(2L * items.size());
        items.forEach(item -> keys.add(getter.apply(item)));
        List<Object> groups = new ArrayList<>();
        Object last = Args.ABSENT;
        List<Object> group = null;
        for (Object item : operators.sort(items, keys, false)) {
            Object key = getter.apply(item);
            if (group == null || !operators.equal(last, key)) {
                group = new ArrayList<>();
                groups.add(new TupleValue(Values.pair(exact.apply(item), new ListValue(group)), true));
                budget.memory(128);
                last = key;
            }
            group.add(item);
        }
        return new ListValue(groups);
    }

    // Text

    private Object text(String name, Args args) {
        switch (name) {
            case "join" -> {
                Args.Bound a = args.bind(name, 1, "value", "d", "attribute");
                UnaryOperator<Object> getter = getter(a.get(2, null), null);
                Iterator<Object> items = operators.iterate(a.get(0));
                return strings.join(printing.str(a.get(1, Str.EMPTY)), new Iterator<>() {
                    @Override
                    public boolean hasNext() {
                        return items.hasNext();
                    }

                    @Override
                    public Object next() {
                        return printing.str(getter.apply(items.next()));
                    }
                }, false).asSafe(false);
            }
            case "replace" -> {
                Args.Bound a = args.bind(name, 3, "s", "old", "new", "count");
                return strings.replace(printing.str(a.get(0)), printing.str(a.get(1)), printing.str(a.get(2)), a.given(3) ? a.integer(3) : -1).asSafe(false);
            }
            case "format" -> {
                if (args.positional().size() > 1 && !args.named().isEmpty()) {
                    throw new JinjaException("can't handle positional and keyword arguments at the same time");
                }
                Object values = new TupleValue(args.from(1).positional());
                if (!args.named().isEmpty()) {
                    Dict named = new Dict();
                    args.named().forEach((key, value) -> named.put(new Str(key), value, budget));
                    values = named;
                }
                return new PercentFormat(budget, printing).format(printing.str(args.positional().getFirst()), values);
            }
            case "trim" -> {
                Args.Bound a = args.bind(name, 1, "value", "chars");
                return StringMethods.strip(printing.str(a.get(0)), a.given(1) ? a.string(1) : null, true, true);
            }
            case "indent" -> {
                return indent(args.bind(name, 1, "s", "width", "first", "blank"));
            }
            case "truncate" -> {
                return truncate(args.bind(name, 1, "s", "length", "killwords", "end", "leeway"));
            }
            case "center" -> {
                Args.Bound a = args.bind(name, 1, "value", "width");
                return strings.pad(printing.str(a.get(0)), "center", a.integer(1, 80), new Str(" "));
            }
            case "urlencode" -> {
                return urlEncode(args.bind(name, 1, "value").get(0));
            }
            case "xmlattr" -> {
                return xmlAttributes(args.bind(name, 1, "d", "autospace"));
            }
            case "urlize", "pprint", "wordwrap" -> throw new JinjaException("the filter '" + name + "' is not supported in chat templates");
            default -> { }
        }
        Str s = name.equals("escape") || name.equals("e") ? null : printing.str(args.bind(name, 1, "s").get(0));
        return switch (name) {
            case "string" -> s;
            case "upper" -> strings.upper(s).asSafe(s.safe);
            case "lower" -> strings.lower(s).asSafe(s.safe);
            case "capitalize" -> strings.capitalize(s).asSafe(s.safe);
            case "title" -> title(s);
            case "safe" -> s.asSafe(true);
            case "escape", "e" -> printing.escape(args.positional(name, 1, 1).get(0));
            case "forceescape" -> printing.escape(s.asSafe(false));
            case "wordcount" -> words(s.text);
            case "striptags" -> stripTags(s);
            default -> throw new JinjaException("No filter named '" + name + "'");
        };
    }

    private Str title(Str s) {
        TextBuilder out = new TextBuilder(budget);
        int from = 0;
        int c;
        // A word goes up to a hyphen, an opening bracket or white space.
        for (int i = 0; i <= s.length(); i += Character.charCount(c)) {
            c = i < s.length() ? s.text.codePointAt(i) : ' ';
            boolean gap = c == '-' || PythonChars.isSpace(c) || "({[<".indexOf(c) >= 0;
            if (gap && from < i) {
                int first = from + Character.charCount(s.text.codePointAt(from));
                out.append(strings.upper(s.sub(from, first))).append(strings.lower(s.sub(first, i)));
            }
            if (gap) {
                out.append(s, Math.min(i, s.length()), Math.min(i + 1, s.length()));
                from = i + 1;
            }
        }
        return out.toStr();
    }

    private static Object words(String s) {
        long words = 0;
        boolean inWord = false;
        for (int c : s.codePoints().toArray()) {
            boolean word = PythonChars.isWord(c);
            words += word && !inWord ? 1 : 0;
            inWord = word;
        }
        return words;
    }

    private Object indent(Args.Bound a) {
        Str s = a.string(0);
        Str by = a.get(1, 4L) instanceof Str w ? w : (Str) operators.arithmetic("*", new Str(" "), a.get(1, 4L));
        boolean blank = Operators.truth(a.get(3, false));
        List<Object> lines = strings.lines(new TextBuilder(budget).append(s).append('\n').toStr(), false);
        TextBuilder out = new TextBuilder(budget);
        if (Operators.truth(a.get(2, false))) {
            out.append(by);
        }
        for (int i = 0; i < lines.size(); i++) {
            Str line = (Str) lines.get(i);
            if (i > 0) {
                out.append('\n');
                if (blank || !line.isEmpty()) {
                    out.append(by);
                }
            }
            out.append(line);
        }
        return out.toStr().asSafe(s.safe);
    }

    private Object truncate(Args.Bound a) {
        Object v = a.get(0);
        long length = a.integer(1, 255);
        Str end = a.has(3) ? a.string(3) : new Str("...");
        long leeway = a.given(4) ? a.integer(4) : 5;
        if (length < end.codePoints() || leeway < 0) {
            throw new JinjaException("expected length >= " + end.codePoints() + ", got " + length + ", and leeway >= 0, got " + leeway);
        }
        if (Operators.length(v) <= length + leeway) {
            return v;
        }
        Str cut = (Str) operators.slice(a.string(0), null, length - end.codePoints(), null);
        if (!Operators.truth(a.get(2, false))) {
            int space = cut.text.lastIndexOf(' ');
            cut = space < 0 ? cut : cut.sub(0, space);
        }
        return operators.concat(cut, end);
    }

    private Object urlEncode(Object v) {
        if (v instanceof Str || !Operators.isIterable(v)) {
            return quoted(v, false);
        }
        TextBuilder out = new TextBuilder(budget);
        Object pairs = v instanceof Dict d ? new Values.View(d, "items") : v;
        for (Iterator<Object> items = operators.iterate(pairs); items.hasNext();) {
            List<Object> pair = operators.list(items.next());
            if (pair.size() != 2) {
                throw new JinjaException("urlencode needs pairs");
            }
            out.append(out.length() == 0 ? "" : "&").append(quoted(pair.get(0), true)).append("=").append(quoted(pair.get(1), true));
        }
        return out.toStr();
    }

    private Str quoted(Object v, boolean inQuery) {
        Str s = printing.str(v);
        TextBuilder out = new TextBuilder(budget);
        int c;
        for (int i = 0; i < s.length(); i += Character.charCount(c)) {
            c = s.text.codePointAt(i);
            if (c < 0x80 && (Character.isLetterOrDigit(c) || UNRESERVED.indexOf(c) >= 0 || c == '/' && !inQuery)) {
                out.append(c, s.mark(i));
            } else if (c == ' ' && inQuery) {
                out.append("+", s.mark(i));
            } else {
                StringBuilder bytes = new StringBuilder();
                for (byte b : Character.toString(c).getBytes(StandardCharsets.UTF_8)) {
                    bytes.append(PythonChars.hex("%", b & 0xFF, 2).toUpperCase(java.util.Locale.ROOT));
                }
                out.append(bytes.toString(), s.mark(i));
            }
        }
        return out.toStr();
    }

    private Object xmlAttributes(Args.Bound a) {
        if (!(a.get(0) instanceof Dict d)) {
            throw a.get(0) instanceof Undefined u ? u.error() : new JinjaException("'" + Values.typeName(a.get(0)) + "' object has no attribute 'items'");
        }
        TextBuilder out = new TextBuilder(budget);
        for (Dict.Entry e : d.all()) {
            if (e.value() == null || e.value() instanceof Undefined) {
                continue;
            }
            if (!(e.key() instanceof Str key) || key.text.chars().anyMatch(c -> "/>= \t\n\r\f\u000B".indexOf(c) >= 0)) {
                throw new JinjaException("Invalid character in attribute name");
            }
            out.append(out.length() == 0 && !Operators.truth(a.get(1, true)) ? "" : " ").append(printing.escape(key)).append("=\"").append(printing.escape(e.value())).append("\"");
        }
        return out.toStr();
    }

    /** Without HTML's tags and comments, and with single spaces for white space. */
    private Str stripTags(Str s) {
        TextBuilder kept = new TextBuilder(budget);
        int at = 0;
        while (at < s.length()) {
            int open = s.text.indexOf('<', at);
            boolean comment = open >= 0 && s.text.startsWith("<!--", open);
            int close = open < 0 ? -1 : comment ? s.text.indexOf("-->", open + 2) : s.text.indexOf('>', open);
            if (close < 0) {
                break;
            }
            kept.append(s, at, open);
            at = close + (comment ? 3 : 1);
        }
        kept.append(s, at, s.length());
        List<Object> words = ((ListValue) strings.call(kept.toStr(), "split", Args.of())).items;
        Str joined = strings.join(new Str(" "), words.iterator(), true);
        for (Map.Entry<String, String> e : List.of(Map.entry("&lt;", "<"), Map.entry("&gt;", ">"), Map.entry("&#39;", "'"), Map.entry("&#34;", "\""),
                Map.entry("&quot;", "\""), Map.entry("&amp;", "&"))) {
            joined = strings.replace(joined, new Str(e.getKey(), Str.DATA), new Str(e.getValue(), joined.isUniform() ? joined.mark() : Str.DATA), -1);
        }
        return joined;
    }

    private Object json(Args args) {
        Args.Bound a = args.bind("tojson", 1, "x", "ensure_ascii", "indent", "separators", "sort_keys");
        Str indent = !a.given(2) ? null : a.get(2) instanceof Str s ? s : (Str) operators.arithmetic("*", new Str(" "), a.get(2));
        Str items = new Str(indent == null ? ", " : ",");
        Str keys = new Str(": ");
        if (a.given(3)) {
            List<Object> both = operators.list(a.get(3));
            if (both.size() != 2 || !(both.get(0) instanceof Str) || !(both.get(1) instanceof Str)) {
                throw new JinjaException("separators of tojson are two strings");
            }
            items = (Str) both.get(0);
            keys = (Str) both.get(1);
        }
        return new JsonText(budget, operators, Operators.truth(a.get(1, false)), indent, items, keys, Operators.truth(a.get(4, false))).write(a.get(0));
    }
}
