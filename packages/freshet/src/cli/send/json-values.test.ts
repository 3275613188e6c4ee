import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { InputItem } from './input-item.ts'
import { readJsonValues } from './json-values.ts'

async function read(text: string, chunkBytes = 5): Promise<InputItem[]> {
  const bytes = Buffer.from(text)
  async function* chunks(): AsyncGenerator<Buffer> {
    for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes)
  }
  const items: InputItem[] = []
  for await (const some of readJsonValues(chunks())) items.push(...some)
  return items
}

function texts(items: readonly InputItem[]): string[] {
  return items.map((item) => (item.kind === 'event' ? item.json.toString() : `${item.line}: ${item.reason}`))
}

describe('JSON input', () => {
  test('an array of anything, indented or not, gives its elements, wherever the chunks are cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.jsonValue()),
        fc.constantFrom(0, 2),
        fc.integer({ min: 1, max: 20 }),
        async (values, indent, size) => {
          const found = texts(await read(JSON.stringify(values, null, indent), size))
          expect(found.map((text) => JSON.parse(text) as unknown)).toEqual(JSON.parse(JSON.stringify(values)))
          expect(found.join('')).not.toContain('\n')
        },
      ),
    )
  })

  test('objects one after another are events too, each with its line', async () => {
    const items = await read('{"a":\n1}\n{"a":2} {"a":3}')
    expect(items.map((item) => item.line)).toEqual([1, 3, 3])
    expect(texts(items)).toEqual(['{"a": 1}', '{"a":2}', '{"a":3}'])
  })

  test('digits are passed on as they are written', async () => {
    expect(texts(await read('[{"n":12345678901234567890.10}]'))).toEqual(['{"n":12345678901234567890.10}'])
  })

  test('an array that is cut off is reported, what came before is kept', async () => {
    expect(texts(await read('[{"a":1},\n {"a":2'))).toEqual([
      '{"a":1}',
      '2: the input ends inside the value that starts here; the rest of the input was not read',
    ])
    expect(texts(await read('[{"a":1}'))).toEqual([
      '{"a":1}',
      '1: the input ends before the array that starts here is closed; the rest of the input was not read',
    ])
  })

  test('a missing comma is reported with line and column', async () => {
    expect(texts(await read('[{"a":1}\n {"a":2}]'))).toEqual([
      '{"a":1}',
      '2: expected a comma or the end of the array at column 2, found "{"; the rest of the input was not read',
    ])
  })

  test('a line break in a string is not mended behind the sender’s back', async () => {
    expect(texts(await read('[{"a":"x\ny"},{"a":1}]'))).toEqual([
      '1: a string contains a line break; write it as \\n',
      '{"a":1}',
    ])
  })
})
