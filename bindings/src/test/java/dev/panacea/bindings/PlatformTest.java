package dev.panacea.bindings;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PlatformTest {
    @ParameterizedTest
    @CsvSource({
        "Linux, amd64, linux-x86_64",
        "Linux, aarch64, linux-aarch64",
        "Mac OS X, x86_64, macos-x86_64",
        "Mac OS X, arm64, macos-aarch64",
        "Windows Server 2022, amd64, windows-x86_64",
        "FreeBSD, riscv64, freebsd-riscv64",
        "OS/../400, a/../b, os400-ab"})
    void namesAreNormalised(String os, String arch, String expected) {
        assertThat(Platform.of(os, arch)).hasToString(expected);
    }

    @Test
    void settingsComeFromThePropertyAndBlankOnesDoNotCount() {
        Setting setting = new Setting("panacea.test.setting", "PATH");
        assertThat(setting.read()).hasValueSatisfying(v -> assertThat(v.origin()).isEqualTo("PATH"));
        System.setProperty("panacea.test.setting", " x ");
        try {
            assertThat(setting.read()).contains(new Setting.Value("x", "panacea.test.setting"));
            System.setProperty("panacea.test.setting", " ");
            assertThat(setting.read()).hasValueSatisfying(v -> assertThat(v.origin()).isEqualTo("PATH"));
        } finally {
            System.clearProperty("panacea.test.setting");
        }
        assertThat(new Setting("panacea.test.setting", "PANACEA_TEST_SETTING").read()).isEmpty();
    }
}
