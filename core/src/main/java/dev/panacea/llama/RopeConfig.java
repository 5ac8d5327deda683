package dev.panacea.llama;

import java.util.List;
import java.util.Optional;

/**
 * Rotary position embedding (Su et al. 2021).
 *
 * @param theta base of the frequencies: {@code theta^(-2j/headDim)}
 * @param factor that positions are divided by ({@code rope_scaling} of type {@code linear}, Chen et al. 2023); 1 for none
 * @param scaling Llama 3's stretching of the low frequencies, if the model uses it and tells its parameters
 * @param divisors of each of the {@code headDim / 2} frequencies, where the model has them instead (GGUF files do: the parameters they were
 *     made from are not in the file and do not follow from them); empty otherwise
 */
public record RopeConfig(double theta, double factor, Optional<Llama3Scaling> scaling, List<Float> divisors) {

    /** {@code rope_scaling} of type {@code llama3}, by the names of config.json. */
    public record Llama3Scaling(double factor, double lowFreqFactor, double highFreqFactor, int originalMaxPositionEmbeddings) {}

    public RopeConfig {
        divisors = List.copyOf(divisors);
        if (!(factor > 0) || !Double.isFinite(factor)) {
            throw new IllegalArgumentException("positions are divided by " + factor + "; the factor must be positive");
        }
        if (scaling.isPresent() && !divisors.isEmpty()) {
            throw new IllegalArgumentException("rotary frequencies are scaled by parameters or by divisors, not by both");
        }
    }

    /** Positions as they are, with Llama 3's scaling or none. */
    public RopeConfig(double theta, Optional<Llama3Scaling> scaling) {
        this(theta, 1, scaling, List.of());
    }

    /** Angle per position of each of the {@code headDim / 2} pairs. */
    public double[] frequencies(int headDim) {
        if (!divisors.isEmpty() && divisors.size() != headDim / 2) {
            throw new IllegalArgumentException(divisors.size() + " divisors for " + headDim / 2 + " frequencies");
        }
        double[] f = new double[headDim / 2];
        for (int j = 0; j < f.length; j++) {
            double plain = Math.pow(theta, -2.0 * j / headDim) / factor;
            f[j] = scaling.map(s -> stretched(plain, s)).orElse(plain);
            if (!divisors.isEmpty()) {
                f[j] /= divisors.get(j);
            }
        }
        return f;
    }

    private static double stretched(double freq, Llama3Scaling s) {
        double waveLength = 2 * Math.PI / freq;
        double low = s.originalMaxPositionEmbeddings() / s.lowFreqFactor();
        double high = s.originalMaxPositionEmbeddings() / s.highFreqFactor();
        if (waveLength < high) {
            return freq;
        }
        if (waveLength > low) {
            return freq / s.factor();
        }
        double t = (s.originalMaxPositionEmbeddings() / waveLength - s.lowFreqFactor()) / (s.highFreqFactor() - s.lowFreqFactor());
        return (1 - t) * freq / s.factor() + t * freq;
    }
}
