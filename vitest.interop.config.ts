import { defineConfig } from 'vitest/config'

/** Tests that other engines read what Freshet writes; apart from the rest because they need those engines installed. */
export default defineConfig({
  test: {
    include: ['{packages,test}/**/*.interop.test.ts'],
    exclude: ['**/node_modules/**'],
    passWithNoTests: true,
    globalSetup: ['test/build-first.ts'],
    testTimeout: 600_000,
    hookTimeout: 600_000,
    fileParallelism: false,
  },
})
