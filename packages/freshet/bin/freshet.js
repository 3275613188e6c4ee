#!/usr/bin/env node
// Plain JavaScript that any Node can read, so that one that is too old gets an explanation instead of a syntax error.
import { existsSync } from 'node:fs'

const major = Number.parseInt(process.versions.node, 10)
const main = new URL('../dist/cli/main.js', import.meta.url)

// A checkout has the sources, which the package leaves out. It brings Node 24 and builds itself.
const isCheckout = existsSync(new URL('../src/cli/main.ts', import.meta.url))

if (isCheckout && (major < 24 || !existsSync(main))) {
  process.env.INIT_CWD = process.cwd()
  process.argv.splice(2, 0, 'freshet')
  await import(new URL('../../../scripts/run.mjs', import.meta.url).href)
} else if (major < 24) {
  console.error(
    `freshet needs Node 24 or newer; this is ${process.versions.node}.\nInstall Node 24 from https://nodejs.org.`,
  )
  process.exitCode = 1
} else if (!existsSync(main)) {
  console.error('freshet is damaged: dist/cli/main.js is missing. Install the package again.')
  process.exitCode = 1
} else {
  // Node's thread pool is shared by file access and by every running query; four threads, the default, would let four slow
  // queries hold up the log. It has to be set before the pool's first use.
  process.env.UV_THREADPOOL_SIZE ??= '16'
  await import(main.href)
}
