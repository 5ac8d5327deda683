package dev.panacea.jinja;

import java.util.HashMap;
import java.util.Map;

/** The variables of a block that has its own, within those around it. */
final class Scope {
    private final Scope outer;
    private Map<String, Object> variables;

    Scope(Scope outer) {
        this.outer = outer;
    }

    void set(String name, Object value) {
        if (variables == null) {
            variables = new HashMap<>(8);
        }
        variables.put(name, value);
    }

    /** The value, or {@link Args#ABSENT}. */
    Object get(String name) {
        for (Scope s = this; s != null; s = s.outer) {
            if (s.variables != null) {
                Object value = s.variables.getOrDefault(name, Args.ABSENT);
                if (value != Args.ABSENT) {
                    return value;
                }
            }
        }
        return Args.ABSENT;
    }
}
