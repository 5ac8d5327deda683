package dev.panacea.eval;

/**
 * Loss on data that was not trained on.
 *
 * @param loss mean negative log-likelihood per target token, in nats
 */
public record HeldOutLoss(double loss, long targetTokens) {
    public double perplexity() {
        return Math.exp(loss);
    }
}
