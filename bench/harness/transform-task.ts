/** What a transform could do at best: one loop over lines in memory that parses each, calls the function, and writes what it returns. */
import { batchStart, Corpus, type BatchShape } from './corpus.ts'
import { serveTasks } from './child-task.ts'
import { identity } from './identity.ts'

export interface TransformLoopSpec {
  batches: number
  shape: BatchShape
}

export interface TransformLoopResult {
  ms: number
  bytes: number
}

const lineFeed = 0x0a

async function loop({ batches, shape }: TransformLoopSpec): Promise<TransformLoopResult> {
  const corpus = new Corpus()
  const buffer = Buffer.allocUnsafe(corpus.lineBytesMax * shape.events)
  let ms = 0
  let bytes = 0
  for (let batch = 0; batch < batches; batch++) {
    const lines = buffer.subarray(0, corpus.fill(buffer, 0, batchStart(0, batch, shape), shape.events))
    const startedAt = performance.now()
    bytes += transformed(lines).length
    ms += performance.now() - startedAt
  }
  return { ms, bytes }
}

function transformed(lines: Buffer): Buffer {
  let text = ''
  for (let start = 0; start < lines.length;) {
    const end = lines.indexOf(lineFeed, start)
    const event = JSON.parse(lines.toString('utf8', start, end)) as unknown
    text += `${JSON.stringify(identity(event))}\n`
    start = end + 1
  }
  return Buffer.from(text)
}

serveTasks(loop)
