/** A gateway with a bucket, on a folder of its own. */
import { mkdtempSync, rmSync } from 'node:fs'
import { request, type IncomingHttpHeaders } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { BucketPlan, StreamPlan } from '../../src/config/plan.ts'
import type { GatewayOptions } from '../../src/gateway/gateway.ts'
import type { BlobForm } from '../../src/objects/blobs.ts'
import { openObjects, type Objects } from '../../src/objects/open-objects.ts'
import { nodeFileSystem } from '../../src/runtime/file-system.ts'
import { silentLogger } from '../../src/runtime/logging.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { systemRandom } from '../../src/runtime/random.ts'
import { systemTimers } from '../../src/runtime/timers.ts'
import { LocalObjectStore } from '../../src/storage/local/local-object-store.ts'
import { plainPlan, startLab, testPlan, type GatewayLab, type PlanChanges } from './gateway-lab.ts'
import { bucketPlan } from './objects-lab.ts'

export const filesPlan: StreamPlan = {
  ...plainPlan,
  name: 'logs_files',
  id: 'id',
  time: { field: 'put_at', unit: 'iso' },
}

export interface ObjectGateway extends GatewayLab {
  objects: Objects
  folder: string
  /** As it is written here: `fetch` would tidy paths up, and refuse some headers. */
  raw(method: string, path: string, headers?: Record<string, string>, body?: string | Buffer): Promise<RawAnswer>
}

export interface RawAnswer {
  status: number
  headers: IncomingHttpHeaders
  body: Buffer
  json: Record<string, unknown>
}

export interface ObjectGatewayChanges extends PlanChanges {
  bucket?: Partial<BucketPlan>
  form?: BlobForm
  gateway?: Partial<GatewayOptions>
}

export async function startObjectGateway(changes: ObjectGatewayChanges = {}): Promise<ObjectGateway> {
  const folder = mkdtempSync(join(tmpdir(), 'freshet-object-gateway-'))
  const plan = {
    ...testPlan(folder, { streams: [filesPlan], ...changes }),
    buckets: { logs: bucketPlan('logs', changes.bucket) },
  }
  const objects = await openObjects({
    plans: plan.buckets,
    forms: new Map([['logs', changes.form ?? { level: 3, keys: null }]]),
    store: new LocalObjectStore({ root: folder, fileSystem: nodeFileSystem, random: systemRandom }),
    dir: folder,
    fileSystem: nodeFileSystem,
    clock: systemClock,
    timers: systemTimers,
    random: systemRandom,
    logger: silentLogger,
    trust: (seenMs) => ({ seenMs, look: (nowMs) => ({ nowMs }) }),
  })
  const lab = await startLab({}, { plan, objects, ...changes.gateway })
  return {
    ...lab,
    objects,
    folder,
    raw: (method, path, headers = {}, body = '') => send(lab.port, { method, path, headers, body }),
    async close() {
      await lab.close()
      await objects.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

function send(
  port: number,
  { body, ...options }: { method: string; path: string; headers: Record<string, string>; body: string | Buffer },
): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port, agent: false, ...options }, (response) => {
      const pieces: Buffer[] = []
      response.on('data', (piece: Buffer) => pieces.push(piece))
      response.on('error', reject)
      response.on('end', () => {
        const bytes = Buffer.concat(pieces)
        const isJson = /json/.test(response.headers['content-type'] ?? '') && bytes.length > 0
        const json = isJson ? (JSON.parse(bytes.toString()) as Record<string, unknown>) : {}
        resolve({ status: response.statusCode!, headers: response.headers, body: bytes, json })
      })
    })
      .on('error', reject)
      .end(body)
  })
}
