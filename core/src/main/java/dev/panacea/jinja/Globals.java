package dev.panacea.jinja;

import dev.panacea.jinja.Values.Callable;
import dev.panacea.jinja.Values.Dict;
import dev.panacea.jinja.Values.Function;
import dev.panacea.jinja.Values.Namespace;
import java.time.Clock;
import java.util.Iterator;
import java.util.List;
import java.util.Map;

/** What every template can call: Jinja2's functions and those that transformers adds. */
final class Globals {
    private static final int MAX_RANGE = 100_000;

    private final Budget budget;
    private final Operators operators;
    private final Printing printing;
    private final Attributes attributes;
    private final Clock clock;

    Globals(Budget budget, Operators operators, Printing printing, Attributes attributes, Clock clock) {
        this.budget = budget;
        this.operators = operators;
        this.printing = printing;
        this.attributes = attributes;
        this.clock = clock;
    }

    Map<String, Object> all() {
        return Map.of("range", new Function("range", this::range),
                "dict", new DictMaker(),
                "namespace", new Function("namespace", args -> namespace(dict("namespace", args))),
                "cycler", new Function("cycler", Cycler::new),
                "joiner", new Function("joiner", args -> new Joiner(args.bind("joiner", 0, "sep").get(0, new Str(", ")))),
                "lipsum", new Function("lipsum", args -> {
                    throw new JinjaException("lipsum() makes random text, which has no place in training data");
                }),
                "raise_exception", new Function("raise_exception", args -> {
                    throw JinjaException.raised(printing.str(args.bind("raise_exception", 1, "message").get(0)).text);
                }),
                "strftime_now", new Function("strftime_now", args -> Strftime.format(budget, args.bind("strftime_now", 1, "format").string(0), clock)));
    }

    private Object range(Args args) {
        Args.Bound a = args.positional("range", 1, 3);
        long start = a.has(1) ? a.integer(0) : 0;
        long stop = a.has(1) ? a.integer(1) : a.integer(0);
        long step = a.integer(2, 1);
        if (step == 0) {
            throw new JinjaException("range() arg 3 must not be zero");
        }
        Values.Range range = new Values.Range(start, stop, step);
        if (range.size() > MAX_RANGE) {
            throw new JinjaException("Range too big. The sandbox blocks ranges larger than MAX_RANGE (" + MAX_RANGE + ").");
        }
        return range;
    }

    private Dict dict(String function, Args args) {
        if (args.positional().size() > 1) {
            throw new JinjaException(function + " expected at most 1 argument, got " + args.positional().size());
        }
        Dict made = new Dict();
        budget.memory(64);
        if (!args.positional().isEmpty()) {
            Object from = args.positional().getFirst();
            if (from instanceof Values.Undefined u) {
                throw u.error();
            }
            Object pairs = from instanceof Dict d ? new Values.View(d, "items") : from;
            for (Iterator<Object> items = operators.iterate(pairs); items.hasNext();) {
                List<Object> pair = operators.list(items.next());
                if (pair.size() != 2) {
                    throw new JinjaException("dictionary update sequence element has length " + pair.size() + "; 2 is required");
                }
                made.put(pair.get(0), pair.get(1), budget);
            }
        }
        args.named().forEach((name, value) -> made.put(new Str(name), value, budget));
        return made;
    }

    private static Namespace namespace(Dict values) {
        for (Dict.Entry e : values.all()) {
            if (e.key() instanceof Str name) {
                checkName(name.text);
            }
        }
        return new Namespace(values);
    }

    static void checkName(String name) {
        if (name.startsWith("_")) {
            throw new JinjaException("Chat templates cannot store underscore-prefixed attributes on a namespace, but got '" + name + "'");
        }
    }

    private final class DictMaker implements Callable {
        @Override
        public Object call(Args args) {
            return dict("dict", args);
        }

        @Override
        public Dict.Entry attribute(String name) {
            return name.equals("fromkeys") ? new Dict.Entry(null, new Function(name, attributes::fromKeys)) : null;
        }
    }

    private static final class Cycler implements Callable {
        private final List<Object> items;
        private int position;

        Cycler(Args args) {
            items = args.positional();
            if (items.isEmpty() || !args.named().isEmpty()) {
                throw new JinjaException("at least one item has to be provided");
            }
        }

        @Override
        public Object call(Args args) {
            throw new JinjaException("'Cycler' object is not callable");
        }

        @Override
        public Dict.Entry attribute(String name) {
            return switch (name) {
                case "current" -> new Dict.Entry(null, items.get(position));
                case "items" -> new Dict.Entry(null, new Values.TupleValue(items));
                case "pos" -> new Dict.Entry(null, (long) position);
                case "next" -> new Dict.Entry(null, new Function(name, args -> {
                    Object item = items.get(position);
                    position = (position + 1) % items.size();
                    return item;
                }));
                case "reset" -> new Dict.Entry(null, new Function(name, args -> {
                    position = 0;
                    return null;
                }));
                default -> null;
            };
        }
    }

    private static final class Joiner implements Callable {
        private final Object separator;
        private boolean used;

        Joiner(Object separator) {
            this.separator = separator;
        }

        @Override
        public Object call(Args args) {
            Object now = used ? separator : Str.EMPTY;
            used = true;
            return now;
        }
    }
}
