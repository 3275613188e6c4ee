#!/usr/bin/env node
// Plain JavaScript that any Node can read, so that one that is too old gets an explanation instead of a syntax error.
import { existsSync } from 'node:fs'

const major = Number.parseInt(process.versions.node, 10)
const main = new URL('../dist/cli/main.js', import.meta.url)

if (major < 24) {
  console.error(
    `freshet needs Node 24 or newer; this is ${process.versions.node}.\n` +
      'Install Node 24 from https://nodejs.org, or in a checkout of Freshet use `npm run freshet -- ...`, which brings its own.',
  )
  process.exitCode = 1
} else if (!existsSync(main)) {
  console.error(
    'freshet has not been built: dist/cli/main.js is missing.\n' +
      'In a checkout run `npm run build`; an installed package without it is damaged, install it again.',
  )
  process.exitCode = 1
} else {
  // Node's thread pool is shared by file access and by every running query; four threads, the default, would let four slow
  // queries hold up the log. It has to be set before the pool's first use.
  process.env.UV_THREADPOOL_SIZE ??= '16'
  await import(main.href)
}
