package dev.panacea.data;

import dev.panacea.text.ChatTemplate;
import dev.panacea.text.Message;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;

/**
 * What dialogues bring for the chat template that it never asks for, such as {@code tools} for a template that knows none: it would be left out in silence.
 */
public final class UnseenKeys {
    private UnseenKeys() {}

    /**
     * The keys of messages and the variables of rows whose names do not occur in a template.
     *
     * @return the number of rows by key, in the order of their first use; at most 100 keys
     */
    public static Map<String, Integer> of(List<Row> rows, ChatTemplate template) {
        Map<String, Integer> unseen = new LinkedHashMap<>();
        Map<String, Boolean> known = new LinkedHashMap<>();
        for (Row row : rows) {
            if (!(row.example() instanceof Example.Conversation chat)) {
                continue;
            }
            Set<String> keys = new LinkedHashSet<>(chat.options().variables().keySet());
            for (Message m : chat.messages()) {
                keys.addAll(m.values().keySet());
            }
            for (String key : keys) {
                if (known.size() < 100) {
                    known.computeIfAbsent(key, k -> Pattern.compile("\\b" + Pattern.quote(k) + "\\b").matcher(template.source()).find());
                }
                if (Boolean.FALSE.equals(known.get(key))) {
                    unseen.merge(key, 1, Integer::sum);
                }
            }
        }
        return unseen;
    }
}
