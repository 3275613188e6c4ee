import { describe, expect, test } from 'vitest'
import { append, emptyTable, memoryLake } from '../../../test/conformance/lake-fixture.ts'
import { undeclaredStream, type Column, type ColumnType, type StreamPlan } from '../../config/plan.ts'
import type { LoadedTable } from '../../lake/catalog.ts'
import { currentSchema, formerFields, withSchema, type TableMetadata } from '../../lake/metadata.ts'
import { nestedNamesChanged } from '../../lake/nested-names.ts'
import { columnsOf } from '../../lake/schema.ts'
import { planTable, planWithoutStream, type TablePlan } from './plan-table.ts'
import { planWithoutConfig, recordOf, streamRecord, withRecord } from './stream-record.ts'

const long: ColumnType = { kind: 'long' }
const text: ColumnType = { kind: 'string' }
const double: ColumnType = { kind: 'double' }
const decimal = (precision: number): ColumnType => ({ kind: 'decimal', precision, scale: 2 })
const struct = (...fields: Column[]): ColumnType => ({ kind: 'struct', fields })
const none: ReadonlySet<string> = new Set()

function stream(columns: Column[] | null, more: Partial<StreamPlan> = {}): StreamPlan {
  return { ...undeclaredStream('people'), schema: {}, columns, open: false, id: 'id', ...more }
}

const base: Column[] = [
  { name: 'id', type: text },
  { name: 'postcode', type: text },
  { name: 'size', type: { kind: 'int' } },
  { name: 'address', type: struct({ name: 'town', type: text }, { name: 'fax', type: text }) },
]

/** A table that a stream with these columns was loaded into. */
async function tableOf(columns: Column[], record: StreamPlan | null = stream(columns)): Promise<LoadedTable> {
  const lake = memoryLake()
  const metadata = emptyTable(columns)
  const table = await lake.catalog.create('people', record ? withRecord(metadata, recordOf(record)) : metadata)
  return (await append(lake, table, 'a', 1)).table
}

const texts = ({ changes }: TablePlan): string[] => changes.map((change) => change.text)
const reasons = ({ refusals }: TablePlan): string[] => refusals.map(({ reason }) => reason)
const applied = (table: LoadedTable, plan: TablePlan): LoadedTable => ({
  ...table,
  metadata: plan.next ?? table.metadata,
})

describe('what a configuration changes in a table', () => {
  test('nothing where it has all', async () => {
    const table = await tableOf(base)
    expect(planTable(stream(base), table, none)).toEqual({
      table: 'people',
      state: 'unchanged',
      changes: [],
      refusals: [],
      notes: [],
    })
    expect(planTable(stream(base), undefined, none).state).toBe('new')
  })

  test('added, renamed, dropped, widened and ordered fields, each with its id; once applied, nothing', async () => {
    const table = await tableOf(base)
    const wanted: Column[] = [
      { name: 'id', type: text },
      { name: 'size', type: long },
      { name: 'zip', type: text },
      { name: 'address', type: struct({ name: 'country', type: text }, { name: 'city', type: text }) },
      { name: 'age', type: { kind: 'int' } },
    ]
    const changed = stream(wanted, {
      renames: [
        { path: ['zip'], former: ['postcode'] },
        { path: ['address', 'city'], former: ['town'] },
      ],
      drops: [['address', 'fax']],
    })
    const plan = planTable(changed, table, none)
    expect(plan.state).toBe('change')
    expect(texts(plan)).toEqual([
      'widen size: int -> long (id 8)',
      'rename postcode -> zip (id 7)',
      'add address.country: string (id 12)',
      'rename address.town -> address.city (id 10)',
      'add age: int (id 13)',
      'drop address.fax: string (id 11); files and older snapshots keep its values',
      'columns in the order id, size, zip, address, age',
    ])
    const next = applied(table, plan)
    expect(columnsOf(currentSchema(next.metadata)).slice(5)).toEqual(wanted)
    expect(nestedNamesChanged(next.metadata)).toBe(true)
    expect(next.metadata['last-column-id']).toBe(13)
    expect(planTable(changed, next, none)).toMatchObject({ state: 'unchanged', changes: [], refusals: [] })
  })

  test('a column that is added under the name of a dropped one has a fresh id', async () => {
    const table = await tableOf(base)
    const without = base.filter(({ name }) => name !== 'postcode')
    const dropped = applied(table, planTable(stream(without, { drops: [['postcode']] }), table, none))
    expect(texts(planTable(stream(base), dropped, none))).toContain('add postcode: string (id 12)')
  })

  test('a type that Iceberg cannot widen is a new field beside the old one', async () => {
    const table = await tableOf(base.map((column) => (column.name === 'size' ? { name: 'size', type: long } : column)))
    const wanted = base.map((column) => (column.name === 'size' ? { name: 'size', type: double } : column))
    const plan = planTable(stream(wanted), table, none)
    expect(texts(plan)).toEqual([
      'size (id 8) stays as size_v1; size: long -> double, a new field (id 12) that is read with the older values',
    ])
    const next = applied(table, plan)
    expect(formerFields(next.metadata)).toEqual(new Map([[12, [8]]]))
    expect(planTable(stream(wanted), next, none).state).toBe('unchanged')
    expect(reasons(planTable(stream([...wanted, { name: 'SIZE_V1', type: long }]), next, none))).toEqual([
      'SIZE_V1: the table keeps older values of another column under this name',
    ])
  })

  test('decimals become wider in place', async () => {
    const table = await tableOf([
      { name: 'id', type: text },
      { name: 'fee', type: decimal(9) },
    ])
    const plan = planTable(
      stream([
        { name: 'id', type: text },
        { name: 'fee', type: decimal(18) },
      ]),
      table,
      none,
    )
    expect(texts(plan)).toEqual(['widen fee: decimal(9, 2) -> decimal(18, 2) (id 7)'])
  })

  test('a column that the schema does not have any more stays, and the plan says so', async () => {
    const plan = planTable(stream(base.slice(0, 3)), await tableOf(base), none)
    expect(plan).toMatchObject({ state: 'unchanged', changes: [] })
    expect(plan.notes).toEqual(['address (id 9) stays, although the schema lacks it: drop: ["address"] removes it'])
  })

  test('new files are cut anew, those there stay as they are', async () => {
    const table = await tableOf(base)
    const plan = planTable(stream(base, { partition: { by: 'event_time', unit: 'hour' } }), table, none)
    expect(texts(plan)).toEqual([
      'partitions: day(_event_time) -> hour(_event_time) (spec 1) for new files; those there stay as they are',
    ])
    const back = planTable(stream(base), applied(table, plan), none)
    expect(texts(back)[0]).toContain('(spec 0)')
  })

  test('fields of another engine that must not be null may be null from now on', async () => {
    const table = await tableOf(base)
    const schema = currentSchema(table.metadata)
    const fields = schema.fields.map((field) => (field.name === 'size' ? { ...field, required: true } : field))
    const strict = { ...table, metadata: { ...table.metadata, schemas: [{ ...schema, fields }] } }
    expect(texts(planTable(stream(base), strict, none))).toEqual(['size may be null (id 8): events may lack it'])
  })

  test('a comment of another engine changes nothing', async () => {
    const table = await tableOf(base)
    const schema = currentSchema(table.metadata)
    const fields = schema.fields.map((field) =>
      field.name === 'postcode' ? { ...field, doc: 'as on letters' } : field,
    )
    const commented = { ...table, metadata: { ...table.metadata, schemas: [{ ...schema, fields }] } }
    expect(planTable(stream(base), commented, none).state).toBe('unchanged')
  })
})

describe('what is refused', () => {
  const wider = base.map((column) => (column.name === 'size' ? { name: 'size', type: long } : column))

  test('a narrower type, unless it is accepted: then the column stays, and it is not asked again', async () => {
    const table = await tableOf(wider)
    const plan = planTable(stream(base), table, none)
    expect(plan.state).toBe('refused')
    expect(plan.next).toBeUndefined()
    expect(plan.refusals).toEqual([
      {
        reason: 'size is long in the table and int in the schema: a column does not become narrower',
        mend: 'Declare it as long; or accept it: the column stays long, and events are held to int.',
        accept: 'people.size',
      },
    ])
    const accepted = planTable(stream(base), table, new Set(['people.size']))
    expect(accepted).toMatchObject({ state: 'unchanged', changes: [], refusals: [] })
    const next = applied(table, accepted)
    expect(currentSchema(next.metadata)).toEqual(currentSchema(table.metadata))
    expect(planTable(stream(base), next, none).state).toBe('unchanged')
  })

  test('a type that only a third one goes together with, unless it is accepted', async () => {
    const timed = base.map((column) =>
      column.name === 'size' ? { name: 'size', type: { kind: 'timestamptz' } as const } : column,
    )
    const table = await tableOf(base)
    expect(reasons(planTable(stream(timed), table, none))).toEqual([
      'size is int in the table and timestamptz in the schema, and only string holds both',
    ])
    const next = applied(table, planTable(stream(timed), table, new Set(['people.size'])))
    expect(columnsOf(currentSchema(next.metadata)).find(({ name }) => name === 'size')?.type).toEqual(text)
    expect(planTable(stream(timed), next, none)).toMatchObject({ state: 'unchanged', refusals: [] })
  })

  test('the first declaration of a table whose columns were inferred may be narrower', async () => {
    const table = await tableOf(wider, null)
    const plan = planTable(stream(base), table, none)
    expect(plan).toMatchObject({ state: 'unchanged', refusals: [] })
    expect(plan.notes[0]).toContain('size stays long')
    expect(planTable(stream(base), applied(table, plan), none)).toMatchObject({ state: 'unchanged', notes: [] })
  })

  test('two spellings of a name, nested ones too', async () => {
    const table = await tableOf(base)
    const respelled = base.map(({ name, type }) =>
      name === 'postcode'
        ? { name: 'PostCode', type }
        : { name, type: name === 'address' ? struct({ name: 'Town', type: text }) : type },
    )
    expect(reasons(planTable(stream(respelled), table, none))).toEqual([
      'PostCode differs from the column postcode only by upper and lower case, which SQL does not tell apart',
      'address.Town differs from the column town only by upper and lower case, which SQL does not tell apart',
    ])
  })

  test('a rename onto a column that is there', async () => {
    const table = await tableOf([...base, { name: 'zip', type: text }])
    const wanted = [...base.filter(({ name }) => name !== 'postcode'), { name: 'zip', type: text }]
    const plan = planTable(stream(wanted, { renames: [{ path: ['zip'], former: ['postcode'] }] }), table, none)
    expect(reasons(plan)[0]).toContain('cannot be renamed to zip')
    expect(plan.refusals[0]).not.toHaveProperty('accept')
  })

  test('a drop or a new type of what the table rests on for another engine', async () => {
    const table = await tableOf(base)
    const spec = { 'spec-id': 1, fields: [{ 'source-id': 8, 'field-id': 1001, name: 'size', transform: 'identity' }] }
    const metadata: TableMetadata = {
      ...table.metadata,
      'partition-specs': [...table.metadata['partition-specs'], spec],
    }
    const cut = { ...table, metadata }
    const without = base.filter(({ name }) => name !== 'size')
    expect(reasons(planTable(stream(without, { drops: [['size']] }), cut, none))).toEqual([
      'size (id 8) cannot be dropped: partitions of the table are cut by it (spec 1)',
    ])
    const texted = base.map((column) => (column.name === 'size' ? { name: 'size', type: text } : column))
    expect(reasons(planTable(stream(texted), cut, none))).toEqual([
      'size cannot get a type that Iceberg cannot widen it to: partitions of the table are cut by it (spec 1)',
    ])
  })

  test('another id or time of a table with rows, unless it is accepted', async () => {
    const table = await tableOf(base)
    const other = stream(base, { id: 'postcode', time: { field: 'at', unit: 'ms' } })
    const plan = planTable(other, table, none)
    expect(reasons(plan)).toEqual([
      'the id of events changes from id to postcode, and the table has rows (10): events that are sent again would not be recognised',
      'the time of events changes from the time of arrival to at (ms), and the table has rows (10): events that are sent again would not be recognised',
    ])
    const accepted = planTable(other, table, new Set(['people.id', 'people.time']))
    expect(texts(accepted)).toEqual([
      'id: id -> postcode, for events from now on',
      'time: the time of arrival -> at (ms), for events from now on',
    ])
    expect(planTable(other, applied(table, accepted), none).state).toBe('unchanged')
  })

  test('an id that is only renamed is the same id', async () => {
    const renamed = base.map((column) => (column.name === 'id' ? { name: 'person', type: text } : column))
    const plan = planTable(
      stream(renamed, { id: 'person', renames: [{ path: ['person'], former: ['id'] }] }),
      await tableOf(base),
      none,
    )
    expect(plan).toMatchObject({ state: 'change', refusals: [] })
    expect(texts(plan)).toEqual(['rename id -> person (id 6)'])
  })

  test('a stream that was never declared gets its id freely', async () => {
    const table = await tableOf(base, null)
    const metadata = withRecord(table.metadata, { declared: false, id: null, time: null })
    const plan = planTable(stream(base), { ...table, metadata }, none)
    expect(plan).toMatchObject({ state: 'change', refusals: [] })
    expect(texts(plan)).toEqual(['id: ids of the gateway -> id, for events from now on'])
  })
})

describe('a table whose stream is not in the configuration', () => {
  test('is left alone when it was never declared', async () => {
    expect(planWithoutStream(await tableOf(base, null), none)).toMatchObject({ state: 'undeclared', changes: [] })
  })

  test('is refused when it was declared and has rows, unless it is accepted', async () => {
    const table = await tableOf(base)
    expect(planWithoutStream(table, none)).toMatchObject({
      state: 'refused',
      refusals: [
        { reason: 'the stream people is declared no longer, and its table has rows (10)', accept: 'people.remove' },
      ],
    })
    const accepted = planWithoutStream(table, new Set(['people.remove']))
    expect(accepted.state).toBe('change')
    const next = applied(table, accepted)
    expect(planWithoutStream(next, none)).toMatchObject({ state: 'undeclared', changes: [] })
    // Repeats that are still in its log are recognised (I5).
    expect(planWithoutConfig('people', next).id).toBe('id')
    // Declared again, it goes on as before.
    expect(planTable(stream(base), next, none)).toMatchObject({ refusals: [] })
    expect(reasons(planTable(stream(base, { id: null }), next, none))[0]).toContain('from id to ids of the gateway')
  })

  test('keeps its partitions', async () => {
    const table = await tableOf(base)
    const hourly = applied(
      table,
      planTable(stream(base, { partition: { by: 'event_time', unit: 'hour' } }), table, none),
    )
    expect(planWithoutConfig('people', hourly).partition).toEqual({ by: 'event_time', unit: 'hour' })
    expect(planWithoutConfig('people', undefined)).toEqual(undeclaredStream('people'))
  })

  test('a record that cannot be read is none', () => {
    const metadata = { ...emptyTable(), properties: { 'freshet.stream': '{' } }
    expect(streamRecord(metadata)).toBeUndefined()
    expect(
      withSchema(metadata, { schema: currentSchema(metadata), lastColumnId: 9, formerFields: new Map() }).properties,
    ).toEqual(metadata.properties)
  })
})
