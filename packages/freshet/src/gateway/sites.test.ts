import { rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { answerOf, startLab, trade, type Answer, type GatewayLab } from '../../test/support/gateway-lab.ts'
import { systemClock } from '../runtime/clock.ts'
import { FreshetError } from '../runtime/errors.ts'
import { openSiteRegistry } from '../sites/sqlite/sqlite-site-registry.ts'

let lab: GatewayLab
beforeEach(async () => {
  lab = await startLab()
})
afterEach(() => lab.close())

const json = { 'content-type': 'application/json' }

/** As it is written here: `fetch` would tidy the path up. */
function raw(method: string, path: string, headers: Record<string, string> = {}, body = ''): Promise<number> {
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port: lab.port, path, method, headers, agent: false }, (response) => {
      response.resume()
      response.on('end', () => resolve(response.statusCode!))
    })
      .on('error', reject)
      .end(body)
  })
}

async function put(site: string, body: unknown): Promise<Answer> {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return answerOf(await fetch(`${lab.url}/v1/sites/${site}`, { method: 'PUT', body: text, headers: json }))
}

const remove = (site: string): Promise<Response> => fetch(`${lab.url}/v1/sites/${site}`, { method: 'DELETE' })

async function sites(): Promise<Record<string, unknown>[]> {
  return (await answerOf(await fetch(`${lab.url}/v1/sites`))).body['sites'] as Record<string, unknown>[]
}

async function beat(body: unknown, headers: Record<string, string> = { 'freshet-source': 'london' }): Promise<Answer> {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  const url = `${lab.url}/v1/streams/trades/heartbeats`
  return answerOf(await fetch(url, { method: 'POST', body: text, headers: { ...json, ...headers } }))
}

describe('sites', () => {
  test('are added, listed, changed and removed', async () => {
    expect(await put('london', { streams: ['trades'] })).toMatchObject({
      status: 201,
      body: { name: 'london', streams: ['trades'], state: 'active', addedAt: expect.stringMatching(/^\d{4}-.*Z$/) },
    })
    expect(await put('london', { state: 'paused' })).toMatchObject({
      status: 200,
      body: { streams: ['trades'], state: 'paused' },
    })
    expect(await put('london', { streams: 'all' })).toMatchObject({
      status: 200,
      body: { streams: 'all', state: 'paused' },
    })
    expect(await sites()).toMatchObject([{ name: 'london', streams: 'all', state: 'paused' }])
    expect((await remove('london')).status).toBe(204)
    expect(await sites()).toEqual([])
  })

  test('can be called whatever a Freshet-Source can be', async () => {
    const longest = '%'.repeat(128)
    for (const name of ['a/b', 'a b', '?x=1', '#', '../../etc', "'; drop table site", '%2e', longest]) {
      expect((await put(encodeURIComponent(name), { streams: 'all' })).body['name']).toBe(name)
      expect((await remove(encodeURIComponent(name))).status).toBe(204)
    }
  })

  test.each([
    ['one that is too long', 'x'.repeat(129)],
    ['a line feed', 'a%0Ab'],
    ['a NUL', '%00'],
    ['letters beyond ASCII', 'm%C3%BCnchen'],
    ['a space at the end', 'a%20'],
    ['a space only', '%20'],
    ['nothing', ''],
    ['bytes that are no text', '%ff'],
    ['half an escape', '%2'],
    ['the folder itself', '.'],
    ['the folder above', '..'],
    ['the folder above, escaped', '%2e%2e'],
  ])('a name cannot be %s', async (_what, site) => {
    for (const [method, body] of [
      ['PUT', '{"streams":"all"}'],
      ['DELETE', ''],
    ] as const) {
      const status = await raw(method, `/v1/sites/${site}`, body === '' ? {} : json, body)
      expect(status).toBeOneOf([400, 414])
    }
    expect(await sites()).toEqual([])
  })

  test('a path with more behind the name is none of ours', async () => {
    expect(await raw('PUT', '/v1/sites/a/b', json, '{"streams":"all"}')).toBe(404)
    expect(await raw('PUT', '/v1/sites/a/../b', json, '{"streams":"all"}')).toBe(404)
  })

  test('a name that is not registered is refused, the nearest one named', async () => {
    await put('london', { streams: 'all' })
    expect(await put('lodnon', { state: 'paused' })).toMatchObject({
      status: 404,
      body: { code: 'unknown_site', hint: 'Did you mean "london"?' },
    })
    expect(await answerOf(await remove('londn'))).toMatchObject({ status: 404, body: { code: 'unknown_site' } })
  })

  test('a stream that does not exist is refused, the nearest one named', async () => {
    expect(await put('london', { streams: ['trades', 'trade'] })).toMatchObject({
      status: 404,
      body: { code: 'unknown_stream', hint: 'Did you mean "trades"?' },
    })
    expect(await sites()).toEqual([])
  })

  test.each<[string, unknown, string]>([
    ['nothing', {}, 'invalid_request'],
    ['a list', [], 'invalid_request'],
    ['null', 'null', 'invalid_request'],
    ['no JSON', '{"streams":', 'invalid_json'],
    ['nothing at all', '', 'invalid_json'],
    ['another member', { streams: 'all', stat: 'paused' }, 'invalid_request'],
    ['a prototype', '{"__proto__":{"streams":"all"}}', 'invalid_request'],
    ['another state', { streams: 'all', state: 'asleep' }, 'invalid_request'],
    ['a state of another type', { streams: 'all', state: ['active'] }, 'invalid_request'],
    ['no streams', { streams: [] }, 'invalid_request'],
    ['streams that are no names', { streams: [1] }, 'invalid_request'],
    ['one stream without a list', { streams: 'trades' }, 'invalid_request'],
    ['too many streams', { streams: Array.from({ length: 1001 }, () => 'trades') }, 'invalid_request'],
  ])('a body of %s is refused', async (_what, body, code) => {
    const answer = await put('london', body)
    expect([answer.body['code'], answer.status]).toEqual([code, 400])
    expect(await sites()).toEqual([])
  })

  test('a registry that is damaged says so, and events are taken all the same', async () => {
    rmSync(join(lab.dir, 'registry.db'), { force: true })
    writeFileSync(join(lab.dir, 'registry.db'), 'nothing of the sort '.repeat(500))
    expect(await answerOf(await fetch(`${lab.url}/v1/sites`))).toMatchObject({
      status: 503,
      body: { code: 'sites_unavailable', detail: expect.stringContaining('registry.db') },
    })
    expect(await put('london', { streams: 'all' })).toMatchObject({ status: 503, body: { code: 'sites_unavailable' } })
    const status = await answerOf(await fetch(`${lab.url}/v1/status`))
    expect(status.body['sites']).toMatchObject({ registered: null, problem: expect.stringContaining('registry.db') })
    expect((await lab.post(JSON.stringify(trade()))).status).toBe(202)
    expect((await beat({ until: '2026-11-20T12:00:00Z' })).status).toBe(202)
  })

  test('what was acknowledged is there after a restart', async () => {
    await put('london', { streams: 'all' })
    const again = openSiteRegistry(join(lab.dir, 'registry.db'), systemClock)
    expect(await again.list()).toMatchObject([{ name: 'london' }])
    again.close()
  })
})

describe('heartbeats', () => {
  test('go into the log as a batch without events, and are acknowledged when they are there (I1)', async () => {
    let open = (): void => {}
    lab.log.gate = new Promise((resolve) => (open = resolve))
    const pending = beat({ until: '2013-10-07T20:00:00.123456+02:00' })
    await expect.poll(() => lab.log.begun).toBe(1)
    expect(await Promise.race([pending, new Promise((resolve) => setImmediate(resolve))])).toBeUndefined()
    open()
    expect(await pending).toMatchObject({
      status: 202,
      body: { stream: 'trades', source: 'london', until: '2013-10-07T18:00:00.123Z' },
    })
    const { batch, stream } = lab.log.batches[0]!
    expect(stream).toBe('trades')
    expect(batch).toMatchObject({
      count: 0,
      lines: [],
      source: 'london',
      eventTimeMaxMs: Date.parse('2013-10-07T18:00:00.123Z'),
      receivedAtMs: expect.any(Number),
    })
  })

  test('are not acknowledged when the log cannot be written (I1)', async () => {
    lab.log.failure = new FreshetError('disk_full', 'No space.')
    expect(await beat({ until: '2026-11-20T12:00:00Z' })).toMatchObject({ status: 503, body: { code: 'disk_full' } })
    expect((await fetch(`${lab.url}/readyz`)).status).toBe(503)
  })

  test.each<[string, unknown]>([
    ['none', {}],
    ['a number', { until: 1381176000 }],
    ['null', { until: null }],
    ['a date without a time', { until: '2013-10-07' }],
    ['a time without an offset', { until: '2013-10-07T20:00:00' }],
    ['a day that is not there', { until: '2013-02-30T20:00:00Z' }],
    ['a word', { until: 'now' }],
    ['a time far in the future', { until: '2100-01-01T00:00:00Z' }],
    ['a time a little more than a day ahead', { until: new Date(Date.now() + 86_460_000).toISOString() }],
    ['another member besides', { until: '2013-10-07T20:00:00Z', site: 'london' }],
  ])('a time is refused that is %s', async (_what, body) => {
    const answer = await beat(body)
    expect([answer.status, answer.body['code']]).toEqual([400, 'invalid_request'])
    expect(lab.log.batches).toEqual([])
  })

  test('a time some hours ahead is taken: a site may know that nothing will come', async () => {
    const until = new Date(Date.now() + 16 * 3_600_000).toISOString()
    expect(await beat({ until })).toMatchObject({ status: 202, body: { until } })
  })

  test.each<[string, Record<string, string>]>([
    ['none', {}],
    ['a producer only', { 'freshet-producer': 'p', 'freshet-sequence': '0' }],
    ['an empty one', { 'freshet-source': '' }],
    ['one that is too long', { 'freshet-source': 'x'.repeat(129) }],
    ['one with letters beyond ASCII', { 'freshet-source': 'm\u00fcnchen' }],
  ])('a source is needed, not %s', async (_what, headers) => {
    const answer = await beat({ until: '2026-11-20T12:00:00Z' }, headers)
    expect([answer.status, answer.body['code']]).toEqual([400, 'invalid_header'])
    expect(lab.log.batches).toEqual([])
  })

  test('a stream that does not exist is refused', async () => {
    for (const [stream, code] of [
      ['trade', 'unknown_stream'],
      ['dead_letters', 'invalid_request'],
      ['..%2ftrades', 'invalid_request'],
    ]) {
      const answer = await answerOf(
        await fetch(`${lab.url}/v1/streams/${stream}/heartbeats`, {
          method: 'POST',
          body: '{"until":"2026-11-20T12:00:00Z"}',
          headers: { ...json, 'freshet-source': 'london' },
        }),
      )
      expect(answer.body['code']).toBe(code)
    }
    expect(lab.log.batches).toEqual([])
  })
})

describe.each([
  ['PUT', '/v1/sites/london', '{"streams":"all"}'],
  ['POST', '/v1/streams/trades/heartbeats', '{"until":"2026-11-20T12:00:00Z"}'],
] as const)('%s %s', (method, path, body) => {
  const headers = { ...json, 'freshet-source': 'london' }

  test('refuses requests of other hosts and of foreign pages', async () => {
    expect(await raw(method, path, { ...headers, host: 'evil.example' }, body)).toBe(403)
    expect(await raw(method, path, { ...headers, origin: 'http://evil.example' }, body)).toBe(403)
  })

  test('refuses other content types, character sets and encodings', async () => {
    for (const type of ['text/plain', 'application/x-ndjson', 'application/x-www-form-urlencoded', '']) {
      expect(await raw(method, path, { ...headers, 'content-type': type }, body)).toBe(415)
    }
    expect(await raw(method, path, { ...headers, 'content-type': 'application/json; charset=utf-16' }, body)).toBe(415)
    expect(await raw(method, path, { ...headers, 'content-encoding': 'gzip' }, body)).toBe(415)
  })

  test('refuses bodies that are too large, announced or not, and stays able to take others', async () => {
    const large = JSON.stringify({ streams: 'x'.repeat(70_000) })
    expect(await raw(method, path, { ...headers, 'content-length': String(large.length) }, large)).toBe(413)
    expect(await raw(method, path, { ...headers, 'transfer-encoding': 'chunked' }, large)).toBe(413)
    expect(await raw(method, path, headers, body)).toBeOneOf([201, 202])
  })

  test('refuses a body that is no text', async () => {
    expect(await raw(method, path, headers, Buffer.from([0x7b, 0xff, 0x7d]).toString('latin1'))).toBe(400)
  })
})

test('bytes of bodies that were read are given back, whatever came of them', async () => {
  const heldBytesMax = 100_000
  const small = await startLab({}, { heldBytesMax })
  try {
    const source = { ...json, 'freshet-source': 'london' }
    for (const [method, path] of [
      ['PUT', '/v1/sites/london'],
      ['DELETE', '/v1/sites/london'],
      ['POST', '/v1/streams/trades/heartbeats'],
    ]) {
      for (const body of ['{"streams":"all"}', '{', `{"x":"${'y'.repeat(60_000)}"}`, `[${'1,'.repeat(32_000)}1]`]) {
        await fetch(small.url + path, { method: method!, body, headers: source })
      }
    }
    const metrics = await (await fetch(`${small.url}/metrics`)).text()
    expect(metrics).toMatch(/^freshet_gateway_held_bytes 0$/m)
  } finally {
    await small.close()
  }
})

test('DELETE with a body, or from elsewhere', async () => {
  await put('london', { streams: 'all' })
  expect(await raw('DELETE', '/v1/sites/london', { host: 'evil.example' })).toBe(403)
  expect(await raw('DELETE', '/v1/sites/london', { origin: 'http://evil.example' })).toBe(403)
  expect(await sites()).toHaveLength(1)
  expect(await raw('DELETE', '/v1/sites/london', { ...json, 'content-length': '2' }, '{}')).toBe(204)
})
