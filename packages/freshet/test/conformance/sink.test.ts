import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { filesKind } from '../../src/sinks/files/files-sink.ts'
import { filesSettings } from '../../src/sinks/files/settings.ts'
import { openSearchKind } from '../../src/sinks/opensearch/opensearch-sink.ts'
import { openSearchSettings } from '../../src/sinks/opensearch/settings.ts'
import { slackSettings } from '../../src/sinks/slack/settings.ts'
import { slackKind } from '../../src/sinks/slack/slack-sink.ts'
import { webhookSettings } from '../../src/sinks/webhook/settings.ts'
import { webhookKind } from '../../src/sinks/webhook/webhook-sink.ts'
import { BulkLab } from '../support/bulk-lab.ts'
import { HttpLab, sinkDeps, sinkEvent } from '../support/sink-lab.ts'
import { sinkSuite } from './sink-suite.ts'

const unfit = sinkEvent('unfit', { id: 'unfit', n: 'no number' })

sinkSuite(
  'files',
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'freshet-sink-'))
    const columns = [
      { field: 'id', width: 8 },
      { field: 'n', width: 4 },
    ]
    const settings = { folder, format: 'fixed', columns, events: 1 }
    return {
      open: () => filesKind.open(sinkDeps('files', filesSettings, settings)),
      ids: async () => {
        const names = (await readdir(folder)).filter((name) => name.endsWith('.txt')).toSorted()
        const texts = await Promise.all(names.map(async (name) => (await readFile(join(folder, name))).toString()))
        return texts.map((text) => text.slice(0, 8).trim())
      },
      unfit,
      close: () => rm(folder, { recursive: true }),
    }
  },
  { keepsCheckpoint: true },
)

sinkSuite(
  'webhook',
  async () => {
    const server = await HttpLab.start()
    const taken: string[] = []
    server.reply = ({ headers }) => {
      const id = String(headers['webhook-id'])
      if (id === 'unfit') return { status: 422 }
      taken.push(id)
      return { status: 204 }
    }
    return {
      open: () => webhookKind.open(sinkDeps('webhook', webhookSettings, { url: server.url })),
      ids: async () => taken,
      unfit,
      close: () => server.stop(),
    }
  },
  { keepsCheckpoint: false },
)

sinkSuite(
  'slack',
  async () => {
    const server = await HttpLab.start()
    const settings = { url: server.url, text: '{id}', pace: 0 }
    return {
      open: () => slackKind.open(sinkDeps('slack', slackSettings, settings)),
      ids: async () =>
        server.seen.flatMap(({ body }) => (JSON.parse(body.toString()) as { text: string }).text.split('\n')),
      close: () => server.stop(),
    }
  },
  { keepsCheckpoint: false },
)

sinkSuite(
  'opensearch',
  async () => {
    const server = await HttpLab.start()
    const index = new BulkLab()
    index.judge = ({ id }) => (id === 'unfit' ? 400 : undefined)
    server.reply = (request) => index.answer(request)
    const settings = { url: server.url, index: 'orders' }
    return {
      open: () => openSearchKind.open(sinkDeps('opensearch', openSearchSettings, settings)),
      ids: async () => Object.keys(index.documents).map((key) => key.slice('orders/'.length)),
      unfit,
      close: () => server.stop(),
    }
  },
  { keepsCheckpoint: false },
)
