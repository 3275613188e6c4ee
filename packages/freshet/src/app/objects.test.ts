import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { bucketPlan } from '../../test/support/objects-lab.ts'
import { blobForms } from './objects.ts'

const [first, second] = [randomBytes(32).toString('base64'), randomBytes(32).toString('base64')]

test('master keys come from the configuration or the environment, newest first', () => {
  const logs = bucketPlan('logs', { encrypt: { keys: [{ env: 'NEW' }, first] } })
  const plain = bucketPlan('plain', { compress: null })
  const forms = blobForms({ logs, plain }, { NEW: ` ${second}\n` })
  const other = blobForms({ logs: bucketPlan('logs', { encrypt: { keys: [second] } }) }, {})
  expect(forms.get('logs')!.keys!.newest).toBe(other.get('logs')!.keys!.newest)
  expect(forms.get('plain')).toEqual({ level: null, keys: null })
})

test.each<[string, Record<string, string>, RegExp]>([
  ['is not set', {}, /The environment variable NEW is not set: it is a key of the bucket "logs"/],
  ['is empty', { NEW: '' }, /is not set/],
  ['is no key', { NEW: first.slice(0, 30) }, /is not 32 bytes in base64/],
])('a variable that %s is named, and its value is not shown', (_, environment, message) => {
  const logs = bucketPlan('logs', { encrypt: { keys: [{ env: 'NEW' }] } })
  const start = (): unknown => blobForms({ logs }, environment)
  expect(start).toThrow(message)
  expect(start).not.toThrow(first.slice(0, 30))
})
