import { readFileSync } from 'node:fs'
import { describe, expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { linesOf } from '../../test/support/config-mistakes.ts'
import { checkConfig } from '../config/check.ts'
import { defineConfig, env, stream } from '../config/define.ts'
import type { SinkPlan } from '../config/plan.ts'
import { knownKeys } from '../config/settings.ts'
import { sink } from './define.ts'
import { sinkKinds } from './kinds.ts'

const streams = { orders: {} }

/** What is wrong with a sink, without its name in front. */
function mistakes(kind: string, words: object): string[] {
  const lines = linesOf({ streams, sinks: { out: { kind, from: 'orders', ...words } } }, { sinkKinds })
  return lines.map((line) => line.replace(/^sinks\.out\.?/, ''))
}

function planned(one: object): SinkPlan {
  const options = { baseDir: '/project', mode: 'start', sinkKinds } as const
  return checkConfig({ streams, sinks: { out: one } }, options).sinks['out']!
}

const url = 'https://example.com/hook'

describe('a webhook', () => {
  test('has an address, secrets and headers, which may be in the environment', () => {
    const secret = `whsec_${Buffer.alloc(32).toString('base64')}`
    const words = { url: env('HOOK'), secret: [env('NEXT'), secret], headers: { 'X-Key': env('KEY') } }
    expect(planned(sink.webhook({ from: 'orders', ...words, body: () => 1 }))).toEqual({
      name: 'out',
      kind: 'webhook',
      from: 'orders',
      start: 'all',
      options: {
        url: { env: 'HOOK' },
        secret: [{ env: 'NEXT' }, secret],
        headers: { 'x-key': { env: 'KEY' } },
        batch: 1,
        format: 'json',
        timeout: 10_000,
        breaker: { failures: 5, wait: 5000, waitMax: 300_000 },
      },
      functions: ['body'],
    })
  })

  test('is told what is wrong with them, and no secret is repeated', () => {
    const wrong = { url: 'example.com', secret: 'hunter2', headers: { 'content-length': '1' }, refuse: [500] }
    expect(mistakes('webhook', wrong)).toEqual([
      "url: must be an address such as 'https://example.com/hook', with http:// or https:// in front",
      `secret: must be a secret such as 'whsec_' and 32 bytes in base64: 24 to 64 bytes, "whsec_" in front`,
      'headers: has "content-length", which the sink sets itself',
      'refuse: must be a list of statuses from 400 to 499, not 500',
    ])
    expect(mistakes('webhook', { url: 'ftp://x', secret: [{ key: 'hunter2' }] }).join()).not.toContain('hunter2')
    expect(mistakes('webhook', { url, headers: { 'a b': 'x' } })).toEqual([
      'headers: has "a b", which is no name of a header',
    ])
    expect(mistakes('webhook', { url, headers: { a: 'x\r\ny: z' } })).toEqual([
      'headers: has "a" with characters that no header may have',
    ])
    expect(mistakes('webhook', { url, body: 'text', breaker: { wiat: '1 s' } })).toEqual([
      'body: must be a function, not "text"',
      'breaker.wiat: unknown key; did you mean "wait"?',
    ])
    expect(mistakes('webhook', {})).toEqual([expect.stringMatching(/^url: must be an address/)])
  })
})

describe('Slack', () => {
  test('begins with what comes, unless told otherwise', () => {
    expect(planned(sink.slack({ from: 'orders', url, text: 'Order {id}' }))).toMatchObject({
      start: 'new',
      options: { text: 'Order {id}', pace: 1000, fold: 20 },
      functions: [],
    })
    expect(planned(sink.slack({ from: 'orders', url, start: 'all', text: () => 'x' }))).toMatchObject({
      start: 'all',
      functions: ['text'],
    })
  })

  test('needs a text whose places have names', () => {
    expect(mistakes('slack', { url, text: 'Order {id' })).toEqual([
      'text: has a brace without a name behind it at "{id"; write {{ for a brace',
    ])
    expect(mistakes('slack', { url })).toEqual([
      "text: must be a text such as 'Order {order_id} shipped', or a function, not undefined",
    ])
  })
})

describe('files', () => {
  test('are NDJSON by the hour unless told otherwise', () => {
    expect(planned(sink.files({ from: 'orders', folder: 'out' })).options).toEqual({
      folder: 'out',
      name: '{stream}-{sequence}.{ext}',
      time: 'event_time',
      every: 3_600_000,
      events: 1_000_000,
      size: 64 * 2 ** 20,
      done: '',
      encoding: 'utf8',
    })
  })

  test('go into a bucket in place of a folder, reached with keys that may be in the environment', () => {
    const s3 = { bucket: 'events', prefix: 'exports/', accessKeyId: env('KEY'), secretAccessKey: env('SECRET') }
    expect(planned(sink.files({ from: 'orders', s3 })).options['s3']).toEqual({
      bucket: 'events',
      prefix: 'exports',
      accessKeyId: { env: 'KEY' },
      secretAccessKey: { env: 'SECRET' },
    })
  })

  test.each([
    [{}, 'folder: is missing: say where the files go, by `folder` or by `s3`'],
    [{ folder: 'out', s3: {} }, 's3: is one place for the files, and `folder` another: leave one out'],
    [{ s3: { bukket: 'a' } }, 's3.bukket: unknown key; did you mean "bucket"?'],
    [{ s3: { accessKeyId: 'AK1' } }, 's3.secretAccessKey: is missing beside `accessKeyId`'],
    [{ s3: { secretAccessKey: 'hunter2' } }, 's3.accessKeyId: is missing beside `secretAccessKey`'],
    [{ s3: { bucket: 'a/b' } }, expect.stringMatching(/^s3.bucket: must be the name of a bucket/)],
    [{ s3: { prefix: '../other' } }, 's3.prefix: must be a path without empty parts, and without a slash in front'],
    [{ s3: { prefix: '{date}' } }, expect.stringContaining('places are for `name`')],
    [{ s3: { endpoint: 's3.example.com' } }, expect.stringMatching(/^s3.endpoint: must be an address such as/)],
    [{ s3: { endpoint: 'http://key:hunter2@host' } }, expect.stringMatching(/^s3.endpoint: has a name in it/)],
  ])('cannot go to %j', (words: { s3?: object }, line) => {
    const { s3, ...rest } = words
    const found = mistakes('files', { ...rest, ...(s3 && { s3: { bucket: 'events', ...s3 } }) })
    expect(found).toEqual([line])
    expect(found.join()).not.toContain('hunter2')
  })

  test.each([
    ['../{stream}', 'must be a path within the folder, without empty parts and without parts that begin with "."'],
    ['/etc/{stream}', 'must be a path within the folder, without empty parts and without parts that begin with "."'],
    ['a/.hidden', 'must be a path within the folder, without empty parts and without parts that begin with "."'],
    ['a\\b', 'must not have backslashes or colons: folders are divided by "/"'],
    ['{customer}', expect.stringMatching(/^has the unknown place \{customer\} \(known: \{stream\}.*\{fields.NAME\}/)],
    ['{date', expect.stringContaining('has a brace without a name')],
  ])('cannot be named %s', (name, reason) => {
    const [line] = mistakes('files', { folder: 'out', name })
    expect(line!.replace(/^name: /, '')).toEqual(reason)
  })

  test('of fixed width need the width of each column', () => {
    expect(mistakes('files', { folder: 'out', format: 'fixed' })).toEqual([
      "columns: is missing: fixed-width files need them, such as { field: 'sku', width: 12 }",
    ])
    expect(mistakes('files', { folder: 'out', format: 'fixed', columns: [{ field: 'a', width: 3 }, 'b'] })).toEqual([
      'columns: column 2 has no `width`',
    ])
    const columns = [{ value: 'x', width: 2, pad: 'ab' }]
    expect(mistakes('files', { folder: 'out', format: 'fixed', columns })).toEqual([
      'columns: column 1 has a `pad` that is no character',
    ])
    expect(mistakes('files', { folder: 'out', format: 'csv', columns: [{ width: 3 }] })).toEqual([
      'columns: column 1 must have either `field` or `value`',
    ])
  })

  test('have only the settings of their format', () => {
    const wrong = { folder: 'out', format: 'parquet', compress: 'gzip', delimiter: ';', columns: ['a'] }
    expect(mistakes('files', wrong)).toEqual([
      'columns: is for csv and fixed only, and these files are parquet',
      'delimiter: is for csv only, and these files are parquet',
      'compress: is for csv and fixed and ndjson and template only, and these files are parquet',
    ])
    expect(mistakes('files', { folder: 'out', format: 'csv', template: () => '' })).toEqual([
      'format: is what `template` makes: leave one of the two out',
    ])
    expect(mistakes('files', { folder: 'out', encoding: 'latin1' })).toEqual(['encoding: of ndjson is always utf8'])
  })
})

describe('OpenSearch and Elasticsearch', () => {
  test('are one kind under two names', () => {
    const words = { from: 'orders', url, index: 'orders-{month}', delete: 'gone', id: 'k' } as const
    expect(planned(sink.opensearch(words))).toMatchObject({
      kind: 'opensearch',
      options: { index: 'orders-{month}', delete: { field: 'gone', value: true }, gzip: true, bulk: 5 * 2 ** 20 },
    })
    expect(planned(sink.elasticsearch(words)).options).toEqual(planned(sink.opensearch(words)).options)
  })

  test('take one way to sign in, whole', () => {
    const at = { url, index: 'x' }
    expect(mistakes('opensearch', { ...at, user: 'u' })).toEqual(['password: is missing beside `user`'])
    expect(mistakes('opensearch', { ...at, password: 'p' })).toEqual(['user: is missing beside `password`'])
    expect(mistakes('opensearch', { ...at, user: 'u', password: 'p', apiKey: 'k' })).toEqual([
      'apiKey: is one way to sign in, and `user` with `password` the other: leave one out',
    ])
  })

  test('need a name that an index can have, and an id to remove by', () => {
    expect(mistakes('opensearch', { url, index: 'Orders' })).toEqual(['index: must be in lower case'])
    expect(mistakes('opensearch', { url, index: '_x' })).toEqual(['index: must not begin with "-", "_" or "+"'])
    expect(mistakes('opensearch', { url, index: 'x', delete: 'gone' })).toEqual([
      'id: is missing: without it each event is a document of its own, and `delete` would find none',
    ])
    expect(mistakes('opensearch', { url, index: 'x', id: 'k', delete: { feld: 'a' } })).toEqual([
      'delete: must be the name of a field, or { field, value }, not an object',
    ])
  })
})

test('functions are given events of the type of the stream', () => {
  const orders = stream({ schema: z.object({ id: z.string(), total: z.number() }), id: 'id' })
  const config = defineConfig({
    streams: { orders },
    sinks: {
      hook: sink.webhook({
        from: orders,
        url,
        body: (event) => {
          expectTypeOf(event.total).toEqualTypeOf<number>()
          expectTypeOf(event._event_time).toEqualTypeOf<string>()
          // @ts-expect-error -- there is no such field
          return event.nothing as unknown
        },
      }),
      chat: sink.slack({ from: orders, url, text: ({ id, total }) => (total > 100 ? `Order ${id}` : null) }),
      files: sink.files({ from: orders, folder: 'out', template: (events) => events.map(({ id }) => id).join('\n') }),
      named: sink.files({ from: 'orders', folder: 'more', template: (events) => `${events.length}` }),
    },
  })
  const plan = checkConfig(config, { baseDir: '/project', mode: 'start', sinkKinds })
  expect(Object.values(plan.sinks).map(({ from, functions }) => [from, functions])).toEqual([
    ['orders', ['body']],
    ['orders', ['text']],
    ['orders', ['template']],
    ['orders', ['template']],
  ])
  // @ts-expect-error -- a webhook needs an address
  sink.webhook({ from: orders })
})

test.each([
  ['Files', 'files'],
  ['Webhook', 'webhook'],
  ['Slack', 'slack'],
  ['OpenSearch and Elasticsearch', 'opensearch'],
] as const)('docs/sinks.md has every key under "%s", and no others', (title, kind) => {
  const page = readFileSync(new URL('../../../../docs/sinks.md', import.meta.url), 'utf8')
  const part = page.split(/^## /m).find((one) => one.startsWith(`${title}\n`))
  const documented = [...part!.matchAll(/^\| `(\w+)` \|/gm)].map(([, key]) => key!)
  expect(documented.toSorted()).toEqual(knownKeys(sinkKinds[kind].settings).toSorted())
})
