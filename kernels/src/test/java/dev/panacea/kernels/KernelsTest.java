package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
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
        return BackendUnderTest.all().stream().map(backend -> DynamicContainer.dynamicContainer(backend.name(),
                cases.stream().map(c -> DynamicTest.dynamicTest(c.toString(), () -> check(backend, c)))));
    }

    private static void check(BackendUnderTest backend, KernelCase c) {
        List<Map<String, byte[]>> results = backend.runEach(c);
        assertThat(c.violation(results.getFirst())).as(backend + ", " + c).isEmpty();
        for (Map<String, byte[]> other : results) {
            results.getFirst().forEach((name, bytes) -> assertThat(other.get(name)).as(backend + ", " + c + ": " + name + " at another number of threads or on another call").isEqualTo(bytes));
        }
    }
}
