import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { checkOptions, linesOf } from '../../test/support/config-mistakes.ts'
import { checkConfig } from './check.ts'
import type { StreamConfig } from './define.ts'
import type { StreamPlan } from './plan.ts'

const schema = z.object({
  id: z.string(),
  at: z.iso.datetime(),
  zip: z.string(),
  address: z.strictObject({ city: z.string(), street: z.string() }),
  legs: z.array(z.strictObject({ price: z.number() })),
  rates: z.record(z.string(), z.strictObject({ bid: z.number() })),
  extra: z.looseObject({}),
})

function planOf(words: Partial<StreamConfig>): StreamPlan {
  return checkConfig({ streams: { people: { schema, ...words } } }, checkOptions).streams['people']!
}

function mistakesIn(words: Partial<StreamConfig>): string[] {
  return linesOf({ streams: { people: { schema, ...words } } })
}

describe('renames and drops of a stream', () => {
  test('are paths of fields, the newest former name first', () => {
    const { renames, drops } = planOf({
      renames: { zip: ['postcode', 'plz'], 'legs[].price': 'legs[].cost', 'rates.*.bid': 'rates.*.offer' },
      drop: ['fax', 'address.floor'],
    })
    expect(renames).toEqual([
      { path: ['zip'], former: ['postcode', 'plz'] },
      { path: ['legs', '[]', 'price'], former: ['cost'] },
      { path: ['rates', '*', 'bid'], former: ['offer'] },
    ])
    expect(drops).toEqual([['fax'], ['address', 'floor']])
  })

  test('a stream without any has neither key', () => {
    expect(planOf({})).not.toHaveProperty('renames')
    expect(planOf({ drop: [], renames: {} })).not.toHaveProperty('drops')
  })

  test('a stream without a schema may have them', () => {
    const words = { streams: { people: { renames: { zip: 'postcode' }, drop: ['fax'] } } }
    expect(checkConfig(words, checkOptions).streams['people']).toMatchObject({
      renames: [{ path: ['zip'], former: ['postcode'] }],
      drops: [['fax']],
    })
  })

  test.each<[string, Partial<StreamConfig>, string]>([
    [
      'a present name that the schema lacks',
      { renames: { zipp: 'postcode' } },
      'streams.people.renames.zipp: the schema has no field "zipp"; did you mean "zip"?',
    ],
    [
      'a former name that the schema has',
      { renames: { zip: 'at' } },
      'streams.people.renames.zip: "at" is still a field of the schema; remove it there',
    ],
    [
      'a former name that differs by case',
      { renames: { zip: 'ZIP' } },
      'streams.people.renames.zip: "ZIP" differs only by upper and lower case, which SQL does not tell apart',
    ],
    [
      'a former path elsewhere',
      { renames: { 'address.city': 'town' } },
      'streams.people.renames["address.city"]: "town" is elsewhere than "address.city", and a field that is renamed stays where it is; did you mean "address.town"?',
    ],
    [
      'a field of JSON text',
      { renames: { 'extra.a': 'extra.b' } },
      'streams.people.renames["extra.a"]: the schema has no field "extra.a": "extra" is kept as JSON text, which has no fields',
    ],
    [
      'a former name of two fields',
      { renames: { zip: 'x', at: 'x' } },
      'streams.people.renames.at: "x" is spoken of twice, here and in streams.people.renames.zip',
    ],
    [
      'a former name that is dropped',
      { renames: { zip: 'postcode' }, drop: ['postcode'] },
      'streams.people.drop: "postcode" is spoken of twice, here and in streams.people.renames.zip',
    ],
    [
      'a drop that the schema has',
      { drop: ['address.city'] },
      'streams.people.drop: "address.city" is still a field of the schema; remove it there',
    ],
    [
      'a system column',
      { drop: ['_event_id'] },
      'streams.people.drop: "_event_id" is reserved: names that begin with "_" belong to Freshet',
    ],
    [
      'what a list is made of',
      { drop: ['legs[]'] },
      'streams.people.drop: "legs[]" is what a list or a map is made of, which has no name',
    ],
    [
      'no path',
      { drop: ['a..b'] },
      'streams.people.drop: "a..b" is no path of a field; write names joined by dots, such as address.zip or legs[].price, and a name that has a dot in double quotes',
    ],
    [
      'no names',
      { renames: { zip: [] } },
      'streams.people.renames: "zip" must have its former path, or a list of them, not an array',
    ],
    [
      'no list',
      { drop: 'fax' as never },
      'streams.people.drop: must be a list of paths of fields, such as ["fax"], not "fax"',
    ],
  ])('%s is a mistake', (_, words, line) => {
    expect(mistakesIn(words)).toEqual([line])
  })

  test('the id and the field that rows are sorted by cannot be dropped, without a schema either', () => {
    expect(linesOf({ streams: { people: { id: 'id', drop: ['id'] } } })).toEqual([
      'streams.people.drop: "id" is the id of the stream, which every event must have',
    ])
    expect(linesOf({ streams: { people: { sort: 'name', drop: ['name'] } } })).toEqual([
      'streams.people.drop: "name" is what rows are sorted by; leave it, or sort by another field',
    ])
  })
})
