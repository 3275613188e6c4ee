import { defineConfig } from 'vitest/config'

/** Slow machines run this too; a test that hangs should still end the run within reason. */
const unitTimeoutMs = 30_000
const e2eTimeoutMs = 180_000

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            'packages/*/src/**/*.test.ts',
            'scripts/**/*.test.ts',
            'packages/*/test/{conformance,simulation}/**/*.test.ts',
            'test/architecture/**/*.test.ts',
            'test/docs/{code-blocks,links}.test.ts',
            'test/chaos/**/*.test.ts',
          ],
          exclude: ['**/*.interop.test.ts'],
          testTimeout: unitTimeoutMs,
          hookTimeout: unitTimeoutMs,
        },
      },
      {
        test: {
          name: 'e2e',
          include: [
            'test/docs/docs.test.ts',
            'test/e2e/**/*.test.ts',
            'packages/*/test/integration/**/*.test.ts',
            'examples/**/*.test.ts',
            'bench/**/*.test.ts',
          ],
          exclude: ['**/*.interop.test.ts'],
          globalSetup: ['test/build-first.ts'],
          testTimeout: e2eTimeoutMs,
          hookTimeout: e2eTimeoutMs,
          // Each of these starts servers of its own: one after another, so that they do not starve each other.
          fileParallelism: false,
        },
      },
    ],
  },
})
