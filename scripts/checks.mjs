/** The checks that read the code without running it. */
import { join } from 'node:path'
import { run } from './child-process.mjs'

/**
 * Runs all checks side by side, shows the output of those that fail, and says one line about each.
 * @param {string} root the repository
 * @param {string} node
 * @param {(line: string) => void} say
 * @returns {Promise<string[]>} names of the checks that failed
 */
export async function runChecks(root, node, say) {
  const bin = (/** @type {string[]} */ ...parts) => join(root, 'node_modules', ...parts)
  const checks = {
    types: [bin('typescript', 'bin', 'tsc'), '-p', 'packages/freshet/tsconfig.json'],
    'types of tests, examples and tools': [bin('typescript', 'bin', 'tsc'), '-p', 'tsconfig.json'],
    lint: [bin('oxlint', 'bin', 'oxlint')],
    format: [bin('oxfmt', 'bin', 'oxfmt'), '--check'],
    'unused code': [bin('knip', 'bin', 'knip.js'), '--no-progress'],
  }
  const results = await Promise.all(
    Object.entries(checks).map(async ([name, args]) => ({
      name,
      ...(await run(node, args, { cwd: root, capture: true })),
    })),
  )
  for (const { name, code, output } of results) {
    say(`${code === 0 ? 'ok' : 'FAILED'}: ${name}`)
    if (code !== 0) process.stderr.write(`${output.trim()}\n`)
  }
  return results.filter(({ code }) => code !== 0).map(({ name }) => name)
}
