import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { bucketSettings } from './buckets.ts'
import { rollupSettings } from './rollups.ts'
import { partitionSettings, settings, shapeOf, streamSettings } from './settings.ts'

const page = readFileSync(new URL('../../../../docs/config.md', import.meta.url), 'utf8')

/** Every key of a section with its default and meaning, as rows of docs/config.md. */
function rows(schema: z.core.$ZodType, prefix = ''): string[] {
  return Object.entries(shapeOf(schema) ?? {}).flatMap(([name, part]) => {
    const key = `${prefix}${name}`
    if (shapeOf(part) !== undefined && name !== 'partition') return rows(part, `${key}.`)
    const meaning = z.globalRegistry.get(part)?.description
    return [`| \`${key}\` | ${defaultOf(part, name)} | ${meaning} |`]
  })
}

function defaultOf(part: z.core.$ZodType, name: string): string {
  if (name === 'threads') return 'cores'
  return part instanceof z.ZodPrefault ? `\`${String(part.def.defaultValue)}\`` : 'none'
}

const expected = [
  ...rows(settings),
  ...rows(streamSettings, 'streams.NAME.'),
  ...rows(partitionSettings, 'streams.NAME.partition.'),
  ...rows(rollupSettings, 'rollups.NAME.'),
  ...rows(bucketSettings, 'buckets.NAME.'),
]

test('docs/config.md has every key with its default and meaning, and no others', () => {
  const documented = page.split('\n').filter((line) => line.startsWith('| `'))
  expect(documented.toSorted()).toEqual(expected.toSorted())
})
