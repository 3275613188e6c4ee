/** Whatever a configuration changes, and however its files are of different ages: each name has the values that were stored for it. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { emptyTable } from '../../../test/conformance/lake-fixture.ts'
import { undeclaredStream, type Column, type ColumnType, type StreamPlan } from '../../config/plan.ts'
import type { LoadedTable } from '../../lake/catalog.ts'
import { currentSchema, formerFields } from '../../lake/metadata.ts'
import { systemRandom } from '../../runtime/random.ts'
import { writeReadyFile } from '../data-files.ts'
import { FileLayouts } from '../file-layouts.ts'
import { literal } from '../sql-text.ts'
import { knownColumns, selectStream } from '../stream-view.ts'
import { planTable } from './plan-table.ts'
import { recordOf, withRecord } from './stream-record.ts'

let dir: string
let connection: DuckDBConnection

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'freshet-changes-'))
  connection = await (await DuckDBInstance.create(':memory:', { preserve_insertion_order: 'false' })).connect()
  await connection.run("SET TimeZone = 'UTC'")
})

afterAll(async () => {
  connection.closeSync()
  await rm(dir, { recursive: true })
})

const text: ColumnType = { kind: 'string' }
const names = ['a', 'b', 'c', 'd'] as const
type Name = (typeof names)[number]
type Place = 'column' | 'struct' | 'list' | 'map'

type Step = { rename: [Name, Name] } | { drop: Name } | { add: Name } | { order: Name[] } | 'file'

const name = fc.constantFrom(...names)
const steps = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.constant<Step>('file') },
    { weight: 2, arbitrary: fc.tuple(name, name).map((rename): Step => ({ rename })) },
    { weight: 1, arbitrary: name.map((drop): Step => ({ drop })) },
    { weight: 2, arbitrary: name.map((add): Step => ({ add })) },
    { weight: 1, arbitrary: fc.shuffledSubarray([...names]).map((order): Step => ({ order })) },
  ),
  { minLength: 3, maxLength: 14 },
)

/** The columns of a stream whose fields are at a place. */
function columnsAt(place: Place, fields: readonly string[]): Column[] {
  const inside: ColumnType = { kind: 'struct', fields: fields.map((one) => ({ name: one, type: text })) }
  if (place === 'column') return fields.map((one) => ({ name: one, type: text }))
  if (place === 'struct') return [{ name: 'o', type: inside }]
  return [{ name: 'o', type: place === 'list' ? { kind: 'list', element: inside } : { kind: 'map', value: inside } }]
}

const prefixes: Record<Place, string[]> = { column: [], struct: ['o'], list: ['o', '[]'], map: ['o', '*'] }

/** A row with `<version><name>` in each field, as SQL. */
function rowAt(place: Place, fields: readonly string[], version: number): string {
  const inside = `{${fields.map((one) => `"${one}": ${literal(`${version}${one}`)}`).join(', ')}}`
  const system = `'e${version}' AS _event_id, TIMESTAMPTZ '2024-05-01 01:00:00+00' AS _event_time, TIMESTAMPTZ '2024-05-01 01:00:00+00' AS _received_at, 's' AS _source, NULL::VARCHAR AS _tenant`
  if (place === 'column')
    return `SELECT ${system}, ${fields.map((one) => `${literal(`${version}${one}`)} AS "${one}"`).join(', ')}`
  return `SELECT ${system}, ${place === 'struct' ? inside : place === 'list' ? `[${inside}]` : `MAP {'k': ${inside}}`} AS o`
}

function insideOf(place: Place, row: Record<string, unknown>): Record<string, unknown> {
  if (place === 'column') return Object.fromEntries(Object.entries(row).filter(([one]) => !one.startsWith('_')))
  if (place === 'struct') return row['o'] as Record<string, unknown>
  const [first] = row['o'] as unknown[]
  return (place === 'list' ? first : (first as { value: unknown }).value) as Record<string, unknown>
}

test('names and values stay together', async () => {
  await fc.assert(
    fc.asyncProperty(fc.constantFrom<Place>('column', 'struct', 'list', 'map'), steps, async (place, changes) => {
      let fields: string[] = ['a', 'b']
      const streamOf = (more: Partial<StreamPlan> = {}): StreamPlan => ({
        ...undeclaredStream('t'),
        schema: {},
        open: false,
        columns: columnsAt(place, fields),
        ...more,
      })
      let table: LoadedTable = {
        name: 't',
        version: 1,
        metadata: withRecord(emptyTable(columnsAt(place, fields)), recordOf(streamOf())),
      }
      /** What each row holds, by the identity of its fields, and which identity a name has. */
      const rows: Map<number, string>[] = []
      const files: string[] = []
      const layouts = new FileLayouts()
      let last = 1
      const identity = new Map<string, number>([
        ['a', 0],
        ['b', 1],
      ])
      for (const [version, step] of changes.entries()) {
        let more: Partial<StreamPlan> = {}
        if (step === 'file') {
          const columns = knownColumns(table)
          const request = {
            table,
            schema: currentSchema(table.metadata),
            columns,
            select: rowAt(place, fields, version),
          }
          const ordered = `SELECT ${columns.map((column) => `"${column.name}"`).join(', ')} FROM (${request.select})`
          const cast = { ...request, select: ordered }
          const ready = await writeReadyFile(connection, { random: systemRandom, tmpDir: dir }, cast)
          files.push(ready!.file.slice(dir.length + 1))
          rows.push(new Map(fields.map((one) => [identity.get(one)!, `${version}${one}`])))
        } else if ('rename' in step) {
          const [from, to] = step.rename
          if (!fields.includes(from) || fields.includes(to)) continue
          fields = fields.map((one) => (one === from ? to : one))
          identity.set(to, identity.get(from)!)
          more = { renames: [{ path: [...prefixes[place], to], former: [from] }] }
        } else if ('drop' in step) {
          if (!fields.includes(step.drop) || fields.length === 1) continue
          fields = fields.filter((one) => one !== step.drop)
          more = { drops: [[...prefixes[place], step.drop]] }
        } else if ('add' in step) {
          if (fields.includes(step.add)) continue
          fields = [...fields, step.add]
          identity.set(step.add, ++last)
        } else {
          fields = fields.toSorted((a, b) => step.order.indexOf(a as Name) - step.order.indexOf(b as Name))
        }
        const plan = planTable(streamOf({ columns: columnsAt(place, fields), ...more }), table, new Set())
        expect(plan.refusals).toEqual([])
        table = { ...table, metadata: plan.next ?? table.metadata }
        expect(planTable(streamOf({ columns: columnsAt(place, fields), ...more }), table, new Set()).changes).toEqual(
          [],
        )
        await expectRows()
      }
      async function expectRows(): Promise<void> {
        const { metadata } = table
        const keys = files.map((key) => ({ key, path: key, deletes: [] }))
        await layouts.learn(
          connection,
          metadata,
          files.map((key) => join(dir, key)),
        )
        const committed = {
          schema: currentSchema(metadata),
          formerFields: formerFields(metadata),
          files: keys,
          lakeDir: dir,
          layouts,
        }
        const select = selectStream(knownColumns(table), committed, [])
        const found = (
          await connection.runAndReadAll(`SELECT * FROM (${select}) ORDER BY CAST(_event_id[2:] AS INT)`)
        ).getRowObjectsJson() as Record<string, unknown>[]
        expect(found.map((row) => insideOf(place, row))).toEqual(
          rows.map((row) => Object.fromEntries(fields.map((one) => [one, row.get(identity.get(one)!) ?? null]))),
        )
        if (found[0] !== undefined) expect(Object.keys(insideOf(place, found[0]))).toEqual(fields)
      }
    }),
    { numRuns: 40 },
  )
}, 120_000)
