package dev.panacea.jinja;

import dev.panacea.jinja.Lexer.Kind;
import dev.panacea.jinja.Lexer.Token;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** Reads the statements and expressions of a template, with Jinja2's grammar and precedence. */
final class Parser {
    /** How deep brackets and blocks may nest; Python itself allows less. */
    private static final int MAX_NESTING = 90;
    /** How many parameters a macro, and named arguments a call may have. */
    private static final int MAX_PARAMETERS = 1000;
    /** How many loops may nest; Python's own bound, by which such a template fails in transformers. */
    private static final int MAX_LOOPS = 20;
    private static final Set<String> COMPARISONS = Set.of("==", "!=", "<", "<=", ">", ">=");
    private static final Set<String> CONSTANTS = Set.of("true", "false", "none", "True", "False", "None");

    /** A filter or test that does not exist, which is an error unless it stands where it may never be reached. */
    private record Unknown(String what, int line, boolean certain) {}

    private final List<Token> tokens;
    private int at;
    private Token current;
    private int nesting;
    /** How many loops of the macro at hand surround what is being read. */
    private int loops;
    /** The same, of whatever kind: none may assign to {@code loop}. */
    private int loopTargets;
    private final List<Unknown> unknown = new ArrayList<>();
    private final Set<String> blocks = new HashSet<>();
    /** The names used in the macros that surround what is being read. */
    private final List<Set<String>> macroNames = new ArrayList<>();

    private Parser(List<Token> tokens) {
        this.tokens = tokens;
        current = tokens.getFirst();
    }

    static List<Stmt> parse(String source) {
        Parser parser = new Parser(Lexer.tokens(source));
        List<Stmt> body = parser.statements(List.of());
        if (!parser.unknown.isEmpty()) {
            throw JinjaException.at(parser.unknown.getFirst().line, parser.unknown.getFirst().what);
        }
        return body;
    }

    // Tokens

    private Token next() {
        Token token = current;
        if (at < tokens.size() - 1) {
            current = tokens.get(++at);
        }
        return token;
    }

    private Token ahead() {
        return tokens.get(Math.min(at + 1, tokens.size() - 1));
    }

    private JinjaException error(String message) {
        return JinjaException.at(current.line(), message);
    }

    private boolean skip(String operator) {
        boolean found = current.is(operator);
        if (found) {
            next();
        }
        return found;
    }

    private boolean skipName(String name) {
        boolean found = current.isName(name);
        if (found) {
            next();
        }
        return found;
    }

    private void expect(String operator) {
        if (!skip(operator)) {
            throw error("expected token '" + operator + "', got " + current.shown());
        }
    }

    private Token expect(Kind kind) {
        if (current.kind() != kind) {
            throw error("expected token '" + new Token(kind, "name", null, 0).shown().replace("'", "") + "', got " + current.shown());
        }
        return next();
    }

    private void enter() {
        if (++nesting > MAX_NESTING) {
            throw error("nested more than " + MAX_NESTING + " deep");
        }
    }

    // Statements

    /** Statements up to a tag of one of these names, which is then at hand; to the end of the template where there are none. */
    private List<Stmt> statements(List<String> ends) {
        enter();
        List<Stmt> body = new ArrayList<>();
        while (current.kind() != Kind.END) {
            Token token = next();
            switch (token.kind()) {
                case TEXT -> body.add(new Stmt.Text(new Str(token.text())));
                case VARIABLE_BEGIN -> {
                    body.add(new Stmt.Print(tuple(true, List.of()), token.line()));
                    expect(Kind.VARIABLE_END);
                }
                default -> {
                    if (current.kind() == Kind.NAME && ends.contains(current.text())) {
                        nesting--;
                        return body;
                    }
                    statement(body, ends);
                    expect(Kind.BLOCK_END);
                }
            }
        }
        if (!ends.isEmpty()) {
            throw error("Unexpected end of template: a tag " + String.join(" or ", ends) + " is missing");
        }
        nesting--;
        return body;
    }

    /** The body of a block, after the rest of its opening tag; the tag that ends it is at hand. */
    private List<Stmt> body(String... ends) {
        skip(":");
        expect(Kind.BLOCK_END);
        return statements(List.of(ends));
    }

    /** As {@link #body}, and behind the name of the only tag that ends it. */
    private List<Stmt> whole(String end) {
        List<Stmt> body = body(end);
        next();
        return body;
    }

    private void statement(List<Stmt> out, List<String> ends) {
        if (current.kind() != Kind.NAME) {
            throw error("tag name expected");
        }
        int line = current.line();
        String tag = next().text();
        switch (tag) {
            case "if" -> out.add(branches(line));
            case "for" -> out.add(loop(line));
            case "set" -> out.add(set(line));
            case "macro" -> out.add(new Stmt.MacroOf(macro(expect(Kind.NAME).text()), line));
            case "call" -> out.add(call(line));
            case "filter" -> {
                int before = unknown.size();
                Expr filter = filters(null, true);
                List<Stmt> body = whole("endfilter");
                certain(before);
                out.add(new Stmt.FilterBlock(filter, body, line));
            }
            case "with" -> out.add(with(line));
            case "autoescape" -> out.add(new Stmt.Autoescape(expression(), whole("endautoescape"), line));
            case "generation" -> {
                int before = unknown.size();
                int surrounding = loops;
                loops = 0;
                out.add(new Stmt.Generation(whole("endgeneration"), line));
                loops = surrounding;
                certain(before);
            }
            case "block" -> out.add(block(line));
            case "print" -> {
                boolean first = true;
                while (current.kind() != Kind.BLOCK_END) {
                    if (!first) {
                        expect(",");
                    }
                    out.add(new Stmt.Print(expression(), line));
                    first = false;
                }
            }
            case "break", "continue" -> {
                if (loops == 0) {
                    throw JinjaException.at(line, "'" + tag + "' outside loop");
                }
                out.add(tag.equals("break") ? new Stmt.Break() : new Stmt.Continue());
            }
            case "include", "import", "extends", "from" -> {
                while (current.kind() != Kind.BLOCK_END && current.kind() != Kind.END) {
                    next();
                }
                out.add(new Stmt.OtherTemplate(tag, line));
            }
            default -> throw JinjaException.at(line, "Encountered unknown tag '" + tag + "'"
                    + (ends.isEmpty() ? "" : ", where a tag " + String.join(" or ", ends) + " is missing"));
        }
    }

    private Stmt branches(int line) {
        int before = unknown.size();
        List<Expr> tests = new ArrayList<>();
        List<List<Stmt>> bodies = new ArrayList<>();
        List<Stmt> otherwise = null;
        while (otherwise == null) {
            tests.add(tuple(false, List.of()));
            bodies.add(body("elif", "else", "endif"));
            Token end = next();
            if (end.isName("endif")) {
                break;
            }
            if (end.isName("else")) {
                otherwise = whole("endif");
            }
        }
        forgive(before);
        return new Stmt.If(tests, bodies, otherwise, line);
    }

    private Stmt loop(int line) {
        int before = unknown.size();
        loopTargets++;
        Stmt.Target target = target(false, List.of("in"));
        if (!skipName("in")) {
            throw error("expected token 'in', got " + current.shown());
        }
        Expr items = tuple(false, List.of("recursive"));
        Expr test = skipName("if") ? expression() : null;
        boolean recursive = skipName("recursive");
        if (++loops > MAX_LOOPS) {
            throw JinjaException.at(line, "more than " + MAX_LOOPS + " loops in each other");
        }
        List<Stmt> body = body("endfor", "else");
        loops--;
        List<Stmt> otherwise = next().isName("endfor") ? List.of() : whole("endfor");
        loopTargets--;
        certain(before);
        return new Stmt.For(target, items, test, recursive, body, otherwise, line);
    }

    private Stmt set(int line) {
        Stmt.Target target = target(true, List.of());
        if (skip("=")) {
            return new Stmt.Set(target, tuple(true, List.of()), line);
        }
        int before = unknown.size();
        Expr filter = current.is("|") ? filters(null, false) : null;
        List<Stmt> body = whole("endset");
        certain(before);
        return new Stmt.SetBlock(target, filter, body, line);
    }

    private Stmt with(int line) {
        int before = unknown.size();
        List<Stmt.Target> targets = new ArrayList<>();
        List<Expr> values = new ArrayList<>();
        while (current.kind() != Kind.BLOCK_END) {
            if (!targets.isEmpty()) {
                expect(",");
            }
            targets.add(target(false, List.of()));
            expect("=");
            values.add(expression());
        }
        List<Stmt> body = whole("endwith");
        certain(before);
        return new Stmt.With(targets, values, body, line);
    }

    private Stmt block(int line) {
        int before = unknown.size();
        String name = expect(Kind.NAME).text();
        boolean scoped = skipName("scoped");
        boolean required = skipName("required");
        if (!blocks.add(name)) {
            throw JinjaException.at(line, "block '" + name + "' defined twice");
        }
        int surrounding = loops;
        loops = 0;
        List<Stmt> body = whole("endblock");
        loops = surrounding;
        skipName(name);
        certain(before);
        return new Stmt.Block(body, scoped, required, line);
    }

    private Stmt call(int line) {
        List<String> parameters = new ArrayList<>();
        List<Expr> defaults = new ArrayList<>();
        if (current.is("(")) {
            parameters(parameters, defaults);
        }
        Expr called = expression();
        if (!(called instanceof Expr.Call call)) {
            throw JinjaException.at(line, "expected call");
        }
        return new Stmt.CallBlock(signature(null, parameters, defaults, "endcall"), call, line);
    }

    private Stmt.Signature macro(String name) {
        List<String> parameters = new ArrayList<>();
        List<Expr> defaults = new ArrayList<>();
        parameters(parameters, defaults);
        return signature(name, parameters, defaults, "endmacro");
    }

    private void parameters(List<String> parameters, List<Expr> defaults) {
        expect("(");
        while (!current.is(")")) {
            if (!parameters.isEmpty()) {
                expect(",");
            }
            Token parameter = expect(Kind.NAME);
            assignable(parameter);
            if (parameters.contains(parameter.text())) {
                throw error("duplicate argument '" + parameter.text() + "' in a macro");
            }
            parameters.add(parameter.text());
            if (parameters.size() > MAX_PARAMETERS) {
                throw error("a macro of more than " + MAX_PARAMETERS + " parameters");
            }
            if (skip("=")) {
                defaults.add(expression());
            } else if (!defaults.isEmpty()) {
                throw error("non-default argument follows default argument");
            }
        }
        next();
    }

    private Stmt.Signature signature(String name, List<String> parameters, List<Expr> defaults, String end) {
        int before = unknown.size();
        int surrounding = loops;
        loops = 0;
        Set<String> names = new HashSet<>();
        macroNames.add(names);
        List<Stmt> body = whole(end);
        macroNames.removeLast();
        loops = surrounding;
        certain(before);
        int caller = parameters.indexOf("caller");
        if (caller >= 0 && caller < parameters.size() - defaults.size() && names.contains("caller")) {
            throw error("the special argument 'caller' of a macro must be left out or have a default");
        }
        return new Stmt.Signature(name, parameters, defaults, body, names.contains("caller") && caller < 0,
                names.contains("varargs") && !parameters.contains("varargs"), names.contains("kwargs") && !parameters.contains("kwargs"));
    }

    // Targets

    private void assignable(Token name) {
        if (CONSTANTS.contains(name.text())) {
            throw error("can't assign to '" + name.text() + "'");
        }
        if (loopTargets > 0 && name.text().equals("loop")) {
            throw error("Can't assign to special loop variable in for-loop target");
        }
    }

    private Stmt.Target target(boolean withNamespace, List<String> ends) {
        List<Stmt.Target> targets = new ArrayList<>();
        boolean several = false;
        do {
            if (several && tupleEnds(ends)) {
                break;
            }
            targets.add(oneTarget(withNamespace));
            several |= current.is(",");
        } while (skip(","));
        return several ? new Stmt.Target.Several(targets) : targets.getFirst();
    }

    private Stmt.Target oneTarget(boolean withNamespace) {
        if (current.is("(")) {
            enter();
            next();
            Stmt.Target inner = current.is(")") ? new Stmt.Target.Several(List.of()) : target(false, List.of());
            expect(")");
            nesting--;
            return inner;
        }
        if (current.kind() != Kind.NAME) {
            throw error("can't assign to " + current.shown());
        }
        Token name = next();
        if (withNamespace && !CONSTANTS.contains(name.text()) && skip(".")) {
            used(name.text());
            return new Stmt.Target.Attribute(name.text(), expect(Kind.NAME).text());
        }
        assignable(name);
        return new Stmt.Target.Variable(name.text());
    }

    // Unknown filters and tests

    private void unknown(String what, int line) {
        unknown.add(new Unknown(what, line, false));
    }

    /** What is unknown since then is so whether reached or not. */
    private void certain(int since) {
        for (int i = since; i < unknown.size(); i++) {
            unknown.set(i, new Unknown(unknown.get(i).what, unknown.get(i).line, true));
        }
    }

    /** What is unknown since then matters when it is reached. */
    private void forgive(int since) {
        for (int i = unknown.size() - 1; i >= since; i--) {
            if (!unknown.get(i).certain) {
                unknown.remove(i);
            }
        }
    }

    private void used(String name) {
        for (Set<String> names : macroNames) {
            names.add(name);
        }
    }

    // Expressions

    private boolean tupleEnds(List<String> ends) {
        return current.kind() == Kind.VARIABLE_END || current.kind() == Kind.BLOCK_END || current.is(")")
                || current.kind() == Kind.NAME && ends.contains(current.text());
    }

    /** An expression, or several with commas between them, which make a tuple. */
    private Expr tuple(boolean conditional, List<String> ends) {
        return tuple(conditional, ends, false);
    }

    private Expr tuple(boolean conditional, List<String> ends, boolean inBrackets) {
        List<Expr> items = new ArrayList<>();
        boolean several = false;
        while (true) {
            if (tupleEnds(ends)) {
                break;
            }
            items.add(conditional ? expression() : or());
            if (!current.is(",")) {
                break;
            }
            several = true;
            next();
        }
        if (several || items.isEmpty() && inBrackets) {
            return new Expr.TupleOf(items);
        }
        if (items.isEmpty()) {
            throw error("Expected an expression, got " + current.shown());
        }
        return items.getFirst();
    }

    private Expr expression() {
        enter();
        int before = unknown.size();
        Expr value = or();
        boolean conditional = false;
        while (skipName("if")) {
            conditional = true;
            Expr test = or();
            value = new Expr.Conditional(test, value, skipName("else") ? expression() : null);
        }
        if (conditional) {
            forgive(before);
        }
        nesting--;
        return value;
    }

    private Expr or() {
        Expr left = and();
        while (skipName("or")) {
            left = new Expr.Or(left, and());
        }
        return left;
    }

    private Expr and() {
        Expr left = not();
        while (skipName("and")) {
            left = new Expr.And(left, not());
        }
        return left;
    }

    private Expr not() {
        if (!skipName("not")) {
            return compare();
        }
        enter();
        Expr operand = not();
        nesting--;
        return new Expr.Not(operand);
    }

    private Expr compare() {
        Expr first = sum();
        List<String> operators = new ArrayList<>();
        List<Expr> operands = new ArrayList<>();
        while (true) {
            if (current.kind() == Kind.OPERATOR && COMPARISONS.contains(current.text())) {
                operators.add(next().text());
            } else if (skipName("in")) {
                operators.add("in");
            } else if (current.isName("not") && ahead().isName("in")) {
                next();
                next();
                operators.add("not in");
            } else {
                return operators.isEmpty() ? first : new Expr.Compare(first, operators, operands);
            }
            operands.add(sum());
        }
    }

    private Expr sum() {
        Expr left = concat();
        while (current.is("+") || current.is("-")) {
            left = new Expr.Arithmetic(next().text(), left, concat());
        }
        return left;
    }

    private Expr concat() {
        Expr first = product();
        if (!current.is("~")) {
            return first;
        }
        List<Expr> parts = new ArrayList<>(List.of(first));
        while (skip("~")) {
            parts.add(product());
        }
        return new Expr.Concat(parts);
    }

    private Expr product() {
        Expr left = power();
        while (current.is("*") || current.is("/") || current.is("//") || current.is("%")) {
            left = new Expr.Arithmetic(next().text(), left, power());
        }
        return left;
    }

    private Expr power() {
        Expr left = unary(true);
        while (skip("**")) {
            left = new Expr.Arithmetic("**", left, unary(true));
        }
        return left;
    }

    private Expr unary(boolean withFilters) {
        enter();
        Expr value;
        if (current.is("-") || current.is("+")) {
            char sign = next().text().charAt(0);
            value = new Expr.Sign(sign, unary(false));
        } else {
            value = primary();
        }
        value = postfix(value);
        value = withFilters ? filtersAndTests(value) : value;
        nesting--;
        return value;
    }

    private Expr primary() {
        Token token = next();
        switch (token.kind()) {
            case NAME -> {
                switch (token.text()) {
                    case "true", "True", "false", "False" -> {
                        return new Expr.Const(Character.toLowerCase(token.text().charAt(0)) == 't');
                    }
                    case "none", "None" -> {
                        return new Expr.Const(null);
                    }
                    default -> {
                        used(token.text());
                        return new Expr.Name(token.text());
                    }
                }
            }
            case STRING -> {
                StringBuilder text = new StringBuilder(token.text());
                while (current.kind() == Kind.STRING) {
                    text.append(next().text());
                }
                return new Expr.Const(new Str(text.toString()));
            }
            case INTEGER, FLOAT -> {
                return new Expr.Const(token.number());
            }
            case OPERATOR -> {
                switch (token.text()) {
                    case "(" -> {
                        Expr inner = tuple(true, List.of(), true);
                        expect(")");
                        return inner;
                    }
                    case "[" -> {
                        return list();
                    }
                    case "{" -> {
                        return dict();
                    }
                    default -> { }
                }
            }
            default -> { }
        }
        throw JinjaException.at(token.line(), "unexpected " + token.shown());
    }

    private Expr list() {
        List<Expr> items = new ArrayList<>();
        while (!current.is("]")) {
            if (!items.isEmpty()) {
                expect(",");
            }
            if (!current.is("]")) {
                items.add(expression());
            }
        }
        next();
        return new Expr.ListOf(items);
    }

    private Expr dict() {
        List<Expr> keys = new ArrayList<>();
        List<Expr> values = new ArrayList<>();
        while (!current.is("}")) {
            if (!keys.isEmpty()) {
                expect(",");
            }
            if (!current.is("}")) {
                keys.add(expression());
                expect(":");
                values.add(expression());
            }
        }
        next();
        return new Expr.DictOf(keys, values);
    }

    private Expr postfix(Expr target) {
        Expr value = target;
        while (true) {
            int line = current.line();
            if (skip(".")) {
                Token name = next();
                if (name.kind() == Kind.NAME) {
                    value = new Expr.Attribute(value, name.text(), line);
                } else if (name.kind() == Kind.INTEGER) {
                    value = new Expr.Item(value, new Expr.Const(name.number()), line);
                } else {
                    throw JinjaException.at(name.line(), "expected name or number");
                }
            } else if (skip("[")) {
                value = subscript(value, line);
            } else if (current.is("(")) {
                value = new Expr.Call(value, arguments(), line);
            } else {
                return value;
            }
        }
    }

    private Expr subscript(Expr target, int line) {
        List<Expr> items = new ArrayList<>();
        while (!current.is("]")) {
            if (!items.isEmpty()) {
                expect(",");
            }
            Expr start = current.is(":") ? null : expression();
            if (start != null && !current.is(":")) {
                items.add(start);
                continue;
            }
            next();
            Expr stop = sliceEnds() ? null : expression();
            Expr step = skip(":") && !sliceEnds() ? expression() : null;
            if (!items.isEmpty() || !current.is("]")) {
                throw error("a slice of several dimensions");
            }
            next();
            return new Expr.Slice(target, start, stop, step, line);
        }
        next();
        return new Expr.Item(target, items.size() == 1 ? items.getFirst() : new Expr.TupleOf(items), line);
    }

    private boolean sliceEnds() {
        return current.is(":") || current.is("]") || current.is(",");
    }

    private Expr filtersAndTests(Expr target) {
        Expr value = target;
        while (true) {
            if (current.is("|")) {
                value = filters(value, false);
            } else if (current.isName("is")) {
                value = test(value);
            } else if (current.is("(")) {
                int line = current.line();
                value = new Expr.Call(value, arguments(), line);
            } else {
                return value;
            }
        }
    }

    /** @param inline whether the first name stands without a bar before it */
    private Expr filters(Expr target, boolean inline) {
        Expr value = target;
        boolean first = inline;
        while (first || skip("|")) {
            first = false;
            int line = current.line();
            String name = dotted();
            if (!Filters.has(name)) {
                unknown("No filter named '" + name + "'", line);
            }
            value = new Expr.Filter(value, name, current.is("(") ? arguments() : Expr.Arguments.NONE, line);
        }
        return value;
    }

    private String dotted() {
        StringBuilder name = new StringBuilder(expect(Kind.NAME).text());
        while (skip(".")) {
            name.append('.').append(expect(Kind.NAME).text());
        }
        return name.toString();
    }

    private Expr test(Expr target) {
        int line = next().line();
        boolean negated = skipName("not");
        String name = dotted();
        if (!Tests.has(name)) {
            unknown("No test named '" + name + "'", line);
        }
        Expr.Arguments arguments = Expr.Arguments.NONE;
        boolean operand = switch (current.kind()) {
            case STRING, INTEGER, FLOAT -> true;
            case NAME -> !current.isName("else") && !current.isName("or") && !current.isName("and");
            case OPERATOR -> current.is("[") || current.is("{");
            default -> false;
        };
        if (current.is("(")) {
            arguments = arguments();
        } else if (operand) {
            if (current.isName("is")) {
                throw error("You cannot chain multiple tests with is");
            }
            arguments = new Expr.Arguments(List.of(postfix(primary())), List.of(), List.of(), null, null);
        }
        Expr test = new Expr.Test(target, name, arguments, line);
        return negated ? new Expr.Not(test) : test;
    }

    private Expr.Arguments arguments() {
        List<Expr> positional = new ArrayList<>();
        List<String> names = new ArrayList<>();
        List<Expr> named = new ArrayList<>();
        Expr star = null;
        Expr starStar = null;
        boolean comma = false;
        expect("(");
        while (!current.is(")")) {
            if (comma) {
                expect(",");
                if (current.is(")")) {
                    break;
                }
            }
            boolean allowed;
            if (skip("*")) {
                allowed = star == null && starStar == null;
                star = expression();
            } else if (skip("**")) {
                allowed = starStar == null;
                starStar = expression();
            } else if (current.kind() == Kind.NAME && ahead().is("=")) {
                String name = next().text();
                next();
                allowed = starStar == null && !names.contains(name);
                names.add(name);
                if (names.size() > MAX_PARAMETERS) {
                    throw error("a call with more than " + MAX_PARAMETERS + " named arguments");
                }
                named.add(expression());
            } else {
                allowed = star == null && starStar == null && names.isEmpty();
                positional.add(expression());
            }
            if (!allowed) {
                throw error("invalid syntax for function call expression");
            }
            comma = true;
        }
        expect(")");
        return new Expr.Arguments(positional, names, named, star, starStar);
    }
}
