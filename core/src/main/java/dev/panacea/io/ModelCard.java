package dev.panacea.io;

/** The README.md beside an adapter, in the form that the Hugging Face Hub reads. */
final class ModelCard {
    private ModelCard() {}

    static String text(PeftConfig config) {
        String base = config.baseModel().orElse("");
        boolean isHubId = base.matches("[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*");
        String model = base.isEmpty() ? "BASE_MODEL" : base;
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

                ## Use with PEFT

                ```python
                from peft import PeftModel
                from transformers import AutoModelForCausalLM, AutoTokenizer

                base = %s
                model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), "path/of/this/folder")
                tokenizer = AutoTokenizer.from_pretrained(base)
                ```
                """.formatted(isHubId ? "base_model: " + base + "\n" : "", base.isEmpty() ? "not recorded" : "`" + base.replace('`', '\'') + "`", config.rank(),
                config.json().path("lora_alpha").asText(), config.targets().json(), config.useRslora() ? ", rank-stabilized scaling" : "", JsonFiles.quote(model));
    }
}
