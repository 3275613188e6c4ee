import { describe, expect, test } from 'vitest'
import type { Rename } from '../config/plan.ts'
import { nameIn, namesOf } from './former-names.ts'
import { compileValidator } from './validate.ts'

const renames: Rename[] = [
  { path: ['zip'], former: ['postcode', 'plz'] },
  { path: ['address'], former: ['addr'] },
  { path: ['address', 'city'], former: ['town'] },
  { path: ['legs', '[]', 'price'], former: ['cost'] },
  { path: ['rates', '*', 'bid'], former: ['offer'] },
]
const text = { type: 'string' }
const whole = { type: 'integer' }
const object = (properties: object, required: string[] = []) => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
})
const schema = object(
  {
    zip: { type: ['string', 'null'], maxLength: 5 },
    address: object({ city: text }, ['city']),
    legs: { type: 'array', items: object({ price: whole }, ['price']) },
    rates: { type: 'object', additionalProperties: object({ bid: whole }, ['bid']) },
  },
  ['zip'],
)
const validate = compileValidator({ name: 'people', schema, renames }, 8)

describe('events that use former names', () => {
  test.each<[string, Record<string, unknown>]>([
    ['the present name', { zip: 'a' }],
    ['a former one', { postcode: 'a' }],
    ['an older one', { plz: 'a' }],
    ['several at once', { zip: 'a', postcode: 'b', plz: 'c' }],
    ['a null under the present one', { zip: null, postcode: 'b' }],
    ['a field in a renamed one', { zip: 'a', addr: { town: 'b' } }],
    [
      'fields in lists and maps',
      { zip: 'a', legs: [{ cost: 1 }, { price: 2 }], rates: { x: { offer: 1 }, y: { bid: 2 } } },
    ],
  ])('%s is valid', (_, event) => {
    const before = structuredClone(event)
    expect(validate(event)).toBeUndefined()
    expect(event).toEqual(before)
  })

  test.each<[string, Record<string, unknown>, string]>([
    ['a value that does not fit, by the name it was sent under', { postcode: 'too long' }, '/postcode'],
    ['one that would not count either', { zip: 'a', postcode: 'too long' }, '/postcode'],
    ['the last of three', { zip: 'a', postcode: 'b', plz: 'too long' }, '/plz'],
    ['a nested one', { zip: 'a', addr: { town: 1 } }, '/addr/town'],
    ['one in a list', { zip: 'a', legs: [{ price: 1 }, { cost: 'x' }] }, '/legs/1/cost'],
    ['one in a map', { zip: 'a', rates: { x: { offer: 'x' } } }, '/rates/x/offer'],
    ['none at all', {}, '/zip'],
    ['a name that nobody had', { zip: 'a', code: 'b' }, '/code'],
  ])('%s is refused', (_, event, path) => {
    expect(validate(event)).toMatchObject({ code: 'schema_violation', path })
  })
})

test('the name of an id or a time is that of its value, the present one first', () => {
  const names = namesOf('zip', renames)
  expect(names).toEqual(['zip', 'postcode', 'plz'])
  expect(nameIn({ zip: 1, plz: 2 }, names)).toBe('zip')
  expect(nameIn({ zip: null, plz: 2 }, names)).toBe('plz')
  expect(nameIn({ postcode: null }, names)).toBe('postcode')
  expect(nameIn({}, names)).toBe('zip')
  expect(namesOf('city', renames)).toEqual(['city'])
})
