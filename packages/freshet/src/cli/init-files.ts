/** What `freshet init` writes. */

export const configFile = `import { defineConfig, stream } from 'freshet'
import { z } from 'zod'

// Everything Freshet does is declared here; a mistake is reported with its place before anything starts.
// Under \`freshet dev\` a stream can also be posted to undeclared: its columns are then found from its events.
export default defineConfig({
  streams: {
    // POST /v1/streams/clicks/events; in SQL: select * from clicks
    clicks: stream({
      // Every event is checked against this; one that does not fit is answered with the reason, and the others are taken.
      schema: z.object({
        id: z.string(),
        page: z.string(),
        user: z.string().optional(),
        durationMs: z.number().nonnegative().optional(),
        at: z.iso.datetime(),
      }),
      // An event with an id that is there already is a duplicate and changes nothing.
      id: 'id',
      // When it happened; without this, when it arrived.
      time: 'at',
      // The table is cut into partitions of this width: 'hour', 'day' or 'month'.
      partition: 'day',
    }),
  },
})
`

const pages = ['/', '/pricing', '/docs', '/docs/quickstart', '/blog/late-events']

/** Twenty events of one morning, for the stream in \`configFile\`. */
export const eventsFile = Array.from({ length: 20 }, (_, index) =>
  JSON.stringify({
    id: `click-${String(index + 1).padStart(3, '0')}`,
    page: pages[(index * index) % pages.length],
    ...(index % 3 === 0 ? {} : { user: `user-${(index % 7) + 1}` }),
    durationMs: 120 + ((index * 7919) % 4000),
    at: new Date(Date.UTC(2026, 0, 15, 9, 0, 0) + index * 47_000).toISOString(),
  }),
)
  .map((line) => `${line}\n`)
  .join('')

/** A package.json for a folder of this name that uses this version of Freshet. */
export function packageFile(folder: string, version: string): string {
  const name = folder
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[._-]+|-+$/g, '')
  return `${JSON.stringify(
    {
      name: name === '' ? 'freshet-project' : name,
      version: '0.0.0',
      private: true,
      type: 'module',
      scripts: { dev: 'freshet dev', start: 'freshet start', status: 'freshet status' },
      dependencies: { freshet: `^${version}`, zod: '^4.0.0' },
      engines: { node: '>=24' },
    },
    null,
    2,
  )}\n`
}
