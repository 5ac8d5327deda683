package dev.panacea.bindings;

import static org.assertj.core.api.Assertions.assertThat;

import dev.panacea.bindings.generated.PanaceaCpu;
import dev.panacea.bindings.generated.pan_weight;
import java.io.IOException;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodType;
import java.lang.reflect.Method;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Fails when panacea.h has changed and bindings/generate.sh has not been run. */
class GeneratedBindingsTest {
    private static CHeader header;

    @BeforeAll
    static void readHeader() throws IOException {
        header = CHeader.read();
    }

    @Test
    void headerIsUnderstood() {
        assertThat(header.functions()).hasSizeGreaterThan(30).containsKeys("pan_abi_version", "pan_linear", "pan_copy");
        assertThat(header.functions().get("pan_alloc")).isEqualTo(MethodType.methodType(MemorySegment.class, long.class));
        assertThat(header.constants()).containsEntry("PAN_ERROR_ARGUMENT", -1).containsEntry("PAN_BF16", 1);
        assertThat(header.weightFields()).hasSizeGreaterThan(10).contains(new CHeader.Field("absmax_offset", float.class));
    }

    @Test
    void functionsAreThoseOfTheHeader() {
        Map<String, MethodType> generated = new TreeMap<>();
        for (Method m : PanaceaCpu.class.getDeclaredMethods()) {
            if (m.getName().startsWith("pan_") && !m.getName().contains("$")) {
                generated.put(m.getName(), MethodType.methodType(m.getReturnType(), m.getParameterTypes()));
            }
        }
        assertThat(generated).as("run bindings/generate.sh").isEqualTo(header.functions());
    }

    @Test
    void constantsAreThoseOfTheHeader() {
        Map<String, Integer> generated = Arrays.stream(PanaceaCpu.class.getDeclaredMethods())
                .filter(m -> m.getName().startsWith("PAN_"))
                .collect(Collectors.toMap(Method::getName, GeneratedBindingsTest::invoke, (a, b) -> a, TreeMap::new));
        assertThat(generated).as("run bindings/generate.sh").isEqualTo(header.constants());
    }

    @Test
    void weightHasTheLayoutThatACompilerGivesIt() {
        List<CHeader.Field> fields = header.weightFields();
        assertThat(pan_weight.layout().memberLayouts().stream().flatMap(l -> l.name().stream())).as("run bindings/generate.sh")
                .containsExactlyElementsOf(fields.stream().map(CHeader.Field::name).toList());
        long offset = 0;
        for (CHeader.Field field : fields) {
            ValueLayout layout = (ValueLayout) pan_weight.layout().select(PathElement.groupElement(field.name()));
            long size = field.type() == int.class || field.type() == float.class ? 4 : 8;
            offset = (offset + size - 1) / size * size;
            assertThat(layout.carrier()).as(field.name()).isEqualTo(field.type());
            assertThat(pan_weight.layout().byteOffset(PathElement.groupElement(field.name()))).as(field.name()).isEqualTo(offset);
            offset += size;
        }
        assertThat(pan_weight.layout().byteSize()).isEqualTo((offset + 7) / 8 * 8);
        assertThat(pan_weight.layout().byteAlignment()).isEqualTo(8);
    }

    private static int invoke(Method constant) {
        try {
            return (int) constant.invoke(null);
        } catch (ReflectiveOperationException e) {
            throw new AssertionError(e);
        }
    }
}
