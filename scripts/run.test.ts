import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { filesBelow, fingerprint, removeStale } from './build.mjs'
import { run } from './child-process.mjs'
import { dependenciesAreCurrent } from './dependencies.mjs'
import { chooseNode, nodePackages } from './node-runtime.mjs'

let root: string

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'freshet-run-'))
})

afterEach(() => rmSync(root, { recursive: true, force: true }))

function write(path: string, content: unknown): void {
  mkdirSync(dirname(join(root, path)), { recursive: true })
  writeFileSync(join(root, path), typeof content === 'string' ? content : JSON.stringify(content))
}

describe('which Node', () => {
  const linux = { execPath: '/usr/bin/node', platform: 'linux', arch: 'x64' }

  test('a host that has Node 24 or newer uses its own', () => {
    for (const version of ['24.0.0', '25.1.0']) {
      expect(chooseNode({ root, version, ...linux })).toEqual({ binary: '/usr/bin/node', install: null })
    }
  })

  test('an older host gets the package for its platform, until it is there in the right version', () => {
    const { name, version } = nodePackages['linux-x64']
    const choose = () => chooseNode({ root, version: '20.19.0', ...linux })
    const binary = join(root, '.node', 'node_modules', name, 'bin', 'node')
    expect(choose()).toEqual({ binary, install: { name, version } })
    write(`.node/node_modules/${name}/bin/node`, '')
    write(`.node/node_modules/${name}/package.json`, { version: '24.1.0' })
    expect(choose().install).toEqual({ name, version })
    write(`.node/node_modules/${name}/package.json`, { version })
    expect(choose()).toEqual({ binary, install: null })
  })

  test('a platform without a package is told to install Node by hand', () => {
    const host = { root, version: '22.0.0', execPath: '', platform: 'sunos', arch: 'x64' }
    expect(() => chooseNode(host)).toThrow(/Node 24 by hand/)
  })
})

describe('dependencies', () => {
  const locked = {
    '': {},
    'node_modules/a': { version: '1.0.0' },
    'node_modules/b-win': { version: '1.0.0', optional: true },
    'packages/p': { version: '0.1.0' },
  }

  function install(packages: Record<string, object>): void {
    write('node_modules/.package-lock.json', { packages })
    for (const path of Object.keys(packages)) write(`${path}/package.json`, {})
  }

  beforeEach(() => write('package-lock.json', { packages: locked }))

  test('are missing in a fresh clone', () => expect(dependenciesAreCurrent(root)).toBe(false))

  test('are current when everything locked is installed, other platforms aside', () => {
    install({ 'node_modules/a': { version: '1.0.0' } })
    expect(dependenciesAreCurrent(root)).toBe(true)
  })

  test('are stale when the lock file asks for another version, or a folder was deleted', () => {
    install({ 'node_modules/a': { version: '0.9.0' } })
    expect(dependenciesAreCurrent(root)).toBe(false)
    install({ 'node_modules/a': { version: '1.0.0' } })
    rmSync(join(root, 'node_modules/a'), { recursive: true })
    expect(dependenciesAreCurrent(root)).toBe(false)
  })
})

describe('build', () => {
  beforeEach(() => {
    for (const path of ['package.json', 'tsconfig.json', 'tsconfig.build.json']) write(path, {})
    write('src/cli/main.ts', 'export {}')
    write('src/cli/main.test.ts', 'export {}')
  })

  test('is due when a source or a setting changes, and not when a test does', () => {
    const before = fingerprint(root)
    write('src/cli/main.test.ts', 'export const more = 1')
    expect(fingerprint(root)).toBe(before)
    utimesSync(join(root, 'src/cli/main.ts'), 1, 1)
    const touched = fingerprint(root)
    expect(touched).not.toBe(before)
    write('src/new.ts', '')
    expect(fingerprint(root)).not.toBe(touched)
  })

  test('leaves nothing of deleted sources', () => {
    for (const path of ['cli/main.js', 'cli/main.d.ts', 'cli/old.js', 'old/old.d.ts', '.tsbuildinfo'])
      write(`dist/${path}`, '')
    expect(removeStale(root)).toEqual(['cli/old.js', 'old/old.d.ts'])
    expect(filesBelow(join(root, 'dist'))).toEqual(['.tsbuildinfo', 'cli/main.d.ts', 'cli/main.js'])
  })
})

describe('steps', () => {
  test('pass on exit codes and keep output when asked to', async () => {
    const outcome = await run(process.execPath, ['-e', 'console.log("said"); process.exit(3)'], { capture: true })
    expect(outcome).toEqual({ code: 3, signal: null, output: 'said\n' })
  })

  test('pass signals on and end as the step did', async () => {
    write(
      'step.mjs',
      'process.on("SIGTERM", () => process.exit(41)); console.log("ready"); setInterval(() => {}, 1000)',
    )
    const steps = JSON.stringify(join(import.meta.dirname, 'child-process.mjs'))
    write(
      'wrapper.mjs',
      `import { exitAs, run } from ${steps}\nexitAs(await run(process.execPath, [${JSON.stringify(join(root, 'step.mjs'))}]))`,
    )
    const wrapper = spawn(process.execPath, [join(root, 'wrapper.mjs')], { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(wrapper.stdout, 'data')
    const ended = once(wrapper, 'exit')
    wrapper.kill('SIGTERM')
    expect(await ended).toEqual([41, null])
  })

  test('an unknown task is refused with the list of those there are', async () => {
    const outcome = await run(process.execPath, [join(import.meta.dirname, 'run.mjs'), 'tset'], { capture: true })
    expect(outcome.code).toBe(2)
    expect(outcome.output).toMatch(/no task named "tset"[^]*quickstart/)
  })
})
