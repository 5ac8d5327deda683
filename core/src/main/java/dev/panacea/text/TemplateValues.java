package dev.panacea.text;

import com.hubspot.jinjava.el.TypeConvertingMapELResolver;
import com.hubspot.jinjava.el.ext.JinjavaBeanELResolver;
import com.hubspot.jinjava.el.ext.JinjavaListELResolver;
import com.hubspot.jinjava.lib.exptest.ExpTest;
import com.hubspot.jinjava.lib.filter.Filter;
import com.hubspot.jinjava.objects.PyWrapper;
import com.hubspot.jinjava.util.ForLoop;
import jinjava.javax.el.CompositeELResolver;
import jinjava.javax.el.ELContext;
import jinjava.javax.el.ELResolver;
import java.beans.FeatureDescriptor;
import java.util.Collections;
import java.util.Iterator;
import java.util.Set;

/**
 * What a chat template may do with a value. A template comes with somebody's model, so it sees lists, maps, strings as Python has them, and the
 * loop variable; no Java object and no Java method beyond these.
 */
final class TemplateValues extends CompositeELResolver {
    TemplateValues() {
        add(new Strings());
        add(new JinjavaListELResolver(true));
        add(new TypeConvertingMapELResolver(true));
        add(new Beans());
    }

    /** Characters by index, and the methods of Python's str. */
    private static final class Strings extends ELResolver {
        @Override
        public Object getValue(ELContext context, Object base, Object property) {
            if (!(base instanceof CharSequence text)) {
                return null;
            }
            context.setPropertyResolved(true);
            try {
                int index = Integer.parseInt(String.valueOf(property));
                int at = index < 0 ? index + text.length() : index;
                return at < 0 || at >= text.length() ? null : String.valueOf(text.charAt(at));
            } catch (NumberFormatException e) {
                return null;
            }
        }

        @Override
        public Object invoke(ELContext context, Object base, Object method, Class<?>[] types, Object[] args) {
            if (!(base instanceof CharSequence text)) {
                return null;
            }
            context.setPropertyResolved(true);
            return PythonStrings.call(text.toString(), String.valueOf(method), args == null ? new Object[0] : args);
        }

        @Override
        public Class<?> getType(ELContext context, Object base, Object property) {
            return null;
        }

        @Override
        public void setValue(ELContext context, Object base, Object property, Object value) {
            // Strings cannot be changed; the resolvers after this one refuse.
        }

        @Override
        public boolean isReadOnly(ELContext context, Object base, Object property) {
            return true;
        }

        @Override
        public Iterator<FeatureDescriptor> getFeatureDescriptors(ELContext context, Object base) {
            return Collections.emptyIterator();
        }

        @Override
        public Class<?> getCommonPropertyType(ELContext context, Object base) {
            return Object.class;
        }
    }

    /** The loop variable, the Python methods of lists and maps, and how the engine itself calls filters and tests. */
    private static final class Beans extends JinjavaBeanELResolver {
        private static final Set<String> METHODS = Set.of("items", "keys", "values", "get", "append", "extend", "index", "count", "pop", "update");

        private static final Set<String> LOOP = Set.of("index", "index0", "first", "last", "length");

        Beans() {
            super(true);
        }

        @Override
        public Object getValue(ELContext context, Object base, Object property) {
            if (!(base instanceof ForLoop)) {
                return null;
            }
            if (!LOOP.contains(String.valueOf(property))) {
                throw new IllegalStateException("loop." + property + " is not supported in chat templates");
            }
            return super.getValue(context, base, property);
        }

        @Override
        public Object invoke(ELContext context, Object base, Object method, Class<?>[] types, Object[] args) {
            String name = String.valueOf(method);
            boolean allowed = switch (base) {
                case Filter filter -> name.equals("filter");
                case ExpTest test -> name.equals("evaluate") || name.equals("evaluateNegated");
                case PyWrapper value -> METHODS.contains(name);
                case ForLoop loop -> name.equals("cycle");
                case null, default -> false;
            };
            if (!allowed) {
                throw new IllegalStateException("a chat template calls the method " + method + ", which is not available here");
            }
            return super.invoke(context, base, method, types, args);
        }
    }
}
