/** Values of every type on their way through log, hot rows, data files and SQL. */
import { afterEach, expect, test } from 'vitest'
import type { Column } from '../../src/config/plan.ts'
import { Lab, streamPlan } from './engine-harness.ts'

let lab: Lab
afterEach(() => lab.close())

const columns: Column[] = [
  { name: 'id', type: { kind: 'string' } },
  { name: 'n', type: { kind: 'int' } },
  { name: 'price', type: { kind: 'decimal', precision: 38, scale: 10 } },
  { name: 'small', type: { kind: 'decimal', precision: 3, scale: 3 } },
  { name: 'ratio', type: { kind: 'double' } },
  { name: 'single', type: { kind: 'float' } },
  { name: 'opens', type: { kind: 'time' } },
  { name: 'local', type: { kind: 'timestamp' } },
  { name: 'u', type: { kind: 'uuid' } },
  { name: 'blob', type: { kind: 'binary' } },
  {
    name: 'parts',
    type: {
      kind: 'list',
      element: {
        kind: 'struct',
        fields: [
          { name: 'blob', type: { kind: 'binary' } },
          { name: 'fee', type: { kind: 'decimal', precision: 4, scale: 2 } },
          { name: 'opens', type: { kind: 'time' } },
        ],
      },
    },
  },
]
const typed = streamPlan('typed', { columns, time: null })
const lines = [
  '{"id":"a","n":-2147483648,"price":"1234567890123456789012345678.0123456789","small":"-0.001","ratio":"NaN","single":0.5,"opens":"23:59:59.999999","local":"1969-12-31T23:59:59.999999","u":"FFFFFFFF-0000-4000-8000-000000000000","blob":"AP8=","parts":[{"blob":"AA==","fee":"1.5","opens":"01:00:00Z"},null]}',
  '{"id":"b","n":null,"price":null,"small":null,"ratio":"-Infinity","single":"Infinity","opens":null,"local":null,"u":null,"blob":"","parts":null}',
  '{"id":"c"}',
]
const json = [
  '{"id":"a","n":-2147483648,"price":1234567890123456789012345678.0123456789,"small":-0.001,"ratio":null,"single":0.5,"opens":"23:59:59.999999","local":"1969-12-31T23:59:59.999999","u":"ffffffff-0000-4000-8000-000000000000","blob":"AP8=","parts":[{"blob":"AA==","fee":1.50,"opens":"01:00:00"},null]}',
  '{"id":"b","n":null,"price":null,"small":null,"ratio":null,"single":null,"opens":null,"local":null,"u":null,"blob":"","parts":null}',
  '{"id":"c","n":null,"price":null,"small":null,"ratio":null,"single":null,"opens":null,"local":null,"u":null,"blob":null,"parts":null}',
  '',
].join('\n')
const csv = [
  'id,n,price,small,ratio,single,opens,local,u,blob,parts',
  'a,-2147483648,1234567890123456789012345678.0123456789,-0.001,NaN,0.5,23:59:59.999999,1969-12-31T23:59:59.999999,ffffffff-0000-4000-8000-000000000000,AP8=,"[{""blob"":""AA=="",""fee"":1.50,""opens"":""01:00:00""},null]"',
  'b,,,,-Infinity,Infinity,,,,,',
  'c,,,,,,,,,,',
  '',
].join('\r\n')

test('are the same hot, from files and after a restart, in every format', async () => {
  lab = await Lab.open({ streams: { typed } })
  let engine = await lab.start()
  await lab.post(
    'typed',
    lines.map((raw, index) => ({ id: String(index), raw })),
  )
  await engine.caughtUp('typed')
  const sql = `SELECT ${columns.map(({ name }) => name).join(', ')} FROM typed ORDER BY id`
  const check = async (): Promise<void> => {
    expect((await engine.query({ sql, format: 'ndjson' })).text).toBe(json)
    expect((await engine.query({ sql, format: 'csv' })).text).toBe(csv)
    const types = JSON.parse((await engine.query({ sql })).text) as { columns: { type: string }[] }
    expect(types.columns.map(({ type }) => type).slice(1, 10)).toEqual([
      'INTEGER',
      'DECIMAL(38,10)',
      'DECIMAL(3,3)',
      'DOUBLE',
      'FLOAT',
      'TIME',
      'TIMESTAMP',
      'UUID',
      'BLOB',
    ])
  }
  await check()
  await engine.stop()
  engine = await lab.start()
  expect(await engine.value('SELECT count(*) FROM freshet.files')).toBe(1)
  await check()
})

test('that a column cannot hold are kept as dead letters when they reach the engine all the same', async () => {
  lab = await Lab.open({ streams: { typed } })
  const engine = await lab.start()
  const bad = ['{"id":"x","n":2147483648}', '{"id":"y","price":"abc"}', '{"id":"z","blob":"%"}', '{"id":"w","u":"1"}']
  await lab.post(
    'typed',
    [...bad, '{"id":"good","n":1}'].map((raw, index) => ({ id: String(index), raw })),
  )
  await engine.caughtUp('typed')
  expect(await engine.sql('SELECT id FROM typed')).toEqual([{ id: 'good' }])
  expect(await engine.letters('typed', 'code')).toEqual(bad.map(() => ({ code: 'unreadable' })))
})
