package dev.panacea.io;

import java.util.Optional;
import java.util.regex.Pattern;

/** The README.md beside an adapter, in the form that the Hugging Face Hub reads. */
final class ModelCard {
    private static final Pattern HUB_ID = Pattern.compile("[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*");
    private static final Pattern GGUF_PATH = Pattern.compile("(?is)(.*)[/\\\\]([^/\\\\]+\\.gguf)");

    private ModelCard() {}

    static String text(PeftConfig config, Optional<PeftAdapter.TrainedOn> trainedOn) {
        String base = config.baseModel().orElse("");
        boolean isHubId = HUB_ID.matcher(base).matches();
        return """
                ---
                %slibrary_name: peft
                pipeline_tag: text-generation
                tags:
                - lora
                - panacea
                ---

                # LoRA adapter

                Trained with Panacea. Base model: %s. Rank %d, alpha %s, target modules %s%s.

                Weights trained on: %s. It fits these best; on another form of the same model it works a little less well.

                ## Use with PEFT

                In this folder; elsewhere, give its path instead of `"."`.

                ```python
                from peft import PeftModel
                from transformers import AutoModelForCausalLM, AutoTokenizer

                base = %s
                model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(%s), ".")
                tokenizer = AutoTokenizer.from_pretrained(%s)
                ```
                """.formatted(isHubId ? "base_model: " + base + "\n" : "", base.isEmpty() ? "not recorded" : code(base), config.rank(),
                config.json().path("lora_alpha").asText(), config.targets().json(), config.useRslora() ? ", rank-stabilized scaling" : "",
                trainedOn.map(t -> code(t.weights())).orElse("not recorded"), python(base, trainedOn), arguments(base, trainedOn), arguments(base, trainedOn));
    }

    /** What transformers opens: a name on the hub or a folder. */
    private static String python(String base, Optional<PeftAdapter.TrainedOn> trainedOn) {
        var path = GGUF_PATH.matcher(base);
        String folder = path.matches() ? path.group(1).isEmpty() ? "/" : path.group(1) : base.isEmpty() ? "BASE_MODEL" : base;
        return JsonFiles.quote(folder) + ggufFile(base, trainedOn).map(file -> "\ngguf_file = " + JsonFiles.quote(file) + "  # needs the package gguf").orElse("");
    }

    private static String arguments(String base, Optional<PeftAdapter.TrainedOn> trainedOn) {
        return ggufFile(base, trainedOn).isPresent() ? "base, gguf_file=gguf_file" : "base";
    }

    /** The default model's repository holds the weights that its GGUF file was made from, and no such file. */
    private static Optional<String> ggufFile(String base, Optional<PeftAdapter.TrainedOn> trainedOn) {
        var path = GGUF_PATH.matcher(base);
        if (path.matches()) {
            return Optional.of(path.group(2));
        }
        return base.equals(ModelLocator.DEFAULT_MODEL) || base.isEmpty() ? Optional.empty() : trainedOn.flatMap(PeftAdapter.TrainedOn::ggufFile);
    }

    /** Text from outside on one line, between marks that keep it from being read as Markdown. */
    private static String code(String text) {
        return "`" + text.replace('`', '\'').replaceAll("\\p{Cntrl}+", " ") + "`";
    }
}
