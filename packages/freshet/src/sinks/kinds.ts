/** Every kind of sink: its settings, which are checked before anything starts, and the module that opens it, loaded when it is needed. */
import type { SinkKinds, SinkSettings } from '../config/sinks.ts'
import { filesMistakes, filesSettings } from './files/settings.ts'
import { openSearchMistakes, openSearchSettings } from './opensearch/settings.ts'
import { mysqlSettings } from './mysql/settings.ts'
import { postgresSettings } from './postgres/settings.ts'
import type { SinkKind } from './sink.ts'
import { slackSettings } from './slack/settings.ts'
import { sqlMistakes } from './sql/settings.ts'
import { webhookSettings } from './webhook/settings.ts'

export interface KnownKind extends SinkSettings {
  /** Bytes of events that are delivered at once, for a target that takes long for few: what a crash makes it take again is less. */
  batchBytesMax?: number
  load: () => Promise<SinkKind>
}

const openSearch: KnownKind = {
  settings: openSearchSettings,
  check: openSearchMistakes,
  load: async () => (await import('./opensearch/opensearch-sink.ts')).openSearchKind,
}

const mysql: KnownKind = {
  settings: mysqlSettings,
  check: sqlMistakes,
  load: async () => (await import('./mysql/mysql-sink.ts')).mysqlKind,
}

export const sinkKinds = {
  elasticsearch: openSearch,
  files: {
    settings: filesSettings,
    check: filesMistakes,
    load: async () => (await import('./files/files-sink.ts')).filesKind,
  },
  mariadb: mysql,
  mysql,
  opensearch: openSearch,
  postgres: {
    settings: postgresSettings,
    check: sqlMistakes,
    load: async () => (await import('./postgres/postgres-sink.ts')).postgresKind,
  },
  slack: {
    settings: slackSettings,
    batchBytesMax: 8 * 1024,
    load: async () => (await import('./slack/slack-sink.ts')).slackKind,
  },
  webhook: {
    settings: webhookSettings,
    batchBytesMax: 128 * 1024,
    load: async () => (await import('./webhook/webhook-sink.ts')).webhookKind,
  },
} satisfies SinkKinds & Record<string, KnownKind>
