package dev.panacea.examples;
final class FinetunePipeline { FinetunePipeline(FinetuneSettings s, Console c) {} void run() { throw new IllegalStateException("later"); } }
