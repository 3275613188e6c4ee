/** Starts that are refused, each with the reason and the way out. Others are in processes.test.ts. */
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Scene } from './support/scene.ts'

let scene: Scene

beforeEach(async () => {
  scene = await Scene.create('refused')
})

afterEach(() => scene.close())

async function refusal(args: readonly string[]): Promise<string> {
  const refused = scene.run(args)
  expect(await refused.ended()).toBe(1)
  expect(refused.output).not.toContain('starting it again')
  expect(refused.output).not.toMatch(/\n\s+at /)
  return refused.output
}

test('a configuration file that is not there is named', async () => {
  expect(await refusal(['start', '--config', 'nowhere.config.ts'])).toContain(join(scene.folder, 'nowhere.config.ts'))
})

test('`start` in a folder without a configuration says how to write one', async () => {
  const empty = await Scene.create('empty')
  try {
    const refused = scene.run(['start', '--config', join(empty.folder, 'freshet.config.ts')])
    expect(await refused.ended()).toBe(1)
    expect(refused.output).toContain('freshet init')
  } finally {
    await empty.close()
  }
})

test.each(['0.0.0.0', '192.0.2.7', '::', 'example.com'])('listening on %s is refused and explained', async (host) => {
  const output = await refusal(['dev', '--host', host])
  expect(output).toContain(host)
  expect(output).toMatch(/authentication/)
  expect(output).toContain('127.0.0.1')
})

test('an address beyond loopback in the configuration is refused before anything is written', async () => {
  writeFileSync(join(scene.folder, 'open.config.mjs'), `export default { dataDir: 'open', http: { host: '0.0.0.0' } }`)
  const output = await refusal(['start', '--config', 'open.config.mjs'])
  expect(output).toContain('http.host')
  expect(existsSync(join(scene.folder, 'open'))).toBe(false)
})

test('a data folder of a newer version is refused and left as it is', async () => {
  const newer = '{"format":99,"createdBy":"freshet 9.0.0"}'
  writeFileSync(join(scene.dataDir, 'freshet.json'), newer)
  expect(await refusal(['start'])).toContain('freshet 9.0.0')
  expect(existsSync(join(scene.dataDir, 'log'))).toBe(false)
})
