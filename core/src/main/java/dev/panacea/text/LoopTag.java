package dev.panacea.text;

import com.hubspot.jinjava.interpret.InterpretException;
import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import com.hubspot.jinjava.lib.tag.ForTag;
import com.hubspot.jinjava.tree.Node;
import com.hubspot.jinjava.tree.TagNode;
import com.hubspot.jinjava.tree.parse.TagToken;
import com.hubspot.jinjava.util.ForLoop;
import com.hubspot.jinjava.util.ObjectIterator;
import java.util.ArrayList;
import java.util.List;

/**
 * Jinja's {@code for} where the engine's own goes silently wrong: {@code {% for m in messages if m.role == 'user' %}} loops over what passes the
 * test; a loop with {@code else} is refused.
 */
final class LoopTag extends ForTag {
    private static final long serialVersionUID = 1L;

    @Override
    public String interpretUnchecked(TagNode tag, JinjavaInterpreter interpreter) {
        for (Node child : tag.getChildren()) {
            if (child.getName().equals("else")) {
                throw new InterpretException("'for' with 'else' is not supported in chat templates", child.getLineNumber());
            }
        }
        var loop = getLoopVarsAndExpression((TagToken) tag.getMaster());
        String expression = loop.getRight();
        int filter = filterAt(expression);
        if (filter < 0) {
            return renderForCollection(tag, interpreter, loop.getLeft(), interpreter.resolveELExpression(expression, tag.getLineNumber()));
        }
        if (loop.getLeft().size() != 1) {
            throw new InterpretException("'for' with several variables and 'if' is not supported in chat templates", tag.getLineNumber());
        }
        String variable = loop.getLeft().getFirst();
        String test = expression.substring(filter + " if ".length());
        List<Object> passed = new ArrayList<>();
        ForLoop all = ObjectIterator.getLoop(interpreter.resolveELExpression(expression.substring(0, filter), tag.getLineNumber()));
        while (all.hasNext()) {
            Object item = interpreter.wrap(all.next());
            try (var scope = interpreter.enterScope()) {
                interpreter.getContext().put(variable, item);
                // A conditional expression, as Jinja's idea of truth is the engine's business.
                if (Boolean.TRUE.equals(interpreter.resolveELExpression("true if (" + test + ") else false", tag.getLineNumber()))) {
                    passed.add(item);
                }
            }
        }
        return renderForCollection(tag, interpreter, loop.getLeft(), passed);
    }

    /** Where {@code if} stands outside of quotes and brackets, or -1. */
    static int filterAt(String expression) {
        int depth = 0;
        char quote = 0;
        for (int i = 0; i < expression.length(); i++) {
            char c = expression.charAt(i);
            if (quote != 0) {
                if (c == '\\') {
                    i++;
                } else if (c == quote) {
                    quote = 0;
                }
            } else if (c == '\'' || c == '"') {
                quote = c;
            } else if ("([{".indexOf(c) >= 0) {
                depth++;
            } else if (")]}".indexOf(c) >= 0) {
                depth--;
            } else if (depth == 0 && expression.startsWith(" if ", i)) {
                return i;
            }
        }
        return -1;
    }
}
