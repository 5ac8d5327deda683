package dev.panacea.jinja;

import dev.panacea.jinja.Values.Dict;
import dev.panacea.jinja.Values.ListValue;
import dev.panacea.jinja.Values.TupleValue;
import dev.panacea.jinja.Values.Undefined;
import java.time.Clock;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Runs one template once: its statements write, its expressions have values. */
final class Interpreter {
    private enum Flow { ON, BREAK, CONTINUE }

    private final Budget budget;
    private final Printing printing;
    private final Operators operators;
    private final Attributes attributes;
    private final Filters filters;
    private final Tests tests;
    /** The scope of the template as a whole. */
    private final Scope top;
    private TextBuilder out;
    private boolean autoescape;
    private int line;

    Interpreter(Budget budget, Clock clock, Map<String, Object> variables) {
        this.budget = budget;
        printing = new Printing(budget);
        operators = new Operators(budget, printing);
        attributes = new Attributes(budget, operators, printing);
        tests = new Tests(budget, operators, printing);
        filters = new Filters(budget, operators, printing, attributes, tests);
        Scope globals = new Scope(null);
        new Globals(budget, operators, printing, attributes, clock).all().forEach(globals::set);
        variables.forEach(globals::set);
        top = new Scope(globals);
        out = new TextBuilder(budget);
    }

    Budget budget() {
        return budget;
    }

    /** The line of the template that was reached. */
    int line() {
        return line;
    }

    Str run(List<Stmt> template) {
        execute(template, top);
        return out.toStr();
    }

    /** What statements write, as a value. */
    Str capture(List<Stmt> body, Scope scope) {
        TextBuilder outer = out;
        out = new TextBuilder(budget);
        try {
            execute(body, scope);
            return out.toStr().asSafe(autoescape);
        } finally {
            out = outer;
        }
    }

    // Statements

    private Flow execute(List<Stmt> body, Scope scope) {
        budget.enter();
        for (Stmt s : body) {
            Flow flow = execute(s, scope);
            if (flow != Flow.ON) {
                budget.leave();
                return flow;
            }
        }
        budget.leave();
        return Flow.ON;
    }

    private Flow execute(Stmt statement, Scope scope) {
        budget.step();
        switch (statement) {
            case Stmt.Text t -> out.append(t.text());
            case Stmt.Print p -> {
                line = p.line();
                Object value = evaluate(p.value(), scope);
                out.append(autoescape ? printing.escape(value) : printing.str(value));
            }
            case Stmt.If f -> {
                return branch(f, scope);
            }
            case Stmt.For f -> {
                line = f.line();
                Object items = evaluate(f.items(), scope);
                if (f.recursive()) {
                    out.append(recursion(f, scope).render(items, 0));
                } else {
                    return loop(f, items, scope, 0, null);
                }
            }
            case Stmt.Set s -> {
                line = s.line();
                assign(s.target(), evaluate(s.value(), scope), scope);
            }
            case Stmt.SetBlock s -> {
                Str text = capture(s.body(), new Scope(scope));
                line = s.line();
                assign(s.target(), s.filter() == null ? text : filtered((Expr.Filter) s.filter(), text, scope), scope);
            }
            case Stmt.MacroOf m -> {
                budget.memory(64);
                scope.set(m.signature().name(), new Macro(this, m.signature(), scope));
            }
            case Stmt.CallBlock c -> {
                line = c.line();
                Object function = evaluate(c.call().target(), scope);
                Args args = arguments(c.call().arguments(), scope).with("caller", new Macro(this, c.caller(), scope));
                Object result = call(function, args);
                out.append(autoescape ? printing.escape(result) : printing.str(result));
            }
            case Stmt.FilterBlock f -> {
                Str text = capture(f.body(), new Scope(scope));
                line = f.line();
                out.append(printing.str(filtered((Expr.Filter) f.filter(), text, scope)));
            }
            case Stmt.With w -> {
                line = w.line();
                Scope inner = new Scope(scope);
                for (int i = 0; i < w.targets().size(); i++) {
                    assign(w.targets().get(i), evaluate(w.values().get(i), scope), inner);
                }
                return execute(w.body(), inner);
            }
            case Stmt.Block b -> {
                line = b.line();
                if (b.required()) {
                    throw new JinjaException("a required block has no content: a chat template stands alone");
                }
                return execute(b.body(), new Scope(b.scoped() ? scope : top));
            }
            case Stmt.Autoescape a -> {
                line = a.line();
                boolean before = autoescape;
                autoescape = Operators.truth(evaluate(a.on(), scope));
                Flow flow = execute(a.body(), new Scope(scope));
                autoescape = before;
                return flow;
            }
            case Stmt.Generation g -> {
                int start = out.length();
                execute(g.body(), new Scope(scope));
                out.markFrom(start, Str.GENERATED);
            }
            case Stmt.Break b -> {
                return Flow.BREAK;
            }
            case Stmt.Continue c -> {
                return Flow.CONTINUE;
            }
            case Stmt.OtherTemplate o -> {
                line = o.line();
                throw new JinjaException("'" + o.tag() + "' asks for another template; a chat template stands alone");
            }
        }
        return Flow.ON;
    }

    private Flow branch(Stmt.If f, Scope scope) {
        line = f.line();
        for (int i = 0; i < f.tests().size(); i++) {
            if (Operators.truth(evaluate(f.tests().get(i), scope))) {
                return execute(f.bodies().get(i), scope);
            }
        }
        return f.otherwise() == null ? Flow.ON : execute(f.otherwise(), scope);
    }

    private Loop.Recursion recursion(Stmt.For f, Scope scope) {
        return new Loop.Recursion() {
            @Override
            public Str render(Object items, int depth0) {
                TextBuilder outer = out;
                out = new TextBuilder(budget);
                try {
                    loop(f, items, scope, depth0, this);
                    return out.toStr().asSafe(autoescape);
                } finally {
                    out = outer;
                }
            }
        };
    }

    private Flow loop(Stmt.For f, Object items, Scope scope, int depth0, Loop.Recursion recursion) {
        Iterator<Object> all = operators.iterate(items);
        boolean sized = f.test() == null && Operators.size(items) >= 0;
        Loop loop = new Loop(operators, f.test() == null ? all : passing(f, all, scope), sized ? Operators.size(items) : -1, depth0, recursion);
        boolean none = true;
        while (loop.hasNext()) {
            Object item = loop.next();
            Scope inner = new Scope(scope);
            assign(f.target(), item, inner);
            inner.set("loop", loop);
            Flow flow = execute(f.body(), inner);
            if (flow == Flow.BREAK) {
                break;
            }
            // As in Jinja: a round that ends early does not count.
            none &= flow != Flow.ON;
        }
        return none && !f.otherwise().isEmpty() ? execute(f.otherwise(), new Scope(scope)) : Flow.ON;
    }

    private Iterator<Object> passing(Stmt.For f, Iterator<Object> all, Scope scope) {
        return Filters.where(all, item -> {
            Scope inner = new Scope(scope);
            assign(f.target(), item, inner);
            return Operators.truth(evaluate(f.test(), inner));
        });
    }

    private void assign(Stmt.Target target, Object value, Scope scope) {
        switch (target) {
            case Stmt.Target.Variable v -> scope.set(v.name(), value);
            case Stmt.Target.Attribute a -> {
                if (!(name(a.namespace(), scope) instanceof Values.Namespace n)) {
                    throw new JinjaException("cannot assign attribute on non-namespace object");
                }
                Globals.checkName(a.name());
                n.values().put(new Str(a.name()), value, budget);
            }
            case Stmt.Target.Several s -> {
                List<Object> values = new ArrayList<>();
                for (Iterator<Object> items = operators.iterate(value); items.hasNext() && values.size() <= s.targets().size();) {
                    values.add(items.next());
                }
                int wanted = s.targets().size();
                if (values.size() != wanted) {
                    throw new JinjaException(values.size() > wanted ? "too many values to unpack (expected " + wanted + ")"
                            : "not enough values to unpack (expected " + wanted + ", got " + values.size() + ")");
                }
                for (int i = 0; i < wanted; i++) {
                    assign(s.targets().get(i), values.get(i), scope);
                }
            }
        }
    }

    // Expressions

    Object evaluate(Expr expression, Scope scope) {
        budget.step();
        budget.enter();
        Object value = value(expression, scope);
        budget.leave();
        return value;
    }

    private Object value(Expr expression, Scope scope) {
        return switch (expression) {
            case Expr.Const c -> c.value();
            case Expr.Name n -> name(n.name(), scope);
            case Expr.Attribute a -> {
                Object target = evaluate(a.target(), scope);
                line = a.line();
                yield attributes.attribute(target, a.name());
            }
            case Expr.Item i -> {
                Object target = evaluate(i.target(), scope);
                Object index = evaluate(i.index(), scope);
                line = i.line();
                yield attributes.item(target, index);
            }
            case Expr.Slice s -> slice(s, scope);
            case Expr.Call c -> call(c, scope);
            case Expr.Filter f -> filtered(f, null, scope);
            case Expr.Test t -> test(t, scope);
            case Expr.Not n -> !Operators.truth(evaluate(n.operand(), scope));
            case Expr.And a -> {
                Object left = evaluate(a.left(), scope);
                yield Operators.truth(left) ? evaluate(a.right(), scope) : left;
            }
            case Expr.Or o -> {
                Object left = evaluate(o.left(), scope);
                yield Operators.truth(left) ? left : evaluate(o.right(), scope);
            }
            case Expr.Conditional c -> conditional(c, scope);
            case Expr.Arithmetic a -> operators.arithmetic(a.operator(), evaluate(a.left(), scope), evaluate(a.right(), scope));
            case Expr.Sign s -> operators.sign(s.operator(), evaluate(s.operand(), scope));
            case Expr.Compare c -> compare(c, scope);
            case Expr.Concat c -> concat(c, scope);
            case Expr.ListOf l -> new ListValue(all(l.items(), scope));
            case Expr.TupleOf t -> new TupleValue(all(t.items(), scope));
            case Expr.DictOf d -> dict(d, scope);
        };
    }

    private Object name(String name, Scope scope) {
        Object value = scope.get(name);
        return value == Args.ABSENT ? new Undefined("'" + name + "' is undefined") : value;
    }

    private Object slice(Expr.Slice s, Scope scope) {
        Object target = evaluate(s.target(), scope);
        Object start = s.start() == null ? null : evaluate(s.start(), scope);
        Object stop = s.stop() == null ? null : evaluate(s.stop(), scope);
        Object step = s.step() == null ? null : evaluate(s.step(), scope);
        line = s.line();
        return operators.slice(target, start, stop, step);
    }

    private Object conditional(Expr.Conditional c, Scope scope) {
        if (Operators.truth(evaluate(c.test(), scope))) {
            return evaluate(c.then(), scope);
        }
        return c.otherwise() != null ? evaluate(c.otherwise(), scope)
                : new Undefined("the inline if-expression in line " + line + " evaluated to false and no else section was defined");
    }

    private Object compare(Expr.Compare c, Scope scope) {
        Object left = evaluate(c.first(), scope);
        for (int i = 0; i < c.operators().size(); i++) {
            Object right = evaluate(c.operands().get(i), scope);
            if (!operators.compare(c.operators().get(i), left, right)) {
                return false;
            }
            left = right;
        }
        return true;
    }

    private Object concat(Expr.Concat c, Scope scope) {
        List<Object> parts = all(c.parts(), scope);
        TextBuilder text = new TextBuilder(budget);
        boolean safe = autoescape && parts.stream().anyMatch(p -> p instanceof Str s && s.safe);
        for (Object part : parts) {
            text.append(safe ? printing.escape(part) : printing.str(part));
        }
        return text.toStr().asSafe(safe);
    }

    private List<Object> all(List<Expr> expressions, Scope scope) {
        budget.elements(expressions.size());
        List<Object> values = new ArrayList<>(expressions.size());
        for (Expr e : expressions) {
            values.add(evaluate(e, scope));
        }
        return values;
    }

    private Object dict(Expr.DictOf d, Scope scope) {
        budget.memory(64);
        Dict made = new Dict();
        for (int i = 0; i < d.keys().size(); i++) {
            Object key = evaluate(d.keys().get(i), scope);
            made.put(key, evaluate(d.values().get(i), scope), budget);
        }
        return made;
    }

    private Args arguments(Expr.Arguments a, Scope scope) {
        if (a == Expr.Arguments.NONE) {
            return new Args(List.of(), Map.of());
        }
        List<Object> positional = all(a.positional(), scope);
        if (a.star() != null) {
            positional.addAll(operators.list(evaluate(a.star(), scope)));
        }
        if (a.names().isEmpty() && a.starStar() == null) {
            return new Args(positional, Map.of());
        }
        Map<String, Object> named = new LinkedHashMap<>();
        for (int i = 0; i < a.names().size(); i++) {
            named.put(a.names().get(i), evaluate(a.named().get(i), scope));
        }
        if (a.starStar() != null) {
            if (!(evaluate(a.starStar(), scope) instanceof Dict more)) {
                throw new JinjaException("argument after ** must be a mapping");
            }
            for (Dict.Entry e : more.all()) {
                if (!(e.key() instanceof Str key) || named.containsKey(key.text)) {
                    throw new JinjaException(e.key() instanceof Str key ? "got multiple values for keyword argument '" + key + "'" : "keywords must be strings");
                }
                named.put(key.text, e.value());
                budget.memory(64);
            }
        }
        return new Args(positional, named);
    }

    private Object call(Expr.Call c, Scope scope) {
        Object function = evaluate(c.target(), scope);
        Args args = arguments(c.arguments(), scope);
        line = c.line();
        Object result = call(function, args);
        line = c.line();
        return result;
    }

    private static Object call(Object function, Args args) {
        return switch (function) {
            case Values.Callable c -> c.call(args);
            case Undefined u -> throw u.error();
            case null, default -> throw new JinjaException("'" + Values.typeName(function) + "' object is not callable");
        };
    }

    /** @param captured what the innermost filter of a block is applied to */
    private Object filtered(Expr.Filter f, Str captured, Scope scope) {
        Object value = f.target() == null ? captured
                : captured != null ? filtered((Expr.Filter) f.target(), captured, scope) : evaluate(f.target(), scope);
        Args args = arguments(f.arguments(), scope);
        line = f.line();
        return filters.call(f.name(), args.after(value));
    }

    private Object test(Expr.Test t, Scope scope) {
        Object value = evaluate(t.target(), scope);
        Args args = arguments(t.arguments(), scope);
        line = t.line();
        return tests.call(t.name(), args.after(value));
    }
}
