package dev.panacea.jinja;

import java.util.List;

/** A statement of a template. */
sealed interface Stmt {
    record Text(Str text) implements Stmt {}

    record Print(Expr value, int line) implements Stmt {}

    /** A body for each test; null where there is no {@code else}. */
    record If(List<Expr> tests, List<List<Stmt>> bodies, List<Stmt> otherwise, int line) implements Stmt {}

    /**
     * A loop.
     *
     * @param test null where all items are taken
     */
    record For(Target target, Expr items, Expr test, boolean recursive, List<Stmt> body, List<Stmt> otherwise, int line) implements Stmt {}

    record Set(Target target, Expr value, int line) implements Stmt {}

    /** @param filter null where what is captured is taken as it is */
    record SetBlock(Target target, Expr filter, List<Stmt> body, int line) implements Stmt {}

    record MacroOf(Signature signature, int line) implements Stmt {}

    record CallBlock(Signature caller, Expr.Call call, int line) implements Stmt {}

    record FilterBlock(Expr filter, List<Stmt> body, int line) implements Stmt {}

    record With(List<Target> targets, List<Expr> values, List<Stmt> body, int line) implements Stmt {}

    record Block(List<Stmt> body, boolean scoped, boolean required, int line) implements Stmt {}

    record Autoescape(Expr on, List<Stmt> body, int line) implements Stmt {}

    record Generation(List<Stmt> body, int line) implements Stmt {}

    record Break() implements Stmt {}

    record Continue() implements Stmt {}

    /** A statement that asks for another template, which there is not: an error where it is reached. */
    record OtherTemplate(String tag, int line) implements Stmt {}

    /**
     * A macro, or the body of a call block.
     *
     * @param name null for the body of a call block
     * @param defaults those of the last parameters
     * @param usesCaller whether the body asks for it, beside the parameters
     */
    record Signature(String name, List<String> parameters, List<Expr> defaults, List<Stmt> body, boolean usesCaller, boolean usesVarargs, boolean usesKwargs) {}

    /** What is assigned to. */
    sealed interface Target {
        record Variable(String name) implements Target {}

        record Attribute(String namespace, String name) implements Target {}

        record Several(List<Target> targets) implements Target {}
    }
}
