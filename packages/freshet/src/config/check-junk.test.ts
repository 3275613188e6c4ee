import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkOptions } from '../../test/support/config-mistakes.ts'
import { FreshetError } from '../runtime/errors.ts'
import { checkConfig } from './check.ts'

describe('whatever is in a configuration, the answer is a plan or config_invalid', () => {
  function expectPlanOrMistakes(words: unknown): void {
    try {
      const plan = checkConfig(words, checkOptions)
      expect(JSON.parse(JSON.stringify(plan))).toEqual(plan)
    } catch (error) {
      if (!(error instanceof FreshetError)) throw error
      expect(error.code).toBe('config_invalid')
      expect(error.extra['mistakes']).not.toEqual([])
    }
  }

  const junk = fc.anything({
    withBigInt: true,
    withDate: true,
    withMap: true,
    withSet: true,
    withNullPrototype: true,
    withSparseArray: true,
    withTypedArray: true,
  })

  test('for junk', () => {
    fc.assert(fc.property(junk, expectPlanOrMistakes), { numRuns: 500 })
  })

  test('for junk under the right keys', () => {
    const stream = fc.record(
      { schema: junk, id: junk, time: junk, timeUnit: junk, partition: junk },
      { requiredKeys: [] },
    )
    const words = fc.record(
      {
        dataDir: junk,
        http: junk,
        limits: junk,
        log: junk,
        lake: junk,
        sql: junk,
        engine: junk,
        streams: fc.dictionary(fc.string(), fc.oneof(stream, junk)),
      },
      { requiredKeys: [] },
    )
    fc.assert(fc.property(words, expectPlanOrMistakes), { numRuns: 500 })
  })

  test('for JSON Schemas of junk', () => {
    const keyword = fc.constantFrom(
      'type',
      'properties',
      'required',
      'items',
      'anyOf',
      'allOf',
      'oneOf',
      'not',
      'enum',
      'const',
      '$ref',
      '$defs',
      'additionalProperties',
      'format',
      'pattern',
      'patternProperties',
      'prefixItems',
      '$id',
    )
    const { schema } = fc.letrec<{ schema: unknown; value: unknown }>((tie) => ({
      schema: fc.dictionary(keyword, tie('value'), { maxKeys: 4 }),
      value: fc.oneof(
        { depthSize: 'small' },
        fc.constantFrom<unknown>(
          'string',
          'object',
          'integer',
          '#',
          '#/$defs/a',
          '#/properties/a',
          true,
          false,
          null,
          5,
          'a',
          '(a+)+',
          'date-time',
        ),
        tie('schema'),
        fc.dictionary(fc.constantFrom('a', 'b', '_c', 'A'), tie('value'), { maxKeys: 3 }),
        fc.array(tie('value'), { maxLength: 3 }),
      ),
    }))
    const words = fc.record({
      streams: fc.record({
        s: fc.record({ schema, id: fc.constantFrom('a', undefined), time: fc.constantFrom('b', undefined) }),
      }),
    })
    fc.assert(fc.property(words, expectPlanOrMistakes), { numRuns: 1000 })
  })
})
