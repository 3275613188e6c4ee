import { expect, test } from 'vitest'
import { startOrUndo } from './role.ts'

test('what was started is stopped in the opposite order', async () => {
  const done: string[] = []
  const { info, stop } = await startOrUndo(async (undo) => {
    undo.push(() => void done.push('lock'))
    undo.push(async () => void done.push('log'))
    return 'ready'
  })
  expect(info).toBe('ready')
  expect(done).toEqual([])
  await stop()
  await stop()
  expect(done).toEqual(['log', 'lock'])
})

test('a start that fails undoes what it had begun, and says why it failed', async () => {
  const done: string[] = []
  const start = startOrUndo(async (undo) => {
    undo.push(() => void done.push('lock'))
    throw new Error('no port')
  })
  await expect(start).rejects.toThrow('no port')
  expect(done).toEqual(['lock'])
})

test('a part that fails to stop does not keep the rest from stopping', async () => {
  const done: string[] = []
  const { stop } = await startOrUndo(async (undo) => {
    undo.push(() => void done.push('lock'))
    undo.push(() => {
      throw new Error('stuck')
    })
  })
  await expect(stop()).rejects.toThrow('stuck')
  expect(done).toEqual(['lock'])
})
