/** Texts with places for values of an event: `Order {order_id} of {customer.name} was shipped`. */
import { textOf, valueAt } from './event-fields.ts'

/** Pieces of a template: words as they are, and paths of values. */
export type TemplatePart = { words: string } | { path: string }

/** The parts, or what is wrong with the template. `{{` is a brace. */
export function readTemplate(template: string): TemplatePart[] | { reason: string } {
  const parts: TemplatePart[] = []
  let words = ''
  for (let at = 0; at < template.length; at++) {
    const letter = template[at]!
    if (letter !== '{' || template[at + 1] === '{') {
      if (letter === '{' || (letter === '}' && template[at + 1] === '}')) at++
      words += letter
      continue
    }
    const end = template.indexOf('}', at)
    const path = end < 0 ? '' : template.slice(at + 1, end).trim()
    if (path === '' || path.includes('{'))
      return {
        reason: `has a brace without a name behind it at "${template.slice(at, at + 20)}"; write {{ for a brace`,
      }
    if (words !== '') parts.push({ words })
    words = ''
    parts.push({ path })
    at = end
  }
  if (words !== '') parts.push({ words })
  return parts
}

/** The text for an event. @param shape what becomes of each value's text, for example escaping */
export function fillTemplate(
  parts: readonly TemplatePart[],
  fields: Record<string, unknown>,
  shape: (text: string) => string,
): string {
  return parts.map((part) => ('words' in part ? part.words : shape(textOf(valueAt(fields, part.path))))).join('')
}
