import { createServer, request, type IncomingHttpHeaders } from 'node:http'
import { connect, createServer as createTcpServer, type AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { answerOf, startLab, testPlan, trade, type GatewayLab } from '../../test/support/gateway-lab.ts'
import { checkListenHost } from './address.ts'
import { routeTable } from './routes/table.ts'
import { StreamDoors } from './streams.ts'

let lab: GatewayLab | undefined
afterEach(async () => {
  await lab?.close()
  lab = undefined
})

interface RawAnswer {
  status: number
  headers: IncomingHttpHeaders
  text: string
}

function get(port: number, path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port, path, headers, method, agent: false }, (response) => {
      let text = ''
      response.on('data', (chunk: Buffer) => (text += chunk.toString()))
      response.on('end', () => resolve({ status: response.statusCode!, headers: response.headers, text }))
    })
      .on('error', reject)
      .end()
  })
}

describe('addresses', () => {
  test.each(['0.0.0.0', '::', '192.168.1.5', 'example.com', ''])('%s is refused with an explanation', (host) => {
    expect(() => checkListenHost(host)).toThrow(
      expect.objectContaining({ code: 'unsafe_address', hint: expect.stringContaining('127.0.0.1') }),
    )
  })

  test.each(['127.0.0.1', '127.1.2.3', '::1', 'localhost'])('%s is allowed', (host) => {
    expect(() => checkListenHost(host)).not.toThrow()
  })

  test('a port in use is said to be, with what to do', async () => {
    const other = createTcpServer()
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    const { port } = other.address() as AddressInfo
    try {
      await expect(startLab({ http: { port } })).rejects.toMatchObject({
        code: 'port_in_use',
        hint: expect.stringContaining('--port'),
      })
    } finally {
      other.close()
    }
  })

  test('requests that name another host, or come from a page of one, are refused', async () => {
    lab = await startLab()
    for (const host of ['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example:80', '10.0.0.1']) {
      expect(await get(lab.port, '/v1/streams', { host })).toMatchObject({
        status: 403,
        text: expect.stringContaining('forbidden_host'),
      })
    }
    for (const origin of ['http://evil.example', 'null', 'http://localhost.evil.example', 'file://']) {
      expect((await get(lab.port, '/v1/streams', { origin })).status).toBe(403)
    }
    for (const host of ['localhost', 'LOCALHOST:1', '127.0.0.1', `[::1]:${lab.port}`]) {
      expect((await get(lab.port, '/v1/streams', { host, origin: 'http://localhost:3000' })).status).toBe(200)
    }
  })
})

describe('requests that match no route', () => {
  test.each([
    ['/v1/stream/trades/events', /\/v1\/streams\/trades\/events/],
    ['/heathz', /\/healthz/],
    ['/v1/sq', /\/v1\/sql/],
    ['/something/else/entirely', /\/docs/],
  ])('%s is told the nearest', async (path, hint) => {
    lab = await startLab()
    const answer = await answerOf(await fetch(lab.url + path))
    expect([answer.status, answer.body['code']]).toEqual([404, 'not_found'])
    expect(answer.body['hint']).toMatch(hint)
  })

  test('a wrong method is told the right one', async () => {
    lab = await startLab()
    const answer = await answerOf(await fetch(`${lab.url}/v1/streams/trades/events`))
    expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'POST'])
    const status = await answerOf(await fetch(`${lab.url}/v1/status`, { method: 'DELETE' }))
    expect([status.status, status.headers.get('allow')]).toEqual([405, 'GET, HEAD'])
  })

  test('a path that cannot be decoded is a 400', async () => {
    lab = await startLab()
    expect((await get(lab.port, '/v1/streams/%zz/events', {}, 'POST')).status).toBe(400)
  })
})

describe('stopping', () => {
  test('finishes what is in progress, refuses what comes, then resolves', async () => {
    lab = await startLab()
    const { gateway, log, url, port } = lab
    let open = (): void => {}
    log.gate = new Promise((resolve) => (open = resolve))
    const pending = lab.post(JSON.stringify(trade()))
    await expect.poll(() => log.begun).toBe(1)
    let stopped = false
    const stop = gateway.stop().then(() => (stopped = true))
    await expect.poll(() => get(port, '/healthz').catch(() => 'refused')).toBe('refused')
    expect(stopped).toBe(false)
    open()
    const answer = await pending
    expect([answer.status, answer.headers.get('connection')]).toEqual([202, 'close'])
    await stop
    await expect(fetch(`${url}/healthz`)).rejects.toThrow('fetch failed')
  })

  test('a request that was still being sent is answered 503 shutting_down', async () => {
    lab = await startLab()
    const socket = connect(lab.port, '127.0.0.1')
    let text = ''
    socket.on('data', (chunk: Buffer) => (text += chunk.toString())).on('error', () => {})
    const closed = new Promise((resolve) => socket.once('close', resolve))
    // The answer to the first request shows that the server has the start of the second, which came with it.
    socket.write(
      'GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\nPOST /v1/streams/plain/events HTTP/1.1\r\nhost: local',
    )
    await expect.poll(() => text).toMatch(/^HTTP\/1\.1 200/)
    const stopped = lab.gateway.stop()
    socket.write('host\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}')
    await Promise.all([closed, stopped])
    expect(text).toMatch(/HTTP\/1\.1 503 [^]*shutting_down/)
    expect(text).toMatch(/retry-after: 1/i)
    expect(lab.log.batches).toEqual([])
  })

  test('a client that never finishes its request does not hold it up for long', async () => {
    lab = await startLab({}, { stopWaitMs: 200 })
    const socket = connect(lab.port, '127.0.0.1')
    socket.on('error', () => {}).resume()
    await new Promise((resolve) => socket.once('connect', resolve))
    socket.write(
      'POST /v1/streams/trades/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{',
    )
    const closed = new Promise((resolve) => socket.once('close', resolve))
    await lab.gateway.stop()
    await closed
    expect(lab.log.begun).toBe(0)
  })
})

describe('what operators and readers see', () => {
  test('metrics count what happened, and take the engine in under its own names', async () => {
    lab = await startLab()
    const engine = createServer((_, response) =>
      response.end(
        '# HELP process_cpu Seconds\n# TYPE process_cpu counter\nprocess_cpu{a="b c"} 1\nfreshet_engine_rows 5\nfreshet_queries_total 2\n',
      ),
    )
    await new Promise<void>((resolve) => engine.listen(lab!.engineSocket, resolve))
    await lab.post(`[${JSON.stringify(trade())},{"bad":1}]`)
    const text = await (await fetch(`${lab.url}/metrics`)).text()
    expect(text).toContain('freshet_gateway_events_total{stream="trades",outcome="accepted"} 1')
    expect(text).toContain('freshet_gateway_events_rejected_total{stream="trades",code="schema_violation"} 1')
    expect(text).toContain(
      'freshet_http_requests_total{method="POST",route="/v1/streams/:stream/events",status="202"} 1',
    )
    expect(text).toContain('freshet_gateway_append_seconds_count 1')
    expect(text).toContain(
      '# TYPE freshet_engine_process_cpu counter\nfreshet_engine_process_cpu{a="b c"} 1\nfreshet_engine_rows 5\nfreshet_engine_queries_total 2',
    )
    await lab.close()
    lab = undefined
    engine.close()
  })

  test('readiness says why not', async () => {
    lab = await startLab(
      { limits: { diskFreeBytesMin: 1000 } },
      { fileSystem: { freeBytes: () => Promise.resolve(999) } },
    )
    const answer = await answerOf(await fetch(`${lab.url}/readyz`))
    expect(answer.status).toBe(503)
    expect(answer.body).toMatchObject({
      ready: false,
      checks: { log: 'ok', disk: expect.stringContaining('999') },
      engine: { available: false, catchingUp: false },
    })
    expect((await fetch(`${lab.url}/healthz`)).status).toBe(200)
  })

  test('status without the engine lists the streams with their log ends', async () => {
    lab = await startLab()
    const { body } = await answerOf(await fetch(`${lab.url}/v1/status`))
    expect(body).toMatchObject({ version: '0.0.0', mode: 'start', engine: { available: false }, rollups: null })
    expect(body['streams']).toMatchObject([
      { name: 'plain', declared: true, logEnd: '0', rows: null },
      { name: 'trades' },
    ])
  })

  test('status has what the engine tells of rollups', async () => {
    lab = await startLab()
    const rollups = [{ name: 'bars', from: 'trades', lagMs: 12, problem: null }]
    const engine = createServer((_, response) => response.end(JSON.stringify({ streams: [], rollups })))
    await new Promise<void>((resolve) => engine.listen(lab!.engineSocket, resolve))
    const { body } = await answerOf(await fetch(`${lab.url}/v1/status`))
    engine.close()
    engine.closeAllConnections()
    expect(body).toMatchObject({ rollups, engine: { available: true } })
  })

  test('the API description covers every route, and every reference in it leads somewhere', async () => {
    lab = await startLab()
    const document = (await (await fetch(`${lab.url}/openapi.json`)).json()) as {
      paths: Record<string, object>
      components: { schemas: object }
    }
    for (const { method, path } of routeTable.filter((route) => route.path !== '/')) {
      expect(document.paths[path]).toHaveProperty(method.toLowerCase())
    }
    const references = [...JSON.stringify(document).matchAll(/"#\/components\/schemas\/([^"]+)"/g)].map(
      (match) => match[1]!,
    )
    expect(references).toContain('event.trades')
    for (const name of references) expect(Object.keys(document.components.schemas)).toContain(name)
  })

  test('the page needs nothing from elsewhere and runs no scripts', async () => {
    lab = await startLab()
    const response = await fetch(`${lab.url}/`)
    expect(response.url).toBe(`${lab.url}/docs`)
    const html = await response.text()
    expect(response.headers.get('content-security-policy')).toMatch(/^default-src 'none'; style-src 'sha256-/)
    expect(html).not.toMatch(/<script|src=|@import|href="http/)
    expect(html).toContain(`curl ${lab.url}/v1/streams/`)
  })
})

test('a schema that cannot be compiled stops the start', () => {
  const plan = testPlan('/nowhere')
  plan.streams['trades']!.schema = { type: 'nonsense' }
  expect(() => new StreamDoors(plan)).toThrow(expect.objectContaining({ code: 'config_invalid' }))
})
