/** What a user writes for a sink: `sink.<kind>({ ... })`, one function a kind, which gives the settings their type. */
import type { SinkConfig, StreamConfig } from '../config/define.ts'
import type { FilesConfig } from './files/settings.ts'
import type { OpenSearchConfig } from './opensearch/settings.ts'
import type { SlackConfig } from './slack/settings.ts'
import type { SqlConfig } from './sql/settings.ts'
import type { WebhookConfig } from './webhook/settings.ts'

/** What every sink is told; `Source` is the type of the stream's events. */
interface Common<Source> {
  /** The stream that it reads: as it is, so that its type is known, or by its name. */
  from: StreamConfig<Source> | string
  /** Whether a new sink is given what the stream has already, or only what comes. Default `'all'`. */
  start?: 'all' | 'new'
}

export const sink = {
  /** Events as files in a folder or a bucket: NDJSON, CSV, fixed-width, Parquet, or what a function makes. */
  // oxlint-disable-next-line typescript/no-explicit-any -- of a stream that is named, nothing is known here
  files: <Source = any>(options: FilesConfig<Source> & Common<Source>): SinkConfig => ({ kind: 'files', ...options }),
  /** Events as documents of OpenSearch. */
  opensearch: (options: OpenSearchConfig & Common<unknown>): SinkConfig => ({ kind: 'opensearch', ...options }),
  /** Events as documents of Elasticsearch. */
  elasticsearch: (options: OpenSearchConfig & Common<unknown>): SinkConfig => ({ kind: 'elasticsearch', ...options }),
  /** Events as rows of PostgreSQL. */
  postgres: (options: SqlConfig & Common<unknown>): SinkConfig => ({ kind: 'postgres', ...options }),
  /** Events as rows of MySQL. */
  mysql: (options: SqlConfig & Common<unknown>): SinkConfig => ({ kind: 'mysql', ...options }),
  /** Events as rows of MariaDB. */
  mariadb: (options: SqlConfig & Common<unknown>): SinkConfig => ({ kind: 'mariadb', ...options }),
  /** Events as messages to a Slack-compatible webhook; `start` is `'new'` unless said. */
  // oxlint-disable-next-line typescript/no-explicit-any -- likewise
  slack: <Source = any>(options: SlackConfig<Source> & Common<Source>): SinkConfig => ({
    kind: 'slack',
    start: 'new',
    ...options,
  }),
  /** Events as requests to another system, signed by the scheme of Standard Webhooks. */
  // oxlint-disable-next-line typescript/no-explicit-any -- likewise
  webhook: <Source = any>(options: WebhookConfig<Source> & Common<Source>): SinkConfig => ({
    kind: 'webhook',
    ...options,
  }),
}
