import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { cli } from '../../test/support/cli.ts'
import type { Column } from '../config/plan.ts'
import { undeclaredStream } from '../config/plan.ts'
import { recordOf, withRecord } from '../engine/evolution/stream-record.ts'
import { FileCatalog } from '../lake/file-catalog/file-catalog.ts'
import { newTableMetadata } from '../lake/metadata.ts'
import { tableColumns } from '../lake/schema.ts'
import { systemClock } from '../runtime/clock.ts'
import { nodeFileSystem } from '../runtime/file-system.ts'
import { silentLogger } from '../runtime/logging.ts'
import { systemRandom } from '../runtime/random.ts'
import { LocalObjectStore } from '../storage/local/local-object-store.ts'

let cwd: string

beforeEach(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'freshet-plan-'))
})
afterEach(() => rm(cwd, { recursive: true }))

const columns: Column[] = [
  { name: 'postcode', type: { kind: 'string' } },
  { name: 'n', type: { kind: 'long' } },
]

async function makeTable(): Promise<void> {
  const lakeDir = join(cwd, '.freshet', 'lake')
  const store = new LocalObjectStore({ root: lakeDir, fileSystem: nodeFileSystem, random: systemRandom })
  const metadata = newTableMetadata({
    columns: tableColumns(columns),
    partition: { by: 'event_time', unit: 'day' },
    clock: systemClock,
    random: systemRandom,
  })
  const record = recordOf({ ...undeclaredStream('people'), columns })
  const catalog = new FileCatalog({ store, rootLocation: `file://${lakeDir}`, logger: silentLogger })
  await catalog.create('people', withRecord(metadata, record))
}

async function configure(people: string): Promise<void> {
  await writeFile(join(cwd, 'freshet.config.ts'), `export default { streams: { people: ${people}, pets: {} } }\n`)
}

const schema = (fields: string): string => `{ type: 'object', properties: { ${fields} }, additionalProperties: false }`
const text = `{ type: 'string' }`
const whole = `{ type: 'integer' }`

test('before the first start everything is new, and nothing is made', async () => {
  await configure(`{ schema: ${schema(`n: ${whole}`)} }`)
  const { code, stdout } = await cli(['plan'], { cwd })
  expect(stdout).toBe(
    `Plan for ${join(cwd, '.freshet')}\n\npeople: made with the first events\npets: made with the first events\n\nNothing to do.\n`,
  )
  expect(code).toBe(0)
  expect(await readdir(cwd)).toEqual(['freshet.config.ts'])
})

test('changes are shown by table, with field ids', async () => {
  await makeTable()
  await configure(`{ schema: ${schema(`n: ${whole}, zip: ${text}`)}, renames: { zip: 'postcode' }, partition: 'hour' }`)
  const { code, stdout } = await cli(['plan'], { cwd })
  expect(stdout.split('\n').slice(2)).toEqual([
    'people: will change',
    '  rename postcode -> zip (id 6)',
    '  columns in the order n, zip',
    '  partitions: day(_event_time) -> hour(_event_time) (spec 1) for new files; those there stay as they are',
    'pets: made with the first events',
    '',
    '1 table will change at the next `freshet start` or `freshet dev`; no data file is rewritten.',
    '',
  ])
  expect(code).toBe(0)
})

test('a refusal ends with exit code 1, says how to mend it, and can be accepted', async () => {
  await makeTable()
  await configure(`{ schema: ${schema(`n: ${whole}, postcode: { type: 'string', format: 'date' }`)} }`)
  const refused = await cli(['plan'], { cwd })
  expect(refused.code).toBe(1)
  expect(refused.stdout.split('\n').slice(2)).toEqual([
    'people: refused',
    '  columns in the order n, postcode',
    '  refused: postcode is string in the table and date in the schema: a column does not become narrower',
    '    mend: Declare it as string; or accept it: the column stays string, and events are held to date. (--accept people.postcode)',
    'pets: made with the first events',
    '',
    '1 table refused: `freshet start` stops with this plan, and changes nothing',
    '',
  ])
  expect((await cli(['plan', '--accept', 'people.postcode'], { cwd })).code).toBe(0)
})

test('--json prints the same for programs', async () => {
  await makeTable()
  await configure(`{ schema: ${schema(`postcode: ${text}, n: ${whole}, age: ${whole}`)} }`)
  const { code, stdout } = await cli(['plan', '--json'], { cwd })
  expect(JSON.parse(stdout)).toEqual({
    dataDir: join(cwd, '.freshet'),
    ok: true,
    tables: [
      {
        table: 'people',
        state: 'change',
        changes: [{ kind: 'add', column: 'age', id: 8, text: 'add age: long (id 8)' }],
        refusals: [],
        notes: [],
      },
      { table: 'pets', state: 'new', changes: [], refusals: [], notes: [] },
    ],
  })
  expect(code).toBe(0)
})

test('without a configuration there is nothing to plan', async () => {
  const { code, stderr } = await cli(['plan'], { cwd })
  expect(stderr).toContain('There is no configuration file')
  expect(code).toBe(1)
})
