package dev.panacea.examples;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.panacea.io.LoraTensors;
import dev.panacea.io.PeftAdapter;
import dev.panacea.io.PeftConfig;
import dev.panacea.kernels.PanaceaException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class RunOutputTest {
    @TempDir
    private Path root;

    private OutputFolder folder;

    @BeforeEach
    void name() {
        folder = new OutputFolder(root.resolve("out"));
    }

    private static PeftAdapter adapter(float value) {
        return new PeftAdapter(PeftConfig.of(Optional.of("base"), 1, 2, 0, List.of("q_proj"), false),
                Map.of("model.layers.0.self_attn.q_proj", new LoraTensors(1, 2, 2, new float[] {value, 1}, new float[] {0, 1})));
    }

    private static float value(Path adapter) {
        return PeftAdapter.read(adapter).modules().values().iterator().next().a()[0];
    }

    private static RunOutput open(OutputFolder folder, List<Path> fallbacks) {
        RunOutput output = new RunOutput(folder, fallbacks);
        try {
            output.take();
            return output;
        } catch (BadOption e) {
            output.close();
            throw e;
        }
    }

    private static RunOutput open(OutputFolder folder) {
        return open(folder, List.of());
    }

    private static void run(OutputFolder folder, float value) {
        try (RunOutput output = open(folder)) {
            output.save(adapter(value), written -> { });
            output.write("metrics " + value, "report " + value);
        }
    }

    private void refused(String... words) {
        assertThatThrownBy(() -> open(folder)).isInstanceOf(BadOption.class).hasMessageStartingWith("--output " + folder + ": ").hasMessageContainingAll(words);
    }

    private static List<String> tree(Path where) throws IOException {
        try (Stream<Path> files = Files.walk(where)) {
            return files.filter(f -> !f.equals(where)).map(f -> where.relativize(f).toString()).sorted().toList();
        }
    }

    @Test
    void aRunThatPutsNothingInLeavesNoFolder() throws IOException {
        folder = new OutputFolder(root.resolve("new/deep"));
        try (RunOutput output = open(folder)) {
            assertThat(output.replaces()).isFalse();
            assertThat(folder.path()).isDirectory();
        }
        assertThat(root).isEmptyDirectory();
        Files.createDirectory(root.resolve("new"));
        open(folder).close();
        assertThat(tree(root)).as("what was there stays").containsExactly("new");
    }

    @Test
    void resultsStayAndNothingElse() throws IOException {
        run(folder, 1);
        assertThat(tree(folder.path())).containsExactly("adapter", "adapter/README.md", "adapter/adapter_config.json", "adapter/adapter_model.safetensors", "metrics.json",
                "report.html");
        try (RunOutput output = open(folder)) {
            assertThat(output.replaces()).isTrue();
        }
        assertThat(folder.report()).hasContent("report 1.0");
    }

    @Test
    void earlierResultsGoWhenTheNewOnesStand() {
        run(folder, 1);
        try (RunOutput output = open(folder)) {
            output.save(adapter(2), written -> {
                assertThat(value(written)).isEqualTo(2);
                assertThat(value(folder.adapter())).as("until then").isEqualTo(1);
                assertThat(folder.metrics()).hasContent("metrics 1.0");
                assertThat(folder.report()).hasContent("report 1.0");
            });
            assertThat(value(folder.adapter())).isEqualTo(2);
            assertThat(folder.metrics()).as("of another adapter").doesNotExist();
            assertThat(folder.report()).doesNotExist();
            output.write("m", "r");
        }
        assertThat(folder.metrics()).hasContent("m");
    }

    @Test
    void anAdapterThatIsReadBackOtherwiseReplacesNothing() throws IOException {
        run(folder, 1);
        List<String> before = tree(folder.path());
        try (RunOutput output = open(folder, List.of(root))) {
            assertThatThrownBy(() -> output.save(adapter(2), written -> {
                throw new PanaceaException("other logits");
            })).isInstanceOf(PanaceaException.class).hasMessage("other logits");
            assertThatThrownBy(() -> output.save(adapter(Float.NaN), written -> { })).isInstanceOf(PanaceaException.class).hasMessageContaining("lora_A");
        }
        assertThat(tree(folder.path())).isEqualTo(before);
        assertThat(value(folder.adapter())).isEqualTo(1);
        assertThat(tree(root)).as("no other folder").allMatch(f -> f.startsWith("out"));
    }

    @Test
    void aSecondRunIsRefusedAndToldWhichHasTheFolder() throws Exception {
        Path link = Files.createSymbolicLink(root.resolve("link"), folder.path());
        try (RunOutput output = open(folder)) {
            assertThat(output.replaces()).isFalse();
            refused("another run has it", "choose another folder");
            folder = new OutputFolder(link);
            refused("another run has it");
        }
        open(new OutputFolder(root.resolve("out"))).close();
    }

    @Test
    void leftoversOfAKilledRunAreRemoved() throws IOException {
        run(folder, 1);
        List<String> before = tree(folder.path());
        Files.writeString(folder.path().resolve(".finetune.lock"), "process 1 since 2026-01-01T00:00:00Z");
        Files.writeString(folder.path().resolve(".metrics.json.1x2y3z.incomplete"), "{");
        Files.writeString(folder.path().resolve(".finetune.probe"), "");
        Files.writeString(folder.adapter().resolve(".adapter_model.safetensors.0.incomplete"), "");
        for (String name : List.of(".adapter.new", "..adapter.new.abc.incomplete")) {
            Path unfinished = Files.createDirectory(folder.path().resolve(name));
            Files.writeString(unfinished.resolve("adapter_config.json"), "{");
            Files.writeString(unfinished.resolve(".adapter_model.safetensors.9z.incomplete"), "");
        }
        open(folder).close();
        assertThat(tree(folder.path())).isEqualTo(before);
        assertThat(value(folder.adapter())).isEqualTo(1);
    }

    @Test
    void anAdapterThatWasPutAsideComesBack() throws IOException {
        run(folder, 1);
        Files.move(folder.adapter(), folder.path().resolve(".adapter.old"));
        open(folder).close();
        assertThat(value(folder.adapter())).isEqualTo(1);
        assertThat(folder.path().resolve(".adapter.old")).doesNotExist();
    }

    @Test
    void filesOfOthersAreNotTakenForLeftovers() throws IOException {
        Files.createDirectories(folder.path());
        for (String name : List.of(".thesis.tex.abc.incomplete", ".metrics.json.incomplete", "metrics.json.abc.incomplete", ".adapter", ".metrics.json.UPPER.incomplete")) {
            Path file = Files.writeString(folder.path().resolve(name), "mine");
            refused(name, "Choose a new or empty folder");
            assertThat(file).hasContent("mine");
            Files.delete(file);
        }
    }

    @Test
    void linksAreFollowedToFoldersOnly() throws IOException {
        Path real = Files.createDirectory(root.resolve("real"));
        Files.createSymbolicLink(folder.path(), real);
        run(folder, 1);
        assertThat(value(real.resolve("adapter"))).isEqualTo(1);

        for (String target : List.of("nowhere", "loop")) {
            Path link = Files.createSymbolicLink(root.resolve(target.equals("loop") ? "loop" : "dangling"), Path.of(target));
            folder = new OutputFolder(link);
            refused("is a link that leads nowhere (to " + target + ")");
            folder = new OutputFolder(link.resolve("deeper"));
            refused("is a link that leads nowhere (to " + target + ")");
        }
        assertThat(root.resolve("nowhere")).doesNotExist();
    }

    @Test
    void linksAndOtherKindsInPlaceOfResultsAreRefused() throws IOException {
        Path elsewhere = Files.createDirectory(root.resolve("elsewhere"));
        Files.createDirectories(folder.path());
        Files.createSymbolicLink(folder.adapter(), elsewhere);
        refused("adapter in it is a link");
        assertThat(elsewhere).isEmptyDirectory();
        Files.delete(folder.adapter());
        Files.createSymbolicLink(folder.metrics(), Files.writeString(elsewhere.resolve("secret"), "x"));
        refused("metrics.json in it is a link");
        Files.delete(folder.metrics());
        Files.createDirectory(folder.report());
        refused("report.html in it is a folder, not a file");
        Files.delete(folder.report());
        Files.writeString(folder.adapter(), "");
        refused("adapter in it is a file, not a folder");
        Files.delete(folder.adapter());
        Files.createSymbolicLink(folder.path().resolve(".finetune.lock"), elsewhere.resolve("secret"));
        refused("is a link");
        assertThat(elsewhere.resolve("secret")).hasContent("x");
    }

    @Test
    void aFolderWithoutPermissionIsRefusedWithItsOwner() throws IOException {
        Files.createDirectories(folder.path());
        Files.setPosixFilePermissions(folder.path(), PosixFilePermissions.fromString("r-xr-xr-x"));
        assumeTrue(!Files.isWritable(folder.path()), "this user may write everywhere");
        refused("no permission", folder.path() + " belongs to " + Files.getOwner(folder.path()));
    }

    @Test
    void roomForTheResultsIsRequired() {
        try (RunOutput output = open(folder)) {
            output.requireSpace(1000);
            assertThatThrownBy(() -> output.requireSpace(Long.MAX_VALUE)).isInstanceOf(BadOption.class).hasMessageContainingAll("--output", "are free there", "free some space");
        }
    }

    @Test
    void anAdapterThatCannotBeWrittenGoesElsewhereAndEarlierResultsStay() throws IOException {
        run(folder, 1);
        Path file = Files.writeString(root.resolve("file"), "");
        Path home = Files.createDirectory(root.resolve("home"));
        try (RunOutput output = open(folder, List.of(file, home))) {
            Files.move(folder.path(), root.resolve("moved"));
            Files.writeString(folder.path(), "in the way");
            assertThatThrownBy(() -> output.save(adapter(2), written -> { })).isInstanceOf(PanaceaException.class).isNotInstanceOf(BadOption.class)
                    .hasMessageContainingAll("Cannot write " + folder.adapter() + ": ", "The trained adapter is in " + home, "answers with --output " + home);
        }
        assertThat(tree(home)).hasSize(5);
        assertThat(value(home.resolve(tree(home).get(0)).resolve("adapter"))).isEqualTo(2);
        assertThat(value(root.resolve("moved/adapter"))).isEqualTo(1);
    }

    @Test
    void anAdapterThatNoFolderTakesIsSaidToBeLost() throws IOException {
        Path file = Files.writeString(root.resolve("file"), "");
        try (RunOutput output = open(folder, List.of(file))) {
            Files.delete(folder.path().resolve(".finetune.lock"));
            Files.delete(folder.path());
            Files.writeString(folder.path(), "in the way");
            assertThatThrownBy(() -> output.save(adapter(2), written -> { })).hasMessageContainingAll("The trained adapter is lost", "Cannot write " + file);
        }
    }

    @Test
    void reportsThatCannotBeWrittenLeaveTheAdapterAndSaySo() throws IOException {
        try (RunOutput output = open(folder)) {
            output.save(adapter(1), written -> { });
            Files.createDirectory(folder.report());
            assertThatThrownBy(() -> output.write("m", "r")).isInstanceOf(PanaceaException.class).hasMessageContainingAll("report.html", "The trained adapter is in " + folder.adapter());
        }
        assertThat(value(folder.adapter())).isEqualTo(1);
    }
}
