package dev.panacea.examples;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import dev.panacea.generate.GenerationConfig;
import dev.panacea.generate.Generator;
import dev.panacea.io.JsonErrors;
import dev.panacea.io.PeftAdapter;
import dev.panacea.kernels.Backends;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraAdapter;
import dev.panacea.text.BpeTokenizer;
import dev.panacea.text.ChatEncoder;
import dev.panacea.text.ChatTemplate;
import dev.panacea.text.Message;
import dev.panacea.text.Tokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/** Answers a question with an adapter that a run has left. */
final class Chat {
    static final int ANSWER_TOKENS = 400;
    /** Greedy answers of a small model tend to go round in circles. */
    private static final double REPETITION_PENALTY = 1.1;

    private Chat() {}

    /**
     * What is asked of.
     *
     * @param device {@code cpu}, {@code cuda} or {@code cuda:N}
     * @param model empty for the one that the adapter was trained on
     * @param quantization empty for that of the training, or where it is not known, for what suits the model's file
     */
    record Settings(String device, Optional<String> model, OutputFolder output, Optional<Quantization> quantization, int answerTokens) {}

    static void answer(Settings settings, String question, Console console) {
        if (!Files.exists(settings.output().adapter().resolve("adapter_config.json"))) {
            throw new PanaceaException("There is no adapter in " + settings.output().adapter() + ". Train one first: " + FinetuneCommand.invocation()
                    + settings.output().option());
        }
        PeftAdapter trained = PeftAdapter.read(settings.output().adapter());
        try (Kernels kernels = Backends.open(settings.device());
                BaseModel base = open(settings, trained, console);
                LlamaModel model = load(settings, trained, base, kernels);
                LoraAdapter adapter = LoraAdapter.fromPeft(model, trained)) {
            adapter.attachTo(model);
            Prompt prompt = prompt(question, base.tokenizer(), settings.output(), console);
            Tokenizer.StreamDecoder decoder = base.tokenizer().streamDecoder(true);
            console.line("");
            new Generator(model).generate(prompt.ids, new GenerationConfig(settings.answerTokens(), 0, 0, 1, REPETITION_PENALTY, 0), prompt.stopTokens, id -> console.stream(decoder.push(id)));
            console.stream(decoder.flush());
            console.endLine();
        }
    }

    /** What the model is given, and what ends its answer. */
    private record Prompt(int[] ids, int[] stopTokens) {}

    /** The question as the training had it: through the chat template, or as it stands where the data were plain text or the model has no template. */
    private static Prompt prompt(String question, BpeTokenizer tokenizer, OutputFolder output, Console console) {
        Optional<String> template = metric(output, "data", "chat_template");
        if (template.isEmpty() ? tokenizer.chatTemplate().isPresent() : !template.get().equals("false")) {
            ChatEncoder chat = ChatEncoder.of(tokenizer, ChatTemplate.Options.NONE);
            return new Prompt(chat.encodePrompt(List.of(Message.user(question))), chat.stopTokens());
        }
        console.line("Note: asked as it stands, without a chat template, as " + (template.isEmpty() ? "the model has none" : "what the adapter was trained on"));
        return new Prompt(tokenizer.encodeRendered(question, true, Integer.MAX_VALUE), tokenizer.endTokens());
    }

    private static BaseModel open(Settings settings, PeftAdapter trained, Console console) {
        if (settings.model().isPresent()) {
            return BaseModel.open(settings.model(), console);
        }
        try {
            return BaseModel.open(trained.config().baseModel(), console);
        } catch (PanaceaException e) {
            throw new PanaceaException("The base model of the adapter in " + settings.output().adapter() + " cannot be opened: " + e.getMessage() + ". Or name it with --model", e);
        }
    }

    /** Whether the adapter fits is asked first: weights can take minutes to come. */
    private static LlamaModel load(Settings settings, PeftAdapter trained, BaseModel base, Kernels kernels) {
        trained.requireFits(base.config(), base.description());
        return base.load(kernels, settings.quantization().or(() -> quantization(settings.output())).orElseGet(base::quantization));
    }

    /** How the weights were held when the adapter was trained on them. */
    private static Optional<Quantization> quantization(OutputFolder output) {
        return metric(output, "settings", "quantization").flatMap(name -> Arrays.stream(Quantization.values()).filter(q -> q.name().equalsIgnoreCase(name)).findFirst());
    }

    /** A value in an object of the metrics beside the adapter; nothing where these are missing or do not have it. */
    private static Optional<String> metric(OutputFolder output, String object, String name) {
        if (!Files.isRegularFile(output.metrics())) {
            return Optional.empty();
        }
        try (JsonParser json = new JsonFactory().createParser(output.metrics().toFile())) {
            json.nextToken();
            return enter(json, object) && enter(json, name) ? Optional.of(json.getText()) : Optional.empty();
        } catch (IOException e) {
            String reason = e instanceof JsonProcessingException broken ? JsonErrors.reason(broken) : e.getMessage();
            throw new PanaceaException("Cannot read " + output.metrics() + " to see what the adapter was trained with: " + reason + ". Mend it, or move it away", e);
        }
    }

    /** Steps from the beginning of an object to the value under a name, over what comes before it, however much that is. */
    private static boolean enter(JsonParser json, String name) throws IOException {
        if (json.currentToken() != JsonToken.START_OBJECT) {
            return false;
        }
        while (json.nextToken() == JsonToken.FIELD_NAME) {
            boolean found = json.currentName().equals(name);
            json.nextToken();
            if (found) {
                return true;
            }
            json.skipChildren();
        }
        return false;
    }
}
