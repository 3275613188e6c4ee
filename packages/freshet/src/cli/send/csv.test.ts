import { parse } from 'csv-parse/sync'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readCsv, type CsvOptions } from './csv.ts'
import type { InputItem } from './input-item.ts'

const plain: CsvOptions = { delimiter: ',', header: null, types: 'string', columnTypes: {}, nullText: null }

async function read(text: string | Buffer, options: Partial<CsvOptions> = {}, chunkBytes = 7): Promise<InputItem[]> {
  const bytes = Buffer.from(text)
  const items: InputItem[] = []
  for await (const some of readCsv(chunked(bytes, chunkBytes), { ...plain, ...options })) items.push(...some)
  return items
}

async function* chunked(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

function events(items: readonly InputItem[]): unknown[] {
  return items.flatMap((item) => (item.kind === 'event' ? [JSON.parse(item.json.toString()) as unknown] : []))
}

function mistakes(items: readonly InputItem[]): string[] {
  return items.flatMap((item) =>
    item.kind === 'broken' ? [`${item.line}: ${item.code} ${item.path ?? ''} ${item.reason}`] : [],
  )
}

describe('well-formed text', () => {
  test('is read as csv-parse reads it, wherever the chunks are cut', async () => {
    const cell = fc.string({ unit: fc.constantFrom('a', 'é', '"', ',', '\n', '\r\n', ' ', '1', '🌊'), maxLength: 6 })
    const table = fc.array(fc.array(cell, { minLength: 3, maxLength: 3 }), { maxLength: 6 })
    await fc.assert(
      fc.asyncProperty(
        table,
        fc.constantFrom('\n', '\r\n'),
        fc.boolean(),
        fc.integer({ min: 1, max: 20 }),
        async (rows, lineBreak, lastBreak, size) => {
          const lines = [['x', 'y', 'z'], ...rows].map((row) =>
            row.map((text) => `"${text.replaceAll('"', '""')}"`).join(','),
          )
          const text = lines.join(lineBreak) + (lastBreak ? lineBreak : '')
          expect(events(await read(text, {}, size))).toEqual(
            parse(text, { columns: true, record_delimiter: lineBreak }),
          )
        },
      ),
    )
  })

  test('quotes are needed only around delimiters, quotes and line breaks', async () => {
    expect(events(await read('a,b\n5" pipe,\nx,"y"\n'))).toEqual([
      { a: '5" pipe', b: '' },
      { a: 'x', b: 'y' },
    ])
  })

  test('each event has the line it starts on, blank lines and lines in quotes counted', async () => {
    const items = await read('a\r\n\r\n"one\r\ntwo"\r\nthree\r\n')
    expect(items.map(({ line }) => line)).toEqual([3, 5])
  })

  test('names by --header make the first line an event; a tab separates', async () => {
    expect(events(await read('1\t2\n', { header: ['a', 'b'], delimiter: '\t' }))).toEqual([{ a: '1', b: '2' }])
  })
})

describe('cells', () => {
  test('auto leaves empty cells out, and takes for a number only what keeps every digit', async () => {
    const items = await read('n,m,o\n1.50,,007\n12345678901234567890,1e5,true\n', { types: 'auto' })
    expect(items.map((item) => (item.kind === 'event' ? item.json.toString() : ''))).toEqual([
      '{"n":1.50,"o":"007"}',
      '{"n":"12345678901234567890","m":"1e5","o":true}',
    ])
  })

  test('the text of --null is null', async () => {
    expect(events(await read('a,b\nNA,1\n', { types: 'auto', nullText: 'NA' }))).toEqual([{ a: null, b: 1 }])
  })

  test('a cell that is not of the type asked for is reported with its column', async () => {
    const items = await read('a,b/c\n1,x\n', { columnTypes: { 'b/c': 'number' } })
    expect(mistakes(items)).toEqual(['2: invalid_csv /b~1c "x" is not a number'])
  })
})

describe('broken text', () => {
  test('a stray quote costs its own line only', async () => {
    const items = await read('a,b\n1,"open\n2,ok\n3,"fine"\n4,"bad"x\n5,ok\n')
    expect(events(items)).toEqual([
      { a: '2', b: 'ok' },
      { a: '3', b: 'fine' },
      { a: '5', b: 'ok' },
    ])
    expect(mistakes(items).map((text) => text.slice(0, 14))).toEqual(['2: invalid_csv', '5: invalid_csv'])
  })

  test('a quote that is never closed costs its own line only', async () => {
    const items = await read('a\n"open\n2\n3\n')
    expect(events(items)).toEqual([{ a: '2' }, { a: '3' }])
    expect(mistakes(items)).toEqual(['2: invalid_csv  a quoted field is not closed before the end of the input'])
  })

  test('too few and too many fields, and bytes that are not UTF-8, are reported', async () => {
    const items = await read(
      Buffer.concat([Buffer.from('a,b\n1\n1,2,3\n'), Buffer.from([0xe9, 44, 49, 10]), Buffer.from('1,2\n')]),
    )
    expect(events(items)).toEqual([{ a: '1', b: '2' }])
    expect(mistakes(items)).toEqual([
      '2: invalid_csv  the record has 1 fields, the header 2',
      '3: invalid_csv  the record has 3 fields, the header 2',
      '4: invalid_csv  the line is not UTF-8 text',
    ])
  })

  test('an unusable header is a usage error', async () => {
    await expect(read('a,a\n')).rejects.toMatchObject({ code: 'invalid_usage' })
    await expect(read('a,,b\n')).rejects.toMatchObject({ code: 'invalid_usage' })
    await expect(read('a\n1\n', { columnTypes: { c: 'number' } })).rejects.toMatchObject({ code: 'invalid_usage' })
  })
})
