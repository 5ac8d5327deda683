package dev.panacea.data;

import dev.panacea.text.Message;
import java.util.List;
import java.util.Map;

/** About how much of Java's memory a row keeps. */
final class RetainedBytes {
    private static final int OBJECT = 64;

    private RetainedBytes() {}

    static long of(Row row) {
        return OBJECT + of((Object) row.place()) + switch (row.example()) {
            case Example.Conversation c -> OBJECT + c.messages().stream().map(Message::values).mapToLong(RetainedBytes::of).sum() + of(c.options().variables());
            case Example.Text t -> of((Object) t.text());
            case Example.PromptCompletion p -> of((Object) p.prompt()) + of((Object) p.completion());
        };
    }

    private static long of(Object value) {
        return OBJECT + switch (value) {
            case null -> 0;
            case String text -> text.length() * (isLatin1(text) ? 1L : 2L);
            case List<?> list -> list.stream().mapToLong(RetainedBytes::of).sum();
            case Map<?, ?> map -> map.entrySet().stream().mapToLong(e -> OBJECT + of(e.getValue())).sum();
            default -> 0;
        };
    }

    private static boolean isLatin1(String text) {
        for (int i = 0; i < text.length(); i++) {
            if (text.charAt(i) > 0xFF) {
                return false;
            }
        }
        return true;
    }
}
