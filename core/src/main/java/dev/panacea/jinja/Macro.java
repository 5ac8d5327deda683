package dev.panacea.jinja;

import dev.panacea.jinja.Values.Dict;
import dev.panacea.jinja.Values.TupleValue;
import dev.panacea.jinja.Values.Undefined;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** A macro, or the body of a call block as {@code caller}, in the scope in which it was defined. */
final class Macro implements Values.Callable {
    private final Interpreter interpreter;
    private final Stmt.Signature signature;
    private final Scope scope;

    Macro(Interpreter interpreter, Stmt.Signature signature, Scope scope) {
        this.interpreter = interpreter;
        this.signature = signature;
        this.scope = scope;
    }

    @Override
    public Object call(Args args) {
        List<String> parameters = signature.parameters();
        Scope inner = new Scope(scope);
        Map<String, Object> named = new LinkedHashMap<>(args.named());
        int given = Math.min(args.positional().size(), parameters.size());
        for (int i = 0; i < given; i++) {
            inner.set(parameters.get(i), args.positional().get(i));
        }
        List<Integer> open = new ArrayList<>();
        interpreter.budget().elements(2L * parameters.size());
        for (int i = given; i < parameters.size(); i++) {
            if (named.containsKey(parameters.get(i))) {
                inner.set(parameters.get(i), named.remove(parameters.get(i)));
            } else {
                open.add(i);
            }
        }
        if (signature.usesCaller()) {
            Object caller = named.remove("caller");
            inner.set("caller", caller == null ? new Undefined("No caller defined") : caller);
        }
        if (signature.usesKwargs()) {
            Dict rest = new Dict();
            named.forEach((name, value) -> rest.put(new Str(name), value, interpreter.budget()));
            inner.set("kwargs", rest);
        } else if (!named.isEmpty()) {
            throw new JinjaException("macro " + shownName() + " takes no keyword argument '" + named.keySet().iterator().next() + "'");
        }
        if (signature.usesVarargs()) {
            inner.set("varargs", new TupleValue(args.from(parameters.size()).positional()));
        } else if (args.positional().size() > parameters.size()) {
            throw new JinjaException("macro " + shownName() + " takes not more than " + parameters.size() + " argument(s)");
        }
        int firstDefault = parameters.size() - signature.defaults().size();
        for (int i : open) {
            inner.set(parameters.get(i), i < firstDefault ? new Undefined("parameter '" + parameters.get(i) + "' was not provided")
                    : interpreter.evaluate(signature.defaults().get(i - firstDefault), inner));
        }
        return interpreter.capture(signature.body(), inner);
    }

    private String shownName() {
        return signature.name() == null ? "None" : "'" + signature.name() + "'";
    }

    @Override
    public Dict.Entry attribute(String name) {
        return switch (name) {
            case "name" -> new Dict.Entry(null, signature.name() == null ? null : new Str(signature.name()));
            case "arguments" -> new Dict.Entry(null, new TupleValue(signature.parameters().stream().map(p -> (Object) new Str(p)).toList()));
            case "catch_kwargs" -> new Dict.Entry(null, signature.usesKwargs());
            case "catch_varargs" -> new Dict.Entry(null, signature.usesVarargs());
            case "caller" -> new Dict.Entry(null, signature.usesCaller());
            default -> null;
        };
    }

    @Override
    public String shown() {
        return "<Macro " + (signature.name() == null ? "anonymous" : "'" + signature.name() + "'") + ">";
    }
}
