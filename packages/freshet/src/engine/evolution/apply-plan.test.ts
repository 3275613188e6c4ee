import { beforeEach, describe, expect, test } from 'vitest'
import { failing, meeting } from '../../../test/conformance/catalog-faults.ts'
import { append, emptyTable, memoryLake, type Lake } from '../../../test/conformance/lake-fixture.ts'
import { undeclaredStream, type StreamPlan } from '../../config/plan.ts'
import type { Catalog } from '../../lake/catalog.ts'
import { currentSchema } from '../../lake/metadata.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { applyPlan, evolvedTable } from './apply-plan.ts'
import { planChanges } from './plan-changes.ts'
import { recordOf, withRecord } from './stream-record.ts'

const stream = (name: string, ...columns: string[]): StreamPlan => ({
  ...undeclaredStream(name),
  schema: {},
  columns: columns.map((column) => ({ name: column, type: { kind: 'double' } })),
  open: false,
})
const planOf = (...streams: StreamPlan[]) => ({
  streams: Object.fromEntries(streams.map((one) => [one.name, one])),
})

describe('applying the plan of all tables', () => {
  let lake: Lake
  const wanted = planOf(
    stream('a', 'price', 'more'),
    stream('b', 'price', 'more'),
    stream('c', 'price'),
    stream('d', 'x'),
  )

  beforeEach(async () => {
    lake = memoryLake()
    for (const name of ['a', 'b', 'c']) {
      const table = await lake.catalog.create(name, withRecord(emptyTable(), recordOf(stream(name, 'price'))))
      await append(lake, table, 'one', 1)
    }
  })

  const fieldsOf = async (name: string): Promise<string[]> => {
    const { metadata } = (await lake.catalog.load(name))!
    return currentSchema(metadata)
      .fields.map((field) => field.name)
      .slice(5)
  }
  const versionOf = async (name: string): Promise<number> => (await lake.catalog.load(name))!.version

  test('changes each table in one commit, and those that need none in none', async () => {
    const plans = await applyPlan(lake, wanted)
    expect(plans.map(({ table, state }) => [table, state])).toEqual([
      ['a', 'change'],
      ['b', 'change'],
      ['c', 'unchanged'],
      ['d', 'new'],
    ])
    expect(await fieldsOf('a')).toEqual(['price', 'more'])
    expect(await Promise.all(['a', 'b', 'c'].map(versionOf))).toEqual([3, 3, 2])
    expect((await planChanges(wanted, lake.catalog)).map(({ state }) => state)).toEqual([
      'unchanged',
      'unchanged',
      'unchanged',
      'new',
    ])
    await applyPlan(lake, wanted)
    expect(await versionOf('a')).toBe(3)
  })

  test('a refusal of one table leaves all as they are', async () => {
    const refused = planOf(stream('a', 'price', 'more'), { ...stream('b', 'price'), id: 'price' }, stream('c', 'price'))
    const error = await applyPlan(lake, refused).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(FreshetError)
    expect(error).toMatchObject({ code: 'plan_refused', retryable: false })
    expect((error as FreshetError).message).toContain('b: the id of events changes from ids of the gateway to price')
    expect((error as FreshetError).message).toContain('(--accept b.id)')
    expect(await fieldsOf('a')).toEqual(['price'])
    await applyPlan(lake, { ...refused, accept: ['b.id'] })
    expect(await fieldsOf('a')).toEqual(['price', 'more'])
  })

  test('after a crash between two tables the next start goes on with the second', async () => {
    const crashing: Catalog = {
      ...bound(lake.catalog),
      commit: (base, next) => {
        if (base.name === 'b') throw new Error('killed')
        return lake.catalog.commit(base, next)
      },
    }
    await expect(applyPlan({ ...lake, catalog: crashing }, wanted)).rejects.toThrow('killed')
    expect([await fieldsOf('a'), await fieldsOf('b')]).toEqual([['price', 'more'], ['price']])
    const rest = await applyPlan(lake, wanted)
    expect(rest.map(({ state }) => state)).toEqual(['unchanged', 'change', 'unchanged', 'new'])
    expect([await versionOf('a'), await versionOf('b')]).toEqual([3, 3])
  })

  test('another writer that commits first is built upon', async () => {
    const catalog = meeting(lake.catalog, async () => {
      await append(lake, (await lake.catalog.load('a'))!, 'two', 2)
    })
    await applyPlan({ ...lake, catalog }, wanted)
    expect(await fieldsOf('a')).toEqual(['price', 'more'])
    expect((await lake.catalog.load('a'))!.metadata.snapshots).toHaveLength(2)
  })

  test('another writer that makes the same change first leaves nothing to do', async () => {
    const catalog = meeting(lake.catalog, () =>
      applyPlan(lake, planOf(stream('a', 'price', 'more'))).catch(() => undefined),
    )
    await applyPlan({ ...lake, catalog }, { ...wanted, accept: ['b.remove', 'c.remove'] })
    expect(await fieldsOf('a')).toEqual(['price', 'more'])
    expect((await lake.catalog.load('a'))!.metadata.schemas).toHaveLength(2)
  })

  test('a commit whose answer is lost is made once', async () => {
    const catalog = failing(lake.catalog, 'after', () => new Error('lost'))
    await expect(applyPlan({ ...lake, catalog }, wanted)).rejects.toThrow('lost')
    await applyPlan(lake, wanted)
    expect((await lake.catalog.load('a'))!.metadata.schemas).toHaveLength(2)
  })

  test('a damaged table is not planned, and keeps nobody else', async () => {
    await lake.store.put('a/metadata/v3.metadata.json', Buffer.from('{'))
    const plans = await applyPlan(lake, wanted)
    expect(plans[0]).toMatchObject({ table: 'a', state: 'unreadable' })
    expect(await fieldsOf('b')).toEqual(['price', 'more'])
  })

  test('a table that is refused later on stays as it is, and can be loaded', async () => {
    const refused = { ...stream('a', 'price'), id: 'price' }
    const table = await evolvedTable({ ...lake, plan: planOf(refused) }, 'a')
    expect(table?.version).toBe(2)
    expect(await evolvedTable({ ...lake, plan: planOf(refused) }, 'nowhere')).toBeUndefined()
    // One that the configuration does not have is never touched.
    expect((await evolvedTable({ ...lake, plan: planOf(refused) }, 'b'))?.version).toBe(2)
  })

  test('the clock may go back, the table does not', async () => {
    lake.clock.ms -= 1000
    await applyPlan(lake, wanted)
    const { metadata } = (await lake.catalog.load('a'))!
    expect(metadata['last-updated-ms']).toBeGreaterThan(lake.clock.ms)
  })
})

function bound(catalog: Catalog): Catalog {
  return {
    tables: () => catalog.tables(),
    load: (name) => catalog.load(name),
    create: (name, metadata) => catalog.create(name, metadata),
    commit: (base, next) => catalog.commit(base, next),
  }
}
