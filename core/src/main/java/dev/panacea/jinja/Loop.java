package dev.panacea.jinja;

import dev.panacea.jinja.Values.Function;
import dev.panacea.jinja.Values.TupleValue;
import dev.panacea.jinja.Values.Undefined;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;

/** The {@code loop} of a loop; it looks one item ahead where it is asked to. */
final class Loop implements Values.Callable {
    /** Renders the loop again over other items, one level deeper. */
    interface Recursion {
        Str render(Object items, int depth0);
    }

    private final Operators operators;
    private Iterator<Object> items;
    private long length;
    private long index0 = -1;
    private Object before = Args.ABSENT;
    private Object current = Args.ABSENT;
    private Object after = Args.ABSENT;
    private Object changed = Args.ABSENT;
    private final int depth0;
    private final Recursion recursion;

    /**
     * @param length how many items there are; negative where that is not known yet
     * @param recursion null where the loop is not recursive
     */
    Loop(Operators operators, Iterator<Object> items, long length, int depth0, Recursion recursion) {
        this.operators = operators;
        this.items = items;
        this.length = length;
        this.depth0 = depth0;
        this.recursion = recursion;
    }

    boolean hasNext() {
        return after != Args.ABSENT || items.hasNext();
    }

    Object next() {
        Object next = after != Args.ABSENT ? after : items.next();
        after = Args.ABSENT;
        index0++;
        before = current;
        current = next;
        return next;
    }

    long length() {
        if (length < 0) {
            List<Object> rest = new ArrayList<>();
            items.forEachRemaining(rest::add);
            length = rest.size() + index0 + 1 + (after == Args.ABSENT ? 0 : 1);
            items = rest.iterator();
        }
        return length;
    }

    private Object peek() {
        if (after == Args.ABSENT && items.hasNext()) {
            after = items.next();
        }
        return after;
    }

    /** Python gives pairs of an item and the loop to who goes through the loop itself. */
    Iterator<Object> pairs() {
        return new Iterator<>() {
            @Override
            public boolean hasNext() {
                return Loop.this.hasNext();
            }

            @Override
            public Object next() {
                return new TupleValue(Values.pair(Loop.this.next(), Loop.this));
            }
        };
    }

    Object get(String name) {
        return switch (name) {
            case "index" -> index0 + 1;
            case "index0" -> index0;
            case "revindex" -> length() - index0;
            case "revindex0" -> length() - index0 - 1;
            case "first" -> index0 == 0;
            case "last" -> peek() == Args.ABSENT;
            case "length" -> length();
            case "depth" -> depth0 + 1L;
            case "depth0" -> (long) depth0;
            case "previtem" -> index0 == 0 ? new Undefined("there is no previous item") : before;
            case "nextitem" -> peek() == Args.ABSENT ? new Undefined("there is no next item") : after;
            case "cycle" -> new Function(name, args -> {
                List<Object> choices = args.positional();
                if (choices.isEmpty() || !args.named().isEmpty()) {
                    throw new JinjaException("no items for cycling given");
                }
                return choices.get((int) (index0 % choices.size()));
            });
            case "changed" -> new Function(name, args -> {
                TupleValue now = new TupleValue(args.positional());
                boolean differs = changed == Args.ABSENT || !operators.equal(changed, now);
                changed = now;
                return differs;
            });
            default -> Args.ABSENT;
        };
    }

    @Override
    public Object call(Args args) {
        if (recursion == null) {
            throw new JinjaException("The loop must have the 'recursive' marker to be called recursively.");
        }
        return recursion.render(args.bind("loop", 1, "iterable").get(0), depth0 + 1);
    }

    @Override
    public String shown() {
        return "<LoopContext " + (index0 + 1) + "/" + length() + ">";
    }
}
