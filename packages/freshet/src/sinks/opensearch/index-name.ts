/** Names of indices, with places for the event's time and its values: `orders-{month}`, `shop-{country}`. */
import { readTemplate, type TemplatePart } from '../text-template.ts'
import { textOf, valueAt } from '../event-fields.ts'

/** Places for the event's time, and the length of its text that they are: `2026`, `2026-11`, `2026-11-20`. */
const times: ReadonlyMap<string, number> = new Map([
  ['year', 4],
  ['month', 7],
  ['date', 10],
])

export function readIndexTemplate(template: string): TemplatePart[] | { reason: string } {
  return readTemplate(template)
}

/** What is wrong with the name of an index, by the rules of both OpenSearch and Elasticsearch. */
export function indexMistake(name: string): string | undefined {
  if (name === '' || name === '.' || name === '..') return 'must be the name of an index'
  if (Buffer.byteLength(name) > 255) return 'must be at most 255 bytes long'
  if (name !== name.toLowerCase()) return 'must be in lower case'
  if (/^[-_+]/.test(name)) return 'must not begin with "-", "_" or "+"'
  const wrong = /[\\/*?"<>| ,#:\0]/.exec(name)
  return wrong === null ? undefined : `must not have the character ${JSON.stringify(wrong[0])}`
}

/** The index of one event. Values are put in lower case; one that no index can have is a reason to refuse the event. */
export function indexFor(
  parts: readonly TemplatePart[],
  event: { eventTime: string; fields: Record<string, unknown> },
): string | { reason: string } {
  let name = ''
  for (const part of parts) {
    if ('words' in part) {
      name += part.words
      continue
    }
    const digits = times.get(part.path)
    const value = digits === undefined ? textOf(valueAt(event.fields, part.path)) : event.eventTime.slice(0, digits)
    if (value === '') return { reason: `The field ${part.path} is empty, and the name of the index needs it.` }
    name += value.toLowerCase()
  }
  const wrong = indexMistake(name)
  return wrong === undefined ? name : { reason: `The name of the index, ${JSON.stringify(name)}, ${wrong}.` }
}
