package dev.panacea.data;

import dev.panacea.text.Message;
import java.util.List;
import java.util.Map;

/** Characters that some program before us could not read: U+FFFD, which is written in their place, and halves of surrogate pairs, which tokenizers turn into it. */
final class LostCharacters {
    private static final char REPLACEMENT = '\uFFFD';

    private LostCharacters() {}

    static boolean in(Example example) {
        return switch (example) {
            case Example.Conversation c -> c.messages().stream().map(Message::values).anyMatch(LostCharacters::in);
            case Example.Text t -> in(t.text());
            case Example.PromptCompletion p -> in(p.prompt()) || in(p.completion());
        };
    }

    private static boolean in(Object value) {
        return switch (value) {
            case String text -> in(text);
            case List<?> list -> list.stream().anyMatch(LostCharacters::in);
            case Map<?, ?> map -> map.values().stream().anyMatch(LostCharacters::in);
            case null, default -> false;
        };
    }

    private static boolean in(String text) {
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c < Character.MIN_SURROGATE) {
                continue;
            }
            if (Character.isHighSurrogate(c) && i + 1 < text.length() && Character.isLowSurrogate(text.charAt(i + 1))) {
                i++;
            } else if (c == REPLACEMENT || Character.isSurrogate(c)) {
                return true;
            }
        }
        return false;
    }
}
