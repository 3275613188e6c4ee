/**
 * The one entry behind every npm script: `node scripts/run.mjs TASK [ARGS]`. It needs Node 20.19 and npm, nothing installed; it
 * brings Node 24 where the host has an older one, installs, builds (each only when something changed), and runs the task.
 * What it says goes to standard error, so that a task's own output stays clean.
 */
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ensureBuilt } from './build.mjs'
import { runChecks } from './checks.mjs'
import { exitAs, run } from './child-process.mjs'
import { ensureDependencies } from './dependencies.mjs'
import { ensureNode, environmentWith } from './node-runtime.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** @param {string} line */
function say(line) {
  process.stderr.write(`freshet: ${line}\n`)
}

/**
 * @typedef {object} Context
 * @property {string} node absolute path of the Node 24 to run on
 * @property {string[]} args what followed the task's name
 * @property {(script: string, args: readonly string[], cwd?: string) => Promise<import('./child-process.mjs').Outcome>} runNode
 */

/** @typedef {{ summary: string, builds: boolean, run: (context: Context) => Promise<import('./child-process.mjs').Outcome> }} Task */

/** @type {import('./child-process.mjs').Outcome} */
const success = { code: 0, signal: null, output: '' }

/** @param {string} name of an installed tool @param {string} script its entry, below its own folder */
const tool = (name, script) => join(root, 'node_modules', name, script)

/** @type {Record<string, Task>} */
const tasks = {
  setup: { summary: 'Node 24, dependencies and the build', builds: true, run: async () => success },
  build: { summary: 'TypeScript to packages/freshet/dist', builds: true, run: async () => success },
  freshet: {
    summary: 'the command-line tool, as users have it',
    builds: true,
    // npm runs scripts in the repository's folder; paths in the arguments mean the folder the user stands in.
    run: ({ args, runNode }) =>
      runNode(join(root, 'packages', 'freshet', 'bin', 'freshet.js'), args, process.env['INIT_CWD']),
  },
  quickstart: {
    summary: 'a server fed with real trades (-- --once: check itself and end)',
    builds: true,
    run: ({ args, runNode }) => runNode(join(root, 'examples', 'quickstart', 'quickstart.ts'), args),
  },
  'erp-orders': {
    summary: "an ERP's webhooks, a website's database and batch files (-- --kill, --orders N)",
    builds: true,
    run: ({ args, runNode }) => runNode(join(root, 'examples', 'erp-orders', 'erp-orders.ts'), args),
  },
  test: {
    summary: 'types, lint, format, unused code, tests (arguments go to vitest)',
    builds: true,
    run: async ({ node, args, runNode }) => {
      const failed = await runChecks(root, node, say)
      const tests = await runNode(tool('vitest', 'vitest.mjs'), ['run', ...args], root)
      if (tests.code !== 0) failed.push('tests')
      say(failed.length === 0 ? 'everything passed' : `failed: ${failed.join(', ')}`)
      return failed.length === 0 || tests.signal !== null ? tests : { ...tests, code: tests.code || 1 }
    },
  },
  'test:engines': {
    summary: 'the tables as other engines read them (*.interop.test.ts)',
    builds: true,
    run: ({ args, runNode }) =>
      runNode(tool('vitest', 'vitest.mjs'), ['run', '--config', 'vitest.interop.config.ts', ...args], root),
  },
  simulate: {
    summary: 'seeded simulation of the whole system (-- --seeds N --from S, --bug NAME)',
    builds: false,
    run: ({ args, runNode }) =>
      runNode(join(root, 'packages', 'freshet', 'test', 'simulation', 'system', 'simulate.ts'), args),
  },
  lint: {
    summary: 'lint, with type-aware rules',
    builds: true,
    run: ({ args, runNode }) => runNode(tool('oxlint', 'bin/oxlint'), args, root),
  },
  format: {
    summary: 'format every file in place',
    builds: false,
    run: ({ args, runNode }) => runNode(tool('oxfmt', 'bin/oxfmt'), args, root),
  },
  chaos: {
    summary: 'kill -9 under load, round after round (-- --rounds N, --seed S)',
    builds: true,
    run: ({ args, runNode }) => runNode(join(root, 'test', 'chaos', 'chaos.ts'), args),
  },
  bench: {
    summary: 'benchmarks (-- --quick, --only NAME, --json FILE)',
    builds: true,
    run: ({ args, runNode }) => runNode(join(root, 'bench', 'bench.ts'), args),
  },
}

async function main() {
  const [name = '', ...args] = process.argv.slice(2)
  const task = Object.hasOwn(tasks, name) ? tasks[name] : undefined
  if (task === undefined) {
    const list = Object.entries(tasks).map(([key, { summary }]) => `  ${key.padEnd(14)}${summary}`)
    say(`${name === '' ? 'no task given' : `no task named "${name}"`}; there are:\n${list.join('\n')}`)
    return { ...success, code: 2 }
  }
  const node = await ensureNode(root, say)
  await ensureDependencies(root, node, say)
  if (task.builds) await ensureBuilt(root, node, say)
  const env = environmentWith(node)
  return task.run({
    node,
    args,
    runNode: (script, scriptArgs, cwd = root) => {
      if (!existsSync(script)) throw new Error(`${script} does not exist`)
      return run(node, ['--disable-warning=ExperimentalWarning', script, ...scriptArgs], { cwd, env })
    },
  })
}

try {
  exitAs(await main())
} catch (error) {
  say(error instanceof Error ? error.message : String(error))
  process.exit(1)
}
