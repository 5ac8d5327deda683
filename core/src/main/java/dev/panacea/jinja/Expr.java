package dev.panacea.jinja;

import java.util.List;

/** An expression of a template. */
sealed interface Expr {
    record Const(Object value) implements Expr {}

    record Name(String name) implements Expr {}

    record TupleOf(List<Expr> items) implements Expr {}

    record ListOf(List<Expr> items) implements Expr {}

    record DictOf(List<Expr> keys, List<Expr> values) implements Expr {}

    record Attribute(Expr target, String name, int line) implements Expr {}

    record Item(Expr target, Expr index, int line) implements Expr {}

    /** Each of the three may be null. */
    record Slice(Expr target, Expr start, Expr stop, Expr step, int line) implements Expr {}

    record Call(Expr target, Arguments arguments, int line) implements Expr {}

    /** @param target null in a block that applies filters to what it captures */
    record Filter(Expr target, String name, Arguments arguments, int line) implements Expr {}

    record Test(Expr target, String name, Arguments arguments, int line) implements Expr {}

    record Not(Expr operand) implements Expr {}

    /** @param operator {@code +} or {@code -} */
    record Sign(char operator, Expr operand) implements Expr {}

    record And(Expr left, Expr right) implements Expr {}

    record Or(Expr left, Expr right) implements Expr {}

    record Arithmetic(String operator, Expr left, Expr right) implements Expr {}

    /** {@code a < b < c}: an operator for each operand after the first. */
    record Compare(Expr first, List<String> operators, List<Expr> operands) implements Expr {}

    record Concat(List<Expr> parts) implements Expr {}

    /** @param otherwise null where there is no {@code else} */
    record Conditional(Expr test, Expr then, Expr otherwise) implements Expr {}

    /**
     * What a call, filter or test is given.
     *
     * @param star the value after {@code *}, or null
     * @param starStar the value after {@code **}, or null
     */
    record Arguments(List<Expr> positional, List<String> names, List<Expr> named, Expr star, Expr starStar) {
        static final Arguments NONE = new Arguments(List.of(), List.of(), List.of(), null, null);
    }
}
