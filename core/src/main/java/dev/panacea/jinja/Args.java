package dev.panacea.jinja;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What a function, method, filter or test is called with; a filter's or test's value is the first. */
record Args(List<Object> positional, Map<String, Object> named) {
    /** In place of an argument that was not given. */
    static final Object ABSENT = new Object();

    static Args of(Object... positional) {
        return new Args(Arrays.asList(positional), Map.of());
    }

    /** With a value before the others. */
    Args after(Object first) {
        List<Object> all = new java.util.ArrayList<>(positional.size() + 1);
        all.add(first);
        all.addAll(positional);
        return new Args(all, named);
    }

    /** Without the first few. */
    Args from(int index) {
        return new Args(positional.subList(Math.min(index, positional.size()), positional.size()), named);
    }

    Args with(String name, Object value) {
        Map<String, Object> more = new LinkedHashMap<>(named);
        more.put(name, value);
        return new Args(positional, more);
    }

    /**
     * The arguments by the order of their parameters, {@link #ABSENT} where there is none.
     *
     * @param required how many there must be
     * @throws JinjaException as Python's TypeError when they do not fit
     */
    Bound bind(String function, int required, String... parameters) {
        if (positional.size() > parameters.length) {
            throw new JinjaException(function + "() takes at most " + parameters.length + " arguments (" + positional.size() + " given)");
        }
        Object[] values = new Object[parameters.length];
        Arrays.fill(values, ABSENT);
        for (int i = 0; i < positional.size(); i++) {
            values[i] = positional.get(i);
        }
        for (Map.Entry<String, Object> e : named.entrySet()) {
            int i = Arrays.asList(parameters).indexOf(e.getKey());
            if (i < 0) {
                throw new JinjaException(function + "() got an unexpected keyword argument '" + e.getKey() + "'");
            }
            if (values[i] != ABSENT) {
                throw new JinjaException(function + "() got multiple values for argument '" + e.getKey() + "'");
            }
            values[i] = e.getValue();
        }
        for (int i = 0; i < required; i++) {
            if (values[i] == ABSENT) {
                throw new JinjaException(function + "() missing required argument '" + parameters[i] + "'");
            }
        }
        return new Bound(function, values);
    }

    /** The same where Python takes no names. */
    Bound positional(String function, int required, int most) {
        if (!named.isEmpty()) {
            throw new JinjaException(function + "() takes no keyword arguments");
        }
        String[] parameters = new String[most];
        for (int i = 0; i < most; i++) {
            parameters[i] = String.valueOf(i + 1);
        }
        return bind(function, required, parameters);
    }

    /** Arguments in their places. */
    record Bound(String function, Object[] values) {
        boolean has(int i) {
            return values[i] != ABSENT;
        }

        Object get(int i) {
            return values[i];
        }

        Object get(int i, Object otherwise) {
            return has(i) ? values[i] : otherwise;
        }

        /** None counts as absent. */
        boolean given(int i) {
            return has(i) && values[i] != null;
        }

        Str string(int i) {
            if (values[i] instanceof Str s) {
                return s;
            }
            throw wrong(i, "a str");
        }

        /** An integer, as something that a long holds: larger ones are as good as the largest. */
        long integer(int i) {
            return switch (values[i]) {
                case Long n -> n;
                case Boolean b -> b ? 1 : 0;
                case java.math.BigInteger n -> Numbers.clamp(n);
                case null, default -> throw wrong(i, "an int");
            };
        }

        long integer(int i, long otherwise) {
            return has(i) ? integer(i) : otherwise;
        }

        private JinjaException wrong(int i, String wanted) {
            return values[i] instanceof Values.Undefined u ? u.error()
                    : new JinjaException(function + "() needs " + wanted + " as argument " + (i + 1) + ", not " + Values.typeName(values[i]));
        }
    }
}
