package dev.panacea.examples;

import dev.panacea.io.ByteCount;
import dev.panacea.data.DatasetReader;
import dev.panacea.kernels.Backends;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraConfig;
import dev.panacea.optim.OptimizerType;
import dev.panacea.train.GradientCheckpointing;
import dev.panacea.train.SftConfig;
import java.io.File;
import java.nio.charset.Charset;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Callable;
import picocli.CommandLine;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** The command line of finetune-example.jar: every value is checked here, or in {@link BadOption} when it takes the model to judge it. */
@Command(
        name = "finetune-example",
        sortOptions = false,
        sortSynopsis = false,
        usageHelpWidth = 100,
        abbreviateSynopsis = true,
        customSynopsis = "java -jar finetune-example.jar [OPTIONS]",
        descriptionHeading = "%n",
        description = {
            "Fine-tunes a Llama model with LoRA on this computer, and shows what that changed.",
            "With no options: SmolLM2-135M-Instruct on the 4-bit weights of its GGUF file, bundled doctor-patient dialogues, a few minutes on two CPU cores."
        },
        optionListHeading = "%n",
        footerHeading = "%nExamples:%n",
        footer = {
            "  java -jar finetune-example.jar",
            "  java -jar finetune-example.jar --data my-dialogues.jsonl --epochs 2 --output my-adapter",
            "  java -jar finetune-example.jar --model models/Llama-3.2-1B-Instruct --rank 16 --max-steps 200",
            "  java -jar finetune-example.jar --chat \"I have had a headache for three days.\"",
            "",
            "Exit codes: 0 done, 1 failed, 2 wrong option, 130 stopped with Ctrl-C, 141 nobody reads the output."
        })
public final class FinetuneCommand implements Callable<Integer> {
    private static final int FAILED = 1;
    private static final int WRONG_OPTION = 2;
    /** What a shell reports of a program that was stopped because nobody reads its output. */
    private static final int NO_READER = 128 + 13;
    private static final Set<String> FOR_CHAT = Set.of("--chat", "--model", "--output", "--quantization", "--device", "--answer-tokens", "--verbose");

    private final Console console;

    @Spec
    private CommandSpec spec;

    @ArgGroup(validate = false, heading = "Model%n")
    private ModelOptions model = new ModelOptions();

    @ArgGroup(validate = false, heading = "%nData%n")
    private DataOptions data = new DataOptions();

    @ArgGroup(validate = false, heading = "%nAdapter%n")
    private AdapterOptions adapter = new AdapterOptions();

    @ArgGroup(validate = false, heading = "%nTraining%n")
    private TrainingOptions training = new TrainingOptions();

    @ArgGroup(validate = false, heading = "%nResults%n")
    private ResultOptions results = new ResultOptions();

    @ArgGroup(validate = false, heading = "%nMore%n")
    private OtherOptions other = new OtherOptions();

    FinetuneCommand(Console console) {
        this.console = console;
    }

    /** Options are strings here, so that one place says what is wrong with any of them. */
    private static final class ModelOptions {
        @Option(names = "--model", paramLabel = "PATH|NAME", description = "A .gguf file, a folder in Hugging Face's format, or a name on its hub (default: "
                + "SmolLM2-135M-Instruct).")
        private String model;

        @Option(names = "--quantization", paramLabel = "keep|nf4|none",
                description = "How the base model's weights, which stay as they are, are held in memory. keep: as the file has them; nf4: quantized to 4 "
                        + "bits, as QLoRA does; none: in bf16 "
                        + "(default: keep for a GGUF file and for 4-bit weights of bitsandbytes, nf4 for others).")
        private String quantization;

        @Option(names = "--device", paramLabel = "cpu|cuda|cuda:N", description = "Where to compute: the CPU, an NVIDIA GPU, or the one of number N, from 0 "
                + "(default: what the variable PANACEA_DEVICE names, else cpu).")
        private String device;
    }

    private static final class DataOptions {
        @Option(names = "--data", paramLabel = "FILE",
                description = "JSON Lines, JSON or CSV of messages, question + answer, prompt + completion, text and others; how it is written is found out and said (default: the "
                        + "bundled dialogues).")
        private String data;

        @Option(names = "--eval-data", paramLabel = "FILE", description = "Data to measure with, not trained on, written like --data (default: a tenth of "
                + "--data, held out).")
        private String evalData;

        @Option(names = "--columns", paramLabel = "LIST", description = "Which columns to take for what, as in question=Frage,answer=Antwort or prompt=A,completion=B; "
                + "by number where a CSV file has no header (default: by their names).")
        private String columns;

        @Option(names = "--encoding", paramLabel = "NAME", description = "Encoding of the data, such as UTF-8 or windows-1252 (default: found out).")
        private String encoding;

        @Option(names = "--separator", paramLabel = "CHARACTER", description = "What separates the values of CSV; tab for a tab (default: found out).")
        private String separator;

        @Option(names = "--max-seq-length", paramLabel = "TOKENS", defaultValue = "512",
                description = "The most tokens of an example: longer ones are cut at their end, and left out where no answer remains (default: "
                        + "${DEFAULT-VALUE}). More takes more memory.")
        private String maxSeqLength;
    }

    private static final class AdapterOptions {
        @Option(names = "--rank", paramLabel = "R", defaultValue = "8", description = "Rank of the LoRA matrices: a higher one can learn more and takes more "
                + "memory (default: ${DEFAULT-VALUE}).")
        private String rank;

        @Option(names = "--alpha", paramLabel = "A", defaultValue = "16", description = "What is learned counts alpha / rank times (default: "
                + "${DEFAULT-VALUE}).")
        private String alpha;

        @Option(names = "--target-modules", paramLabel = "LIST", defaultValue = "all-linear",
                description = "Layers that get LoRA matrices: all-linear, or some of q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj (default: "
                        + "${DEFAULT-VALUE}).")
        private String targetModules;
    }

    private static final class TrainingOptions {
        @Option(names = "--epochs", paramLabel = "N", description = "Passes over the training data; 0.5 is half of it (default: 1).")
        private String epochs;

        @Option(names = "--max-steps", paramLabel = "N", description = "Stop after this many optimizer steps, instead of --epochs.")
        private String maxSteps;

        @Option(names = "--learning-rate", paramLabel = "RATE", defaultValue = "1e-3",
                description = "The highest rate; a warm-up of 3 %% of the steps climbs to it where that is a step at least, then it falls along a cosine (default: "
                        + "${DEFAULT-VALUE}; models of billions of parameters want less, such as 2e-4).")
        private String learningRate;

        @Option(names = "--batch-size", paramLabel = "N", defaultValue = "4", description = "Examples computed together; fewer take less memory (default: "
                + "${DEFAULT-VALUE}).")
        private String batchSize;

        @Option(names = "--gradient-accumulation-steps", paramLabel = "N", defaultValue = "1",
                description = "Batches to one optimizer step, so that it sees batch size times N examples (default: ${DEFAULT-VALUE}).")
        private String accumulation;

        @Option(names = "--optim", paramLabel = "NAME", defaultValue = "adamw_torch",
                description = "The optimizer: adamw_torch, or adamw_8bit, which keeps its moments in 8 bits as bitsandbytes does, for less memory (default: "
                        + "${DEFAULT-VALUE}).")
        private String optim;

        @Option(names = "--gradient-checkpointing", paramLabel = "auto|on|off", defaultValue = "auto",
                description = "Compute activations a second time instead of keeping them: less memory, the same result, about a third more time (default: "
                        + "${DEFAULT-VALUE}: only where memory is short).")
        private String gradientCheckpointing;

        @Option(names = "--seed", paramLabel = "N", defaultValue = "42", description = "For what is left to chance: the order of the data, what is held out, "
                + "how the adapter begins. Same seed, same machine: same result (default: ${DEFAULT-VALUE}).")
        private String seed;
    }

    private static final class ResultOptions {
        @Option(names = "--output", paramLabel = "FOLDER", defaultValue = OutputFolder.DEFAULT,
                description = "Folder for the results: adapter/, metrics.json and report.html; an earlier run's are replaced (default: ${DEFAULT-VALUE}).")
        private String output;

        @Option(names = "--eval-on-start", paramLabel = "true|false", defaultValue = "true",
                description = "Measure the model before the training too; without that nothing tells whether it helped (default: ${DEFAULT-VALUE}).")
        private String evalOnStart;

        @Option(names = "--answers", paramLabel = "N", defaultValue = "16", description = "So many held-out questions are answered before and after the "
                + "training, for BLEU, a likeness to the answers in the data (default: ${DEFAULT-VALUE}; 0: none).")
        private String answers;

        @Option(names = "--answer-tokens", paramLabel = "N", defaultValue = "128",
                description = "The most tokens of an answer (default: ${DEFAULT-VALUE}; with --chat: 400).")
        private String answerTokens;

        @Option(names = "--chat", paramLabel = "QUESTION", description = "Train nothing: answer this question with the adapter that an earlier run left in "
                + "--output, without a chat template if it was trained without.")
        private String chat;
    }

    private static final class OtherOptions {
        @Option(names = "--verbose", description = "Print log messages and, after an error, where in the program it arose.")
        private boolean verbose;

        @Option(names = {"-h", "--help"}, usageHelp = true, description = "Print this text.")
        private boolean help;

        @Option(names = {"-V", "--version"}, versionHelp = true, description = "Print the versions of Panacea, its kernels on this machine, and Java.")
        private boolean version;
    }

    /** Runs a command line to its end, errors told to the console. */
    static int run(Console console, String... args) {
        CommandLine commandLine = new CommandLine(new FinetuneCommand(console));
        commandLine.getCommandSpec().versionProvider(() -> Versions.lines().toArray(String[]::new));
        // A question may begin with @, which is no file of options then.
        commandLine.setExpandAtFiles(false);
        commandLine.setOut(console.out());
        commandLine.setColorScheme(CommandLine.Help.defaultColorScheme(console.colour() ? CommandLine.Help.Ansi.ON : CommandLine.Help.Ansi.OFF));
        commandLine.setParameterExceptionHandler((e, a) -> {
            console.error(e.getMessage().lines().findFirst().orElse("wrong command line") + ". See --help.");
            return WRONG_OPTION;
        });
        commandLine.setExecutionExceptionHandler((e, c, parsed) -> failed(console, e, parsed.hasMatchedOption("--verbose")));
        try {
            return commandLine.execute(args);
        } catch (PipeOutput.Closed e) {
            return NO_READER;
        } catch (Error e) {
            // Memory that ran out, first of all; picocli leaves errors alone.
            return failed(console, e, Arrays.asList(args).contains("--verbose"));
        }
    }

    /** How this program was started, for hints to be typed. */
    static String invocation() {
        String path = System.getProperty("java.class.path", "");
        return "java -jar " + ShellWord.of(path.endsWith(".jar") && !path.contains(File.pathSeparator) ? path : "finetune-example.jar");
    }

    private static int failed(Console console, Throwable e, boolean verbose) {
        console.error(switch (e) {
            case PanaceaException expected -> expected.getMessage();
            case OutOfMemoryError heap -> "Java's own memory of " + ByteCount.text(Runtime.getRuntime().maxMemory()) + " does not suffice (" + heap.getMessage()
                    + "). Give it more, such as java -Xmx8g -jar ..., or less data";
            default -> "This should not have happened: " + e + ". Please report it, with what --verbose prints.";
        });
        if (verbose || System.getenv("PANACEA_DEBUG") != null) {
            console.trace(e);
        }
        return e instanceof BadOption ? WRONG_OPTION : FAILED;
    }

    @Override
    public Integer call() {
        if (other.verbose) {
            System.setProperty("org.slf4j.simpleLogger.defaultLogLevel", "info");
        }
        refuseRepeated();
        FinetuneSettings settings = settings();
        if (results.chat == null) {
            new FinetunePipeline(settings, console).run();
        } else {
            refuseWithChat();
            Chat.answer(chatSettings(settings), results.chat, console);
        }
        return 0;
    }

    private FinetuneSettings settings() {
        if (training.epochs != null && training.maxSteps != null) {
            throw wrong("--epochs", training.epochs, "not together with --max-steps " + training.maxSteps + "; give one of them");
        }
        SftConfig sft = SftConfig.builder()
                .numTrainEpochs(training.epochs == null ? 1 : real("--epochs", training.epochs, 1e-6, 10_000))
                .maxSteps(training.maxSteps == null ? 0 : whole("--max-steps", training.maxSteps, 1, 100_000_000))
                .learningRate(real("--learning-rate", training.learningRate, 1e-12, 1))
                .perDeviceTrainBatchSize(whole("--batch-size", training.batchSize, 1, 4096))
                .gradientAccumulationSteps(whole("--gradient-accumulation-steps", training.accumulation, 1, 4096))
                .maxSeqLength(whole("--max-seq-length", data.maxSeqLength, 8, 1 << 20))
                .optim(optim())
                .seed(seed())
                .gradientCheckpointing(gradientCheckpointing())
                .build();
        LoraConfig lora = new LoraConfig(whole("--rank", adapter.rank, 1, 1 << 16), real("--alpha", adapter.alpha, 1e-6, 1e6), targetModules(), false);
        int answerTokens = whole("--answer-tokens", results.answerTokens, 1, 1 << 16);
        return new FinetuneSettings(device(), modelName(), file("--data", data.data), file("--eval-data", data.evalData), reading(), output(), lora, quantization(), sft, evalOnStart(),
                whole("--answers", results.answers, 0, 100_000), answerTokens);
    }

    private Chat.Settings chatSettings(FinetuneSettings s) {
        boolean tokensGiven = given("--answer-tokens");
        return new Chat.Settings(s.device(), s.model(), s.output(), s.quantization(), tokensGiven ? s.answerTokens() : Chat.ANSWER_TOKENS);
    }

    private boolean given(String option) {
        return spec.commandLine().getParseResult().hasMatchedOption(option);
    }

    /** Which of two values is meant? And picocli would start the option's whole group anew. */
    private void refuseRepeated() {
        spec.commandLine().getParseResult().matchedOptions().stream().filter(o -> o.originalStringValues().size() > 1).findFirst().ifPresent(o -> {
            throw new ParameterException(spec.commandLine(), o.longestName() + " is given " + o.originalStringValues().size() + " times: " + String.join(", ", o.originalStringValues()));
        });
    }

    private void refuseWithChat() {
        spec.commandLine().getParseResult().matchedOptions().stream().map(o -> o.longestName()).filter(name -> !FOR_CHAT.contains(name)).findFirst().ifPresent(name -> {
            throw new ParameterException(spec.commandLine(), name + " has no effect with --chat; leave it out");
        });
        if (results.chat.isBlank()) {
            throw wrong("--chat", "\"" + results.chat + "\"", "a question is needed");
        }
    }

    // ---- one check per kind of value ---------------------------------------------------------------------------------

    private OptimizerType optim() {
        return Arrays.stream(OptimizerType.values()).filter(t -> t.name().equalsIgnoreCase(training.optim)).findFirst()
                .orElseThrow(() -> wrong("--optim", "\"" + training.optim + "\"", "adamw_torch or adamw_8bit is needed"));
    }

    private Optional<String> modelName() {
        if (model.model != null && model.model.isBlank()) {
            throw wrong("--model", "\"\"", "a .gguf file, a folder or a name on the Hugging Face Hub is needed");
        }
        return Optional.ofNullable(model.model);
    }

    /** Whether there is such a device shows when it is opened. */
    private String device() {
        try {
            String device = model.device == null ? Backends.defaultDevice() : model.device;
            Backends.checkName(device);
            return device;
        } catch (PanaceaException e) {
            throw model.device == null ? e : wrong("--device", model.device, "cpu, cuda or cuda:N is needed, N being the number of a GPU from 0 on");
        }
    }

    private Optional<Quantization> quantization() {
        return Optional.ofNullable(model.quantization).map(name -> switch (name.toLowerCase(Locale.ROOT)) {
            case "keep" -> Quantization.KEEP;
            case "nf4" -> Quantization.NF4;
            case "none" -> Quantization.NONE;
            default -> throw wrong("--quantization", name, "keep, nf4 or none is needed");
        });
    }

    private boolean evalOnStart() {
        return switch (results.evalOnStart.toLowerCase(Locale.ROOT)) {
            case "true" -> true;
            case "false" -> false;
            default -> throw wrong("--eval-on-start", results.evalOnStart, "true or false is needed");
        };
    }

    private GradientCheckpointing gradientCheckpointing() {
        return switch (training.gradientCheckpointing.toLowerCase(Locale.ROOT)) {
            case "auto" -> GradientCheckpointing.AUTO;
            case "on" -> GradientCheckpointing.ON;
            case "off" -> GradientCheckpointing.OFF;
            default -> throw wrong("--gradient-checkpointing", training.gradientCheckpointing, "auto, on or off is needed");
        };
    }

    private List<String> targetModules() {
        if (adapter.targetModules.equals("all-linear")) {
            return LoraConfig.ALL_LINEAR;
        }
        Set<String> modules = new LinkedHashSet<>(Arrays.stream(adapter.targetModules.split(",", -1)).map(String::strip).toList());
        for (String m : modules) {
            if (!LoraConfig.ALL_LINEAR.contains(m)) {
                throw wrong("--target-modules", adapter.targetModules, "\"" + m + "\" is not a linear layer of a Llama; all-linear, or some of "
                        + String.join(",", LoraConfig.ALL_LINEAR) + " is needed");
            }
        }
        return List.copyOf(modules);
    }

    private OutputFolder output() {
        if (results.output.isBlank()) {
            throw wrong("--output", "\"\"", "the name of a folder is needed");
        }
        return new OutputFolder(path("--output", results.output));
    }

    /** How the user says that the data is written. */
    private DatasetReader.Options reading() {
        DatasetReader.Options reading = DatasetReader.Options.DETECT;
        if (data.encoding != null) {
            needsData("--encoding");
            try {
                reading = reading.withEncoding(Charset.forName(data.encoding.strip()));
            } catch (IllegalArgumentException e) {
                throw wrong("--encoding", data.encoding, "the name of an encoding is needed, such as UTF-8, windows-1252 or Shift_JIS");
            }
        }
        if (data.separator != null) {
            needsData("--separator");
            String separator = data.separator.equalsIgnoreCase("tab") || data.separator.equals("\\t") ? "\t" : data.separator;
            if (separator.length() != 1 || "\"\r\n".contains(separator)) {
                throw wrong("--separator", data.separator, "a single character is needed, or tab");
            }
            reading = reading.withSeparator(separator.charAt(0));
        }
        if (data.columns != null) {
            needsData("--columns");
            try {
                reading = reading.withColumns(columns());
            } catch (IllegalArgumentException e) {
                throw wrong("--columns", data.columns, e.getMessage());
            }
        }
        return reading;
    }

    private Map<String, String> columns() {
        Map<String, String> columns = new LinkedHashMap<>();
        for (String pair : data.columns.split(",", -1)) {
            int equals = pair.indexOf('=');
            if (equals < 1 || pair.substring(equals + 1).isBlank()) {
                throw new IllegalArgumentException("\"" + pair + "\" is not of the form MEANING=NAME, as in question=Frage,answer=Antwort");
            }
            String meaning = pair.substring(0, equals).strip().toLowerCase(Locale.ROOT);
            if (columns.put(meaning, pair.substring(equals + 1).strip()) != null) {
                throw new IllegalArgumentException(meaning + " is given twice");
            }
        }
        return columns;
    }

    private void needsData(String option) {
        if (data.data == null && data.evalData == null) {
            throw new ParameterException(spec.commandLine(), option + " has no effect without --data; leave it out");
        }
    }

    private Optional<Path> file(String option, String value) {
        if (value == null) {
            return Optional.empty();
        }
        Path file = path(option, value);
        if (!Files.exists(file)) {
            throw wrong(option, value, "there is no such file");
        }
        if (!Files.isRegularFile(file)) {
            throw wrong(option, value, "this is " + (Files.isDirectory(file) ? "a folder" : "a pipe or a device") + "; a JSON Lines, JSON or CSV file is needed");
        }
        if (!Files.isReadable(file)) {
            throw wrong(option, value, "no permission to read it");
        }
        return Optional.of(file);
    }

    private Path path(String option, String value) {
        try {
            return Path.of(value);
        } catch (java.nio.file.InvalidPathException e) {
            throw wrong(option, value, "this cannot be the name of a file (" + e.getReason() + ")" + (value.indexOf('\0') >= 0 ? "" : "; set LC_ALL to a language in UTF-8, such as C.UTF-8"));
        }
    }

    private int whole(String option, String value, int least, int most) {
        try {
            int n = Integer.parseInt(value.strip());
            if (n >= least && n <= most) {
                return n;
            }
        } catch (NumberFormatException e) {
            throw wrong(option, value, wholeNeeded(least, most));
        }
        throw wrong(option, value, wholeNeeded(least, most));
    }

    private static String wholeNeeded(int least, int most) {
        return "a whole number from " + least + " to " + most + " is needed";
    }

    private double real(String option, String value, double least, double most) {
        String needed = "a number from " + plain(least) + " to " + plain(most) + " is needed";
        try {
            double x = Double.parseDouble(value.strip());
            if (x >= least && x <= most) {
                return x;
            }
        } catch (NumberFormatException e) {
            throw wrong(option, value, needed);
        }
        throw wrong(option, value, needed);
    }

    private static String plain(double x) {
        return x == Math.rint(x) ? Long.toString((long) x) : Double.toString(x).toLowerCase(Locale.ROOT);
    }

    private long seed() {
        try {
            return Long.parseLong(training.seed.strip());
        } catch (NumberFormatException e) {
            throw wrong("--seed", training.seed, "a whole number is needed");
        }
    }

    private ParameterException wrong(String option, String value, String problem) {
        return new ParameterException(spec.commandLine(), option + " " + value + ": " + problem);
    }
}
