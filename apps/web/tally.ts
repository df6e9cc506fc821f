import type { Reporter, TestModule } from "vitest/node";

/** The counts in one line, as test runners of other languages print them. */
export default class Tally implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const count = (state: string): number => tests.filter((test) => test.result().state === state).length;
    process.stdout.write(`web: ${count("passed")} passed, ${count("failed")} failed, ${count("skipped")} skipped\n`);
  }
}
