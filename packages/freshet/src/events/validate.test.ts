import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { compilePattern, boundBacktracking } from './pattern.ts'
import { compileValidator } from './validate.ts'

const compile = (schema: Record<string, unknown> | null, nestingMax = 4): ReturnType<typeof compileValidator> =>
  compileValidator({ name: 'trades', schema }, nestingMax)

const closed = {
  type: 'object',
  properties: {
    price: { type: 'number' },
    side: { enum: ['buy', 'sell'] },
    tags: { type: 'array', items: { type: 'string' } },
  },
  required: ['price'],
  additionalProperties: false,
}

describe('schema violations', () => {
  test.each([
    [{ price: '1' }, '/price', /must be number/],
    [{}, '/price', /required/],
    [{ price: 1, sied: 'buy' }, '/sied', /nearest is "side"/],
    [{ price: 1, side: 'hold' }, '/side', /"buy","sell"/],
    [{ price: 1, tags: ['a', 2] }, '/tags/1', /must be string/],
    [{ price: 1, 'a/b~c': 1 }, '/a~1b~0c', /not a field/],
  ])('%j', (event, path, reason) => {
    expect(compile(closed)(event)).toMatchObject({
      code: 'schema_violation',
      path,
      reason: expect.stringMatching(reason),
    })
  })

  test('nothing is coerced, filled in or removed', () => {
    const event = { price: 1 }
    expect(
      compile({ ...closed, properties: { price: { type: 'number' }, size: { type: 'number', default: 5 } } })(event),
    ).toBeUndefined()
    expect(event).toEqual({ price: 1 })
  })

  test('a schema that cannot be compiled is a mistake in the configuration', () => {
    expect(() => compile({ type: 'objekt' })).toThrow(expect.objectContaining({ code: 'config_invalid' }))
    expect(() => compile({ $ref: '#/nowhere' })).toThrow(expect.objectContaining({ code: 'config_invalid' }))
  })
})

describe('checks that do not depend on the schema', () => {
  test.each([null, closed, { type: 'object' }])('schema %j', (schema) => {
    const validate = compile(schema)
    for (let round = 0; round < 2; round++) {
      expect(validate({ price: 1, _event_id: 'x' })).toMatchObject({ code: 'invalid_event', path: '/_event_id' })
      expect(validate({ price: Number.POSITIVE_INFINITY })).toMatchObject({ path: '/price' })
      expect(validate({ price: 1, tags: [[[[[]]]]] })).toBeDefined()
      expect(validate({ price: 1, tags: ['a'] })).toBeUndefined()
    }
  })

  test('a schema that leads the usual fields around the walk refuses what the walk refuses', () => {
    const event = fc.object({ key: fc.constantFrom('price', 'side', 'tags', '_x', 'other'), maxDepth: 6 })
    const walk = compile(null)
    const fast = compile(closed)
    fc.assert(
      fc.property(event, (value) => {
        fast({ price: 1 })
        if (walk(value) !== undefined) expect(fast(value)).toBeDefined()
      }),
      { numRuns: 2000 },
    )
  })

  test('a schema that refers to itself stays closed at every level', () => {
    const schema = { type: 'object', properties: { child: { $ref: '#' } }, additionalProperties: false }
    expect(compile(schema)({ child: { child: { x: 1 } } })).toMatchObject({ path: '/child/child/x' })
  })
})

describe('patterns', () => {
  test('a stored time takes the short way past the patterns that zod writes, and nothing else does', () => {
    for (const options of [{}, { offset: true }, { local: true }, { precision: 3 }, { precision: 0 }]) {
      const pattern = z.toJSONSchema(z.iso.datetime(options)).pattern!
      const [ours, plain] = [compilePattern(pattern, 'u'), new RegExp(pattern, 'u')]
      const time = fc.oneof(
        fc
          .date({ noInvalidDate: true, min: new Date(0), max: new Date('9999-01-01') })
          .map((date) => date.toISOString()),
        fc.constantFrom(
          '2026-01-01T00:00Z',
          '2026-01-01T00:00:00Z',
          '2026-01-01T00:00:00.123456+01:00',
          '2026-02-30T00:00:00Z',
          'x',
          '',
        ),
      )
      fc.assert(fc.property(time, (text) => ours.test(text) === plain.test(text)))
    }
  })

  test('a pattern that backtracks without end is cut short', () => {
    boundBacktracking()
    expect(compilePattern('^(a+)+$', 'u').test(`${'a'.repeat(40)}b`)).toBe(false)
  })

  test('characters beyond the basic plane count as one', () => {
    expect(compilePattern('^.{1,2}$', 'u').test('😀😀')).toBe(true)
    expect(compilePattern(String.raw`^\p{L}+$`, 'u').test('été')).toBe(true)
  })
})
