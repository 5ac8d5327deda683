package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicContainer;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/**
 * Every operation on every backend: right within {@link Tolerance}; the same bits at every number of threads and on every call; no byte
 * read or written after an operand (native memory ends at an inaccessible page: a mistake ends the JVM), none written before it. With
 * {@code -Dpanacea.cases=text} only the cases whose name contains the text.
 */
class KernelsTest {
    /** One of so many linear layers for a GPU; prime to the number of operations and types, which follow each other in turn. */
    private static final int PART = 5;
    /** Fewer cases than this were asked for by name. */
    private static final int FEW = 1500;

    private static List<KernelCase> cases() {
        List<KernelCase> cases = new ArrayList<>(LinearCases.all());
        cases.addAll(LayerCases.all());
        cases.addAll(LossCases.all());
        String wanted = System.getProperty("panacea.cases", "");
        cases.removeIf(c -> !c.toString().contains(wanted));
        assertThat(cases).as("cases that contain '" + wanted + "'").isNotEmpty();
        return cases;
    }

    @TestFactory
    Stream<DynamicContainer> operations() {
        List<KernelCase> cases = cases();
        List<BackendUnderTest> backends = BackendUnderTest.all();
        return backends.stream().map(backend -> {
            // Beside the others, a GPU that may be a simulated one gets a part of the linear layers: 17 formats take minutes there. By itself it gets them all.
            boolean thinned = backend.name().equals("cuda") && backends.size() > 1 && cases.size() > FEW;
            return DynamicContainer.dynamicContainer(backend.name(), IntStream.range(0, cases.size()).filter(i -> !thinned || i % PART == 0 || !isLinear(cases.get(i)))
                    .mapToObj(cases::get).map(c -> DynamicTest.dynamicTest(c.toString(), () -> check(backend, c))));
        });
    }

    private static boolean isLinear(KernelCase c) {
        return c.toString().startsWith("linear") || c.toString().startsWith("lora");
    }

    private static void check(BackendUnderTest backend, KernelCase c) {
        List<Map<String, byte[]>> results = backend.runEach(c);
        assertThat(c.violation(results.getFirst())).as(backend + ", " + c).isEmpty();
        for (Map<String, byte[]> other : results) {
            results.getFirst().forEach((name, bytes) -> assertThat(other.get(name)).as(backend + ", " + c + ": " + name + " at another number of threads or on another call").isEqualTo(bytes));
        }
    }
}
