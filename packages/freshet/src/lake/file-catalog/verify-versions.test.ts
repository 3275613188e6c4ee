import { expect, test } from 'vitest'
import { append, emptyTable, memoryLake, type Lake } from '../../../test/conformance/lake-fixture.ts'
import type { ObjectStore } from '../../storage/object-store.ts'
import { verifyVersions, type VersionsCheck } from './verify-versions.ts'

const key = (version: number): string => `trades/metadata/v${version}.metadata.json`
const hint = 'trades/metadata/version-hint.text'

/** A lake whose table has this many versions. */
async function lakeOf(versions: number): Promise<Lake> {
  const lake = memoryLake()
  let table = await lake.catalog.create('trades', emptyTable())
  for (let to = 1; to < versions; to++) table = (await append(lake, table, `f${to}`, to)).table
  return lake
}

function verify(store: ObjectStore): Promise<VersionsCheck> {
  return verifyVersions(store, 'trades', (place) => `/lake/${place}`)
}

test('versions in order, also when the oldest are gone, and no table at all', async () => {
  const lake = await lakeOf(5)
  expect(await verify(lake.store)).toMatchObject({ versions: 5, newest: key(5), findings: [] })
  await lake.store.delete([key(1), key(2)])
  const { versions, keys, findings } = await verify(lake.store)
  expect({ versions, findings }).toEqual({ versions: 3, findings: [] })
  expect([...keys]).toEqual([key(3), key(4), key(5), hint])
  expect(await verify(memoryLake().store)).toMatchObject({ versions: 0, newest: undefined, findings: [] })
})

test('a version that is missing between others is a problem, since readers would stop before it', async () => {
  const { store } = await lakeOf(5)
  await store.delete([key(3)])
  expect((await verify(store)).findings).toMatchObject([{ severity: 'problem', file: `/lake/${key(3)}` }])
})

test('versions that go while they are looked at are not missed', async () => {
  const { store } = await lakeOf(5)
  const listed = await store.list('trades/metadata/v')
  await store.delete([key(1), key(2)])
  let first = true
  const changing: ObjectStore = {
    get: (place, range) => store.get(place, range),
    put: (place, body) => store.put(place, body),
    putIfAbsent: (place, body) => store.putIfAbsent(place, body),
    delete: (places) => store.delete(places),
    list: async (prefix) => {
      const before = first ? listed.filter(({ key: place }) => place !== key(2)) : undefined
      first = false
      return before ?? store.list(prefix)
    },
  }
  expect((await verify(changing)).findings).toEqual([])
})

test.each(['', '9', '0', 'x', '-1'])('a hint that says "%s" is a note: nothing relies on it', async (text) => {
  const { store } = await lakeOf(3)
  await store.put(hint, Buffer.from(text))
  expect((await verify(store)).findings).toMatchObject([{ severity: 'note', file: `/lake/${hint}` }])
})

test('an older version that is damaged is a note, the newest is left to those who load it', async () => {
  const { store } = await lakeOf(3)
  await store.put(key(2), Buffer.from('{'))
  await store.put(key(3), Buffer.from('{'))
  expect((await verify(store)).findings).toMatchObject([{ severity: 'note', file: `/lake/${key(2)}` }])
})
