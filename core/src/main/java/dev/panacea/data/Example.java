package dev.panacea.data;

import dev.panacea.text.ChatTemplate;
import dev.panacea.text.Message;
import java.util.List;
import java.util.Objects;

/** A row of a data set. */
public sealed interface Example {
    /**
     * A dialogue; the chat template makes a text of it, and the assistant's answers are trained.
     *
     * @param firstTrained the index of the first message whose answer is trained; those before it only lead up to it
     * @param options what the template is told of this row, such as its tools
     */
    record Conversation(List<Message> messages, int firstTrained, ChatTemplate.Options options) implements Example {
        public Conversation {
            messages = List.copyOf(messages);
            if (firstTrained < 0 || messages.stream().skip(firstTrained).noneMatch(m -> m.role().equals("assistant"))) {
                throw new IllegalArgumentException("no assistant turn from message " + firstTrained + " on");
            }
        }

        public Conversation(List<Message> messages, int firstTrained) {
            this(messages, firstTrained, ChatTemplate.Options.NONE);
        }

        public Conversation(List<Message> messages) {
            this(messages, 0);
        }
    }

    /** Plain text, trained from the first token to the last, with the end-of-sequence token after it. */
    record Text(String text) implements Example {
        public Text {
            Objects.requireNonNull(text, "text");
        }
    }

    /** Plain text of which the second part is trained, with the end-of-sequence token after it. No chat template is used. */
    record PromptCompletion(String prompt, String completion) implements Example {
        public PromptCompletion {
            Objects.requireNonNull(prompt, "prompt");
            Objects.requireNonNull(completion, "completion");
        }
    }
}
