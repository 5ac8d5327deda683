package dev.panacea.train;

import java.time.Duration;

/**
 * One optimizer step as the trainer saw it.
 *
 * @param step from 1
 * @param epoch passes over the data so far, with fraction
 * @param loss mean over all target tokens of the step
 * @param gradNorm global L2 norm before clipping
 * @param tokens tokens that went through the model, no padding
 * @param targetTokens of these, the ones the loss counts
 * @param tokensPerSecond of the training loop since its start, each token counted once
 * @param remaining estimated time to the last step
 */
public record StepReport(int step, int totalSteps, double epoch, double loss, double gradNorm, double learningRate, long tokens, long targetTokens, double tokensPerSecond,
        Duration remaining) {}
