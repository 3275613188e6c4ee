import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { errorCodes } from '../../packages/freshet/src/runtime/error-codes.ts'
import { boundaryViolations, contracts } from './boundaries.ts'
import { readSourceTree, type SourceModule } from './source-tree.ts'

const root = join(import.meta.dirname, '../..')
const source = join(root, 'packages/freshet/src')

test('folders import only what lies below them, and on their level only contracts', () => {
  const modules = readSourceTree(source)
  expect(modules.length).toBeGreaterThan(10)
  expect(boundaryViolations(modules)).toEqual([])
})

test('contracts have at most five methods', () => {
  const modules = readSourceTree(source)
  for (const [path, name] of Object.entries(contracts)) {
    const module = modules.find((one) => one.path === path)
    expect(module, path).toBeDefined()
    if (name !== undefined) expect(methodsOf(module!, name), path).toBeOneOf([1, 2, 3, 4, 5])
  }
})

test('no file is longer than 400 lines', () => {
  const folders = [
    'packages/freshet/src',
    'packages/freshet/test',
    'packages/freshet/bin',
    'scripts',
    'test',
    'bench',
    'examples',
  ]
  const long = folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((path) => /\.(ts|mjs|js)$/.test(path))
      .filter((path) => readFileSync(join(root, folder, path), 'utf8').split('\n').length > 401)
      .map((path) => `${folder}/${path}`),
  )
  expect(long).toEqual([])
})

test('docs/errors.md lists every error code, with its status, in order', () => {
  const rows = readFileSync(join(root, 'docs/errors.md'), 'utf8').matchAll(
    /^\| `(\w+)` +\| (\d{3}) +\| (.+) \| (.+) \|$/gm,
  )
  const documented = [...rows].map(([, code, status]) => `${code} ${status}`)
  const registered = Object.entries(errorCodes).map(([code, { status }]) => `${code} ${status}`)
  expect(documented).toEqual(registered)
  expect(registered).toEqual(registered.toSorted())
})

describe('the rules find what breaks them', () => {
  const folder = mkdtempSync(join(tmpdir(), 'freshet-architecture-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  function violationsOf(name: string, files: Record<string, string>): string[] {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, name, path)), { recursive: true })
      writeFileSync(join(folder, name, path), text)
    }
    return boundaryViolations(readSourceTree(join(folder, name)))
  }

  test('nothing to find in a tree that keeps them', () => {
    const files = {
      'runtime/clock.ts': 'export const clock = 1',
      'config/plan.ts': 'export type Plan = object',
      'log/log.ts': "import type { Plan } from '../config/plan.ts'\nexport type Log = Plan",
      'log/file/file-log.ts': "import { clock } from '../../runtime/clock.ts'\nexport const log = clock",
      'lake/files.ts': "export type { Log } from '../log/log.ts'",
      'engine/engine.ts': "import { DuckDBInstance } from '@duckdb/node-api'\nimport '../lake/files.ts'",
      'app/compose.ts': "import '../log/file/file-log.ts'\nexport const port = process.env.PORT",
      'engine/engine.test.ts': "import '../app/compose.ts'",
    }
    expect(violationsOf('clean', files)).toEqual([])
  })

  test.each<[string, Record<string, string>, string[]]>([
    [
      'upward',
      { 'runtime/a.ts': "import '../engine/b.ts'", 'engine/b.ts': '' },
      ['runtime/a.ts: imports engine/b.ts, which is on a higher level'],
    ],
    [
      'upward, by type only and re-exported',
      { 'log/a.ts': "export type { B } from '../app/b.ts'", 'app/b.ts': 'export type B = 1' },
      ['log/a.ts: imports app/b.ts, which is on a higher level'],
    ],
    [
      'upward, when the time comes',
      { 'log/a.ts': "export const b = () => import('../app/b.ts')", 'app/b.ts': '' },
      ['log/a.ts: imports app/b.ts, which is on a higher level'],
    ],
    [
      'sideways',
      { 'gateway/a.ts': "import '../engine/b.ts'", 'engine/b.ts': '' },
      ['gateway/a.ts: imports engine/b.ts, which is on the same level and no contract'],
    ],
    [
      'in a circle of contracts',
      { 'log/log.ts': "import '../lake/catalog.ts'", 'lake/catalog.ts': "import '../log/log.ts'" },
      ['folders import each other in a circle: lake, log'],
    ],
    [
      'a backend',
      { 'gateway/a.ts': "import '../log/file/b.ts'", 'log/file/b.ts': '' },
      ['gateway/a.ts: imports the backend log/file/b.ts; only app/ picks one'],
    ],
    [
      'nowhere',
      { 'log/a.ts': "import './missing.ts'" },
      ['log/a.ts: "./missing.ts" leads out of the tree or to no file'],
    ],
    [
      'a database',
      { 'gateway/a.ts': "import '@duckdb/node-api'" },
      ['gateway/a.ts: only engine/ imports @duckdb/node-api'],
    ],
    ['itself', { 'cli/a.ts': "import 'freshet'" }, ['cli/a.ts: imports its own package as "freshet"']],
    ['a new folder', { 'helpers/a.ts': '' }, ['helpers/a.ts: the folder helpers has no level']],
    [
      'the environment',
      { 'log/a.ts': 'export const a = process.env' },
      ['log/a.ts: only app/ and cli/ read the environment'],
    ],
    [
      'it by key',
      { 'log/a.ts': "export const a = process['env'].A" },
      ['log/a.ts: only app/ and cli/ read the environment'],
    ],
    ['it unpacked', { 'log/a.ts': 'const { env } = process' }, ['log/a.ts: only app/ and cli/ read the environment']],
    [
      'it imported',
      { 'log/a.ts': "import { env } from 'node:process'" },
      ['log/a.ts: only app/ and cli/ read the environment'],
    ],
  ])('%s', (name, files, violations) => {
    expect(violationsOf(name, files)).toEqual(violations)
  })

  test('methods are counted', () => {
    mkdirSync(join(folder, 'methods'))
    const text = 'export interface Log { a(): void; b: () => void; readonly size: number; c?(): void }'
    writeFileSync(join(folder, 'methods', 'log.ts'), text)
    expect(methodsOf(readSourceTree(join(folder, 'methods'))[0]!, 'Log')).toBe(3)
  })
})

function methodsOf(module: SourceModule, name: string): number {
  for (const statement of module.program.body) {
    const declaration = statement.type === 'ExportNamedDeclaration' ? statement.declaration : statement
    if (declaration?.type !== 'TSInterfaceDeclaration' || declaration.id.name !== name) continue
    return declaration.body.body.filter(
      (member) =>
        member.type === 'TSMethodSignature' ||
        (member.type === 'TSPropertySignature' && member.typeAnnotation?.typeAnnotation.type === 'TSFunctionType'),
    ).length
  }
  return 0
}
