import { createColors } from 'picocolors'
import { expect, test } from 'vitest'
import { undeclaredStream, type Plan } from '../config/plan.ts'
import { banner } from './serve.ts'

function plan(mode: Plan['mode'], streams: Plan['streams']): Plan {
  return { mode, streams, dataDir: '/data', http: { host: '127.0.0.1', port: 7070, requestTimeoutMs: 1 } } as Plan
}

const facts = {
  url: 'http://127.0.0.1:7070',
  role: undefined,
  failing: [],
  version: '0.1.0',
  tookMs: 850,
  style: createColors(false),
}

test('a server says where it is, its streams, and how to send and query', () => {
  const text = banner({ ...facts, plan: plan('dev', { clicks: undeclaredStream('clicks') }) })
  expect(text).toContain('Freshet 0.1.0 dev, ready in 850 ms')
  expect(text).toContain('http://127.0.0.1:7070/docs')
  expect(text).toContain('clicks; posting to another one creates it')
  expect(text).toContain('freshet send clicks FILE\n')
  expect(text).toContain(`/v1/streams/clicks/events --json '{"hello":"world"}'`)
  expect(text).toContain('freshet sql "select * from clicks limit 10"\n')
})

test('on another port the commands say so', () => {
  expect(banner({ ...facts, url: 'http://127.0.0.1:7171', plan: plan('dev', {}) })).toContain(
    'FILE --url http://127.0.0.1:7171',
  )
})

test('a server without streams to post to says what is missing', () => {
  const text = banner({ ...facts, plan: plan('start', {}) })
  expect(text).toContain('none declared')
  expect(text).not.toContain('freshet send')
})

test('a process that cannot start is not called ready', () => {
  const text = banner({ ...facts, plan: plan('dev', {}), failing: ['engine'] })
  expect(text).toContain('not ready: engine cannot start yet')
})
